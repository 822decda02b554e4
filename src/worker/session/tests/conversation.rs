//! What becomes of messages, and what a client hears when its server connection is lost at each point.

use super::{
    super::{
        conversation::{AfterLoss, Answer, Verdict},
        pin::Pin,
    },
    talk::*,
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        ErrorReport, Header, ProtocolError, SqlState, Tag,
        backend::TransactionStatus,
        frontend::Target,
        tag::{backend, frontend},
    },
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
fn requests_need_a_server_and_the_rest_is_dropped() {
    for tag in *b"QPBDECSF" {
        assert_eq!(
            talk().client(&raw(tag)),
            [Verdict::NeedServer, Verdict::Forward]
        );
    }
    for tag in *b"Hdcf" {
        assert_eq!(talk().client(&raw(tag)), [Verdict::Discard]);
        let mut linked = Talk::in_transaction();
        assert_eq!(linked.client(&raw(tag)), [Verdict::Forward]);
    }
    assert_eq!(talk().client(&raw(b'X')), [Verdict::Terminate]);
    assert_eq!(Talk::in_limbo().client(&raw(b'X')), [Verdict::Terminate]);
}

#[test]
fn what_is_no_message_of_a_session_is_refused() {
    for tag in [frontend::PASSWORD, Tag(b'?'), Tag(0)] {
        for mut talk in [talk(), Talk::in_transaction(), Talk::in_limbo()] {
            let header = Header { tag, length: 4 };
            let refused = talk
                .rules
                .client_message(header, b"", talk.linked, &mut Vec::new());
            assert_eq!(refused, Err(ProtocolError::UnknownTag { tag }));
        }
    }
    let header = Header {
        tag: frontend::SYNC,
        length: 20_000,
    };
    let refused = talk()
        .rules
        .client_message(header, b"", false, &mut Vec::new());
    assert!(matches!(refused, Err(ProtocolError::TooLong { .. })));
}

#[test]
fn a_connection_is_released_between_transactions() {
    let mut talk = asked(&query("SELECT 1"));
    assert!(!talk.rules.is_releasable());
    talk.server("T D C");
    assert!(!talk.rules.is_releasable());
    talk.server("ZI");
    assert!(talk.rules.is_releasable());
    talk.client(&query("BEGIN"));
    talk.server("C ZT");
    assert!(talk.rules.is_at_rest() && !talk.rules.is_releasable());
    assert_eq!(talk.rules.status(), TransactionStatus::InTransaction);
    talk.client(&query("COMMIT"));
    talk.server("C ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn session_mode_keeps_its_connection() {
    let mut talk = Talk::new(PoolMode::Session);
    talk.client(&query("SELECT 1"));
    talk.server("C ZI");
    assert!(talk.rules.is_clean() && !talk.rules.is_releasable());
}

#[test]
fn a_named_statement_keeps_its_connection() {
    let mut talk = asked(&[parse("s", "SELECT 1"), sync()].concat());
    talk.server("1 ZI");
    assert!(talk.rules.is_clean() && !talk.rules.is_releasable());
    assert_eq!(talk.rules.pinned(), Some(Pin::PreparedStatement));
    assert_eq!(talk.rules.pinned().unwrap().reason(), "prepared statement");
}

#[test]
fn an_unnamed_statement_does_not() {
    let mut talk = asked(&unnamed("SELECT 1"));
    talk.server("1 2 n C ZI");
    assert!(talk.rules.is_releasable());
    assert_eq!(talk.rules.pinned(), None);
}

#[test]
fn a_statement_whose_name_has_not_come_keeps_its_connection() {
    for (seen, pin) in [
        (&b""[..], true),
        (b"\0", false),
        (b"\0SEL", false),
        (b"s", true),
        (b"s\0SEL", true),
    ] {
        let mut talk = talk();
        talk.linked = true;
        let header = Header {
            tag: frontend::PARSE,
            length: 100_000,
        };
        assert_eq!(talk.part(header, seen), Verdict::Forward);
        let named = talk.rules.pinned() == Some(Pin::PreparedStatement);
        assert_eq!(named, pin, "{seen:?}");
    }
}

#[test]
fn our_own_requests_are_not_heard() {
    let mut talk = talk();
    talk.linked = true;
    talk.rules.sent_own_request();
    assert!(!talk.rules.is_clean() && !talk.rules.is_at_rest());
    assert!(!talk.rules.waits_for_client());
    talk.client(&query("SELECT 1"));
    let rules = &mut talk.rules;
    for (tag, body, expected) in [
        (backend::PARAMETER_STATUS, &b""[..], Answer::Swallow),
        (backend::NOTICE_RESPONSE, b"", Answer::Swallow),
        (backend::NOTIFICATION, b"", Answer::Forward),
        (backend::COMMAND_COMPLETE, b"", Answer::Swallow),
        (backend::READY_FOR_QUERY, b"I", Answer::Swallow),
        (backend::COMMAND_COMPLETE, b"", Answer::Forward),
        (backend::READY_FOR_QUERY, b"I", Answer::Ready),
    ] {
        assert_eq!(rules.server_message(tag, body), Ok(expected), "{tag}");
    }
    assert!(rules.is_releasable());
}

#[test]
fn settings_may_be_refused() {
    let mut talk = talk();
    talk.rules.sent_own_request();
    let body = error_body(&ordinary_error());
    let answer = talk.rules.server_message(backend::ERROR_RESPONSE, &body);
    assert_eq!(answer, Ok(Answer::SettingsRefused));
    assert_eq!(
        talk.rules.server_message(backend::READY_FOR_QUERY, b"I"),
        Ok(Answer::Swallow)
    );
    assert!(talk.rules.is_clean());
}

#[test]
fn a_fatal_error_is_the_servers_end() {
    let body = error_body(&ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "bye"));
    for own_requests in [0, 1] {
        let mut talk = asked(&query("SELECT 1"));
        (0..own_requests).for_each(|_| talk.rules.sent_own_request());
        let answer = talk.rules.server_message(backend::ERROR_RESPONSE, &body);
        assert_eq!(answer, Ok(Answer::Fatal));
        talk.lose();
        assert_eq!(talk.told(), LOST);
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_noticed() {
    let mut talk = Talk::in_transaction();
    talk.rules
        .server_message(backend::COMMAND_COMPLETE, b"")
        .unwrap();
    assert!(talk.rules.is_lost() && !talk.rules.is_clean());
    let wrong = talk.rules.server_message(backend::READY_FOR_QUERY, b"?");
    assert!(matches!(
        wrong,
        Err(ProtocolError::UnknownTransactionStatus { .. })
    ));
}

#[test]
fn too_many_outstanding_messages_make_the_client_wait() {
    let mut talk = talk();
    talk.linked = true;
    for _ in 0..crate::limits::OUTSTANDING_MESSAGES_MAX {
        assert!(!talk.rules.is_full());
        talk.client(&query(""));
    }
    assert!(talk.rules.is_full());
    talk.server("I ZI");
    assert!(!talk.rules.is_full());
}

#[test]
fn a_refused_request_is_answered_in_its_own_way() {
    let refused = |messages: &[u8]| {
        let mut talk = talk();
        let report = ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, "full");
        talk.rules.refuse(report);
        let told = talk.ask(messages);
        assert!(talk.is_ordinary(), "{told}");
        told
    };
    for request in [query("SELECT 1"), function_call(), sync()] {
        assert_eq!(refused(&request), "E(53300) Z(I)");
    }
    assert_eq!(refused(&unnamed("SELECT 1")), "E(53300) Z(I)");
    for tag in *b"PBDEC" {
        assert_eq!(refused(&[raw(tag), sync()].concat()), "E(53300) Z(I)");
    }
    // In front of the request nothing is answered, between it and its Sync neither.
    assert_eq!(
        refused(&[flush(), raw(b'd'), query("")].concat()),
        "E(53300) Z(I)"
    );
    assert_eq!(
        refused(&[raw(b'P'), query(""), flush(), sync()].concat()),
        "E(53300) Z(I)"
    );
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
        (sync(), LOST.to_owned()),
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
            talk.rules.server_lost("it fell", true, &mut out),
            AfterLoss::Ends
        );
        assert_eq!(out, b"", "nothing can be said inside a message");
    }
}

#[test]
fn lost_with_what_was_kept_there_the_session_ends() {
    let mut session = Talk::new(PoolMode::Session);
    session.client(&query("SELECT 1"));
    let mut pinned = asked(&[parse("s", "SELECT 1"), sync()].concat());
    for (talk, kept) in [
        (&mut session, "session pooling mode"),
        (&mut pinned, "prepared statement"),
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

    let header = Header {
        tag: frontend::PARSE,
        ..header
    };
    let long = [&b"\0INSERT INTO t VALUES "[..], &[b'x'; 100]].concat();
    for (seen, told) in [
        (&b"\0"[..], "E(08007)"),
        (b"\0INS", "E(08007)"),
        (&long, "E(08006)"),
    ] {
        let mut talk = Talk::in_transaction();
        talk.part(header, seen);
        talk.lose();
        assert_eq!(talk.told(), told);
    }
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
fn the_unnamed_statement_is_forgotten_with_its_server() {
    let mut talk = asked(&[parse("", "COMMIT"), sync()].concat());
    talk.server("1 ZI");
    talk.lose();
    talk.client(&query("BEGIN"));
    talk.server("C ZT");
    talk.client(&[bind("", ""), execute(), sync()].concat());
    talk.lose();
    assert_eq!(talk.told(), "E(08006) Z(E)");
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

#[test]
fn an_unnamed_statement_that_waits_for_its_use_keeps_its_connection() {
    let mut talk = asked(&[parse("", "SELECT 1"), sync()].concat());
    talk.server("1 ZI");
    assert_eq!(talk.rules.pinned(), Some(Pin::UnnamedStatement));
    assert!(!talk.rules.is_releasable());
    talk.client(&[bind("", ""), execute(), sync()].concat());
    talk.server("2 C ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn the_unnamed_statement_of_somebody_else_is_not_used() {
    let mut talk = Talk::new(PoolMode::Transaction);
    talk.ask(&[bind("", ""), execute(), sync()].concat());
    assert!(
        !talk.linked,
        "no server may see a Bind that it would take for another client's"
    );
}

#[test]
fn a_parse_that_failed_keeps_nothing() {
    let mut talk = asked(&[parse("", "SELEC 1"), sync()].concat());
    talk.server("E ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn state_that_another_session_must_not_find_pins() {
    for (text, pin) in [
        ("SET statement_timeout = 5", Some(Pin::Setting)),
        ("SET TimeZone = 'UTC'", None),
        ("LISTEN here", Some(Pin::Listen)),
        ("SELECT 1", None),
    ] {
        let mut talk = asked(&query(text));
        talk.server("C ZI");
        assert_eq!(talk.rules.pinned(), pin, "{text}");
        assert_eq!(talk.rules.is_releasable(), pin.is_none(), "{text}");
    }
}
