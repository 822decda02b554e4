//! Loss of the server connection at each point of a conversation, and the errors that a client hears then.

use super::talk::*;
use crate::session::conversation::{AfterLoss, Verdict};
use crate::{
    cluster::settings::PoolMode,
    protocol::{Header, backend::TransactionStatus, frontend::Target, tag::frontend},
};

const LOST: &str = "E(08006) Z(I)";

fn talk() -> Talk {
    Talk::new(PoolMode::Transaction)
}

/// A conversation in which these messages are on their way.
fn asked(messages: &[u8]) -> Talk {
    let mut talk = talk();
    talk.client(messages);
    talk
}

#[test]
fn lost_while_nothing_is_asked() {
    let mut talk = asked(&query("SELECT 1"));
    talk.server("C ZI");
    assert_eq!(talk.lose(), AfterLoss::GoesOn);
    assert_eq!(talk.told(), "");
    assert!(talk.is_ordinary());
}

#[test]
fn lost_outside_a_transaction_each_request_gets_its_end() {
    for (messages, told) in [
        (query("SELECT 1"), LOST.to_owned()),
        (function_call(), LOST.to_owned()),
        (unnamed("SELECT 1"), LOST.to_owned()),
        (
            [query("SELECT 1"), query("SELECT 2")].concat(),
            format!("{LOST} {LOST}"),
        ),
        (
            [unnamed("SELECT 1"), unnamed("SELECT 2")].concat(),
            format!("{LOST} {LOST}"),
        ),
        // A COPY whose data were sent ahead.
        (
            [query("COPY t FROM STDIN"), raw(b'd'), raw(b'c')].concat(),
            LOST.to_owned(),
        ),
    ] {
        let mut talk = asked(&messages);
        assert_eq!(talk.lose(), AfterLoss::GoesOn);
        assert_eq!(talk.told(), told);
        assert!(talk.is_ordinary());
    }
}

#[test]
fn lost_inside_a_pipeline_the_rest_of_it_is_skipped() {
    let mut talk = asked(&[parse("", "SELECT 1"), bind("", "")].concat());
    talk.server("1");
    talk.lose();
    assert_eq!(talk.told(), "E(08006)");
    assert_eq!(
        talk.ask(&[describe(Target::Portal), execute(), flush()].concat()),
        ""
    );
    assert_eq!(talk.ask(&sync()), "Z(I)");
    assert!(talk.is_ordinary());
}

#[test]
fn lost_between_two_pipelines_and_inside_the_second() {
    let mut talk = asked(&[unnamed("SELECT 1"), parse("", "SELECT 2")].concat());
    talk.server("1 2");
    talk.lose();
    assert_eq!(talk.told(), "E(08006) Z(I) E(08006)");
    assert_eq!(talk.ask(&sync()), "Z(I)");
}

#[test]
fn lost_after_a_pipeline_failed_nothing_is_said_twice() {
    let mut talk = asked(&parse("", "SELECT"));
    talk.server("E");
    talk.lose();
    assert_eq!(talk.told(), "");
    assert_eq!(
        talk.ask(&[bind("", ""), execute(), sync()].concat()),
        "Z(I)"
    );
    assert!(talk.is_ordinary());
}

#[test]
fn lost_while_copying_in() {
    let mut talk = asked(&query("COPY t FROM STDIN"));
    talk.server("G");
    talk.client(&raw(b'd'));
    talk.lose();
    assert_eq!(talk.told(), LOST);
    assert_eq!(talk.ask(&[raw(b'd'), raw(b'c')].concat()), "");
    assert!(talk.is_ordinary());
}

#[test]
fn lost_while_copying_in_with_an_early_sync() {
    let mut talk = asked(&[bind("", "s"), execute(), sync()].concat());
    talk.server("2 G");
    talk.lose();
    assert_eq!(talk.told(), "E(08006)");
    assert_eq!(talk.ask(&[raw(b'd'), raw(b'c'), sync()].concat()), "Z(I)");
}

#[test]
fn lost_in_the_middle_of_a_message_the_session_ends() {
    for mode in [PoolMode::Transaction, PoolMode::Session] {
        let mut talk = Talk::new(mode);
        talk.client(&query("SELECT 1"));
        let mut out = Vec::new();
        assert_eq!(
            talk.rules
                .server_lost("it fell", None, true, false, &mut out),
            AfterLoss::Ends
        );
        assert_eq!(out, b"", "nothing can be said inside a message");
    }
}

#[test]
fn lost_with_what_was_kept_there_the_session_ends() {
    let mut session = Talk::new(PoolMode::Session);
    session.client(&query("SELECT 1"));
    let mut pinned = asked(&query("LOAD 'auto_explain'"));
    for (talk, kept) in [
        (&mut session, "session pooling mode"),
        (&mut pinned, "library"),
    ] {
        assert_eq!(talk.lose(), AfterLoss::Ends);
        let told = talk.told_bytes();
        assert_eq!(read(&told), "E(FATAL 08006)");
        let text = String::from_utf8_lossy(&told).into_owned();
        assert!(text.contains(&format!("it fell; kept: {kept}")), "{text}");
    }
    let mut committing = Talk::new(PoolMode::Session);
    committing.client(&query("BEGIN"));
    committing.server("C ZT");
    committing.client(&query("COMMIT"));
    assert_eq!(committing.lose(), AfterLoss::Ends);
    assert_eq!(committing.told(), "E(FATAL 08007)");
}

#[test]
fn lost_inside_a_transaction_it_has_failed() {
    for (messages, told) in [
        (query("SELECT 1"), "E(08006) Z(E)"),
        (unnamed("SELECT 1"), "E(08006) Z(E)"),
        (function_call(), "E(08006) Z(E)"),
        (unnamed("ROLLBACK TO s"), "E(08006) Z(E)"),
        (query("ROLLBACK AND CHAIN"), "E(08006) Z(E)"),
        (
            [query("SELECT 1"), query("SELECT 2")].concat(),
            "E(08006) Z(E) E(08006) Z(E)",
        ),
    ] {
        let mut talk = Talk::in_transaction();
        talk.client(&messages);
        assert_eq!(talk.lose(), AfterLoss::GoesOn);
        assert_eq!(talk.told(), told);
        assert_eq!(talk.rules.status(), TransactionStatus::Failed);
        assert_eq!(talk.ask(&query("SELECT 1")), "E(25P02) Z(E)");
        assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
        assert!(talk.is_ordinary());
    }
}

#[test]
fn lost_inside_a_pipeline_of_a_transaction() {
    let mut talk = Talk::in_transaction();
    talk.client(&[parse("", "SELECT 1"), bind("", "")].concat());
    talk.lose();
    assert_eq!(talk.told(), "E(08006)");
    assert_eq!(talk.ask(&[execute(), sync()].concat()), "Z(E)");
    assert_eq!(talk.ask(&unnamed("COMMIT")), "1 2 n C(ROLLBACK) Z(I)");
    assert!(talk.is_ordinary());
}

#[test]
fn lost_while_rolling_back_the_transaction_is_over() {
    for messages in [query("ROLLBACK"), query("abort;"), unnamed("ROLLBACK")] {
        let mut talk = Talk::in_transaction();
        talk.client(&messages);
        talk.lose();
        assert_eq!(talk.told(), LOST);
        assert!(talk.is_ordinary());
    }
    let mut talk = Talk::in_transaction();
    talk.client(&query("ROLLBACK; INSERT INTO t VALUES (1)"));
    talk.lose();
    assert_eq!(
        talk.told(),
        "E(08006) Z(E)",
        "there was more than a ROLLBACK"
    );
}

#[test]
fn lost_after_a_rollback_that_was_only_prepared() {
    let mut talk = Talk::in_transaction();
    talk.client(&[parse("", "ROLLBACK"), sync()].concat());
    talk.server("1 ZT");
    talk.lose();
    assert_eq!(talk.ask(&query("SELECT 1")), "E(08006) Z(E)");
}

#[test]
fn lost_while_committing_nobody_knows() {
    let prepared_before = [parse("", "COMMIT"), sync()].concat();
    for (before, messages, told) in [
        (vec![], query("COMMIT"), "E(08007) Z(I)"),
        (
            vec![],
            query("INSERT INTO t VALUES (1); COMMIT"),
            "E(08007) Z(I)",
        ),
        (vec![], unnamed("END"), "E(08007) Z(I)"),
        (vec![], unnamed("PREPARE TRANSACTION 'x'"), "E(08007) Z(I)"),
        (
            vec![],
            [query("SELECT 1"), query("COMMIT")].concat(),
            "E(08007) Z(I) E(08007) Z(I)",
        ),
        (
            vec![],
            [query("COMMIT"), query("SELECT 1")].concat(),
            "E(08007) Z(I) E(08007) Z(I)",
        ),
        (
            prepared_before,
            [bind("", ""), execute(), sync()].concat(),
            "E(08007) Z(I)",
        ),
    ] {
        let mut talk = Talk::in_transaction();
        if !before.is_empty() {
            talk.client(&before);
            talk.server("1 ZT");
        }
        talk.client(&messages);
        assert_eq!(talk.lose(), AfterLoss::GoesOn);
        assert_eq!(talk.told(), told);
        assert!(talk.is_ordinary());
    }
}

#[test]
fn lost_between_an_earlier_answer_and_that_of_the_commit() {
    let mut talk = Talk::in_transaction();
    talk.client(&[query("SELECT 1"), query("COMMIT")].concat());
    talk.server("T D C ZT");
    talk.lose();
    assert_eq!(talk.told(), "E(08007) Z(I)");
}

#[test]
fn lost_after_the_commit_was_answered() {
    let mut talk = Talk::in_transaction();
    talk.client(&[query("COMMIT"), query("BEGIN"), query("SELECT 1")].concat());
    talk.server("C ZI C ZT");
    talk.lose();
    assert_eq!(
        talk.told(),
        "E(08006) Z(E)",
        "the next transaction is another one"
    );
    let mut talk = Talk::in_transaction();
    talk.client(&unnamed("COMMIT"));
    talk.server("1 2 n C");
    talk.lose();
    assert_eq!(talk.told(), "E(08007) Z(I)", "ReadyForQuery was to come");
}

#[test]
fn lost_inside_a_pipeline_that_commits() {
    let mut talk = Talk::in_transaction();
    talk.client(&[parse("", "COMMIT"), bind("", ""), execute(), flush()].concat());
    talk.lose();
    assert_eq!(talk.told(), "E(08007)");
    assert_eq!(talk.ask(&sync()), "Z(I)");
    assert!(talk.is_ordinary());
}

#[test]
fn lost_with_a_statement_that_was_not_read_whole() {
    let mut talk = Talk::in_transaction();
    let header = Header {
        tag: frontend::QUERY,
        length: 100_000,
    };
    assert_eq!(talk.part(header, b"INSERT INTO t VALUES"), Verdict::Forward);
    talk.lose();
    assert_eq!(
        talk.told(),
        "E(08007) Z(E)",
        "its end may be a COMMIT, or not"
    );
    assert_eq!(talk.ask(&query("COMMIT")), "C(ROLLBACK) Z(I)");
}

#[test]
fn what_was_not_read_whole_is_forgotten_with_its_answer() {
    let mut talk = Talk::in_transaction();
    let header = Header {
        tag: frontend::QUERY,
        length: 100_000,
    };
    talk.part(header, b"INSERT INTO t VALUES");
    talk.server("C ZT");
    talk.client(&query("SELECT 1"));
    talk.lose();
    assert_eq!(talk.told(), "E(08006) Z(E)");
}

#[test]
fn prepared_statements_survive_their_server() {
    for name in ["", "s"] {
        let mut talk = asked(&[parse(name, "COMMIT"), sync()].concat());
        talk.server("1 ZI");
        talk.lose();
        talk.sent();
        talk.client(&[bind("", name), execute(), sync()].concat());
        assert!(talk.sent().contains(": COMMIT) B(: "));
        talk.lose();
        assert_eq!(talk.told(), "E(08007) Z(I)", "it is known to commit");
    }
}

#[test]
fn an_execute_of_another_statement_does_not_commit() {
    let mut talk = Talk::in_transaction();
    talk.client(&[parse("", "COMMIT"), sync()].concat());
    talk.server("1 ZT");
    talk.client(&unnamed("SELECT 1"));
    talk.lose();
    assert_eq!(talk.told(), "E(08006) Z(E)");
}
