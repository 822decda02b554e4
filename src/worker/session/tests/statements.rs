//! Prepared statements of one session: what the server sees of them, who answers, and what waits for what.

use super::{super::conversation::Verdict, talk::*};
use crate::{
    cluster::settings::PoolMode,
    protocol::{Header, frontend::Target, tag::frontend},
};

fn talk() -> Talk {
    Talk::new(PoolMode::Transaction)
}

/// A client that has prepared `s`, with the same server still at hand.
fn prepared() -> Talk {
    let mut talk = talk();
    talk.client(&[parse("s", "SELECT 1"), sync()].concat());
    assert_eq!(talk.sent(), "P(pgring_1: SELECT 1) S");
    talk.server("1 ZI");
    assert!(talk.rules.is_releasable() && talk.rules.pinned().is_none());
    talk
}

fn run(name: &str) -> Vec<u8> {
    [bind("", name), execute(), sync()].concat()
}

#[test]
fn names_are_rewritten() {
    let mut talk = prepared();
    let about = message(|writer| writer.describe(Target::Statement, "s").unwrap());
    talk.client(&[about, bind("p", "s"), sync()].concat());
    assert_eq!(talk.sent(), "D(Spgring_1) B(p: pgring_1) S");
    talk.server("t T 2 ZI");
    assert_eq!(talk.told(), "");
}

#[test]
fn another_server_gets_the_statement_first() {
    let mut talk = prepared();
    talk.another_server();
    talk.client(&run("s"));
    assert_eq!(talk.sent(), "P(pgring_1: SELECT 1) B(: pgring_1) E S");
    talk.server("-1 2 D C ZI");
    talk.client(&run("s"));
    assert_eq!(talk.sent(), "B(: pgring_1) E S", "it has it now");
}

#[test]
fn a_parse_that_the_server_need_not_see_is_answered_in_its_turn() {
    let mut talk = prepared();
    talk.client(&[run("s"), parse("t", "SELECT 1"), run("t")].concat());
    assert_eq!(talk.sent(), "B(: pgring_1) E S B(: pgring_1) E S");
    talk.server("2 D C");
    assert_eq!(talk.told(), "");
    talk.server("ZI");
    assert_eq!(talk.told(), "1", "not before the answers in front of it");
    talk.server("2 D C ZI");
    assert_eq!(talk.told(), "");
}

#[test]
fn without_a_server_too() {
    let mut talk = prepared();
    talk.linked = false;
    let close = message(|writer| writer.close_object(Target::Statement, "s").unwrap());
    assert_eq!(talk.ask(&[parse("t", "SELECT 1"), close].concat()), "");
    assert_eq!(talk.ask(&sync()), "1 3 Z(I)");
    talk.client(&run("t"));
    assert_eq!(talk.sent(), "B(: pgring_1) E S");
}

#[test]
fn what_no_server_has_accepted_needs_one() {
    let mut talk = talk();
    assert_eq!(talk.client(&parse("s", "SELEC"))[0], Verdict::NeedServer);
    talk.client(&sync());
    talk.server("E ZI");
    talk.linked = false;
    assert_eq!(talk.client(&parse("s", "SELEC"))[0], Verdict::NeedServer);
}

#[test]
fn what_was_refused_or_skipped_is_not_there() {
    let mut talk = talk();
    talk.client(&[parse("a", "SELEC"), parse("b", "SELECT 1"), sync()].concat());
    talk.server("E ZI");
    talk.sent();
    for name in ["a", "b"] {
        talk.client(&run(name));
        assert_eq!(
            talk.sent(),
            format!("B(: {name}) E S"),
            "the server says 26000"
        );
        talk.server("E ZI");
    }
}

#[test]
fn a_name_is_closed_here() {
    let mut talk = prepared();
    let close = message(|writer| writer.close_object(Target::Statement, "s").unwrap());
    assert_eq!(talk.client(&close), [Verdict::Discard]);
    talk.client(&run("s"));
    talk.server("E ZI");
    assert_eq!(talk.told(), "3");
    assert_eq!(talk.sent(), "B(: s) E S", "the server says 26000");
}

#[test]
fn the_unnamed_statement_of_somebody_else_is_not_used() {
    let mut talk = talk();
    talk.linked = true;
    talk.office.server.doubt_unnamed();
    talk.client(&run(""));
    assert_eq!(talk.sent(), "C(S) B(: ) E S");
    talk.server("-3 E ZI");
}

#[test]
fn names_like_ours_find_nothing_of_ours() {
    let mut talk = prepared();
    talk.client(&run("pgring_1"));
    assert_eq!(talk.sent(), "B(: pgring_1?) E S");
    talk.server("E ZI");
    assert_eq!(
        talk.client(&parse("pgring_1", "SELECT 2")),
        [Verdict::Instead(Header::BYTES + 9)]
    );
    assert_eq!(talk.sent(), "P(pgring_2: SELECT 2)");
}

#[test]
fn a_name_that_is_taken_is_refused_by_the_server() {
    let mut talk = prepared();
    talk.client(&[parse("s", "SELECT 2"), sync()].concat());
    assert_eq!(talk.sent(), "P(s: ) P(s: SELECT 2) S");
    talk.server("-1 E");
    assert!(!talk.rules.take_sync_due());
    talk.server("ZI");
    assert!(
        talk.office.server.is_stained(),
        "it has the client's own name"
    );
    talk.client(&run("s"));
    assert_eq!(talk.sent(), "B(: pgring_1) E S", "it means what it meant");
    talk.server("2 D C ZI");
    talk.client(&[parse("s", "SELECT 2"), sync()].concat());
    assert_eq!(
        talk.sent(),
        "C(Ss) P(s: ) P(s: SELECT 2) S",
        "whatever is there"
    );
}

#[test]
fn deallocate_finds_the_name_at_the_server() {
    let mut talk = prepared();
    talk.client(&query("DEALLOCATE s"));
    assert_eq!(talk.sent(), "P(s: SELECT 1) Q(DEALLOCATE s)");
    talk.server("-1");
    talk.complete("DEALLOCATE");
    talk.server("ZI");
    assert!(!talk.office.server.is_stained());
    talk.client(&run("s"));
    assert_eq!(talk.sent(), "B(: s) E S", "the server says 26000");
}

#[test]
fn what_names_mean_waits_for_a_deallocate() {
    let mut talk = prepared();
    talk.client(&query("DEALLOCATE s"));
    talk.sent();
    assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
    talk.server("-1 E ZI");
    talk.sent();
    talk.client(&run("s"));
    assert_eq!(
        talk.sent(),
        "B(: pgring_1) E S",
        "it was refused, and the name is there"
    );
}

#[test]
fn deallocate_all_and_discard_all_drop_every_name() {
    for text in ["DEALLOCATE ALL", "DISCARD ALL"] {
        let mut talk = prepared();
        talk.client(&query(text));
        talk.complete(text);
        talk.server("ZI");
        talk.sent();
        talk.client(&run("s"));
        assert_eq!(talk.sent(), "B(: s) E S");
        talk.server("E ZI");
        talk.client(&parse("s", "SELECT 1"));
        assert_eq!(
            talk.sent(),
            "P(pgring_2: SELECT 1)",
            "the server has it no more"
        );
    }
}

#[test]
fn a_deallocate_by_the_extended_protocol_asks_for_the_answers_it_waits_for() {
    let mut talk = prepared();
    talk.client(&[plain_parse("", "DEALLOCATE s"), plain_bind("", "")].concat());
    assert_eq!(talk.client_until_it_waits(&execute()), [Verdict::Wait]);
    assert_eq!(talk.sent(), "P(: DEALLOCATE s) B(: ) H");
    assert_eq!(talk.client_until_it_waits(&execute()), [Verdict::Wait]);
    assert_eq!(talk.sent(), "", "once is enough");
    talk.server("1");
    talk.client(&[execute(), sync()].concat());
    assert_eq!(talk.sent(), "P(s: SELECT 1) E S");
    talk.server("2 -1");
    talk.complete("DEALLOCATE");
    talk.server("ZI");
}

#[test]
fn what_waits_for_answers_of_ours_gets_them() {
    let mut talk = prepared();
    let verdicts = talk.client(&[parse("t", "SELECT 1"), query("DEALLOCATE t")].concat());
    assert_eq!(verdicts, [Verdict::Discard, Verdict::Forward]);
    assert_eq!(talk.told(), "1");
}

#[test]
fn execute_by_sql_finds_the_name_at_the_server() {
    let mut talk = prepared();
    talk.client(&query("EXECUTE s"));
    assert_eq!(talk.sent(), "P(s: SELECT 1) Q(EXECUTE s)");
    talk.server("-1 T D C ZI");
    talk.client(&query("EXECUTE s"));
    assert_eq!(talk.sent(), "C(Ss) P(s: SELECT 1) Q(EXECUTE s)");
}

#[test]
fn a_name_of_another_pipeline_waits_for_its_parse() {
    let mut talk = talk();
    talk.client(&[parse("s", "SELECT 1"), bind("", "s"), sync()].concat());
    assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
    talk.server("1");
    assert_eq!(
        talk.client(&bind("", "s")),
        [Verdict::Instead(Header::BYTES + 3)]
    );
}

#[test]
fn in_a_failed_transaction_the_server_refuses() {
    let mut talk = prepared();
    talk.client(&query("BEGIN"));
    talk.server("C ZT");
    talk.client(&query("SELECT 1/0"));
    talk.server("E ZE");
    talk.sent();
    talk.client(&[parse("", "SELECT 1"), sync()].concat());
    assert!(talk.sent().starts_with("P("), "though the server has it");
    talk.server("E ZE");
}

#[test]
fn where_a_transaction_may_fail_first_the_server_is_asked() {
    let mut talk = prepared();
    talk.client(&[query("BEGIN"), query("SELECT 1/0")].concat());
    talk.sent();
    talk.client(&parse("", "SELECT 1"));
    assert_eq!(talk.sent(), "P(: SELECT 1)");
    assert_eq!(
        talk.client_until_it_waits(&parse("t", "SELECT 1")),
        [Verdict::Wait]
    );
}

#[test]
fn too_many_statements_are_closed_at_the_server() {
    let mut talk = talk();
    talk.office.bounds.server_statements = 1;
    for name in ["a", "b"] {
        talk.client(&[parse(name, &format!("SELECT '{name}'")), sync()].concat());
        talk.server("1 ZI");
    }
    talk.sent();
    talk.client(&run("a"));
    assert_eq!(
        talk.sent(),
        "C(Spgring_1) P(pgring_3: SELECT 'a') B(: pgring_3) E S"
    );
    talk.server("-3 -1 2 D C ZI");
}

#[test]
fn a_client_may_not_prepare_without_end() {
    let mut talk = prepared();
    talk.office.bounds.client_bytes = 39;
    assert_eq!(
        talk.client(&parse("t", "SELECT 123456789")),
        [Verdict::Full]
    );
    assert_eq!(
        talk.client(&parse("", "SELECT 987654321")),
        [Verdict::Forward],
        "it has no name"
    );
}

#[test]
fn a_statement_that_is_too_long_stays_where_it_is() {
    let header = Header {
        tag: frontend::PARSE,
        length: 100_000,
    };
    for (seen, statement) in [(&b"s\0SEL"[..], "s"), (b"\0SEL", "")] {
        let mut talk = prepared();
        talk.client(&[parse("", "SELECT 2"), sync()].concat());
        talk.server("1 ZI");
        assert_eq!(talk.part(header, seen), Verdict::Forward);
        assert!(talk.rules.pinned().is_some());
        talk.client(&sync());
        talk.server("1 ZI");
        assert!(!talk.rules.is_releasable());
        let forwarded = if statement.is_empty() {
            "B(: ) E S"
        } else {
            "B(: pgring_1) E S"
        };
        talk.sent();
        talk.client(&run(statement));
        assert_eq!(talk.sent(), forwarded);
    }
}

/// The shape of its rows was asked for, but the server skipped the question: it must be asked anew.
#[test]
fn a_description_that_was_skipped_is_asked_for_again() {
    let mut talk = prepared();
    let about = message(|writer| writer.describe(Target::Statement, "s").unwrap());
    talk.client(&[about, sync()].concat());
    talk.server("t n ZI");
    talk.another_server();
    talk.sent();
    talk.client(&bind("", "nothing"));
    assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
    let asked = "P(pgring_1: SELECT 1) D(Spgring_1) H";
    assert_eq!(talk.sent(), format!("B(: nothing) {asked}"));
    talk.server("E");
    talk.client(&sync());
    talk.server("ZI");
    talk.sent();
    assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
    assert_eq!(talk.sent(), asked.replace("pgring_1", "pgring_2"));
    talk.server("-1 -t -n");
    talk.client(&[bind("", "s"), execute(), sync()].concat());
    assert_eq!(talk.sent(), "B(: pgring_2) E S");
}

#[test]
fn in_session_mode_names_are_the_clients_own() {
    let mut talk = Talk::new(PoolMode::Session);
    talk.client(&[parse("s", "SELECT 1"), sync(), run("s")].concat());
    assert_eq!(talk.sent(), "P(s: SELECT 1) S B(: s) E S");
}
