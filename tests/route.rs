//! Which node takes a read: each strategy, preference and hint, and what a node may have against it.

#![allow(
    clippy::unwrap_used,
    reason = "a broken test bench shall fail the test"
)]

mod support;

use pgring::{
    cluster::{
        node::{NodeState, Role, Status},
        snapshot::Snapshot,
    },
    ids::NodeId,
    random::Seeded,
    sql::hint::Hint,
    worker::route::{Objection, Wish, objection, place_read},
};
use support::snapshot::{P, nodes};

const S1: NodeId = NodeId(1);
const S2: NodeId = NodeId(2);

/// A wish without wishes.
fn anything() -> Wish<'static> {
    Wish {
        after: 0,
        hint: None,
        preference: None,
        favourite: None,
        avoid: 0,
        random: 0,
    }
}

/// How often each node is chosen in so many draws.
fn draws(snapshot: &Snapshot, wish: Wish<'_>, count: u32) -> [u32; 3] {
    let mut random = Seeded::new(7);
    let mut chosen = [0; 3];
    for _ in 0..count {
        let wish = Wish {
            random: random.next_u64(),
            ..wish
        };
        let node = place_read(snapshot, &wish).expect("there is a primary");
        chosen[usize::from(node.0)] += 1;
    }
    chosen
}

fn assert_near(chosen: [u32; 3], expected: [f64; 3]) {
    let total: u32 = chosen.iter().sum();
    for (count, share) in chosen.iter().zip(expected) {
        let mean = f64::from(total) * share;
        // Five standard deviations of a binomial distribution.
        let bound = 5.0 * (f64::from(total) * share * (1.0 - share)).sqrt() + 0.5;
        assert!(
            (f64::from(*count) - mean).abs() <= bound,
            "{chosen:?} instead of {expected:?}"
        );
    }
}

fn states(change: impl FnOnce(&mut Vec<NodeState>), weights: [u32; 3], routing: &str) -> Snapshot {
    let mut snapshot = nodes(weights, routing);
    change(&mut snapshot.nodes);
    snapshot
}

#[test]
fn reads_are_spread_by_weight() {
    let even = nodes([1, 1, 1], "");
    assert_near(draws(&even, anything(), 30_000), [1.0 / 3.0; 3]);
    let uneven = nodes([0, 1, 3], "");
    assert_near(draws(&uneven, anything(), 30_000), [0.0, 0.25, 0.75]);
    // Pgpool-II: when nothing can be drawn, the main node.
    let nothing = nodes([0, 0, 0], "");
    assert_eq!(draws(&nothing, anything(), 100), [100, 0, 0]);
}

#[test]
fn a_standby_takes_no_read_that_it_may_get_wrong() {
    type Change = fn(&mut NodeState);
    let cases: [(Change, Objection); 5] = [
        (
            |it| it.status = Status::Down,
            Objection::Unused(Status::Down),
        ),
        (
            |it| it.status = Status::Quarantine,
            Objection::Unused(Status::Quarantine),
        ),
        (|it| it.takes_reads = false, Objection::NotFollowing),
        (|it| _ = it.live.suspect(), Objection::Suspect),
        (
            |it| it.live.set_position(99, 1, 1),
            Objection::Behind {
                after: 100,
                replayed: 99,
            },
        ),
    ];
    for (change, expected) in cases {
        let snapshot = states(|nodes| change(&mut nodes[1]), [0, 1, 1], "");
        assert_eq!(objection(&snapshot, S1, 100), Some(expected));
        let wish = Wish {
            after: 100,
            ..anything()
        };
        assert_eq!(draws(&snapshot, wish, 200), [0, 0, 200], "{expected}");
    }
}

#[test]
fn what_no_standby_has_replayed_is_read_at_the_primary() {
    let snapshot = nodes([0, 1, 1], "");
    let wish = Wish {
        after: 101,
        ..anything()
    };
    assert_eq!(draws(&snapshot, wish, 100), [100, 0, 0]);
}

#[test]
fn without_a_primary_reads_go_on_and_only_where_nothing_is_missed() {
    let lose = |nodes: &mut Vec<NodeState>| nodes[0].status = Status::Down;
    let mut snapshot = states(lose, [1, 0, 1], "");
    snapshot.primary = None;
    assert_eq!(draws(&snapshot, anything(), 100), [0, 0, 100]);
    // One that only lacks weight is better than none.
    snapshot.nodes[2].status = Status::Down;
    assert_eq!(place_read(&snapshot, &anything()), Some(S1));
    let later = Wish {
        after: 101,
        ..anything()
    };
    assert_eq!(place_read(&snapshot, &later), None);
}

#[test]
fn laggards_are_treated_as_configured() {
    let lag = |nodes: &mut Vec<NodeState>| nodes[1].live.set_position(100, 5000, 3_000_000);
    let chosen = |routing: &str| draws(&states(lag, [0, 1, 1], routing), anything(), 20_000);
    assert_near(chosen(""), [0.0, 0.5, 0.5]);
    assert_near(chosen("max_lag_bytes = \"8KiB\""), [0.0, 0.5, 0.5]);
    assert_near(chosen("max_lag_bytes = \"1KiB\""), [0.0, 0.0, 1.0]);
    assert_near(chosen("max_lag = \"2s\""), [0.0, 0.0, 1.0]);
    assert_near(
        chosen("max_lag = \"2s\"\nlaggards = \"primary\""),
        [0.5, 0.0, 0.5],
    );
    assert_near(
        chosen("max_lag = \"2s\"\nlaggards = \"least_delayed\""),
        [0.0, 0.0, 1.0],
    );
}

#[test]
fn both_lag_limits_hold_each_in_its_own_unit() {
    // Pgpool-II compares the bytes with microseconds when both are set.
    let lag = |nodes: &mut Vec<NodeState>| nodes[1].live.set_position(100, 10, 3_000_000);
    let snapshot = states(lag, [0, 1, 1], "max_lag_bytes = \"1KiB\"\nmax_lag = \"1h\"");
    assert_eq!(objection(&snapshot, S1, 0), None);
}

/// Pgpool-II, 2.2: milliseconds became microseconds in 32 bits, so that limits above 71 minutes were other ones.
#[test]
fn gap_a_limit_of_hours_is_one() {
    let after = |minutes: u64| {
        let lag = |nodes: &mut Vec<NodeState>| {
            nodes[1].live.set_position(100, 0, minutes * 60_000_000);
        };
        objection(&states(lag, [0, 1, 1], "max_lag = \"2h\""), S1, 0)
    };
    assert_eq!(after(119), None);
    let lagging = Objection::Lagging(0, 121 * 60_000_000);
    assert_eq!(after(121), Some(lagging));
    // 32 bits of microseconds are over after 71.6 minutes.
    assert_eq!(after(72), None);
    assert!(after(200).is_some());
}

/// A comment that names a node which there is not, or in other letters, asks for nothing.
#[test]
fn a_hint_that_names_nobody_is_ignored() {
    let snapshot = nodes([0, 1, 1], "");
    for name in [&b"S1"[..], b"STANDBY", b"9", b""] {
        let wish = Wish {
            hint: Some(Hint::Node(name)),
            ..anything()
        };
        assert_near(draws(&snapshot, wish, 10_000), [0.0, 0.5, 0.5]);
    }
}

#[test]
fn the_least_busy_node_for_its_weight_is_chosen() {
    let busy = |nodes: &mut Vec<NodeState>| {
        (0..4).for_each(|_| nodes[1].live.count(true));
        (0..5).for_each(|_| nodes[2].live.count(true));
    };
    let snapshot = states(busy, [0, 1, 1], "strategy = \"least_connections\"");
    assert_eq!(draws(&snapshot, anything(), 50), [0, 50, 0]);
    let snapshot = states(busy, [0, 1, 2], "strategy = \"least_connections\"");
    assert_eq!(draws(&snapshot, anything(), 50), [0, 0, 50]);
}

#[test]
fn the_quickest_node_is_chosen_and_one_that_nobody_knows_is_last() {
    let measure = |nodes: &mut Vec<NodeState>| {
        nodes[0].live.set_latency(900);
        nodes[2].live.set_latency(300);
    };
    let snapshot = states(measure, [1, 1, 1], "strategy = \"lowest_latency\"");
    assert_eq!(draws(&snapshot, anything(), 50), [0, 0, 50]);
}

#[test]
fn preferences_have_shares() {
    let preferring = |node: &str, share: &str| {
        let text = format!("[[preference]]\nnode = \"{node}\"\nshare = {share}");
        let snapshot = nodes([1, 1, 1], &format!("[x]{text}"));
        let preference = snapshot.settings.routing.preferences[0].clone();
        let wish = Wish {
            preference: Some(&preference),
            ..anything()
        };
        draws(&snapshot, wish, 20_000)
    };
    assert_near(preferring("s1", "1.0"), [0.0, 1.0, 0.0]);
    assert_near(preferring("s1", "0.5"), [0.25, 0.5, 0.25]);
    assert_near(preferring("s1", "0.0"), [0.5, 0.0, 0.5]);
    assert_near(preferring("primary", "1.0"), [1.0, 0.0, 0.0]);
    assert_near(preferring("standby", "1.0"), [0.0, 0.5, 0.5]);
    // Pgpool-II: `standby(0.0)` is always the primary.
    assert_near(preferring("standby", "0.0"), [1.0, 0.0, 0.0]);
}

#[test]
fn a_preferred_node_that_cannot_is_ignored() {
    let mut snapshot = nodes([1, 1, 1], "[x][[preference]]\nnode = \"s1\"");
    snapshot.nodes[1].status = Status::Down;
    let preference = snapshot.settings.routing.preferences[0].clone();
    let wish = Wish {
        preference: Some(&preference),
        ..anything()
    };
    assert_near(draws(&snapshot, wish, 20_000), [0.5, 0.0, 0.5]);
}

#[test]
fn a_hint_is_stronger_than_a_preference_and_weaker_than_safety() {
    let snapshot = nodes([1, 1, 1], "");
    let hinted = |hint, after| {
        let wish = Wish {
            hint: Some(hint),
            after,
            favourite: Some(S2),
            ..anything()
        };
        draws(&snapshot, wish, 50)
    };
    assert_eq!(hinted(Hint::Node(b"s1"), 0), [0, 50, 0]);
    assert_eq!(hinted(Hint::Primary, 0), [50, 0, 0]);
    assert_eq!(hinted(Hint::Node(b"s1"), 101), [50, 0, 0]);
    assert_near(hinted(Hint::Standby, 0), [0.0, 0.5, 0.5]);
}

#[test]
fn a_favourite_stays_while_it_can() {
    let wish = Wish {
        favourite: Some(S2),
        ..anything()
    };
    let mut snapshot = nodes([1, 1, 1], "");
    assert_eq!(draws(&snapshot, wish, 50), [0, 0, 50]);
    snapshot.nodes[2].takes_reads = false;
    assert_near(draws(&snapshot, wish, 10_000), [0.5, 0.5, 0.0]);
}

/// Whatever the states, a read goes nowhere where it may be wrong.
#[test]
fn no_state_of_the_cluster_sends_a_read_where_it_may_be_wrong() {
    let mut random = Seeded::new(20_261_121);
    for _ in 0..20_000 {
        let weights = [0, 0, 0].map(|_: u32| random.below(3) as u32);
        let mut snapshot = nodes(weights, "max_lag_bytes = \"1KiB\"");
        for (place, node) in snapshot.nodes.iter_mut().enumerate() {
            const STATES: [Status; 4] = [
                Status::Waiting,
                Status::Up,
                Status::Down,
                Status::Quarantine,
            ];
            node.status = STATES[random.below(4) as usize];
            node.takes_reads = place > 0 && random.below(3) > 0;
            if random.below(4) == 0 {
                node.live.suspect();
            }
            node.live
                .set_position(random.below(4), random.below(2000), 0);
        }
        if !snapshot.nodes[0].status.is_usable() {
            snapshot.primary = None;
        }
        let after = random.below(4);
        let wish = Wish {
            after,
            favourite: Some(NodeId(random.below(3) as u16)),
            random: random.next_u64(),
            ..anything()
        };
        let Some(node) = place_read(&snapshot, &wish) else {
            continue;
        };
        let state = &snapshot.nodes[usize::from(node.0)];
        assert!(state.status.is_usable());
        if node != P {
            assert_eq!(state.role, Role::Standby);
            assert!(state.takes_reads && !state.live.is_suspect() && state.live.lsn() >= after);
        }
    }
}
