//! Verdicts on single messages of clients and servers, and the points at which a connection goes back.

use super::talk::*;
use crate::session::conversation::{Answer, Verdict};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        ErrorReport, Header, ProtocolError, SqlState, Tag,
        backend::TransactionStatus,
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
    for tag in *b"QPBDECF" {
        assert_eq!(
            talk().client(&raw(tag)),
            [Verdict::NeedServer, Verdict::Forward]
        );
    }
    for tag in *b"SHdcf" {
        assert_eq!(talk().client(&raw(tag)), [Verdict::Discard]);
        let mut linked = Talk::in_transaction();
        assert_eq!(linked.client(&raw(tag)), [Verdict::Forward]);
    }
    assert_eq!(talk().client(&raw(b'X')), [Verdict::Terminate]);
    assert_eq!(
        Talk::in_failed_block().client(&raw(b'X')),
        [Verdict::Terminate]
    );
}

#[test]
fn what_is_no_message_of_a_session_is_refused() {
    for tag in [frontend::PASSWORD, Tag(b'?'), Tag(0)] {
        for mut talk in [talk(), Talk::in_transaction(), Talk::in_failed_block()] {
            let header = Header { tag, length: 4 };
            let mut context = talk.tools.context(talk.linked);
            let refused = talk.rules.client_message(header, b"", &mut context);
            assert_eq!(refused, Err(ProtocolError::UnknownTag { tag }));
        }
    }
    let header = Header {
        tag: frontend::SYNC,
        length: 20_000,
    };
    let mut talk = talk();
    let mut context = talk.tools.context(false);
    let refused = talk.rules.client_message(header, b"", &mut context);
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
fn an_unnamed_statement_does_not() {
    let mut talk = asked(&unnamed("SELECT 1"));
    talk.server("1 2 n C ZI");
    assert!(talk.rules.is_releasable());
    assert_eq!(talk.rules.pinned(), None);
}

#[test]
fn our_own_requests_are_not_heard() {
    let mut talk = talk();
    talk.linked = true;
    talk.rules.sent_settings(&mut talk.tools.server);
    assert!(!talk.rules.is_clean() && !talk.rules.is_at_rest());
    assert!(!talk.rules.waits_for_client());
    talk.client(&query("SELECT 1"));
    for (tag, body, expected) in [
        (backend::PARAMETER_STATUS, &b""[..], Answer::Swallow),
        (backend::NOTICE_RESPONSE, b"", Answer::Swallow),
        (backend::NOTIFICATION, b"", Answer::Forward),
        (backend::COMMAND_COMPLETE, b"", Answer::Swallow),
        (backend::READY_FOR_QUERY, b"I", Answer::Swallow),
        (backend::COMMAND_COMPLETE, b"", Answer::Forward),
        (backend::READY_FOR_QUERY, b"I", Answer::Ready),
    ] {
        assert_eq!(talk.hear(tag, body), Ok(expected), "{tag}");
    }
    assert!(talk.rules.is_releasable());
}

#[test]
fn settings_may_be_refused() {
    let mut talk = talk();
    talk.rules.sent_settings(&mut talk.tools.server);
    let body = error_body(&ordinary_error());
    let answer = talk.hear(backend::ERROR_RESPONSE, &body);
    assert_eq!(answer, Ok(Answer::SettingsRefused));
    assert_eq!(
        talk.hear(backend::READY_FOR_QUERY, b"I"),
        Ok(Answer::Swallow)
    );
    assert!(talk.rules.is_clean());
}

#[test]
fn a_fatal_error_is_the_servers_end() {
    let body = error_body(&ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "bye"));
    for own_requests in [0, 1] {
        let mut talk = asked(&query("SELECT 1"));
        (0..own_requests).for_each(|_| talk.rules.sent_settings(&mut talk.tools.server));
        let answer = talk.hear(backend::ERROR_RESPONSE, &body);
        assert_eq!(answer, Ok(Answer::Fatal));
        talk.lose();
        assert_eq!(talk.told(), LOST);
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_noticed() {
    let mut talk = Talk::in_transaction();
    talk.hear(backend::COMMAND_COMPLETE, b"").unwrap();
    assert!(talk.rules.is_lost() && !talk.rules.is_clean());
    let wrong = talk.hear(backend::READY_FOR_QUERY, b"?");
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
fn a_parse_that_failed_keeps_nothing() {
    let mut talk = asked(&[parse("", "SELEC 1"), sync()].concat());
    talk.server("E ZI");
    assert!(talk.rules.is_releasable());
}
