//! Effects of bodies, by example.

use super::*;

fn read(text: &str) -> Body {
    Body::read(text.as_bytes())
}

fn settings(text: &str) -> (Vec<String>, bool) {
    let body = read(text);
    let names = body.settings.iter().map(ToString::to_string).collect();
    (names, body.effects.has(Effects::UNNAMED))
}

#[test]
fn a_setting_with_a_dot_is_found_however_it_is_written() {
    for text in [
        "SET my.var = 1",
        "SET my . var = 's'",
        "SET my/**/.var TO 's'",
        "set session \"My\".VAR = DEFAULT",
        "RESET my.var",
        "SELECT 1; SET my.var = ''",
        "SELECT set_config('my.var', $1, false)",
        "SELECT pg_catalog.set_config('my.' || 'var', $1, $2)",
        "SELECT \"set_config\" ( $$my.var$$ , 'x', false)",
        "SELECT set_config('my'\n'.var', 'x', false)",
        "SELECT set_config('my' \n\t '.v'\r\n'ar', 'x', false)",
        "DO $$BEGIN PERFORM set_config('my.var', 'x', false); END$$",
        "DO LANGUAGE plpgsql 'BEGIN SET my.var = 1; END'",
        "BEGIN IF a THEN SET my.var = 1; END IF; END",
        "<<here>> BEGIN LOOP RESET my.var; END LOOP; END",
    ] {
        let (names, unnamed) = settings(text);
        assert!(!unnamed, "{text}");
        assert_eq!(names, ["my.var"], "{text}");
    }
}

/// PostgreSQL cuts names of commands after 63 bytes, and not those in literals.
#[test]
fn parts_of_names_are_cut_where_the_server_cuts_them() {
    let (long, cut) = ("x".repeat(70), "x".repeat(63));
    assert_eq!(
        settings(&format!("SET my.{long} = 1")).0,
        [format!("my.{cut}")]
    );
    assert_eq!(
        settings(&format!("SET \"{long}\".{long} = 1")).0,
        [format!("{cut}.{cut}")]
    );
    let by_call = format!("SELECT set_config('my.{long}', 'x', false)");
    assert_eq!(settings(&by_call).0, [format!("my.{long}")]);
    let cafe = "\u{e9}".repeat(40);
    let body = read(&format!("SELECT {cafe}()"));
    let whole = cafe.as_bytes()[..62].into();
    assert!(body.mentions.contains(&whole), "no half of a character");
}

#[test]
fn a_name_that_nobody_can_tell_is_admitted() {
    for text in [
        "SELECT set_config($1, $2, false)",
        "SELECT set_config('my.' -- a comment\n 'var', 'y', false)",
        "SELECT set_config('my.' || x, 'y', false)",
        "SELECT set_config(E'my\\x2evar', 'y', false)",
        "SELECT pg_catalog.set_config (name, 'y', false) FROM t",
        "SET U&\"my\\002evar\" = 1",
        "SET \"caf\u{e9}.x\" = 1",
        "BEGIN PERFORM set_config('app.' || 'tenant' || t, t, false); END",
    ] {
        assert!(settings(text).1, "{text}");
    }
}

#[test]
fn what_a_transaction_has_for_itself_is_nothing() {
    for text in [
        "SET LOCAL my.var = 1",
        "SELECT set_config('my.var', 'x', true)",
        "SELECT set_config(name, value, true)",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "UPDATE t SET a = 1",
        "INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1",
        "BEGIN UPDATE t SET a = 1; RETURN NEW; END",
        "DECLARE x int; BEGIN x := 1; RAISE NOTICE 'Set a to %', x; END",
        "GRANT EXECUTE ON FUNCTION f TO x",
    ] {
        let effects = read(text).effects;
        assert!(!effects.leaves_state(), "{text}: {effects:?}");
    }
}

#[test]
fn commands_and_functions_leave_what_they_leave() {
    for (text, effects) in [
        ("SET work_mem = 1", Effects::STATE),
        ("SET local.x = 1", Effects::STATE),
        ("BEGIN SET ROLE x; END", Effects::STATE),
        ("SELECT pg_advisory_lock(1)", Effects::STATE),
        (
            "CREATE TEMP TABLE t (a int)",
            Effects::STATE.and(Effects::SCHEMA),
        ),
        ("SELECT a INTO TEMP t FROM b", Effects::STATE),
        ("LOAD 'x'", Effects::LASTING),
        ("SELECT setseed(0.5)", Effects::LASTING),
        ("SET Seed TO 0.5", Effects::STATE.and(Effects::LASTING)),
        ("BEGIN EXECUTE q; END", Effects::UNSEEN),
        (
            "BEGIN RETURN QUERY EXECUTE format('x'); END",
            Effects::UNSEEN,
        ),
        (
            "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()",
            Effects::SCHEMA,
        ),
        ("SELECT currval('s')", Effects::ASKS_SEQUENCES),
        ("SELECT nextval('s')", Effects::USES_SEQUENCES),
        ("SELECT 1", Effects::NONE),
    ] {
        assert_eq!(read(text).effects, effects, "{text}");
    }
}

#[test]
fn literals_are_read_as_what_may_be_run() {
    let all = |text: &str| read(text).with_literals();
    assert!(all("EXECUTE 'SET app.' || k || ' = 1'").has(Effects::UNNAMED));
    assert!(all("EXECUTE format('SET %I = %L', k, v)").has(Effects::UNNAMED));
    assert!(all("EXECUTE 'SELECT set_config(' || x").has(Effects::UNNAMED));
    assert!(!all("EXECUTE 'UPDATE ' || t || ' SET ' || c || ' = 1'").has(Effects::UNNAMED));
    assert!(!all("EXECUTE 'SELECT count(*) FROM ' || t").has(Effects::UNNAMED));
    let body = read("EXECUTE 'SET my.x = 1'");
    let literals = body.literals.expect("there is one");
    assert_eq!(literals.settings, ["my.x".into()]);
    assert!(body.settings.is_empty(), "nothing runs it as it stands");
    let nested = read("SELECT run('SELECT set_config(''my.y'', ''x'', false)')");
    let literals = nested.literals.expect("there is one");
    assert_eq!(literals.settings, ["my.y".into()]);
}

#[test]
fn names_are_mentioned_as_the_server_stores_them() {
    let body = read("SELECT F(a), \"G\"(b) FROM S.t");
    let has = |name: &str| {
        body.mentions
            .iter()
            .any(|known| **known == *name.as_bytes())
    };
    assert!(has("f") && has("G") && has("t") && has("s") && !has("F") && !has("g"));
}
