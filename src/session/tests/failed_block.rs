//! Dialogues of a client whose transaction lost its server connection.

use super::talk::*;
use crate::session::conversation::Verdict;
use crate::{
    protocol::{Header, Tag, backend::TransactionStatus, frontend::Target, tag::frontend},
    session::{
        prepared::names::Names,
        transaction::failed_block::{FailedBlock, Reply},
    },
};

/// A client that has been told of the loss.
fn told() -> Talk {
    let mut talk = Talk::in_failed_block();
    assert_eq!(talk.ask(&query("SELECT 1")), "E(08006) Z(E)");
    talk
}

#[test]
fn the_first_statement_tells_of_the_loss_and_the_next_ones_wait_for_its_end() {
    let mut talk = told();
    assert_eq!(talk.ask(&query("SELECT 1")), "E(25P02) Z(E)");
    assert_eq!(talk.ask(&function_call()), "E(25P02) Z(E)");
    assert_eq!(talk.ask(&unnamed("SELECT 1")), "E(25P02) Z(E)");
    assert_eq!(talk.rules.status(), TransactionStatus::Failed);
    assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
    assert!(talk.is_ordinary());
}

#[test]
fn a_function_call_is_answered_at_once() {
    let mut talk = Talk::in_failed_block();
    assert_eq!(talk.ask(&function_call()), "E(08006) Z(E)");
    assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
}

#[test]
fn a_rollback_ends_it_whether_the_client_was_told_or_not() {
    for text in ["ROLLBACK", "rollback work;", "ABORT -- it", ";ROLLBACK;"] {
        for mut talk in [Talk::in_failed_block(), told()] {
            assert_eq!(talk.ask(&query(text)), "C(ROLLBACK) Z(I)", "{text}");
            assert!(talk.is_ordinary());
        }
        for mut talk in [Talk::in_failed_block(), told()] {
            assert_eq!(talk.ask(&unnamed(text)), "1 2 n C(ROLLBACK) Z(I)", "{text}");
            assert!(talk.is_ordinary());
        }
    }
}

#[test]
fn a_commit_is_a_rollback_to_a_client_that_knows() {
    for text in ["COMMIT", "END", "PREPARE TRANSACTION 'x'"] {
        assert_eq!(told().ask(&query(text)), "C(ROLLBACK) Z(I)");
        assert_eq!(told().ask(&unnamed(text)), "1 2 n C(ROLLBACK) Z(I)");
    }
}

#[test]
fn a_commit_is_an_error_to_a_client_that_does_not_know() {
    for text in ["COMMIT", "END", "PREPARE TRANSACTION 'x'"] {
        let mut talk = Talk::in_failed_block();
        assert_eq!(talk.ask(&query(text)), "E(08006) Z(I)");
        assert!(talk.is_ordinary());
        let mut talk = Talk::in_failed_block();
        assert_eq!(talk.ask(&unnamed(text)), "1 2 n E(08006) Z(I)");
        assert!(talk.is_ordinary());
    }
}

#[test]
fn what_does_not_end_the_transaction_is_refused() {
    for text in [
        "ROLLBACK TO s",
        "SAVEPOINT s",
        "RELEASE s",
        "BEGIN",
        "COMMIT PREPARED 'x'",
        "ROLLBACK PREPARED 'x'",
        "ROLLBACK AND CHAIN",
        "COMMIT AND CHAIN",
        "COMMIT; SELECT 1",
        "SELECT 1; ROLLBACK",
    ] {
        let mut talk = told();
        assert_eq!(talk.ask(&query(text)), "E(25P02) Z(E)", "{text}");
        assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
        let mut talk = Talk::in_failed_block();
        assert_eq!(talk.ask(&query(text)), "E(08006) Z(E)", "{text}");
    }
    for text in ["ROLLBACK TO s", "ROLLBACK AND CHAIN", "SELECT 1"] {
        assert_eq!(told().ask(&unnamed(text)), "E(25P02) Z(E)", "{text}");
    }
}

#[test]
fn what_follows_a_rollback_in_the_same_query_runs_on_another_server() {
    for mut talk in [Talk::in_failed_block(), told()] {
        let verdicts = talk.client(&query("ROLLBACK; BEGIN; SELECT 1"));
        assert_eq!(verdicts, [Verdict::NeedServer, Verdict::Forward]);
        assert_eq!(talk.told(), "");
        talk.server("N C C T D C ZT");
        assert_eq!(talk.rules.status(), TransactionStatus::InTransaction);
    }
}

#[test]
fn what_follows_a_rollback_in_the_same_pipeline_runs_on_another_server() {
    let mut talk = told();
    let rollback = [parse("", "ROLLBACK"), bind("", ""), execute()].concat();
    assert_eq!(talk.ask(&rollback), "1 2 C(ROLLBACK)");
    assert_eq!(talk.ask(&flush()), "");
    let verdicts = talk.client(&unnamed("SELECT 1"));
    assert_eq!(verdicts[..2], [Verdict::NeedServer, Verdict::Forward]);
    talk.server("1 2 n C ZI");
    assert!(talk.rules.is_releasable());
}

#[test]
fn a_query_without_a_statement_is_empty_here_too() {
    let mut talk = told();
    assert_eq!(talk.ask(&query("")), "I Z(E)");
    assert_eq!(talk.ask(&query("; -- x")), "I Z(E)");
    assert_eq!(talk.ask(&unnamed("")), "1 2 n I Z(E)");
    assert_eq!(talk.ask(&sync()), "Z(E)");
}

#[test]
fn statements_are_described_as_without_columns() {
    let mut talk = Talk::in_failed_block();
    let messages = [
        parse("", "ROLLBACK"),
        describe(Target::Statement),
        bind("", ""),
        describe(Target::Portal),
        execute(),
        sync(),
    ];
    assert_eq!(talk.ask(&messages.concat()), "1 t n 2 n C(ROLLBACK) Z(I)");
}

#[test]
fn what_was_not_parsed_or_bound_here_is_refused() {
    for messages in [
        bind("", ""),
        execute(),
        describe(Target::Statement),
        describe(Target::Portal),
        [parse("", "ROLLBACK"), bind("", "s")].concat(),
        [parse("", "ROLLBACK"), bind("p", "")].concat(),
        [parse("", "ROLLBACK"), execute()].concat(),
        [parse("", "ROLLBACK"), describe(Target::Portal)].concat(),
        parse("s", "ROLLBACK"),
    ] {
        let mut talk = told();
        let answer = talk.ask(&[messages, execute(), query("ROLLBACK"), sync()].concat());
        assert!(answer.ends_with("E(25P02) Z(E)"), "{answer}");
        assert_eq!(talk.ask(&query("ROLLBACK")), "C(ROLLBACK) Z(I)");
    }
}

#[test]
fn closing_is_possible_and_data_are_ignored() {
    let mut talk = told();
    assert_eq!(
        talk.ask(&[raw(b'C'), raw(b'd'), raw(b'c'), raw(b'f'), flush(), sync()].concat()),
        "3 Z(E)"
    );
}

#[test]
fn inside_a_pipeline_everything_waits_for_its_sync() {
    let mut failed_block = FailedBlock::new(None, true);
    let names = Names::default();
    let mut out = Vec::new();
    for tag in *b"QPBDECFHdcf" {
        let header = Header {
            tag: Tag(tag),
            length: 4,
        };
        assert_eq!(
            failed_block.answer(header, b"", &names, &mut out),
            Reply::Stays
        );
    }
    assert_eq!(out, b"");
    let sync = Header {
        tag: frontend::SYNC,
        length: 4,
    };
    assert_eq!(
        failed_block.answer(sync, b"", &names, &mut out),
        Reply::Stays
    );
    assert_eq!(read(&out), "Z(E)");
}

/// A message cut anywhere is refused, never misread and never the end of the session.
#[test]
fn the_beginning_of_a_message_is_refused() {
    let messages = [
        query("ROLLBACK"),
        query("ROLLBACK; SELECT 1"),
        query(""),
        parse("", "ROLLBACK"),
        parse("", ""),
    ];
    for message in messages {
        let header = Header::read(&message).unwrap().unwrap();
        for end in Header::BYTES..message.len() {
            let mut talk = told();
            assert_eq!(
                talk.part(header, &message[Header::BYTES..end]),
                Verdict::Discard
            );
            let answer = talk.told();
            let ready = if header.tag == frontend::QUERY {
                " Z(E)"
            } else {
                ""
            };
            assert_eq!(answer, format!("E(25P02){ready}"), "{end}");
            assert_eq!(talk.rules.status(), TransactionStatus::Failed);
        }
    }
}

/// The parameters of a long Bind may be missing: only its names matter.
#[test]
fn the_beginning_of_a_bind_is_enough() {
    let mut talk = told();
    assert_eq!(talk.ask(&parse("", "ROLLBACK")), "1");
    let header = Header {
        tag: frontend::BIND,
        length: 1_000_000,
    };
    assert_eq!(talk.part(header, b"\0\0"), Verdict::Discard);
    assert_eq!(
        talk.ask(&[execute(), sync()].concat()),
        "2 C(ROLLBACK) Z(I)"
    );
    let mut talk = told();
    assert_eq!(talk.ask(&parse("", "ROLLBACK")), "1");
    assert_eq!(talk.part(header, b"\0"), Verdict::Discard);
    assert_eq!(talk.told(), "E(25P02)");
}

#[test]
fn noise_is_refused_too() {
    for tag in *b"QPBDEF" {
        for body in [
            &b"\xff"[..],
            b"S",
            b"P",
            b"\0s\0",
            b"\0ROLLBACK",
            b"\0\0\0\0\0\0\0\0",
        ] {
            let mut talk = told();
            let length = u32::try_from(body.len()).unwrap() + 4;
            let header = Header {
                tag: Tag(tag),
                length,
            };
            talk.part(header, body);
            let answer = talk.told() + " " + &talk.ask(&sync());
            let empty = tag == b'Q' && body[0] == 0;
            let expected = match tag {
                b'Q' if empty => "I Z(E) Z(E)",
                b'P' if body.len() == 8 => "1 Z(E)",
                b'Q' | b'F' => "E(25P02) Z(E) Z(E)",
                _ => "E(25P02) Z(E)",
            };
            assert_eq!(answer, expected, "{} {body:?}", char::from(tag));
        }
    }
}
