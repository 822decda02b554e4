//! The state query: when the server is asked for session state, what becomes of its answer, and of who waits meanwhile.

use super::talk::*;
use crate::session::{
    context::Known,
    conversation::{AfterLoss, Answer, Verdict},
    state::pin::Pin,
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{ErrorReport, Header, ProtocolError, SqlState, tag::backend},
};

/// A row of the answer.
type Row<'a> = [Option<&'a str>; 3];

const USER: Row<'_> = [Some("u"), None, Some("617070")];
const LISTENS: Row<'_> = [Some("l"), None, None];

/// A client that has sent this Query, and got its answer.
fn answered(text: &str) -> Talk {
    let mut talk = Talk::new(PoolMode::Transaction);
    talk.client(&query(text));
    talk.server("C ZI");
    talk
}

fn ask(talk: &mut Talk) -> String {
    let server = &mut talk.tools.server;
    String::from_utf8(talk.rules.begin_state_query([].into_iter(), server)).unwrap()
}

fn row(talk: &mut Talk, row: Row<'_>) -> Result<Answer, ProtocolError> {
    let whole = message(|writer| {
        writer.data_row(row);
    });
    talk.hear(backend::DATA_ROW, &whole[Header::BYTES..])
}

/// The server answers with these rows; what it was found to have.
fn tells(talk: &mut Talk, rows: &[Row<'_>]) -> Option<Pin> {
    assert!(talk.rules.is_in_state_query());
    assert_eq!(
        talk.hear(backend::ROW_DESCRIPTION, b""),
        Ok(Answer::Swallow)
    );
    for columns in rows {
        assert_eq!(row(talk, *columns), Ok(Answer::Swallow));
    }
    assert_eq!(
        talk.hear(backend::COMMAND_COMPLETE, b""),
        Ok(Answer::Swallow)
    );
    assert_eq!(
        talk.hear(backend::READY_FOR_QUERY, b"I"),
        Ok(Answer::StateTold)
    );
    assert!(!talk.rules.is_in_state_query());
    talk.rules.take_state_query();
    talk.rules.pinned()
}

#[test]
fn only_what_may_leave_something_behind_is_asked_about() {
    for text in [
        "LISTEN a",
        "SET work_mem = 1",
        "CREATE TEMP TABLE t ()",
        "PREPARE a AS SELECT 1",
        "DO $$$$",
    ] {
        let talk = answered(text);
        assert!(
            talk.rules.wants_state_query() && !talk.rules.is_releasable(),
            "{text}"
        );
        assert!(talk.rules.pinned().is_none(), "nobody knows yet");
    }
    for text in [
        "SELECT 1",
        "INSERT INTO t VALUES (1)",
        "SET LOCAL work_mem = 1",
        "DEALLOCATE a",
    ] {
        let talk = answered(text);
        assert!(
            !talk.rules.wants_state_query() && talk.rules.is_releasable(),
            "{text}"
        );
    }
}

#[test]
fn inside_a_transaction_it_is_not_asked_yet() {
    let mut talk = Talk::in_transaction();
    talk.client(&query("LISTEN a"));
    assert!(!talk.rules.wants_state_query());
    talk.server("C ZT");
    assert!(!talk.rules.wants_state_query());
    talk.client(&query("COMMIT"));
    talk.server("C ZI");
    assert!(talk.rules.wants_state_query());
}

#[test]
fn a_session_that_keeps_its_server_anyway_is_not_asked_about() {
    let mut talk = Talk::new(PoolMode::Session);
    talk.client(&query("LISTEN a"));
    talk.server("C ZI");
    assert!(!talk.rules.wants_state_query());
}

#[test]
fn what_is_found_keeps_the_server() {
    let mut talk = answered("LISTEN a");
    assert!(ask(&mut talk).contains("SELECT 'b', 'statement_timeout'"));
    assert!(!talk.rules.is_clean() && !talk.rules.wants_state_query());
    assert_eq!(tells(&mut talk, &[USER, LISTENS]), Some(Pin::Listen));
    assert!(!talk.rules.is_releasable());
}

#[test]
fn what_is_not_found_does_not() {
    let mut talk = answered("SET work_mem = 1");
    ask(&mut talk);
    assert_eq!(tells(&mut talk, &[USER]), None);
    assert!(talk.rules.is_releasable());
}

#[test]
fn what_is_gone_is_found_out() {
    let mut talk = answered("LISTEN a");
    ask(&mut talk);
    tells(&mut talk, &[USER, LISTENS]);
    talk.client(&query("SELECT 1"));
    talk.server("T D C ZI");
    assert!(!talk.rules.wants_state_query(), "nothing that could end it");
    talk.client(&query("UNLISTEN a"));
    talk.server("C ZI");
    assert!(talk.rules.wants_state_query());
    ask(&mut talk);
    assert_eq!(tells(&mut talk, &[USER]), None);
    assert!(talk.rules.is_releasable());
}

#[test]
fn the_clients_next_request_goes_behind_it() {
    let mut talk = answered("LISTEN a");
    ask(&mut talk);
    assert_eq!(talk.client(&query("LISTEN b")), [Verdict::Forward]);
    assert_eq!(tells(&mut talk, &[USER]), None);
    assert!(!talk.rules.is_releasable());
    talk.server("C ZI");
    assert!(
        talk.rules.wants_state_query(),
        "the answer was older than the request"
    );
}

#[test]
fn a_notification_meanwhile_is_the_clients() {
    let mut talk = answered("LISTEN a");
    ask(&mut talk);
    assert_eq!(talk.hear(backend::NOTIFICATION, b""), Ok(Answer::Forward));
    tells(&mut talk, &[USER]);
}

#[test]
fn state_that_cannot_be_told_keeps_the_server() {
    let refusal = error_body(&ordinary_error());
    for (tag, body) in [
        (backend::ERROR_RESPONSE, &*refusal),
        (backend::DATA_ROW, b"?"),
    ] {
        let mut talk = answered("LISTEN a");
        for _ in 0..5 {
            assert!(talk.rules.wants_state_query() && !talk.rules.is_releasable());
            ask(&mut talk);
            assert_eq!(talk.hear(tag, body), Ok(Answer::Swallow));
            talk.hear(backend::READY_FOR_QUERY, b"I").unwrap();
            talk.rules.take_state_query();
        }
        assert_eq!(talk.rules.pinned(), Some(Pin::Setting));
        assert!(!talk.rules.wants_state_query() && !talk.rules.is_releasable());
        // What passes is asked for again, behind what the session does next.
        talk.client(&query("SELECT 1"));
        talk.server("C ZI");
        ask(&mut talk);
        tells(&mut talk, &[USER]);
        assert!(talk.rules.pinned().is_none() && talk.rules.is_releasable());
    }
}

#[test]
fn a_library_and_a_hidden_setting_keep_it_at_once() {
    for (text, pin) in [
        ("LOAD 'auto_explain'", Pin::Library),
        ("SELECT set_config(name, '1', false) FROM t", Pin::Setting),
    ] {
        let mut talk = Talk::new(PoolMode::Transaction);
        talk.client(&query(text));
        assert_eq!(talk.rules.pinned(), Some(pin), "{text}");
    }
}

#[test]
fn a_setting_that_nobody_was_seen_to_change_is_asked_about() {
    let mut talk = Talk::new(PoolMode::Transaction);
    talk.client(&query("SELECT quietly()"));
    assert_eq!(
        talk.hear(backend::PARAMETER_STATUS, b"TimeZone\0UTC\0"),
        Ok(Answer::Forward)
    );
    talk.server("C ZI");
    assert!(talk.rules.wants_state_query());
}

#[test]
fn settings_with_a_dot_are_asked_for_by_name() {
    let mut talk = answered("SET my.var = 'x'");
    assert!(ask(&mut talk).contains("'my.var'"));
    tells(&mut talk, &[USER]);
    talk.client(&query("SET work_mem = 1"));
    talk.server("C ZI");
    let known = ["other.var", "work_mem"];
    let question = talk
        .rules
        .begin_state_query(known.into_iter(), &mut talk.tools.server);
    let question = String::from_utf8(question).unwrap();
    // What was prepared may set it again.
    assert!(question.contains("'other.var'") && question.contains("'my.var'"));
}

#[test]
fn what_pgring_asks_destroys_the_unnamed_statement_too() {
    let mut talk = Talk::new(PoolMode::Transaction);
    talk.client(
        &[
            plain_parse("", "LISTEN a"),
            plain_bind("", ""),
            execute(),
            sync(),
        ]
        .concat(),
    );
    talk.server("1 2 C ZI");
    ask(&mut talk);
    tells(&mut talk, &[USER]);
    talk.sent();
    talk.client(&[plain_bind("", ""), sync()].concat());
    assert_eq!(
        talk.sent(),
        "P(: LISTEN a) B(: ) S",
        "the client still has it"
    );
}

#[test]
fn lost_while_it_is_asked_nobody_is_told() {
    let mut talk = answered("SET work_mem = 1");
    ask(&mut talk);
    assert_eq!(talk.lose(), AfterLoss::GoesOn);
    assert_eq!(talk.told(), "");
    assert!(talk.is_ordinary());
}

#[test]
fn what_was_found_ends_with_the_server() {
    let mut talk = answered("LISTEN a");
    ask(&mut talk);
    tells(&mut talk, &[USER, LISTENS]);
    assert_eq!(talk.lose(), AfterLoss::Ends);
    assert_eq!(talk.told(), "E(FATAL 08006)");
}

#[test]
fn a_server_may_end_while_it_is_asked() {
    let mut talk = answered("LISTEN a");
    ask(&mut talk);
    let body = error_body(&ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "bye"));
    assert_eq!(talk.hear(backend::ERROR_RESPONSE, &body), Ok(Answer::Fatal));
}

/// Where nothing is known of functions, one may have set what no question finds: its session stays where it is.
#[test]
fn what_calls_the_unknown_keeps_its_connection() {
    for (text, pin) in [
        ("CALL login('a')", Some(Pin::Setting)),
        ("SELECT become('a')", Some(Pin::Setting)),
        ("SELECT 1", None),
        ("SET work_mem = 1", None),
    ] {
        let mut talk = Talk::new(PoolMode::Transaction);
        talk.tools.known = Known::Nothing;
        talk.tools.bounds.trusts_functions = false;
        talk.client(&query(text));
        talk.server("C ZI");
        assert_eq!(talk.rules.pinned(), pin, "{text}");
    }
}
