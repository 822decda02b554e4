//! Golden tables of the state machines: what each event makes of each state.

use std::{fmt::Write, rc::Rc};

use super::talk::assert_golden;
use crate::{
    protocol::backend::TransactionStatus,
    session::{
        prepared::{Statement, Store, rerun::Replan},
        transaction::{
            block::{Begun, Block},
            failed_block::FailedBlock,
        },
    },
};

/// Name of an event, and its effect on a state.
type Event<T> = (&'static str, fn(&mut T));

const EVENTS: [Event<Block>; 12] = [
    ("BEGIN is bound", |block| {
        let _ = block.bind(begin());
    }),
    ("the portal is executed", |block| {
        let _ = block.execute();
    }),
    ("BEGIN as a Query", |block| block.begin(begin())),
    ("Sync", Block::sync),
    ("COMMIT or ROLLBACK", Block::end),
    ("a server is at hand", |block| drop(block.hand_over())),
    ("moves to another node", |block| block.move_on(begun())),
    ("the server has ended it", Block::moved),
    ("no server takes it", |block| {
        let _ = block.refuse(failed());
    }),
    ("lost in a transaction", |block| block.lose(Some(failed()))),
    ("lost outside", |block| block.lose(None)),
    ("the failed block is ended", Block::recover),
];

fn begin() -> Rc<Statement> {
    Store::default().of(b"BEGIN\0\0\0", None)
}

fn begun() -> Begun {
    let mut block = Block::default();
    block.begin(begin());
    block.deferred().expect("it was begun").clone()
}

fn failed() -> FailedBlock {
    FailedBlock::new(None, false)
}

fn states() -> [Block; 5] {
    [
        Block::AtServer,
        Block::Bound(begin()),
        Block::Deferred(begun()),
        Block::Moving(begun()),
        Block::Failed(failed()),
    ]
}

fn name(block: &Block) -> &'static str {
    match block {
        Block::AtServer => "AtServer",
        Block::Bound(_) => "Bound",
        Block::Deferred(_) => "Deferred",
        Block::Moving(_) => "Moving",
        Block::Failed(_) => "Failed",
    }
}

#[test]
fn each_event_in_each_state() {
    let mut table = format!("{:30}", "");
    for state in &states() {
        write!(table, "{:10}", name(state)).unwrap();
    }
    for (event, happens) in EVENTS {
        write!(table, "\n{event:30}").unwrap();
        for mut state in states() {
            let before = name(&state);
            happens(&mut state);
            let after = name(&state);
            write!(table, "{:10}", if after == before { "." } else { after }).unwrap();
        }
    }
    for server in [TransactionStatus::Idle, TransactionStatus::InTransaction] {
        write!(table, "\n{:30}", format!("server {server:?}: client")).unwrap();
        for state in &states() {
            let status = match state.status(server) {
                TransactionStatus::Idle => "idle",
                TransactionStatus::InTransaction => "in block",
                TransactionStatus::Failed => "failed",
            };
            write!(table, "{status:10}").unwrap();
        }
    }
    assert_golden("block", &without_padding(&table));
}

#[test]
fn each_event_of_a_pipeline_that_may_run_again() {
    use Replan::{Again, Impossible, Last, Possible, Record, Refused};
    let events: [Event<Replan>; 7] = [
        ("a pipeline begins", Replan::begin),
        ("it is recorded", |it| {
            let _ = it.take_recording();
        }),
        ("more is sent", Replan::outgrow),
        ("a statement is lacking", |it| {
            let _ = it.refuse();
        }),
        ("ReadyForQuery", |it| {
            let _ = it.end();
        }),
        ("it is sent again", |it| {
            let _ = it.take_again();
        }),
        ("another answer, or a loss", Replan::give_up),
    ];
    let states = [Impossible, Record, Possible, Refused, Again, Last];
    let mut table = format!("{:27}", "");
    for state in states {
        write!(table, "{:12}", format!("{state:?}")).unwrap();
    }
    for (event, happens) in events {
        write!(table, "\n{event:27}").unwrap();
        for before in states {
            let mut after = before;
            happens(&mut after);
            let shown = if after == before {
                ".".to_owned()
            } else {
                format!("{after:?}")
            };
            write!(table, "{shown:12}").unwrap();
        }
    }
    assert_golden("replan", &without_padding(&table));
}

fn without_padding(table: &str) -> String {
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    lines.join("\n")
}
