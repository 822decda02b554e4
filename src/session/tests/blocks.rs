//! Transaction blocks that begin without a server: what is said, what is sent with the first statement, and what
//! becomes of them when no server can be had or refuses.

use super::talk::*;
use crate::session::conversation::{AfterLoss, Answer, Verdict};
use crate::{
    cluster::settings::PoolMode,
    protocol::{ErrorReport, SqlState, backend::TransactionStatus, frontend::Target, tag::backend},
};

/// Messages that precede the first statement of a block.
const BEGIN_AHEAD: &str = "P(pgring_1: BEGIN) B(: pgring_1) E";

fn talk() -> Talk {
    Talk::new(PoolMode::Transaction)
}

/// A client that has begun a block which no server has seen.
fn begun() -> Talk {
    let mut talk = talk();
    assert_eq!(talk.ask(&query("BEGIN")), "C(BEGIN) Z(T)");
    talk
}

/// BEGIN by the extended protocol, up to its Execute.
fn extended(text: &str) -> Vec<u8> {
    [plain_parse("", text), plain_bind("", ""), execute()].concat()
}

#[test]
fn a_block_begins_without_a_server() {
    for (text, tag) in [
        ("BEGIN", "BEGIN"),
        ("begin work;", "BEGIN"),
        ("START TRANSACTION READ ONLY", "START TRANSACTION"),
    ] {
        let mut talk = talk();
        assert_eq!(talk.ask(&query(text)), format!("C({tag}) Z(T)"));
        assert_eq!(talk.rules.status(), TransactionStatus::InTransaction);
        assert!(!talk.rules.is_lost() && talk.rules.is_at_rest());
    }
}

#[test]
fn a_block_without_a_statement_ends_without_a_server() {
    for (text, tag) in [
        ("COMMIT", "COMMIT"),
        ("END;", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("ABORT", "ROLLBACK"),
    ] {
        let mut talk = begun();
        assert_eq!(talk.ask(&query(text)), format!("C({tag}) Z(I)"));
        assert!(talk.is_ordinary());
        assert_eq!(talk.sent(), "Q(SELECT 1)", "nothing of the block");
    }
}

#[test]
fn the_first_statement_takes_its_begin_along() {
    let mut talk = begun();
    let verdicts = talk.client(&query("SELECT 1"));
    assert_eq!(verdicts, [Verdict::NeedServer, Verdict::Forward]);
    assert_eq!(talk.sent(), format!("{BEGIN_AHEAD} Q(SELECT 1)"));
    talk.server("-1 -2 -C T D C ZT");
    assert_eq!(talk.told(), "", "the client has had its answer");
    assert!(!talk.rules.is_releasable());
    talk.client(&query("COMMIT"));
    talk.server("C ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn a_pipeline_takes_it_along_too() {
    let mut talk = begun();
    talk.client(
        &[
            plain_parse("", "SELECT 1"),
            plain_bind("", ""),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(
        talk.sent(),
        format!("{BEGIN_AHEAD} P(: SELECT 1) B(: ) E S")
    );
    talk.server("-1 -2 -C 1 2 D C ZT");
    assert_eq!(talk.rules.status(), TransactionStatus::InTransaction);
}

#[test]
fn a_begin_that_the_server_has_is_not_parsed_again() {
    let mut talk = begun();
    talk.client(&query("SELECT 1"));
    talk.server("-1 -2 -C T D C ZT");
    talk.client(&query("COMMIT"));
    talk.server("C ZI");
    talk.sent();
    talk.linked = false;
    assert_eq!(talk.ask(&query("BEGIN")), "C(BEGIN) Z(T)");
    talk.client(&query("SELECT 1"));
    assert_eq!(talk.sent(), "B(: pgring_1) E Q(SELECT 1)");
}

#[test]
fn at_a_server_that_is_at_hand_a_block_begins_as_ever() {
    let mut talk = Talk::in_transaction();
    talk.client(&query("COMMIT"));
    talk.server("C ZI");
    talk.sent();
    assert_eq!(talk.client(&query("BEGIN")), [Verdict::Forward]);
    assert_eq!(talk.sent(), "Q(BEGIN)");
}

#[test]
fn what_the_grammar_may_refuse_is_the_servers() {
    for text in [
        "BEGIN; SELECT 1",
        "BEGIN ISOLATION LEVEL",
        "BEGIN ATOMIC",
        "COMMIT",
        "ROLLBACK",
    ] {
        let verdicts = talk().client(&query(text));
        assert_eq!(verdicts, [Verdict::NeedServer, Verdict::Forward], "{text}");
    }
    for mode in [PoolMode::Session, PoolMode::Statement] {
        let verdicts = Talk::new(mode).client(&query("BEGIN"));
        assert_eq!(
            verdicts,
            [Verdict::NeedServer, Verdict::Forward],
            "{mode:?}"
        );
    }
}

#[test]
fn the_extended_protocol_begins_without_a_server_too() {
    let mut talk = talk();
    let messages = [
        plain_parse("", "BEGIN"),
        describe(Target::Statement),
        plain_bind("", ""),
        describe(Target::Portal),
        execute(),
        sync(),
    ];
    assert_eq!(talk.ask(&messages.concat()), "1 t n 2 n C(BEGIN) Z(T)");
    talk.client(&query("SELECT 1"));
    assert_eq!(talk.sent(), format!("{BEGIN_AHEAD} Q(SELECT 1)"));
}

#[test]
fn its_answers_come_when_they_are_asked_for() {
    let mut talk = talk();
    assert_eq!(talk.ask(&extended("START TRANSACTION")), "");
    assert_eq!(talk.ask(&flush()), "1 2 C(START TRANSACTION)");
    assert_eq!(talk.ask(&sync()), "Z(T)");
}

#[test]
fn a_statement_in_the_same_pipeline_follows_it() {
    let mut talk = talk();
    talk.client(
        &[
            extended("BEGIN"),
            plain_parse("", "SELECT 1"),
            plain_bind("", ""),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(
        talk.sent(),
        format!("{BEGIN_AHEAD} P(: SELECT 1) B(: ) E S")
    );
    talk.server("-1 -2 -C 1 2 D C ZT");
    assert_eq!(
        talk.told(),
        "1 2 C(BEGIN)",
        "in front of the server's answers"
    );
}

#[test]
fn an_ending_by_the_extended_protocol_has_a_server() {
    for text in ["COMMIT", "ROLLBACK"] {
        let mut talk = begun();
        talk.client(&[extended(text), sync()].concat());
        assert_eq!(talk.sent(), format!("{BEGIN_AHEAD} P(: {text}) B(: ) E S"));
        talk.server("-1 -2 -C 1 2 C ZI");
        assert!(talk.rules.is_releasable());
    }
}

#[test]
fn what_is_bound_and_not_executed_begins_nothing() {
    let mut talk = talk();
    assert_eq!(
        talk.ask(&[plain_parse("", "BEGIN"), plain_bind("", ""), sync()].concat()),
        "1 2 Z(I)"
    );
    assert!(talk.is_ordinary());
    assert_eq!(talk.sent(), "Q(SELECT 1)");
}

#[test]
fn what_is_bound_is_bound_at_the_server_that_is_needed_next() {
    let mut talk = talk();
    talk.client(
        &[
            plain_parse("", "BEGIN"),
            plain_bind("", ""),
            plain_parse("a", "SELECT 1"),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(
        talk.sent(),
        "P(pgring_1: BEGIN) B(: pgring_1) P(pgring_2: SELECT 1) D(Spgring_2) E S"
    );
    talk.server("-1 -2 1 -t -T C ZT");
    assert_eq!(talk.told(), "1 2");
}

#[test]
fn a_second_begin_is_the_servers_to_warn_of() {
    let mut talk = begun();
    talk.client(&query("BEGIN"));
    assert_eq!(talk.sent(), format!("{BEGIN_AHEAD} Q(BEGIN)"));
    talk.server("-1 -2 -C N C ZT");
    assert_eq!(talk.told(), "");
}

#[test]
fn without_a_server_the_block_has_failed() {
    let refused = || ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, "full");
    let mut talk = begun();
    talk.rules.refuse(refused());
    assert_eq!(talk.ask(&query("SELECT 1")), "E(53300) Z(E)");
    assert_eq!(talk.ask(&query("SELECT 1")), "E(25P02) Z(E)");
    assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
    assert!(talk.is_ordinary());

    let mut talk = begun();
    talk.rules.refuse(refused());
    assert_eq!(talk.ask(&unnamed("SELECT 1")), "E(53300) Z(E)");
    assert_eq!(talk.ask(&query("COMMIT")), "C(ROLLBACK) Z(I)");
    assert!(talk.is_ordinary());
}

#[test]
fn the_block_of_a_pipeline_that_finds_no_server_has_failed() {
    let mut talk = talk();
    talk.ask(&extended("BEGIN"));
    talk.rules
        .refuse(ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, "full"));
    let rest = [
        plain_parse("", "SELECT 1"),
        plain_bind("", ""),
        execute(),
        sync(),
    ];
    assert_eq!(talk.ask(&rest.concat()), "1 2 C(BEGIN) E(53300) Z(E)");
    assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
}

#[test]
fn a_server_that_refuses_to_begin_runs_nothing() {
    let mut talk = begun();
    talk.client(&query("INSERT INTO t VALUES (1)"));
    talk.server("-1 -2 E");
    assert!(
        talk.rules.take_sync_due(),
        "it skips the statement, which has no Sync"
    );
    assert!(!talk.rules.take_sync_due());
    talk.server("ZI");
    assert!(talk.rules.is_releasable());
    assert_eq!(talk.told(), "");
}

#[test]
fn a_pipeline_that_could_not_begin_has_its_own_sync() {
    let mut talk = begun();
    talk.client(&unnamed("SELECT 1"));
    talk.server("-1 -2 E");
    assert!(!talk.rules.take_sync_due());
    talk.server("ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn nothing_follows_a_request_that_may_be_skipped() {
    let mut talk = begun();
    talk.client(&query("SELECT 1"));
    for message in [
        query("SELECT 2"),
        parse("", "SELECT 2"),
        bind("", ""),
        execute(),
        function_call(),
    ] {
        assert_eq!(talk.client_until_it_waits(&message), [Verdict::Wait]);
    }
    talk.server("-1 -2 -C");
    assert_eq!(talk.client(&query("SELECT 2")), [Verdict::Forward]);
}

#[test]
fn a_block_that_was_lost_with_its_first_statement_has_failed() {
    let mut talk = begun();
    talk.client(&query("SELECT 1"));
    assert_eq!(talk.lose(), AfterLoss::GoesOn);
    assert_eq!(talk.told(), "E(08006) Z(E)");
    assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
    assert!(talk.is_ordinary());
}

#[test]
fn a_block_destroys_the_unnamed_statement_as_any_query_does() {
    let mut talk = talk();
    talk.client(&[parse("", "SELECT 1"), sync()].concat());
    talk.server("1 -t -T ZI");
    talk.sent();
    talk.linked = false;
    assert_eq!(talk.ask(&query("BEGIN")), "C(BEGIN) Z(T)");
    talk.client(&bind("", ""));
    assert!(
        talk.sent().ends_with("E C(S) B(: )"),
        "nothing may be found"
    );
}

#[test]
fn notices_while_it_begins_are_the_servers_own() {
    let mut talk = begun();
    talk.client(&query("SELECT 1"));
    assert_eq!(
        talk.hear(backend::NOTICE_RESPONSE, b""),
        Ok(Answer::Swallow)
    );
    talk.server("-1 -2 -C N T D C ZT");
}
