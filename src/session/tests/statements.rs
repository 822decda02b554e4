//! Prepared statements of one session: what the server sees of them, who answers, and what waits for what.

use super::talk::*;
use crate::session::conversation::{Answer, Verdict};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        Frames, Header,
        frontend::Target,
        tag::{backend, frontend},
    },
};

fn talk() -> Talk {
    Talk::new(PoolMode::Transaction)
}

/// A client that has prepared `s`, with the same server still at hand.
fn prepared() -> Talk {
    let mut talk = talk();
    talk.client(&[parse("s", "SELECT 1"), sync()].concat());
    assert_eq!(talk.sent(), "P(pgring_1: SELECT 1) D(Spgring_1) S");
    talk.server("1 -t -T ZI");
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
    talk.move_to_another_server();
    assert_eq!(talk.client_until_it_waits(&run("s")), [Verdict::Wait]);
    assert_eq!(talk.sent(), "P(pgring_1: SELECT 1) D(Spgring_1) H");
    talk.server("-1 -t -T");
    for _ in 0..2 {
        talk.client(&run("s"));
        assert_eq!(talk.sent(), "B(: pgring_1) E S", "it has it now");
        talk.server("2 D C ZI");
    }
}

#[test]
fn a_close_that_the_server_need_not_see_is_answered_in_its_turn() {
    let mut talk = prepared();
    let close = message(|writer| writer.close_object(Target::Statement, "s").unwrap());
    talk.client(&[run("s"), close, unnamed("SELECT 2")].concat());
    assert_eq!(
        talk.sent(),
        "B(: pgring_1) E S P(: SELECT 2) B(: ) D(P) E S"
    );
    talk.server("2 D C");
    assert_eq!(talk.told(), "");
    talk.server("ZI");
    assert_eq!(talk.told(), "3", "not before the answers in front of it");
    talk.server("1 2 T D C ZI");
    assert_eq!(talk.told(), "");
}

#[test]
fn without_a_server_too() {
    let mut talk = prepared();
    talk.linked = false;
    let close = message(|writer| writer.close_object(Target::Statement, "s").unwrap());
    assert_eq!(talk.ask(&[plain_parse("t", "BEGIN"), close].concat()), "");
    assert_eq!(talk.ask(&sync()), "1 3 Z(I)");
}

/// Only a server knows what a text means, each time anew.
#[test]
fn every_parse_goes_to_a_server() {
    let mut talk = prepared();
    talk.linked = false;
    for (name, answers) in [("t", "1 -t -T ZI"), ("", "-3 1 -t -T ZI")] {
        let verdicts = talk.client(&parse(name, "SELECT 1"));
        assert_eq!(verdicts[0], Verdict::NeedServer);
        talk.client(&sync());
        talk.server(answers);
        talk.linked = false;
    }
    assert_eq!(
        talk.sent(),
        "P(pgring_2: SELECT 1) D(Spgring_2) S C(Spgring_1) P(: SELECT 1) D(S) S"
    );
}

/// pgring need not ask what the client asks itself, or what it has no use for.
#[test]
fn a_statement_is_described_once() {
    let about = |name: &str| message(|writer| writer.describe(Target::Statement, name).unwrap());
    let one = "SELECT 1";
    for (messages, sent) in [
        (
            vec![parse("s", one), about("s"), sync()],
            "P(pgring_1: SELECT 1) D(Spgring_1) S",
        ),
        (
            vec![parse("", one), about(""), sync()],
            "P(: SELECT 1) D(S) S",
        ),
        (
            vec![parse("", one), bind("", ""), sync()],
            "P(: SELECT 1) B(: ) S",
        ),
        (
            vec![parse("", one), parse("", one), sync()],
            "P(: SELECT 1) P(: SELECT 1) D(S) S",
        ),
        (vec![parse("s", "COMMIT"), sync()], "P(pgring_1: COMMIT) S"),
        (
            vec![parse("s", one), about("t"), sync()],
            "P(pgring_1: SELECT 1) D(Spgring_1) D(St) S",
        ),
        (
            vec![parse("s", one), flush()],
            "P(pgring_1: SELECT 1) D(Spgring_1) H",
        ),
        (
            vec![parse("s", one), query(one)],
            "P(pgring_1: SELECT 1) D(Spgring_1) Q(SELECT 1)",
        ),
        (
            vec![parse("", one), query(one)],
            "P(: SELECT 1) Q(SELECT 1)",
        ),
    ] {
        let mut talk = talk();
        talk.client(&messages.concat());
        assert_eq!(talk.sent(), sent);
    }
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
    talk.tools.server.doubt_unnamed();
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
    talk.client(&sync());
    assert_eq!(talk.sent(), "D(Spgring_2) S");
}

/// Neither EXECUTE nor PREPARE nor DEALLOCATE of SQL meets a statement of ours, and ours take no name of the client's.
#[test]
fn sql_finds_nothing_of_ours_either() {
    let mut talk = prepared();
    talk.client(&query("EXECUTE pgring_1"));
    assert_eq!(talk.sent(), "C(Spgring_1) Q(EXECUTE pgring_1)");
    talk.server("-3 E ZI");
    talk.client(&query("EXECUTE pgring_1"));
    assert_eq!(talk.sent(), "Q(EXECUTE pgring_1)");
    talk.server("E ZI");

    let mut talk = prepared();
    talk.client(&query("PREPARE pgring_2 AS SELECT 3"));
    assert_eq!(talk.sent(), "Q(PREPARE pgring_2 AS SELECT 3)");
    talk.complete("PREPARE");
    talk.server("ZI");
    talk.sent();
    talk.client(&[parse("t", "SELECT 2"), sync()].concat());
    assert!(talk.sent().contains("P(pgring_3: SELECT 2)"));
}

#[test]
fn a_name_like_ours_is_the_clients_when_sql_ends_it() {
    let mut talk = prepared();
    talk.client(&[parse("pgring_1", "SELECT 2"), sync()].concat());
    assert_eq!(talk.sent(), "P(pgring_2: SELECT 2) D(Spgring_2) S");
    talk.server("1 -t -T ZI");
    talk.client(&query("DEALLOCATE pgring_1"));
    assert_eq!(
        talk.sent(),
        "C(Spgring_1) P(pgring_1: SELECT 2) Q(DEALLOCATE pgring_1)"
    );
    talk.server("-3 -1");
    talk.complete("DEALLOCATE");
    talk.server("ZI");
    talk.client_until_it_waits(&run("s"));
    assert!(talk.sent().starts_with("P(pgring_3: SELECT 1)"));
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
        talk.tools.server.is_stained(),
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
    assert!(!talk.tools.server.is_stained());
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
    let close = message(|writer| writer.close_object(Target::Statement, "s").unwrap());
    let verdicts = talk.client(&[close, query("DEALLOCATE s")].concat());
    assert_eq!(verdicts, [Verdict::Discard, Verdict::Forward]);
    assert_eq!(talk.told(), "3");
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
    talk.server("1 -t -T");
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
fn too_many_statements_are_closed_at_the_server() {
    let mut talk = talk();
    talk.tools.bounds.server_statements = 1;
    for name in ["a", "b"] {
        talk.client(&[parse(name, &format!("SELECT '{name}'")), sync()].concat());
        talk.server("1 -t -T ZI");
    }
    talk.sent();
    assert_eq!(talk.client_until_it_waits(&bind("", "a")), [Verdict::Wait]);
    assert_eq!(
        talk.sent(),
        "C(Spgring_1) P(pgring_3: SELECT 'a') D(Spgring_3) H"
    );
    talk.server("-3 -1 -t -T");
    talk.client(&run("a"));
    assert_eq!(talk.sent(), "C(Spgring_2) B(: pgring_3) E S");
    talk.server("-3 2 D C ZI");
}

#[test]
fn a_client_may_not_prepare_without_end() {
    let mut talk = prepared();
    talk.tools.bounds.client_bytes = 39;
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
        talk.server("1 -t -T ZI");
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
    talk.move_to_another_server();
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
    talk.server("-1 -t -T");
    talk.client(&[bind("", "s"), execute(), sync()].concat());
    assert_eq!(talk.sent(), "B(: pgring_2) E S");
}

/// The body of a RowDescription of one column.
fn rows(name: &str) -> Vec<u8> {
    let whole = message(|writer| {
        writer.row_description_text([name]);
    });
    whole[Header::BYTES..].to_vec()
}

/// The server describes what pgring asked about.
fn describe_to_us(talk: &mut Talk, types: &[u8], rows: &[u8]) {
    let swallowed = Ok(Answer::Swallow);
    let parameters = talk.hear(backend::PARAMETER_DESCRIPTION, types);
    assert_eq!(parameters, swallowed);
    assert_eq!(talk.hear(backend::ROW_DESCRIPTION, rows), swallowed);
}

const INT4: &[u8] = b"\0\x01\0\0\0\x17";
const INT8: &[u8] = b"\0\x01\0\0\0\x14";

/// A client that was told that `s` has a column `a`, and a parameter of this type.
fn told(text: &[u8], types: &[u8]) -> Talk {
    let mut talk = talk();
    talk.client(&[text.to_vec(), sync()].concat());
    talk.sent();
    talk.server("1");
    describe_to_us(&mut talk, types, &rows("a"));
    talk.server("ZI");
    talk
}

#[test]
fn rows_of_another_shape_are_refused_before_they_come() {
    let mut talk = told(&parse("s", "TABLE t"), INT4);
    talk.move_to_another_server();
    assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
    assert_eq!(talk.sent(), "P(pgring_1: TABLE t) D(Spgring_1) H");
    talk.server("-1");
    describe_to_us(&mut talk, INT4, &rows("b"));
    talk.client(&run("s"));
    let nonsense = "P(: cached plan must not change result type)";
    assert_eq!(talk.sent(), format!("{nonsense} B(: pgring_1) E S"));
    let body = error_body(&ordinary_error());
    let refused = talk.hear(backend::ERROR_RESPONSE, &body);
    assert_eq!(refused, Ok(Answer::Renamed));
    assert_eq!(read(&talk.rules.take_renamed()), "E(0A000)");
    talk.server("ZI");
    // It is looked at anew each time: the old shape may come back.
    talk.client_until_it_waits(&bind("", "s"));
    assert_eq!(talk.sent(), "P(pgring_2: TABLE t) D(Spgring_2) H");
    talk.server("-1");
    describe_to_us(&mut talk, INT4, &rows("a"));
    talk.client(&run("s"));
    assert_eq!(talk.sent(), "C(Spgring_1) B(: pgring_2) E S");
    talk.server("-3 2 D C ZI");
}

/// Someone has parsed it while the table had another shape; now it has the old one again.
#[test]
fn a_copy_that_does_not_fit_is_made_anew_before_anything_is_refused() {
    let mut talk = told(&parse("s", "TABLE t"), INT4);
    talk.client(&[parse("t", "TABLE t"), sync()].concat());
    assert!(talk.sent().starts_with("P(pgring_2: TABLE t)"));
    talk.server("1");
    describe_to_us(&mut talk, INT4, &rows("b"));
    talk.server("ZI");
    assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
    assert_eq!(
        talk.sent(),
        "C(Spgring_1) P(pgring_3: TABLE t) D(Spgring_3) H"
    );
    talk.server("-3 -1");
    describe_to_us(&mut talk, INT4, &rows("a"));
    talk.client(&run("s"));
    assert_eq!(talk.sent(), "C(Spgring_2) B(: pgring_3) E S");
    talk.server("-3 2 D C ZI");
}

/// PostgreSQL keeps the types that it found when it first parsed a statement.
#[test]
fn parameters_keep_their_types() {
    for (parse, types) in [
        (plain_parse("s", "TABLE t"), INT4),
        (parse("s", "TABLE t"), INT4),
        (plain_parse("s", "TABLE t"), INT8),
    ] {
        let mut talk = told(&parse, types);
        talk.move_to_another_server();
        assert_eq!(talk.client_until_it_waits(&bind("", "s")), [Verdict::Wait]);
        let sent = talk.sent_bytes();
        let parse = Frames::new(&sent).next().unwrap().unwrap();
        assert_eq!(parse.body, [b"pgring_1\0TABLE t\0", types].concat());
        talk.server("-1");
        describe_to_us(&mut talk, types, &rows("a"));
        talk.client(&run("s"));
        talk.server("2 D C ZI");
    }
}

/// Of one that lasts no longer than its pipeline nothing is asked; what its client is told is remembered.
#[test]
fn the_unnamed_statement_is_what_it_was_too() {
    let about = |target| message(|writer| writer.describe(target, "").unwrap());
    for (first, heard) in [
        (
            vec![parse("", "TABLE t"), about(Target::Statement), sync()],
            "1 t",
        ),
        (
            vec![
                parse("", "TABLE t"),
                bind("", ""),
                about(Target::Portal),
                sync(),
            ],
            "1 2",
        ),
    ] {
        let mut talk = talk();
        talk.client(&first.concat());
        talk.server(heard);
        talk.hear(backend::ROW_DESCRIPTION, &rows("a")).unwrap();
        talk.server("ZI");
        for column in ["a", "b"] {
            talk.move_to_another_server();
            talk.sent();
            assert_eq!(talk.client_until_it_waits(&bind("", "")), [Verdict::Wait]);
            assert_eq!(talk.sent(), "P(: TABLE t) D(S) H");
            talk.server("-1");
            let types: &[u8] = if heard == "1 t" { &[] } else { INT4 };
            describe_to_us(&mut talk, types, &rows(column));
            talk.client(&run(""));
            let refused = talk.sent().starts_with("P(: cached plan must not");
            assert_eq!(refused, column == "b", "{heard}");
            if !refused {
                talk.server("2 D C ZI");
            }
        }
    }
}

/// The client knows nothing of what was parsed before its own Parse, and was told nothing of it.
#[test]
fn a_copy_that_was_parsed_before_is_not_used() {
    let mut other = prepared();
    let mut talk = prepared();
    std::mem::swap(&mut talk.tools.stamps, &mut other.tools.stamps);
    // The other one has parsed it there, before this one did here.
    let there = std::mem::take(&mut talk.tools.server);
    talk.client(&[parse("t", "SELECT 1"), sync()].concat());
    talk.server("1 -t -T ZI");
    let here = std::mem::replace(&mut talk.tools.server, there);
    talk.sent();
    assert_eq!(talk.client_until_it_waits(&bind("", "t")), [Verdict::Wait]);
    assert!(
        talk.sent()
            .starts_with("P(pgring_2: SELECT 1) D(Spgring_2)")
    );
    talk.server("-1 -t -T");
    // What it finds there the next time is new enough; and its own is, too.
    talk.client(&run("t"));
    assert_eq!(talk.sent(), "C(Spgring_1) B(: pgring_2) E S");
    talk.server("-3 2 D C ZI");
    talk.client(&run("t"));
    assert_eq!(talk.sent(), "B(: pgring_2) E S");
    talk.server("2 D C ZI");
    talk.tools.server = here;
    talk.client(&run("t"));
    assert_eq!(talk.sent(), "B(: pgring_1) E S");
}

/// The server looks for the name when it parses, binds and describes EXECUTE, not only when it executes it.
#[test]
fn execute_by_the_extended_protocol_finds_the_name() {
    let mut talk = prepared();
    let whole = [
        plain_parse("", "EXECUTE s"),
        plain_bind("", ""),
        describe(Target::Portal),
    ];
    talk.client_until_it_waits(&whole.concat());
    assert_eq!(
        talk.sent(),
        "P(s: SELECT 1) P(: EXECUTE s) B(: ) D(Ss) H",
        "are its rows what they were?"
    );
    talk.server("-1 1 2 -t -T");
    talk.client(&[describe(Target::Portal), execute(), sync()].concat());
    assert_eq!(talk.sent(), "D(P) E S");
    talk.server("T");
    talk.server("D C ZI");
    assert!(talk.tools.server.is_stained());
}

#[test]
fn a_prepared_execute_finds_the_name_wherever_it_runs() {
    let mut talk = prepared();
    talk.client(&[plain_parse("e", "EXECUTE s"), sync()].concat());
    assert_eq!(
        talk.sent(),
        "P(s: SELECT 1) P(pgring_2: EXECUTE s) D(Spgring_2) S"
    );
    talk.server("-1 1 -t -T ZI");
    talk.move_to_another_server();
    talk.client(&plain_bind("", "e"));
    assert_eq!(
        talk.sent(),
        "P(s: SELECT 1) P(pgring_1: EXECUTE s) B(: pgring_1)"
    );
    assert_eq!(talk.client_until_it_waits(&execute()), [Verdict::Wait]);
    assert_eq!(talk.sent(), "D(Ss) H");
    talk.server("-1 -1 2 -t -T");
    talk.client(&[execute(), sync()].concat());
    assert_eq!(talk.sent(), "E S");
    talk.server("D C ZI");
}

#[test]
fn in_session_mode_names_are_the_clients_own() {
    let mut talk = Talk::new(PoolMode::Session);
    talk.client(&[parse("s", "SELECT 1"), sync(), run("s")].concat());
    assert_eq!(talk.sent(), "P(s: SELECT 1) S B(: s) E S");
}
