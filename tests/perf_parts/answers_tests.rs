//! The mock's conversation, message by message, and cut at every byte.

use crate::{
    answers::*,
    frames::{cut, put, put_sized, put_text},
    messages::startup_packet,
};

fn query(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'Q', |b| put_text(b, text.as_bytes()));
    out
}

fn round(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'B', |b| {
        put_text(b, b"");
        put_text(b, name.as_bytes());
        b.extend_from_slice(&[0; 6]);
    });
    put(&mut out, b'E', |b| b.extend_from_slice(&[0; 5]));
    put(&mut out, b'S', |_| ());
    out
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'P', |b| {
        put_text(b, name.as_bytes());
        put_text(b, text.as_bytes());
        b.extend_from_slice(&[0; 2]);
    });
    out
}

fn tags(mut bytes: &[u8]) -> String {
    let mut tags = String::new();
    while let Some((frame, length)) = cut(bytes).expect("the mock sends whole frames") {
        tags.push(frame.tag as char);
        if frame.tag == b'Z' {
            tags.push(frame.body[0] as char);
        }
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty());
    tags
}

fn started() -> Session {
    let mut session = Session::new(1);
    session.receive(&startup_packet("u", "d"), &mut Vec::new());
    session
}

fn ask(session: &mut Session, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    assert_eq!(session.receive(bytes, &mut out), Verdict::Open);
    while session.is_pouring() {
        session.pour(&mut out);
    }
    tags(&out)
}

#[test]
fn login_reports_every_parameter() {
    let (mut session, mut out) = (Session::new(7), Vec::new());
    session.receive(&startup_packet("u", "d"), &mut out);
    assert_eq!(tags(&out), format!("R{}KZI", "S".repeat(13)));
    let text = String::from_utf8_lossy(&out);
    assert!(
        text.contains("session_authorization\0u\0") && text.contains("application_name\0perf\0")
    );
}

#[test]
fn encryption_requests_are_declined_and_login_goes_on() {
    let (mut session, mut out) = (Session::new(7), Vec::new());
    for code in [80_877_103_u32, 80_877_104] {
        let mut packet = Vec::new();
        put_sized(&mut packet, |b| b.extend_from_slice(&code.to_be_bytes()));
        session.receive(&packet, &mut out);
    }
    assert_eq!(out, b"NN");
    assert_eq!(
        session.receive(&startup_packet("u", "d"), &mut out),
        Verdict::Open
    );
}

#[test]
fn a_conversation_gets_the_same_answer_at_every_split() {
    let mut bytes = startup_packet("u", "d");
    for part in [
        query("SELECT 1"),
        parse("s1", "SELECT 1"),
        round("s1"),
        query("BEGIN"),
        query("COMMIT"),
    ] {
        bytes.extend_from_slice(&part);
    }
    let mut whole = Vec::new();
    Session::new(1).receive(&bytes, &mut whole);
    assert!(
        tags(&whole).ends_with("KZITDCZI12DCZICZTCZI"),
        "{}",
        tags(&whole)
    );
    for at in 0..bytes.len() {
        let (mut session, mut out) = (Session::new(1), Vec::new());
        session.receive(&bytes[..at], &mut out);
        session.receive(&bytes[at..], &mut out);
        assert_eq!(out, whole, "split at {at}");
    }
}

#[test]
fn a_missing_statement_fails_and_skips_to_sync() {
    let mut session = started();
    assert_eq!(ask(&mut session, &round("nowhere")), "EZI");
    ask(&mut session, &query("BEGIN"));
    assert_eq!(ask(&mut session, &round("nowhere")), "EZE");
    assert_eq!(ask(&mut session, &query("SELECT 1")), "EZE");
    assert_eq!(ask(&mut session, &query("ROLLBACK")), "CZI");
}

#[test]
fn discard_all_forgets_statements() {
    let mut session = started();
    assert_eq!(
        ask(
            &mut session,
            &[parse("s1", "SELECT 1"), round("s1")].concat()
        ),
        "12DCZI"
    );
    assert_eq!(ask(&mut session, &query("DISCARD ALL")), "CZI");
    assert_eq!(ask(&mut session, &round("s1")), "EZI");
}

#[test]
fn big_results_have_the_size_asked_for_and_hold_back_what_follows() {
    let mut session = started();
    let asked = [query("SELECT big 100000"), query("SELECT 1")].concat();
    let answer = ask(&mut session, &asked);
    assert_eq!(answer, format!("T{}CZITDCZI", "D".repeat(98)));
}

#[test]
fn settings_that_are_reported_are_reported_again_when_set() {
    let mut session = started();
    assert_eq!(
        ask(&mut session, &query("SET application_name='x'")),
        "SCZI"
    );
    assert_eq!(
        ask(
            &mut session,
            &query("SET extra_float_digits TO 3; SELECT 1")
        ),
        "CTDCZI"
    );
    let mut out = Vec::new();
    session.receive(&query("SHOW application_name"), &mut out);
    assert!(out.windows(5).any(|bytes| bytes == [0, 0, 0, 1, b'x']));
}

/// What pgring asks for session state, and how it gives settings to a connection.
#[test]
fn settings_are_told_when_pgring_asks_for_them() {
    let mut session = started();
    let state_query =
        query("SET TRANSACTION x;SELECT 'b', 'statement_timeout' UNION ALL y;SELECT z AS is_limit");
    assert_eq!(ask(&mut session, &state_query), "CTDCCZI", "who it is");
    let given = "SELECT pg_catalog.set_config(E'exit_on_error',E'on',true), \
                 pg_catalog.set_config(E'datestyle',E'German',false), \
                 pg_catalog.set_config(E'work_mem',E'8MB',false)";
    assert_eq!(ask(&mut session, &query(given)), "TDSCZI");
    let mut out = Vec::new();
    session.receive(&state_query, &mut out);
    let told = String::from_utf8_lossy(&out).into_owned();
    for text in [
        "646174657374796c65\0\0\0\u{c}4765726d616e",
        "776f726b5f6d656d\0\0\0\u{6}384d42",
    ] {
        assert!(told.contains(text), "{told:?}");
    }
    let taken = "SELECT pg_catalog.set_config(E'work_mem',NULL,false)";
    assert_eq!(ask(&mut session, &query(taken)), "TDCZI");
    assert_eq!(ask(&mut session, &state_query), "CTDDCCZI");
    assert_eq!(ask(&mut session, &query("RESET ALL")), "CZI");
    assert_eq!(ask(&mut session, &state_query), "CTDCCZI");
}

#[test]
fn terminate_and_garbage_close() {
    let mut out = Vec::new();
    assert_eq!(
        started().receive(&[b'X', 0, 0, 0, 4], &mut out),
        Verdict::Closed
    );
    assert_eq!(
        started().receive(&[b'Q', 0, 0, 0, 1], &mut out),
        Verdict::Closed
    );
    assert_eq!(
        Session::new(1).receive(b"GET / HTTP/1.1\r\n", &mut out),
        Verdict::Closed
    );
}
