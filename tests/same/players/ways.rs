//! Ways to have a statement run: by text of every form, inside functions, procedures and blocks, by everything that
//! can call a function. Owns what is sent for them, and nothing of what the statement does.

use pgring::random::Seeded;

use super::kinds::any;
use crate::{conversation::unnamed, support::message::*};

/// What one player does, request by request.
pub(super) type Action = Vec<(String, Vec<u8>)>;

/// Texts around the words `{s}`, each one request. `{q}` is the same as a string.
const AROUND: [&[&str]; 59] = [
    &["{s}"],
    &["{s}"],
    &["{s}; SELECT 1"],
    &["SELECT 1; {s}; SELECT 2"],
    &["/* {long} */ {s}"],
    &["SELECT length('{long}'); {s}"],
    &["SELECT '{long}'; {s}; SELECT 1"],
    &["BEGIN", "{s}", "COMMIT"],
    &["BEGIN", "{s}", "ROLLBACK"],
    &["BEGIN; {s}; COMMIT"],
    &["BEGIN", "SAVEPOINT a", "{s}", "ROLLBACK TO a", "COMMIT"],
    &["BEGIN", "SAVEPOINT a", "{s}", "RELEASE a", "COMMIT"],
    &["BEGIN", "{s}", "SELECT 1/0", "COMMIT"],
    &[
        "BEGIN",
        "{s}",
        "PREPARE TRANSACTION 'p'",
        "ROLLBACK PREPARED 'p'",
        "ROLLBACK",
    ],
    &["SELECT 1/0; {s}"],
    &["{s}; SELECT 1/0"],
    &["DO $do$ BEGIN EXECUTE {q}; END $do$"],
    &["DO 'BEGIN PERFORM public.run({qq}); END'"],
    &["DO $do$ BEGIN EXECUTE {q}; COMMIT; END $do$"],
    &["SELECT public.run({q})"],
    &["SELECT FROM public.run({q})"],
    &["SELECT public.run_by_sql({q})"],
    &["SELECT public.run_within({q})"],
    &["SELECT public.run_as_owner({q})"],
    &["SELECT public.run_with_set({q})"],
    &["SELECT public.run_and_fail({q})"],
    &["SELECT public.run_and_recover({q})"],
    &["SELECT public.run_stably({q})"],
    &["SELECT public.run_immutably({q})"],
    &["SELECT 1 WHERE public.run({q}) = 1"],
    &["VALUES (public.run({q}))"],
    &["CALL public.perform({q})"],
    &["CALL public.perform_and_commit({q})"],
    &["CALL public.perform_and_roll_back({q})"],
    &[
        "PREPARE p{n} AS SELECT public.run({q})",
        "EXECUTE p{n}",
        "DEALLOCATE p{n}",
    ],
    &[
        "PREPARE p{n} (text) AS SELECT public.run($1)",
        "EXECUTE p{n}({q})",
    ],
    &["EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT public.run({q})"],
    &["COPY (SELECT public.run({q})) TO STDOUT"],
    &[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT public.run({q})",
        "FETCH c",
        "COMMIT",
    ],
    &[
        "INSERT INTO public.before_row VALUES ({q})",
        "DELETE FROM public.before_row WHERE what = {q}",
    ],
    &[
        "INSERT INTO public.after_row VALUES ({q})",
        "UPDATE public.after_row SET what = what WHERE what = {q}",
    ],
    &["DELETE FROM public.after_row WHERE what = {q}"],
    &[
        "BEGIN",
        "INSERT INTO public.deferred VALUES ({q})",
        "COMMIT",
    ],
    &["WITH x AS (INSERT INTO public.before_row VALUES ({q}) RETURNING 1) SELECT 1"],
    &["INSERT INTO public.parted VALUES (1, {q})"],
    &["INSERT INTO public.instead VALUES ({q})"],
    &[
        "INSERT INTO public.parents VALUES ({n})",
        "INSERT INTO public.children VALUES ({n}, {q})",
        "DELETE FROM public.parents WHERE id = {n}",
    ],
    &["INSERT INTO public.ruled VALUES ({q})"],
    &["INSERT INTO public.checked VALUES ({q})"],
    &["INSERT INTO public.of_domain VALUES ({q})"],
    &["SELECT {q}::public.checked_text"],
    &["INSERT INTO public.generated (what) VALUES ({q})"],
    &["INSERT INTO public.indexed VALUES ({q})"],
    &["INSERT INTO public.secured VALUES ({q})"],
    &["SELECT {q} OPERATOR(public.!!!) 1"],
    &["SELECT ROW({q})::public.wrapped::int"],
    &["SELECT public.run_all({q})"],
    &["SELECT * FROM public.secured"],
    &["SELECT * FROM public.calling"],
];

/// Statements by which what stands in the table of orders is run.
const ORDERED: [&str; 12] = [
    "INSERT INTO public.before_statement VALUES (1)",
    "UPDATE public.before_statement SET n = n WHERE false",
    "DELETE FROM public.before_statement WHERE false",
    "TRUNCATE public.before_statement",
    "INSERT INTO public.after_statement SELECT 1 WHERE false",
    "TRUNCATE public.after_statement",
    "INSERT INTO public.defaulted (n) VALUES (1)",
    "SELECT * FROM public.calling",
    "SELECT count(*) FROM public.calling",
    "CREATE SCHEMA made{n}",
    "TABLE public.calling",
    "MERGE INTO public.before_statement t USING (SELECT 1 AS n) s ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
];

/// Functions with all that they do in their bodies.
const BODIES: [&str; 12] = [
    "SELECT public.set_setting()",
    "SELECT public.set_custom()",
    "SELECT public.set_custom_by_sql()",
    "SELECT public.set_custom_within()",
    "SELECT public.set_custom_in_body()",
    "SELECT * FROM public.set_custom()",
    "SELECT public.take_role()",
    "SELECT public.make_table()",
    "SELECT public.take_lock()",
    "SELECT public.take_lock_by_sql()",
    "SELECT public.listen_to()",
    "SELECT public.load_library()",
];

/// Encodings with a character whose second byte is a backslash.
const HIDING: [(&str, &[u8]); 4] = [
    ("SJIS", b"\x83\x5c"),
    ("BIG5", b"\xa5\x5c"),
    ("GBK", b"\x81\x5c"),
    ("GB18030", b"\x81\x5c"),
];

/// Bytes behind which nobody looks, usually.
const FAR: usize = 66_000;

/// The statement in one of the ways.
pub(super) fn action(random: &mut Seeded, statement: &str, number: u64) -> Action {
    match random.below(16) {
        0 => hidden(random, statement),
        1 => with_parameter(random, statement),
        2 => copied(random, statement),
        3 | 4 => ordered(random, statement, number),
        5 => {
            let text = any(random, &BODIES);
            vec![said(random, text)]
        }
        6 => latin(random, number),
        _ => around(random, statement, number),
    }
}

fn around(random: &mut Seeded, statement: &str, number: u64) -> Action {
    let quoted = quoted(statement);
    let long = "x".repeat(FAR);
    let fill = |text: &&str| {
        text.replace("{qq}", &quoted.replace('\'', "''"))
            .replace("{q}", &quoted)
            .replace("{s}", statement)
            .replace("{n}", &number.to_string())
            .replace("{long}", &long)
    };
    let texts: Vec<_> = any(random, &AROUND).iter().map(fill).collect();
    texts.iter().map(|text| said(random, text)).collect()
}

/// By one of the protocols.
fn said(random: &mut Seeded, text: &str) -> (String, Vec<u8>) {
    let name = format!("n{}", random.below(3));
    match random.below(6) {
        0 => (format!("unnamed: {text}"), all([unnamed(text), sync()])),
        1 => {
            let run = [
                bind("", &name, &[]),
                describe_portal(""),
                execute(""),
                sync(),
            ]
            .concat();
            let parse = [close_statement(&name), parse(&name, text), run].concat();
            (format!("statement {name}: {text}"), parse)
        }
        2 => {
            let parse = [
                close_statement(&name),
                parse(&name, text),
                describe_statement(&name),
                sync(),
            ];
            let run = all([bind("", &name, &[]), execute(""), sync()]);
            (
                format!("statement {name}, two pipelines: {text}"),
                [parse.concat(), run].concat(),
            )
        }
        _ => (text.to_owned(), query(text)),
    }
}

/// The words of another client's request as a value.
fn with_parameter(random: &mut Seeded, statement: &str) -> Action {
    const TEXTS: [&str; 4] = [
        "SELECT public.run($1)",
        "INSERT INTO public.before_row VALUES ($1)",
        "CALL public.perform($1)",
        "SELECT set_config($1, 'by name', false)",
    ];
    let text = any(random, &TEXTS);
    let value = match text.contains("set_config") {
        true => any(random, &["app.v", "my.v", "odd.n1", "role", "lock_timeout"]),
        false => statement,
    };
    let name = any(random, &["", "n0"]);
    let close = close_statement(name);
    let bytes = [
        close,
        parse_typed(name, text, &[25]),
        bind("", name, &[value]),
        execute(""),
        sync(),
    ];
    vec![(
        format!("statement \"{name}\": {text} with {value}"),
        bytes.concat(),
    )]
}

fn copied(random: &mut Seeded, statement: &str) -> Action {
    let table = any(
        random,
        &["before_row", "after_row", "checked", "ruled", "indexed"],
    );
    let text = format!("COPY public.{table} (what) FROM STDIN");
    let line = statement.replace('\\', "\\\\") + "\n";
    let bytes = [query(&text), copy_data(line.as_bytes()), copy_done()];
    vec![(format!("{text} of {statement}"), bytes.concat())]
}

fn ordered(random: &mut Seeded, statement: &str, number: u64) -> Action {
    let order = format!("UPDATE public.orders SET what = {}", quoted(statement));
    let text = any(random, &ORDERED).replace("{n}", &number.to_string());
    vec![(order.clone(), query(&order)), said(random, &text)]
}

/// Behind a character that ends with a backslash, after which a string seems to go on.
fn hidden(random: &mut Seeded, statement: &str) -> Action {
    let (encoding, character) = any(random, &HIDING);
    let set = format!("SET client_encoding = '{encoding}'");
    let statement = statement.replace('\'', "$s$");
    let text = [
        b"SELECT E'",
        character,
        b"'; ",
        statement.as_bytes(),
        b"; --'",
    ]
    .concat();
    let shown = format!("{encoding}: {}", text.escape_ascii());
    vec![(set.clone(), query(&set)), (shown, query_of(&text))]
}

/// A name that is no UTF-8 when it is sent.
fn latin(random: &mut Seeded, number: u64) -> Action {
    let set = "SET client_encoding = 'LATIN1'";
    let texts = [
        format!("SET app.\"\u{e9}\" = 'v{number}'"),
        format!("SET app.\u{e9} = 'v{number}'"),
        format!("SELECT set_config('app.\u{e9}', 'v{number}', false)"),
        format!("SET app.v = '\u{e9}{number}'"),
        "SET search_path = public, \"\u{e9}\"".to_owned(),
    ];
    let text = &texts[random.below(texts.len() as u64) as usize];
    let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
    vec![
        (set.to_owned(), query(set)),
        (format!("LATIN1: {text}"), query_of(&bytes)),
    ]
}

/// A simple query of these bytes.
fn query_of(text: &[u8]) -> Vec<u8> {
    let mut message = query(&"x".repeat(text.len()));
    let start = message.len() - text.len() - 1;
    message[start..start + text.len()].copy_from_slice(text);
    message
}

/// As a string, whatever the server is told of backslashes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
