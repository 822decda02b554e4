//! The ledger: every event in every state, and the ledger beside a model of the server.

use super::talk::assert_golden;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::server::{Said, Sent, Server, Statement, any_message, groups};
use crate::protocol::{
    Tag,
    backend::TransactionStatus::{self, Failed, Idle, InTransaction},
    tag::{backend, frontend},
};
use crate::session::ledger::{Ledger, owed::Owed};

/// Ways into each state: `>` client, `<` server.
const STATES: [(&str, &str); 24] = [
    ("at rest", ""),
    ("in query", ">Q"),
    ("in query, rows came", ">Q <T <D <C"),
    ("in query, failed", ">Q <E"),
    ("in transaction", ">Q <C <ZT"),
    ("in failed transaction", ">Q <E <ZE"),
    ("two queries", ">Q >Q"),
    ("in function call", ">F"),
    ("pipeline open", ">P >B >D >E"),
    ("pipeline open, answered", ">P <1"),
    ("pipeline open, Bind next", ">P >B <1"),
    ("pipeline open, Close next", ">C"),
    ("pipeline synced", ">P >B >D >E >S"),
    ("pipeline synced, Execute next", ">E >S"),
    ("two pipelines", ">P >S >P >S"),
    ("query in open pipeline", ">P >Q"),
    ("skipping", ">P <E"),
    ("synced after an error", ">P >E >S <E"),
    ("copying in, simple", ">Q <G"),
    ("copying in, extended", ">B >E <2 <G"),
    ("copying in, Sync swallowed", ">E >S <G"),
    ("copy data ended", ">Q <G >c"),
    ("copy end sent ahead", ">Q >c"),
    ("copy failed, Sync in doubt", ">E >S <G <E"),
];

const CLIENT_EVENTS: &str = "QPBDECHSFdcf";
const SERVER_EVENTS: &str = "123CIDTEntsGHWdcVNAS";

/// Answers to messages of pgring's own (`>-`) and answers that pgring gives (`>+`), by the letter of the message in
/// whose place they stand.
fn by_us(event: &str) -> Option<Owed> {
    Some(match event {
        ">-P" => Owed::OwnParse,
        ">-B" => Owed::OwnBind,
        ">-E" => Owed::OwnExecute,
        ">-C" => Owed::OwnClose,
        ">+P" => Owed::SaidParse,
        ">+B" => Owed::SaidBind,
        ">+D" => Owed::SaidNoData,
        ">+E" => Owed::SaidBegin(b"BEGIN"),
        ">+C" => Owed::SaidClose,
        _ => return None,
    })
}

fn apply(ledger: &mut Ledger, event: &str) {
    if let Some(owed) = by_us(event) {
        return ledger.owe(owed);
    }
    match event.as_bytes() {
        b"say" => assert!(ledger.client.take_said().is_some()),
        b"sync" => assert!(ledger.take_sync_due()),
        [b'>', tag] => ledger.sent(Tag(*tag)),
        [b'<', b'Z', status] => {
            ledger.received_ready(TransactionStatus::read(&[*status]).unwrap());
        }
        [b'<', tag] => drop(ledger.received(Tag(*tag))),
        _ => panic!("not an event: {event}"),
    }
}

fn after(way: &str) -> Ledger {
    let mut ledger = Ledger::default();
    way.split_whitespace()
        .for_each(|event| apply(&mut ledger, event));
    ledger
}

fn events() -> Vec<String> {
    let client = CLIENT_EVENTS.chars().map(|tag| format!(">{tag}"));
    let server = SERVER_EVENTS.chars().map(|tag| format!("<{tag}"));
    let ready = "ITE".chars().map(|status| format!("<Z{status}"));
    client.chain(server).chain(ready).collect()
}

/// Every state times every event. An event that changes nothing is not listed, but in the last line.
/// `INSTA_UPDATE=always cargo test transitions` writes the table anew; read it before you commit.
#[test]
fn transitions_are_those_of_the_table() {
    let mut table = String::new();
    for (name, way) in STATES {
        let before = after(way).summary();
        table += &format!("{name} ({way})\n     {before}\n");
        let mut unchanged = Vec::new();
        for event in events() {
            let mut ledger = after(way);
            apply(&mut ledger, &event);
            match ledger.summary() {
                same if same == before => unchanged.push(event),
                other => table += &format!("{event:<4} {other}\n"),
            }
        }
        table += &format!("     unchanged by {}\n\n", unchanged.join(" "));
    }
    assert_golden("ledger", &table);
}

/// A client, its ledger and a server, between which messages may tarry.
struct World {
    ledger: Ledger,
    server: Server,
    to_send: std::vec::IntoIter<Sent>,
    log: String,
}

impl World {
    fn new(messages: Vec<Sent>, strict: bool) -> Self {
        Self {
            ledger: Ledger::default(),
            server: Server::new(strict),
            to_send: messages.into_iter(),
            log: String::new(),
        }
    }

    fn send(&mut self) -> bool {
        let Some(message) = self.to_send.next() else {
            return false;
        };
        self.log += &format!(" >{}", char::from(message.tag.0));
        self.ledger.sent(message.tag);
        self.server.send(message);
        true
    }

    fn recv(&mut self) -> bool {
        match self.server.recv() {
            None => return false,
            Some(Said::Ready(status)) => {
                self.log += &format!(" <Z{}", char::from(status.byte()));
                self.ledger.received_ready(status);
            }
            Some(Said::Other(tag)) => {
                self.log += &format!(" <{}", char::from(tag.0));
                self.ledger.received(tag);
            }
        }
        true
    }

    /// One of three things happens; false when it could not.
    fn act(&mut self, choice: u8) -> Result<bool, TestCaseError> {
        let acted = match choice {
            0 => self.send(),
            1 => self.server.step(),
            _ => self.recv(),
        };
        let released = self.ledger.is_releasable() && !self.server.is_free();
        prop_assert!(
            !released,
            "released{}\n{:?}\n{:?}",
            self.log,
            self.ledger,
            self.server
        );
        Ok(acted)
    }

    /// Everything happens that can.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        while self.act(2)? || self.act(1)? || self.act(0)? {}
        Ok(())
    }
}

/// An order of events: 0 the client sends, 1 the server reads, 2 the ledger gets an answer.
fn schedule() -> impl Strategy<Value = Vec<u8>> {
    vec(0_u8..3, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2_000)))]

    /// Whatever a client sends, nobody gets a connection that still has something to do with it.
    #[test]
    fn no_connection_is_released_too_early(
        groups in groups(true),
        intruders in vec((any::<Index>(), any_message()), 0..10),
        schedule in schedule(),
        strict: bool,
    ) {
        let mut messages = groups.concat();
        for (at, intruder) in intruders {
            messages.insert(at.index(messages.len() + 1), intruder);
        }
        let mut world = World::new(messages, strict);
        for choice in schedule {
            world.act(choice)?;
        }
        world.settle()?;
        prop_assert!(!world.server.is_dead() || world.ledger.is_lost(), "{}", world.log);
    }

    /// Nothing is amiss with what clients really send, and every connection comes back.
    #[test]
    fn every_connection_comes_back(groups in groups(false), schedule in schedule(), strict: bool) {
        let mut world = World::new(groups.concat(), strict);
        for choice in schedule {
            world.act(choice)?;
        }
        world.settle()?;
        prop_assert!(world.ledger.is_at_rest(), "{}\n{:?}", world.log, world.ledger);
        let free = world.ledger.status() == Idle;
        prop_assert_eq!(world.ledger.is_releasable(), free);
        prop_assert_eq!(world.ledger.client.outstanding(), 0);
    }

    /// With a Sync before the data of a COPY too: when in doubt, at the latest after the next query.
    #[test]
    fn doubts_end_with_the_next_query(groups in groups(true), schedule in schedule(), strict: bool) {
        let mut world = World::new(groups.concat(), strict);
        for choice in schedule {
            world.act(choice)?;
        }
        world.settle()?;
        prop_assert!(!world.ledger.is_lost(), "{}\n{:?}", world.log, world.ledger);
        world.to_send = vec![Sent::running(frontend::QUERY, &[Statement::Empty])].into_iter();
        world.settle()?;
        prop_assert!(world.ledger.is_at_rest(), "{}\n{:?}", world.log, world.ledger);
    }
}

#[test]
fn a_flush_owes_nothing() {
    let mut ledger = Ledger::default();
    ledger.sent(frontend::FLUSH);
    ledger.sent(frontend::COPY_DATA);
    assert!(ledger.is_releasable());
}

/// A server that answers out of turn, and a client that goes on while nobody knows who is heard.
#[test]
fn what_cannot_be_followed_is_lost() {
    for way in [
        "<G",
        ">P <G",
        ">F <G",
        ">Q <G <G",
        ">Q <G <C",
        ">E <G <C",
        ">Q <G <ZI",
        ">E <G <ZI",
        ">Q <G >Q",
        ">Q <G >P",
        ">Q >Q <G",
        ">E >S <G <E >P",
        ">E >S <G <E >Q",
        ">E >S >c >P >S <G <E",
        ">E >S >c >Q <G <E",
        ">Q <V",
        ">P >S <V",
    ] {
        let ledger = after(way);
        assert!(ledger.is_lost() && !ledger.is_releasable(), "{way}");
    }
}

#[test]
fn a_sync_sent_to_a_copy_may_be_answered_after_all() {
    for way in [
        ">B >E <2 <G >S <E <ZI",
        ">E >S <G <E <ZI",
        ">E >S >d >c >S <G <E <ZI <ZI",
        ">Q >S <G <E <ZI <ZI",
        ">Q <G >S >S <E <ZI <ZI <ZI",
    ] {
        assert!(after(way).is_releasable(), "{way}");
    }
}

#[test]
fn a_sync_sent_to_a_copy_may_be_ignored_which_the_next_answer_tells() {
    for way in [">E >S >d >c >S <G <E <ZI", ">Q >S <G <E <ZI"] {
        assert!(!after(way).is_at_rest(), "{way}");
        assert!(!after(&format!("{way} >Q <N")).is_lost(), "{way}");
        assert!(after(&format!("{way} >Q <I <ZI")).is_releasable(), "{way}");
        assert!(
            after(&format!("{way} >P >S <1 <ZI")).is_releasable(),
            "{way}"
        );
    }
}

#[test]
fn a_copy_that_failed_early_leaves_nothing_behind() {
    assert!(after(">Q >c <E <ZI").is_releasable());
    assert!(after(">Q >d >c <E <ZI >Q >c <G <C <ZI").is_releasable());
}

#[test]
fn a_commit_is_in_flight_until_its_ready_for_query() {
    let mut ledger = after(">Q <C <ZT >Q");
    assert!(!ledger.client.is_committing());
    ledger.sends_commit();
    ledger.sent(frontend::QUERY);
    ledger.sent(frontend::QUERY);
    for (status, committing) in [(InTransaction, true), (Idle, false), (Failed, false)] {
        assert!(!ledger.is_at_rest());
        ledger.received(backend::COMMAND_COMPLETE);
        ledger.received_ready(status);
        assert_eq!(ledger.client.is_committing(), committing, "{status:?}");
    }
}

#[test]
fn a_commit_in_a_pipeline_is_in_flight_until_the_sync_is_answered() {
    let mut ledger = after(">P >S >P");
    ledger.sends_commit();
    ledger.sent(frontend::EXECUTE);
    assert!(ledger.client.is_committing());
    ledger.sent(frontend::SYNC);
    for event in ["<1", "<ZI", "<1", "<C"] {
        assert!(ledger.client.is_committing(), "{event}");
        apply(&mut ledger, event);
    }
    assert!(ledger.client.is_committing());
    apply(&mut ledger, "<ZI");
    assert!(!ledger.client.is_committing());
}

#[test]
fn a_commit_that_the_server_skips_is_not_in_flight() {
    let mut ledger = after(">P");
    ledger.sends_commit();
    ledger.sent(frontend::EXECUTE);
    apply(&mut ledger, "<E");
    assert!(!ledger.client.is_committing());
    ledger.sends_commit();
    ledger.sent(frontend::EXECUTE);
    assert!(!ledger.client.is_committing());
}

#[test]
fn a_commit_survives_a_sync_that_a_copy_swallows() {
    let mut ledger = after(">E");
    ledger.sends_commit();
    ledger.sent(frontend::SYNC);
    apply(&mut ledger, "<G");
    assert!(ledger.client.is_committing());
}

#[test]
fn what_we_asked_is_ours_and_the_rest_is_the_clients() {
    let mut ledger = after(">-P >-B >-E >B >E >S");
    for (tag, ours) in [
        (backend::PARSE_COMPLETE, true),
        (backend::NOTICE_RESPONSE, true),
        (backend::BIND_COMPLETE, true),
        (backend::PARAMETER_STATUS, false),
        (backend::COMMAND_COMPLETE, true),
        (backend::NOTICE_RESPONSE, false),
        (backend::BIND_COMPLETE, false),
        (backend::DATA_ROW, false),
        (backend::COMMAND_COMPLETE, false),
    ] {
        assert!(!ledger.is_releasable());
        assert_eq!(ledger.received(tag), ours, "{tag}");
    }
    ledger.received_ready(Idle);
    assert!(ledger.is_releasable());
}

#[test]
fn rows_of_ours_are_ours() {
    let mut ledger = after(">-E >E >S");
    assert!(ledger.received(backend::DATA_ROW));
    assert!(ledger.received(backend::COMMAND_COMPLETE));
    assert!(!ledger.received(backend::DATA_ROW));
}

#[test]
fn an_answer_that_does_not_fit_ours_is_noticed() {
    for way in [">-P <2", ">-B <1", ">-E <3", ">-C <1", ">-P >P <2"] {
        assert!(after(way).is_lost(), "{way}");
    }
}

#[test]
fn what_we_answer_comes_in_its_turn() {
    let mut ledger = after(">P >+P >B >+C >+C >S");
    for event in ["<1", "say", "<2", "say", "say"] {
        let ours = event == "say";
        assert_eq!(ledger.client.front().map(is_said), Some(ours), "{event}");
        assert!(ours || ledger.client.take_said().is_none());
        apply(&mut ledger, event);
    }
    assert_eq!(ledger.client.take_said(), None);
    apply(&mut ledger, "<ZI");
    assert!(ledger.is_releasable());
}

fn is_said(owed: Owed) -> bool {
    matches!(owed, Owed::SaidParse | Owed::SaidClose)
}

#[test]
fn what_the_server_skips_we_do_not_answer_either() {
    let mut ledger = after(">P >+P >B >+C >S <E");
    assert_eq!(ledger.client.take_said(), None);
    apply(&mut ledger, "<ZI");
    assert!(ledger.is_releasable());
    let mut ledger = after(">P <E >+P >+C");
    assert_eq!(ledger.client.take_said(), None);
    apply(&mut ledger, ">S");
    apply(&mut ledger, "<ZI");
    assert!(ledger.is_releasable());
}

#[test]
fn nothing_is_asked_while_the_server_owes_nothing() {
    for way in ["", ">+P", ">+P >+C", ">P <1 >S <ZI >+P"] {
        assert!(after(way).is_unasked(), "{way}");
    }
    for way in [">P", ">-C", ">+P >B", ">P <E", ">Q <G", ">E >S <G <E"] {
        assert!(!after(way).is_unasked(), "{way}");
    }
}

/// A request without Sync that the server skips, for a message of ours that it refused, would never be answered.
#[test]
fn a_sync_is_due_when_a_request_is_skipped_for_us() {
    for way in [
        ">-P >Q <E",
        ">-P >-B >-E >Q <1 <2 <E",
        ">-P >F <E",
        ">-C >-P >Q <3 <E",
    ] {
        let mut ledger = after(way);
        assert!(ledger.take_sync_due(), "{way}");
        assert!(!ledger.take_sync_due(), "once");
        assert!(!ledger.is_releasable() && !ledger.waits_for_client());
        apply(&mut ledger, "<ZI");
        assert!(ledger.is_releasable(), "{way}");
    }
    for way in [">-P >B >Q <E", ">P >Q <E", ">-P >B >S >Q <E", ">-P >B <E"] {
        assert!(
            !after(way).take_sync_due(),
            "the client's own pipeline fails: {way}"
        );
    }
}

#[test]
fn what_follows_a_request_behind_ours_must_wait() {
    for (way, at_risk, risky) in [
        (">-P", false, false),
        (">-P >B >E", false, false),
        (">-P >B >E >S", true, false),
        (">-P >Q", true, true),
        (">-P >Q <1", false, false),
        (">-P >-B >Q <1", true, true),
        (">Q", false, false),
        (">-P >Q <E sync", false, false),
    ] {
        let ledger = after(way);
        assert_eq!(
            (ledger.client.is_at_risk(), ledger.client.is_risky()),
            (at_risk, risky),
            "{way}"
        );
    }
}

#[test]
fn the_client_takes_an_error_for_its_own_message() {
    for (way, refused) in [
        (">P", 0),
        (">-P >B", 1),
        (">-C >-P >Q", 2),
        (">B <2 >-P >B", 2),
    ] {
        assert_eq!(after(way).client.refused(), refused, "{way}");
    }
}

#[test]
fn a_sync_that_we_answer_ends_its_pipeline() {
    let mut ledger = after(">+P >+C say say");
    assert!(!ledger.is_at_rest(), "the pipeline is open");
    let pipeline = ledger.client.pipeline();
    ledger.client.sync_alone();
    assert!(ledger.is_releasable());
    assert_eq!(ledger.client.pipeline(), pipeline + 1);
}

#[test]
fn who_is_waited_for() {
    for way in ["", ">P >B >E", ">Q <G", ">E >S <G", ">P <E", ">Q <C <ZT"] {
        assert!(after(way).waits_for_client(), "{way}");
    }
    for way in [">Q", ">P >S >P", ">Q <G >c", ">F", ">P >S <E"] {
        assert!(!after(way).waits_for_client(), "{way}");
    }
}

#[test]
fn what_is_abandoned_tells_whether_a_pipeline_is_open() {
    for (way, requests, open) in [
        ("", 0, false),
        (">Q", 1, false),
        (">Q >c", 1, false),
        (">Q <G", 1, false),
        (">Q <C <ZT", 0, false),
        (">P", 0, true),
        (">P <1", 0, true),
        (">P >S", 1, false),
        (">P >S >P >S >P", 2, true),
        (">P <E", 0, true),
        (">P <E >S", 1, false),
        (">E >S <G", 0, true),
        (">E >S <G <E >S <ZI", 0, false),
    ] {
        let mut ledger = after(way);
        let (owed, mid_pipeline) = ledger.abandon();
        let count = owed.iter().filter(|owed| owed.ends_with_ready()).count();
        assert_eq!((count, mid_pipeline), (requests, open), "{way}");
        assert!(ledger.is_releasable());
    }
}
