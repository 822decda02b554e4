//! Somebody changes the schema while a client's statements are prepared: in every way, between every two steps. What a
//! statement means and what its rows are was settled when its client parsed it.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use pgring::random::Seeded;

use crate::{
    conversation::{
        Conversation, Step, aside, ask, beside, of_steps, q, talk, unnamed, use_statement,
    },
    proof::{prove, prove_on, stage_of},
    support::message::*,
};

const READ: &str = "SELECT a FROM changing";
const INT4: u32 = 23;

#[test]
fn rows_have_the_shape_that_the_client_knows() {
    prove(701, shapes().into_iter().step_by(2));
}

#[test]
fn a_parse_finds_what_is_there() {
    prove(702, meanings());
}

#[test]
fn statements_by_name_are_found_by_sql() {
    prove(703, executes());
}

/// With one server connection everybody's statements meet on it.
#[test]
fn with_one_connection_it_is_the_same() {
    let others = shapes().into_iter().skip(1).step_by(4).collect();
    let all = [others, meanings(), executes()].concat();
    prove_on(&stage_of(1, &[]), 704, all);
}

#[test]
fn whatever_is_prepared_and_changed_in_whatever_order() {
    for (seed, size) in [(705, 3), (706, 1)] {
        prove_on(&stage_of(size, &[]), seed, random(seed, 8));
    }
}

/// The client has prepared something; the table is changed, and its statements are used: on whatever connection.
fn changed(name: &str, first: Step, change: &[&str], then: &[Step]) -> Vec<Conversation> {
    let by = |how: &str, change: Vec<Step>| {
        let mut steps = vec![q("CREATE TABLE changing AS SELECT 1 AS a"), first.clone()];
        steps.extend(change);
        for _ in 0..2 {
            steps.extend_from_slice(then);
            // Another connection may be next.
            steps.push(q("SELECT 'in between'"));
        }
        steps.push(q("DROP TABLE changing"));
        of_steps(&format!("{name}: {how}"), steps)
    };
    let in_function = |sql: &str| format!("DO $do$ BEGIN {sql}; END $do$");
    // Somebody else reads the table in each of its states, and leaves statements behind.
    let reads = || {
        all([
            parse("s", READ),
            describe_statement("s"),
            use_statement("s"),
            unnamed(READ),
            sync(),
        ])
    };
    let each = |make: &dyn Fn(&str) -> Step| change.iter().map(|sql| make(sql)).collect();
    vec![
        by("by itself", each(&|sql| q(sql))),
        by(
            "in a function of another client",
            each(&|sql| beside([query(&in_function(sql)), reads(), reads()])),
        ),
        by(
            "by another client",
            each(&|sql| beside([unnamed(sql), sync(), reads(), reads(), reads()])),
        ),
        by("from outside", each(&|sql| aside(sql))),
    ]
}

fn shapes() -> Vec<Conversation> {
    let use_s = || ask([use_statement("s"), sync()]);
    let other_type = ["ALTER TABLE changing ALTER a TYPE float4"];
    let back = [
        "ALTER TABLE changing ALTER a TYPE float4",
        "ALTER TABLE changing ALTER a TYPE int",
    ];
    let anew = [
        "DROP TABLE changing",
        "CREATE TABLE changing AS SELECT 2 AS a",
        "GRANT ALL ON changing TO public",
    ];
    let anew_by_detour = [
        "DROP TABLE changing",
        "CREATE TABLE changing AS SELECT 'x'::text AS a",
        "DROP TABLE changing",
        "CREATE TABLE changing AS SELECT 2 AS a",
        "GRANT ALL ON changing TO public",
    ];
    let binary = || bind_formats("", "s", (&[], &[]), &[1]);
    let mut all = Vec::new();
    for (change, ddl) in [
        ("another type", &other_type[..]),
        ("another type and back", &back),
        ("made anew", &anew),
        ("made anew by a detour", &anew_by_detour),
        (
            "gone",
            &["DROP TABLE changing; CREATE TABLE changing (b int)"],
        ),
    ] {
        // Of what cannot be parsed any more a server of its own says the parameters before the error.
        let describes = (change != "gone").then(|| ask([describe_statement("s"), sync()]));
        let then: Vec<_> = [use_s()].into_iter().chain(describes).collect();
        all.extend(changed(
            &format!("{change}, described"),
            ask([parse("s", READ), describe_statement("s"), sync()]),
            ddl,
            &then,
        ));
        all.extend(changed(
            &format!("{change}, never described"),
            ask([parse("s", READ), sync()]),
            ddl,
            &then,
        ));
        all.extend(changed(
            &format!("{change}, two names"),
            ask([
                parse("s", READ),
                describe_statement("s"),
                parse("s1", READ),
                describe_statement("s1"),
                sync(),
            ]),
            ddl,
            &[
                use_s(),
                ask([
                    close_statement("s1"),
                    parse("s1", READ),
                    describe_statement("s1"),
                    binary(),
                    execute(""),
                    sync(),
                ]),
                ask([use_statement("s1"), sync()]),
                use_s(),
            ],
        ));
        all.extend(changed(
            &format!("{change}, binary"),
            ask([
                parse("s", READ),
                binary(),
                describe_portal(""),
                execute(""),
                sync(),
            ]),
            ddl,
            &[ask([binary(), execute(""), sync()])],
        ));
        all.extend(changed(
            &format!("{change}, in a transaction"),
            ask([parse("s", READ), describe_statement("s"), sync()]),
            ddl,
            &[q("BEGIN"), use_s(), use_s(), q("COMMIT")],
        ));
    }
    // The unnamed statement lasts until something takes its place.
    for (change, ddl) in [
        ("another type", &other_type[..]),
        ("another type and back", &back),
    ] {
        for (how, first) in [
            (
                "described",
                ask([parse("", READ), describe_statement(""), sync()]),
            ),
            (
                "whose portal was",
                ask([
                    parse("", READ),
                    bind("", "", &[]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
            ),
            ("only parsed", ask([parse("", READ), sync()])),
        ] {
            let mut steps = vec![q("CREATE TABLE changing AS SELECT 1 AS a"), first];
            steps.extend(ddl.iter().map(|sql| aside(sql)));
            for _ in 0..4 {
                steps.push(ask([use_statement(""), sync()]));
            }
            steps.push(q("DROP TABLE changing"));
            all.push(of_steps(
                &format!("the unnamed statement, {how}: {change}"),
                steps,
            ));
        }
    }
    let by_a = "SELECT a::text FROM changing WHERE a = $1";
    let run = || ask([bind("", "s", &["1"]), execute(""), sync()]);
    all.extend(changed(
        "parameters",
        ask([parse("s", by_a), describe_statement("s"), sync()]),
        &["ALTER TABLE changing ALTER a TYPE bigint"],
        &[
            run(),
            ask([describe_statement("s"), sync()]),
            ask([
                bind_formats("", "s", (&[Some(&[0, 0, 0, 1])], &[1]), &[]),
                execute(""),
                sync(),
            ]),
        ],
    ));
    all.extend(changed(
        "parameters, of a client that was not told",
        ask([parse("s", by_a), sync()]),
        &["ALTER TABLE changing ALTER a TYPE numeric"],
        &[run(), run()],
    ));
    all
}

fn meanings() -> Vec<Conversation> {
    let create = "CREATE SCHEMA a; GRANT ALL ON SCHEMA a TO public";
    let shadow = "CREATE TABLE a.shadowed AS SELECT 'a' AS x; GRANT ALL ON a.shadowed TO public";
    let read = "SELECT x FROM shadowed";
    let in_function = format!("DO $do$ BEGIN {shadow}; END $do$");
    let by = |how: &str, change: Step| {
        let parse_s = || ask([parse("s", read), use_statement("s"), sync()]);
        let again = || {
            ask([
                close_statement("s"),
                parse("s", read),
                describe_statement("s"),
                use_statement("s"),
                sync(),
            ])
        };
        talk(
            &format!("a table that comes before another: {how}"),
            [
                q("CREATE TABLE shadowed AS SELECT 'public' AS x"),
                aside(create),
                q("SET search_path = a, public"),
                parse_s(),
                ask([unnamed(read), unnamed(read), sync()]),
                ask([unnamed(read), sync()]),
                beside([
                    query("SET search_path = a, public"),
                    parse("s", read),
                    use_statement("s"),
                    sync(),
                    unnamed(read),
                    sync(),
                ]),
                change,
                ask([unnamed(read), sync()]),
                ask([parse("s1", read), sync()]),
                ask([use_statement("s1"), sync()]),
                ask([use_statement("s1"), unnamed(read), sync()]),
                again(),
                again(),
                ask([use_statement("s"), sync()]),
                ask([use_statement("s"), use_statement("s1"), sync()]),
                aside("DROP TABLE a.shadowed; DROP TABLE public.shadowed"),
                ask([parse("s2", read), sync()]),
                ask([unnamed(read), sync()]),
                again(),
                aside("DROP SCHEMA a CASCADE"),
            ],
        )
    };
    vec![
        by("by itself", q(shadow)),
        by("in a function", q(&in_function)),
        by("by another client", beside([query(shadow)])),
        by(
            "in a function of another client",
            beside([query(&in_function)]),
        ),
        by("from outside", aside(shadow)),
        by(
            "in the pipeline that parses",
            ask([
                unnamed("CREATE TABLE a.shadowed AS SELECT 'a' AS x"),
                parse("s3", read),
                use_statement("s3"),
                sync(),
            ]),
        ),
        talk(
            "a table that is gone",
            [
                q("CREATE TABLE shadowed AS SELECT 'public' AS x"),
                ask([parse("s", read), use_statement("s"), sync()]),
                ask([unnamed(read), sync()]),
                ask([unnamed(read), sync()]),
                aside("DROP TABLE shadowed"),
                ask([parse("s1", read), sync()]),
                ask([parse("", read), sync()]),
                ask([unnamed(read), sync()]),
                ask([use_statement("s"), sync()]),
                ask([parse("s1", "SELECT 1"), use_statement("s1"), sync()]),
            ],
        ),
        talk(
            "an overloaded function",
            [
                q("CREATE FUNCTION over(bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$"),
                ask([parse("s", "SELECT over(1)"), use_statement("s"), sync()]),
                ask([unnamed("SELECT over(1)"), sync()]),
                aside("CREATE FUNCTION over(int) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$"),
                ask([parse("s1", "SELECT over(1)"), sync()]),
                ask([use_statement("s1"), sync()]),
                ask([use_statement("s1"), unnamed("SELECT over(1)"), sync()]),
                aside("DROP FUNCTION over(int); DROP FUNCTION over(bigint)"),
            ],
        ),
    ]
}

/// EXECUTE by the extended protocol of what was prepared by protocol.
fn executes() -> Vec<Conversation> {
    let run_e = || ask([use_statement("e"), sync()]);
    vec![
        talk(
            "EXECUTE in each way",
            [
                ask([parse("s", "SELECT $1::int + 1 AS n"), sync()]),
                ask([unnamed("EXECUTE s(1)"), sync()]),
                ask([
                    parse("", "EXECUTE s(2)"),
                    describe_statement(""),
                    bind("", "", &[]),
                    execute(""),
                    sync(),
                ]),
                ask([parse("e", "EXECUTE s(3)"), describe_statement("e"), sync()]),
                run_e(),
                q("SELECT 'in between'"),
                run_e(),
                ask([
                    bind("p", "e", &[]),
                    describe_portal("p"),
                    execute("p"),
                    sync(),
                ]),
                ask([unnamed("EXPLAIN (COSTS OFF) EXECUTE s(4)"), sync()]),
                ask([unnamed("CREATE TABLE stored AS EXECUTE s(5)"), sync()]),
                q("SELECT * FROM stored; DROP TABLE stored"),
                ask([bind("", "s", &["6"]), execute(""), sync()]),
                ask([unnamed("EXECUTE s"), sync()]),
                ask([unnamed("EXECUTE s('x')"), sync()]),
                ask([bind("", "s", &["7"]), execute(""), sync()]),
            ],
        ),
        talk(
            "EXECUTE step by step",
            [
                ask([parse("s", "SELECT 'found'"), sync()]),
                ask([parse("", "EXECUTE s"), sync()]),
                ask([describe_statement(""), sync()]),
                ask([use_statement(""), sync()]),
                q("BEGIN"),
                ask([parse("", "EXECUTE s"), sync()]),
                ask([bind("p", "", &[]), sync()]),
                ask([describe_portal("p"), sync()]),
                ask([execute("p"), sync()]),
                q("COMMIT"),
            ],
        ),
        talk(
            "prepared and executed in one pipeline",
            [
                ask([
                    parse("s", "SELECT 'found'"),
                    unnamed("EXECUTE s"),
                    parse("e", "EXECUTE s"),
                    use_statement("e"),
                    use_statement("s"),
                    sync(),
                ]),
                run_e(),
                ask([close_statement("s"), unnamed("EXECUTE s"), sync()]),
                run_e(),
                ask([parse("s", "SELECT 'another'"), use_statement("e"), sync()]),
                run_e(),
            ],
        ),
        talk(
            "what was executed by name is closed, deallocated, prepared anew",
            [
                ask([parse("s", "SELECT 's'"), unnamed("EXECUTE s"), sync()]),
                ask([unnamed("DEALLOCATE s"), unnamed("EXECUTE s"), sync()]),
                ask([parse("s", "SELECT 'new'"), sync()]),
                ask([unnamed("EXECUTE s"), unnamed("DEALLOCATE s"), sync()]),
                ask([use_statement("s"), sync()]),
                ask([
                    unnamed("PREPARE s AS SELECT 'by SQL'"),
                    unnamed("EXECUTE s"),
                    sync(),
                ]),
                ask([
                    parse("e", "EXECUTE s"),
                    describe_statement("e"),
                    use_statement("e"),
                    sync(),
                ]),
                q("DEALLOCATE ALL"),
                ask([unnamed("EXECUTE s"), sync()]),
            ],
        ),
        talk(
            "the rows of what is executed have another shape",
            [
                q("CREATE TABLE changing AS SELECT 1 AS a"),
                ask([parse("s", READ), sync()]),
                ask([
                    parse("e", "EXECUTE s"),
                    describe_statement("e"),
                    use_statement("e"),
                    sync(),
                ]),
                aside("ALTER TABLE changing ALTER a TYPE float4"),
                run_e(),
                ask([unnamed("EXECUTE s"), sync()]),
                run_e(),
                aside("ALTER TABLE changing ALTER a TYPE int"),
                run_e(),
                q("DROP TABLE changing"),
            ],
        ),
        talk(
            "in a failed transaction, and of an unknown name",
            [
                ask([unnamed("EXECUTE nobody"), sync()]),
                ask([
                    parse("e", "EXECUTE nobody"),
                    describe_statement("e"),
                    sync(),
                ]),
                ask([parse("s", "SELECT 's'"), sync()]),
                q("BEGIN"),
                q("SELECT 1/0"),
                ask([unnamed("EXECUTE s"), sync()]),
                q("ROLLBACK"),
                ask([unnamed("EXECUTE s"), sync()]),
            ],
        ),
    ]
}

/// Conversations by chance.
fn random(seed: u64, count: u64) -> Vec<Conversation> {
    (0..count)
        .map(|number| {
            let random = Seeded::new(seed << 16 | number);
            let steps = by_chance(random);
            of_steps(&format!("by chance, {seed} {number}"), steps)
        })
        .collect()
}

fn by_chance(mut random: Seeded) -> Vec<Step> {
    const TEXT: &str = "SELECT a, b || '' AS b FROM changing WHERE a = $1";
    const TABLES: [&str; 4] = ["int", "bigint", "numeric", "float8"];
    let mut steps = vec![q("CREATE TABLE changing AS SELECT 1 AS a, 'x'::text AS b")];
    let mut pick = |count: u64| random.next_u64() % count;
    for _ in 0..25 {
        let name = ["s", "s1", ""][pick(3) as usize];
        let run = || all([bind("", name, &["1"]), execute("")]);
        let told = || all([bind("", name, &["1"]), describe_portal(""), execute("")]);
        steps.push(match pick(10) {
            0 | 1 => ask([close_statement(name), parse(name, TEXT), describe_statement(name), sync()]),
            // What parameters the unnamed statement has, nobody asks then.
            2 => ask([
                close_statement(name),
                parse_typed(name, TEXT, &[INT4]),
                told(),
                sync(),
            ]),
            3 => ask([close_statement(name), parse(name, TEXT), sync()]),
            4 => ask([describe_statement(name), sync()]),
            5 | 6 => ask([run(), sync()]),
            7 => ask([run(), run(), sync()]),
            _ => {
                let kind = TABLES[pick(4) as usize];
                let sql = match pick(4) {
                    0 => format!(
                        "DROP TABLE changing; CREATE TABLE changing AS SELECT 1::{kind} AS a, 'x'::text AS b; \
                         GRANT ALL ON changing TO public"
                    ),
                    1 => format!("DO $do$ BEGIN ALTER TABLE changing ALTER a TYPE {kind}; END $do$"),
                    _ => format!("ALTER TABLE changing ALTER a TYPE {kind}"),
                };
                let others = all([parse("s", TEXT), bind("", "s", &["1"]), execute(""), sync()]);
                match pick(3) {
                    0 => q(&sql),
                    1 => aside(&sql),
                    _ => beside([query(&sql), others.clone(), others]),
                }
            }
        });
    }
    steps.push(aside("DROP TABLE changing"));
    steps
}
