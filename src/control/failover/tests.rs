//! The golden table of the planner: what each situation makes of each phase.

use std::fmt::Write;

use super::{
    phase::{Chosen, Phase, Reason, Step, Switch},
    plan::{Act, Input, Outcome, Planner},
    seen::{Receiver, Seen, SeenAnswer, SeenNode},
};
use crate::{
    cluster::{
        failover_state::FailoverOrder,
        node::Status,
        settings::{Failover, FailoverMode},
    },
    ids::NodeId,
};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

/// When the phases began, and when they are looked at.
const BEGAN: u64 = 1_000_000;
const NOW: u64 = 2_000_000;

/// A is the primary on timeline 1, B and C follow it; B has more than C.
fn usual() -> Seen {
    let standby = |name: &str, received| {
        let streaming = Receiver::Streaming {
            silent_us: Some(1000),
            patience_us: Some(6_000_000),
        };
        node(name, answer(true, 1, received, streaming))
    };
    Seen {
        nodes: vec![
            node("a", answer(false, 1, 100, Receiver::None)),
            standby("b", 90),
            standby("c", 80),
        ],
        primary: Some(A),
        last_primary: Some(A),
        timeline: 1,
        written: 100,
        synchronous_needed: 0,
    }
}

fn node(name: &str, answer: SeenAnswer) -> SeenNode {
    SeenNode {
        name: name.to_owned(),
        status: Status::Up,
        is_alive: Some(true),
        priority: 1,
        is_synchronous: false,
        answer: Some(answer),
    }
}

fn answer(in_recovery: bool, timeline: u32, received: u64, receiver: Receiver) -> SeenAnswer {
    SeenAnswer {
        asked_us: NOW - 1,
        in_recovery,
        timeline,
        received,
        receiver,
    }
}

/// A is down; its standbys are as they were.
fn cut_off() -> Seen {
    let mut seen = usual();
    seen.primary = None;
    let lost = &mut seen.nodes[0];
    (lost.status, lost.is_alive, lost.answer) = (Status::Down, Some(false), None);
    seen
}

/// A is down, and nobody hears it.
fn dead() -> Seen {
    let mut seen = cut_off();
    for node in &mut seen.nodes[1..] {
        let answer = node.answer.as_mut().expect("standbys have answered");
        answer.receiver = Receiver::None;
    }
    seen
}

fn change(mut seen: Seen, how: impl FnOnce(&mut Seen)) -> Seen {
    how(&mut seen);
    seen
}

fn unasked(seen: &mut Seen) {
    for node in &mut seen.nodes[1..] {
        node.answer = None;
    }
}

/// The primary is there, or it is lost in some way.
fn losses() -> Vec<(&'static str, Seen)> {
    vec![
        ("all is well", usual()),
        ("the primary is down, standbys hear it", cut_off()),
        (
            "it is down, standbys have not answered",
            change(cut_off(), unasked),
        ),
        (
            "it is down, standbys are away",
            change(cut_off(), |seen| {
                unasked(seen);
                seen.nodes[1].is_alive = Some(false);
                seen.nodes[2].is_alive = Some(false);
            }),
        ),
        ("it is dead", dead()),
        (
            "it is dead, the best standby too",
            change(dead(), |seen| {
                let best = &mut seen.nodes[1];
                (best.status, best.is_alive, best.answer) = (Status::Down, Some(false), None);
            }),
        ),
        (
            "it is dead, nobody may be promoted",
            change(dead(), |seen| {
                seen.nodes[1].priority = 0;
                seen.nodes[2].priority = 0;
            }),
        ),
        (
            "it is dead, more than allowed is missing",
            change(dead(), |seen| seen.written = 10_000),
        ),
        (
            "it is dead, a synchronous standby is away",
            change(dead(), |seen| {
                seen.synchronous_needed = 1;
                seen.nodes[2].is_synchronous = true;
                seen.nodes[2].answer = None;
                seen.nodes[2].is_alive = Some(false);
            }),
        ),
    ]
}

/// Somebody takes writes, or would.
fn successions() -> Vec<(&'static str, Seen)> {
    vec![
        (
            "it was fenced and runs",
            change(dead(), |seen| {
                let lost = &mut seen.nodes[0];
                (lost.status, lost.is_alive) = (Status::Quarantine, Some(true));
                lost.answer = Some(answer(false, 1, 100, Receiver::None));
            }),
        ),
        (
            "b is the primary",
            change(dead(), |seen| {
                (seen.primary, seen.last_primary, seen.timeline) = (Some(B), Some(B), 2);
                seen.nodes[1].answer = Some(answer(false, 2, 95, Receiver::None));
            }),
        ),
        (
            "b is it, and c follows",
            change(dead(), |seen| {
                (seen.primary, seen.last_primary, seen.timeline) = (Some(B), Some(B), 2);
                seen.nodes[1].answer = Some(answer(false, 2, 95, Receiver::None));
                let streaming = Receiver::Streaming {
                    silent_us: Some(0),
                    patience_us: None,
                };
                seen.nodes[2].answer = Some(answer(true, 2, 95, streaming));
            }),
        ),
        (
            "c is the primary",
            change(dead(), |seen| {
                (seen.primary, seen.last_primary, seen.timeline) = (Some(C), Some(C), 2);
                seen.nodes[2].answer = Some(answer(false, 2, 95, Receiver::None));
            }),
        ),
    ]
}

fn inputs() -> Vec<(&'static str, Input)> {
    let failed = || Outcome::Failed("no".to_owned());
    vec![
        ("it is fenced", Input::Ended(Step::Fence(A), Outcome::Done)),
        (
            "it cannot be fenced",
            Input::Ended(Step::Fence(A), failed()),
        ),
        (
            "b is promoted",
            Input::Ended(Step::Promote(B), Outcome::Done),
        ),
        ("b hears it", Input::Ended(Step::Promote(B), Outcome::Heard)),
        (
            "b cannot be promoted",
            Input::Ended(Step::Promote(B), failed()),
        ),
        (
            "c is told to follow",
            Input::Ended(Step::Follow(C, B), Outcome::Done),
        ),
        (
            "c cannot be told",
            Input::Ended(Step::Follow(C, B), failed()),
        ),
        ("resume", Input::Order(FailoverOrder::Resume)),
        ("accept loss", Input::Order(FailoverOrder::AcceptLoss)),
        ("abort", Input::Order(FailoverOrder::Abort)),
    ]
}

/// B is to take A's place.
const SWITCH: Switch = Switch {
    from: A,
    to: B,
    is_unsure: false,
};

/// Inputs while A is the primary.
fn switchover_inputs() -> Vec<(&'static str, Input)> {
    let not_done = || Outcome::NotDone("no".to_owned());
    let failed = || Outcome::Failed("no".to_owned());
    let drained = |outcome| Input::Ended(Step::Drain(A), outcome);
    let stopped = |outcome| Input::Ended(Step::StopWrites(A), outcome);
    let handed = |outcome| Input::Ended(Step::HandOver(SWITCH, 100), outcome);
    let allowed = |outcome| Input::Ended(Step::AllowWrites(SWITCH), outcome);
    vec![
        (
            "switch over to b",
            Input::Order(FailoverOrder::SwitchOver(B)),
        ),
        (
            "switch over to a",
            Input::Order(FailoverOrder::SwitchOver(A)),
        ),
        ("transactions have ended", drained(Outcome::Done)),
        ("a cannot be asked for them", drained(not_done())),
        ("a takes no writes", stopped(Outcome::Stopped(100))),
        ("a cannot be stopped", stopped(not_done())),
        ("a may be stopped", stopped(failed())),
        ("b is made the primary", handed(Outcome::Done)),
        ("b has not all", handed(not_done())),
        ("b may become the primary", handed(failed())),
        ("a takes writes again", allowed(Outcome::Done)),
        ("a cannot take writes", allowed(failed())),
        ("resume it", Input::Order(FailoverOrder::Resume)),
        ("abort it", Input::Order(FailoverOrder::Abort)),
    ]
}

fn phases() -> Vec<Phase> {
    let chosen = Chosen {
        node: B,
        received: 90,
        lost_bytes: 10,
    };
    vec![
        Phase::Steady,
        Phase::Suspecting { lost: A },
        Phase::Electing { lost: A },
        Phase::Draining { lost: A, chosen },
        Phase::Promoting { lost: A, chosen },
        Phase::Following {
            lost: A,
            chosen,
            rest: vec![C],
        },
        Phase::Done { lost: A, chosen },
        Phase::Halted {
            lost: A,
            reason: Reason::Failed("it was so".to_owned()),
        },
        Phase::Holding(SWITCH),
        Phase::Stopping(SWITCH),
        Phase::HandingOver(SWITCH, 100),
        Phase::Undoing(SWITCH),
    ]
}

/// A planner in that phase, whose step is under way.
fn planner(phase: &Phase) -> Planner {
    let rules = Failover {
        mode: FailoverMode::Sql,
        max_lost_bytes: Some(1000),
        ..Failover::default()
    };
    Planner::in_phase(rules, phase.clone(), BEGAN)
}

fn shown(act: &Act) -> Option<String> {
    Some(match act {
        Act::Say(..) | Act::Save => return None,
        Act::Unfence(node) => format!("unfence {}", node.0),
        Act::GiveUp(node, _) => format!("give up {}", node.0),
        Act::Succeed(before, after, _) => format!("{} succeeds {}", after.0, before.0),
        Act::Do(step) => format!("{step:?}").replace("NodeId", ""),
    })
}

#[test]
fn each_situation_in_each_phase() {
    let mut table = String::new();
    for phase in phases() {
        let mut line = |what: &str, seen: &Seen, input: Input| {
            let mut planner = planner(&phase);
            let acts = planner.on(input, seen, NOW);
            let acts: Vec<_> = acts.iter().filter_map(shown).collect();
            let (from, to) = (phase.name(), planner.phase().name());
            let same = acts.is_empty() && *planner.phase() == phase;
            let to = if same { "-" } else { to };
            writeln!(table, "{from:<10} {what:<42} {to:<10} {}", acts.join(", "))
                .expect("a String takes every text");
        };
        for (what, seen) in losses().into_iter().chain(successions()) {
            line(what, &seen, Input::Tick);
        }
        for (what, input) in inputs() {
            line(what, &change(cut_off(), unasked), input);
        }
        let rests = matches!(
            phase,
            Phase::Steady | Phase::Done { .. } | Phase::Halted { .. }
        );
        for (what, input) in switchover_inputs() {
            let is_order = matches!(input, Input::Order(FailoverOrder::SwitchOver(_)));
            if phase.switch().is_some() || rests && is_order {
                line(what, &usual(), input);
            }
        }
        table.push('\n');
    }
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/control"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("planner", lines.join("\n")));
}
