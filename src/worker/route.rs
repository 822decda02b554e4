//! Which node takes a request. Pure: the snapshot and what the request needs go in, a node comes out.
//!
//! A request that is not a proven read goes to the primary. A read goes to a node that has replayed what it must not
//! miss, drawn as `[routing]` says; when there is none, to the primary.

use crate::{
    cluster::{
        node::{Lsn, NodeState, Role, Status},
        settings::{Laggards, Preference, Preferred, Routing, Strategy},
        snapshot::Snapshot,
    },
    ids::NodeId,
    protocol::{ErrorReport, SqlState},
    sql::hint::Hint,
};

/// Demands of a read on its node.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Position in the log that its node must have replayed.
    pub after: Lsn,
    /// Where a comment in it wants it to go.
    pub hint: Option<Hint<'a>>,
    /// Where its client's reads are to go.
    pub preference: Option<&'a Preference>,
    /// Where they have gone so far, when they are to stay together.
    pub favourite: Option<NodeId>,
    /// Nodes that could not take it just now, a bit each.
    pub avoid: u64,
    /// A random number.
    pub random: u64,
}

impl Wish<'_> {
    /// True for a node that could not take it just now. (There are at most 64 nodes.)
    fn avoids(&self, node: NodeId) -> bool {
        self.avoid >> (node.0 % 64) & 1 == 1
    }
}

/// Why a node does not take a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It is not used.
    Unused(Status),
    /// A primary whose place another node is to take.
    Leaving,
    /// A standby that is not known to follow the primary.
    NotFollowing,
    /// A worker could not use it.
    Suspect,
    /// It has not replayed so far.
    Behind {
        /// Position in the log that it must have replayed.
        after: Lsn,
        /// Position that it has replayed.
        replayed: Lsn,
    },
    /// It lags by so many bytes, or so many microseconds.
    Lagging(u64, u64),
    /// Its weight is zero.
    Weightless,
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unused(status) => write!(f, "it is {}", status.name()),
            Self::Leaving => f.write_str("another node is to take its place"),
            Self::NotFollowing => f.write_str("it is not known to follow the primary"),
            Self::Suspect => f.write_str("a connection to it failed just now"),
            Self::Behind { after, replayed } => write!(
                f,
                "it has replayed up to {}, and this must not miss {}",
                written(*replayed),
                written(*after)
            ),
            Self::Lagging(bytes, us) => {
                write!(f, "it lags by {bytes} bytes and {} ms", us / 1000)
            }
            Self::Weightless => f.write_str("its weight is 0"),
        }
    }
}

/// A position as PostgreSQL writes it.
pub fn written(lsn: Lsn) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// The node of a proven read; `None` while no node can take it.
#[inline]
pub fn place_read(snapshot: &Snapshot, wish: &Wish<'_>) -> Option<NodeId> {
    let stays = |node: &NodeId| {
        wish.hint.is_none()
            && !wish.avoids(*node)
            && objection(snapshot, *node, wish.after).is_none()
    };
    let favourite = wish.favourite.filter(stays);
    favourite
        .or_else(|| preferred(snapshot, wish))
        .or_else(|| draw(snapshot, wish, |_| true))
        .or_else(|| last_resort(snapshot, wish))
}

/// The node that a comment or a preference asks for, if it can take the read.
#[inline]
fn preferred(snapshot: &Snapshot, wish: &Wish<'_>) -> Option<NodeId> {
    if let Some(hint) = wish.hint
        && let Some(node) = draw(snapshot, wish, |node| is_hinted(snapshot, node, hint))
    {
        return Some(node);
    }
    by_preference(snapshot, wish, wish.preference?)
}

fn is_hinted(snapshot: &Snapshot, node: NodeId, hint: Hint<'_>) -> bool {
    match hint {
        Hint::Primary => Some(node) == snapshot.primary,
        Hint::Standby => Some(node) != snapshot.primary,
        Hint::Node(name) => snapshot.node(node).name.as_bytes() == name,
    }
}

/// With the probability of its share the nodes it names; else the others, and instead of a standby the primary.
fn by_preference(snapshot: &Snapshot, wish: &Wish<'_>, preference: &Preference) -> Option<NodeId> {
    const WHOLE: u64 = 1000;
    // The low bits draw the node.
    let is_hit = (wish.random >> 32) % WHOLE < u64::from(preference.share);
    let is_meant = |node: NodeId| match &preference.node {
        Preferred::Primary => Some(node) == snapshot.primary,
        Preferred::Standby => Some(node) != snapshot.primary,
        Preferred::Named(name) => snapshot.node(node).name == *name,
    };
    if !is_hit && preference.node == Preferred::Standby {
        return snapshot.primary;
    }
    draw(snapshot, wish, |node| is_meant(node) == is_hit)
}

/// One of the nodes that can take the read and that `may` names.
#[inline]
fn draw(snapshot: &Snapshot, wish: &Wish<'_>, may: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    let routing = &snapshot.settings.routing;
    let candidates = || {
        snapshot.ids().filter(|node| {
            may(*node)
                && !wish.avoids(*node)
                && match objection(snapshot, *node, wish.after) {
                    None => true,
                    Some(Objection::Lagging(..)) => routing.laggards != Laggards::Others,
                    Some(_) => false,
                }
        })
    };
    let drawn = match routing.strategy {
        Strategy::Weighted => weighted(snapshot, candidates, wish.random),
        Strategy::LeastConnections => least(candidates(), wish.random, |node| {
            let state = snapshot.state(node);
            let busy = state.map_or(0, |state| u64::from(state.live.busy()));
            // By weight; and so that none under way is less than one.
            (busy + 1) * 1_000_000 / u64::from(snapshot.node(node).weight.max(1))
        }),
        Strategy::LowestLatency => least(candidates(), wish.random, |node| {
            let latency = snapshot
                .state(node)
                .map_or(0, |state| state.live.latency_us());
            if latency == 0 { u64::MAX } else { latency }
        }),
    }?;
    instead_of_laggard(snapshot, wish, drawn)
}

#[inline]
fn weighted<I: Iterator<Item = NodeId>>(
    snapshot: &Snapshot,
    candidates: impl Fn() -> I,
    random: u64,
) -> Option<NodeId> {
    let weight = |node: NodeId| u64::from(snapshot.node(node).weight);
    let total: u64 = candidates().map(weight).sum();
    let mut point = (u64::from(random as u32) * total) >> 32;
    candidates().find(|node| {
        let weight = weight(*node);
        let is_here = point < weight;
        point = point.wrapping_sub(weight);
        is_here
    })
}

/// The candidate with the least cost; among equals, by chance.
fn least(
    candidates: impl Iterator<Item = NodeId>,
    random: u64,
    cost: impl Fn(NodeId) -> u64,
) -> Option<NodeId> {
    let chance = |node: NodeId| {
        random
            .rotate_left(u32::from(node.0) * 7 % 64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    candidates.min_by_key(|node| (cost(*node), chance(*node)))
}

/// Node that takes a read which was drawn for a laggard, by `[routing] laggards`; the drawn one when it is none.
fn instead_of_laggard(snapshot: &Snapshot, wish: &Wish<'_>, drawn: NodeId) -> Option<NodeId> {
    if !matches!(
        objection(snapshot, drawn, wish.after),
        Some(Objection::Lagging(..))
    ) {
        return Some(drawn);
    }
    match snapshot.settings.routing.laggards {
        Laggards::Others => None,
        Laggards::Primary => snapshot.primary,
        Laggards::LeastDelayed => {
            let fit = snapshot
                .standbys()
                .filter(|node| objection(snapshot, *node, wish.after).is_none());
            let delay = |node: &NodeId| snapshot.state(*node).map(|it| it.live.lag_bytes());
            fit.min_by_key(delay).or(snapshot.primary)
        }
    }
}

/// When nothing could be drawn: the primary, or a standby that only lacks weight.
#[cold]
fn last_resort(snapshot: &Snapshot, wish: &Wish<'_>) -> Option<NodeId> {
    let is_usable = |node: &NodeId| {
        snapshot
            .state(*node)
            .is_some_and(|it| it.status.is_usable())
    };
    let primary = snapshot.primary.filter(is_usable);
    primary.or_else(|| {
        let mut standbys = snapshot.standbys();
        standbys.find(|node| {
            let objection = objection(snapshot, *node, wish.after);
            !wish.avoids(*node) && matches!(objection, None | Some(Objection::Weightless))
        })
    })
}

/// Why this node does not take a read that must not miss `after`; `None` when it does.
#[inline]
pub fn objection(snapshot: &Snapshot, node: NodeId, after: Lsn) -> Option<Objection> {
    let state = snapshot.state(node)?;
    if !state.status.is_usable() {
        return Some(Objection::Unused(state.status));
    }
    if state.live.is_suspect() {
        return Some(Objection::Suspect);
    }
    let objection = match state.role {
        Role::Primary if snapshot.is_leaving(node) => Some(Objection::Leaving),
        Role::Primary => None,
        Role::Standby => objection_to_standby(state, &snapshot.settings.routing, after),
    };
    // Last, because it is the only one that a read without any other node may pass over.
    let is_weightless = || snapshot.node(node).weight == 0;
    objection.or_else(|| is_weightless().then_some(Objection::Weightless))
}

#[inline]
fn objection_to_standby(state: &NodeState, routing: &Routing, after: Lsn) -> Option<Objection> {
    if !state.takes_reads {
        return Some(Objection::NotFollowing);
    }
    let replayed = state.live.lsn();
    if replayed < after || replayed == 0 {
        return Some(Objection::Behind { after, replayed });
    }
    if routing.max_lag_bytes.is_none() && routing.max_lag.is_none() {
        return None;
    }
    let (bytes, us) = (state.live.lag_bytes(), state.live.lag_us());
    let is_over = routing.max_lag_bytes.is_some_and(|max| bytes > max)
        || routing
            .max_lag
            .is_some_and(|max| u128::from(us) > max.as_micros());
    is_over.then_some(Objection::Lagging(bytes, us))
}

/// Error (57P03) for a statement that no node can take.
pub fn no_node() -> ErrorReport {
    ErrorReport::error(
        SqlState::CANNOT_CONNECT_NOW,
        "no node can take this statement",
    )
    .with_detail("There is no primary, and no standby that may answer it.")
    .with_hint("SHOW POOL_NODES tells the state of each node. Statements wait for [failover] hold.")
}
