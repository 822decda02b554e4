//! `pin = "refuse"`: what would pin a session is not executed, and what is around it fails as it must.

use super::talk::*;
use crate::session::conversation::{Answer, Verdict};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        Header,
        backend::TransactionStatus,
        tag::{backend, frontend},
    },
};

/// Messages that the server gets in place of a Query.
const REFUSED: &str = "P(: pgring refuses a statement that would pin its session) S";

fn talk() -> Talk {
    let mut talk = Talk::new(PoolMode::Transaction);
    talk.tools.bounds.refuses_pins = true;
    talk
}

fn in_transaction() -> Talk {
    let mut talk = Talk::in_transaction();
    talk.tools.bounds.refuses_pins = true;
    talk.sent();
    talk
}

/// The server refuses our nonsense; what the client hears of it.
fn refused(talk: &mut Talk) -> String {
    let answer = talk.hear(backend::ERROR_RESPONSE, &error_body(&ordinary_error()));
    assert_eq!(answer, Ok(Answer::Renamed));
    read(&talk.rules.take_renamed())
}

/// Bind and Execute of a statement that the client has prepared.
fn run(name: &str) -> Vec<u8> {
    [plain_bind("", name), execute()].concat()
}

#[test]
fn outside_a_transaction_no_server_is_asked() {
    for text in [
        "LISTEN a",
        "SELECT 1; LISTEN a",
        "CREATE TEMP TABLE t ()",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "LOAD 'x'",
        "PREPARE p AS SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT set_config(name, '1', false) FROM t",
    ] {
        let mut talk = talk();
        assert_eq!(talk.ask(&query(text)), "E(0A000) Z(I)", "{text}");
        assert!(talk.is_ordinary(), "{text}");
    }
}

#[test]
fn what_leaves_nothing_is_not_refused() {
    for text in [
        "SET timezone = 'UTC'",
        "CREATE TEMP TABLE t () ON COMMIT DROP",
        "SELECT pg_advisory_xact_lock(1)",
        "DECLARE c CURSOR FOR SELECT 1",
        "SELECT set_config('a.b', $1, false)",
    ] {
        let verdicts = talk().client(&query(text));
        assert_eq!(verdicts, [Verdict::NeedServer, Verdict::Forward], "{text}");
    }
}

#[test]
fn in_session_mode_nothing_is_refused() {
    let mut talk = Talk::new(PoolMode::Session);
    talk.tools.bounds.refuses_pins = true;
    let verdicts = talk.client(&query("LISTEN a"));
    assert_eq!(verdicts, [Verdict::NeedServer, Verdict::Forward]);
}

#[test]
fn a_transaction_fails_with_it() {
    let mut talk = in_transaction();
    assert_eq!(talk.client(&query("LISTEN a")), [Verdict::Discard]);
    assert_eq!(talk.sent(), REFUSED);
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZE");
    assert_eq!(talk.rules.status(), TransactionStatus::Failed);
    // The server's own error is the right one now.
    assert_eq!(talk.client(&query("LISTEN a")), [Verdict::Forward]);
    talk.server("E ZE");
    talk.client(&query("ROLLBACK"));
    talk.server("C ZI");
    assert!(talk.rules.is_clean() && talk.rules.pinned().is_none());
}

#[test]
fn a_block_begins_and_fails_when_its_first_statement_is_refused() {
    let mut talk = talk();
    assert_eq!(talk.ask(&query("BEGIN")), "C(BEGIN) Z(T)");
    let verdicts = talk.client(&query("LISTEN a"));
    assert_eq!(verdicts, [Verdict::NeedServer, Verdict::Discard]);
    let begin = "P(pgring_1: BEGIN) B(: pgring_1) E";
    assert_eq!(talk.sent(), format!("{begin} {REFUSED}"));
    talk.server("-1 -2 -C");
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZE");
    assert_eq!(talk.rules.status(), TransactionStatus::Failed);
}

#[test]
fn an_execute_is_refused_and_the_rest_skipped() {
    let mut talk = talk();
    let pipeline = [plain_parse("s", "LISTEN a"), run("s"), run("s"), sync()].concat();
    talk.client(&pipeline);
    let nonsense = REFUSED.strip_suffix(" S").unwrap();
    // What is behind the refused Execute the server skips.
    assert_eq!(
        talk.sent(),
        format!("P(pgring_1: LISTEN a) D(Spgring_1) B(: pgring_1) {nonsense} B(: pgring_1) S")
    );
    talk.server("1 -t -n 2");
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZI");
    assert!(talk.rules.is_releasable());
    // The statement is there and stays refused.
    talk.client(&[run("s"), sync()].concat());
    talk.server("2");
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZI");
}

#[test]
fn a_second_refusal_waits_for_the_first() {
    let mut talk = talk();
    let group = || [plain_parse("", "LISTEN a"), run(""), sync()].concat();
    talk.linked = true;
    let verdicts = talk.client_until_it_waits(&[group(), group()].concat());
    assert_eq!(verdicts.last(), Some(&Verdict::Wait));
    assert_eq!(
        verdicts
            .iter()
            .filter(|it| **it == Verdict::Discard)
            .count(),
        1
    );
    talk.server("1 2");
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZI 1 2");
    talk.client(&[execute(), sync()].concat());
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn a_refusal_that_was_skipped_is_forgotten() {
    let mut talk = talk();
    let group = [plain_parse("", "LISTEN a"), run(""), sync()].concat();
    talk.client(&group);
    talk.server("1 E ZI");
    talk.client(&group);
    talk.server("1 2");
    assert_eq!(refused(&mut talk), "E(0A000)");
}

#[test]
fn what_is_too_long_to_be_kept_is_refused_with_its_parse() {
    let mut talk = in_transaction();
    let header = Header {
        tag: frontend::PARSE,
        length: 20_000_000,
    };
    let verdict = talk.part(header, b"s\0SELECT 'xxxxx");
    assert_eq!(verdict, Verdict::Discard);
    assert_eq!(talk.client(&sync()), [Verdict::Forward]);
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZE");
    assert!(talk.rules.pinned().is_none());
}

#[test]
fn a_call_that_may_set_what_nobody_sees_is_refused() {
    let mut talk = in_transaction();
    let call = |function: u32, argument: &str| {
        message(|writer| {
            writer.function_call(function, [Some(argument)]).unwrap();
        })
    };
    assert_eq!(talk.client(&call(2078, "set_config(x")), [Verdict::Discard]);
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.server("ZE");
    assert_eq!(talk.client(&call(964, "set_config(x")), [Verdict::Forward]);
}

/// A server skips a Query, too, until the Sync that is missing.
#[test]
fn a_query_behind_a_refused_execute_is_skipped_as_a_server_does() {
    let mut talk = in_transaction();
    let pipeline = [plain_parse("", "LISTEN a"), run(""), query("SELECT 1")].concat();
    let verdicts = talk.client_until_it_waits(&pipeline);
    assert_eq!(verdicts.last(), Some(&Verdict::Wait));
    talk.server("1 2");
    assert_eq!(refused(&mut talk), "E(0A000)");
    talk.client(&[query("SELECT 1"), sync()].concat());
    talk.server("ZE");
    assert!(talk.rules.is_at_rest());
}
