//! The election of the standby that replaces a lost primary. Pure.
//!
//! The one that has received most of the log wins, because whoever has more than the new primary cannot follow it; among
//! those that are equal a synchronous standby, then the higher `failover_priority`, then the first of the file.

use std::cmp::Reverse;

use super::{opinions::Opinions, phase::Chosen, seen::Seen};
use crate::ids::NodeId;

/// Outcome of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Election {
    /// Somebody hears the lost primary after all.
    Heard,
    /// This one has not said how far it is.
    Waits(NodeId),
    /// Nobody can be promoted; in words.
    Nobody(String),
    /// This one, and every commit that a synchronous standby has acknowledged is there.
    Safe(Chosen),
    /// This one, and commits that were acknowledged may be elsewhere; in words.
    Risky(Chosen, String),
}

/// The successor of `lost`, by what the nodes have answered since then. `tried`: those who were to and did not.
pub(crate) fn elect(lost: NodeId, since_us: u64, tried: &[NodeId], seen: &Seen) -> Election {
    let opinions = Opinions::since(since_us, lost, seen);
    if opinions.hears.is_some() {
        return Election::Heard;
    }
    if let Some(asked) = opinions.asked {
        return Election::Waits(asked);
    }
    let mut candidates = Vec::new();
    let mut objections = Vec::new();
    for id in seen.standbys(lost) {
        let node = seen.node(id);
        let Some(answer) = node.answer_since(since_us) else {
            objections.push(format!("{} does not answer", node.name));
            continue;
        };
        let objection = if node.priority == 0 {
            "has failover_priority 0"
        } else if tried.contains(&id) {
            "was to be promoted, and was not"
        } else if !answer.in_recovery {
            "is no standby"
        } else if answer.timeline != seen.timeline {
            "is on another timeline than the primary was"
        } else {
            candidates.push((id, answer.received));
            continue;
        };
        objections.push(format!("{} {objection}", node.name));
    }
    let best = candidates.iter().max_by_key(|(id, received)| {
        let node = seen.node(*id);
        (*received, node.is_synchronous, node.priority, Reverse(id.0))
    });
    let Some((node, received)) = best.copied() else {
        return Election::Nobody(match objections.is_empty() {
            true => "no standby is used".to_owned(),
            false => objections.join(", "),
        });
    };
    let chosen = Chosen {
        node,
        received,
        lost_bytes: seen.written.saturating_sub(received),
    };
    match missing_member(&chosen, since_us, seen) {
        None => Election::Safe(chosen),
        Some(why) => Election::Risky(chosen, why),
    }
}

/// Whom a commit may be at that was acknowledged and that the chosen one has not; in words.
fn missing_member(chosen: &Chosen, since_us: u64, seen: &Seen) -> Option<String> {
    let is_covered = |id: &NodeId| {
        let answer = seen.node(*id).answer_since(since_us);
        answer.is_some_and(|it| it.in_recovery && it.received <= chosen.received)
    };
    let members = || seen.ids().filter(|id| seen.node(*id).is_synchronous);
    let (covered, needed) = (
        members().filter(is_covered).count(),
        seen.synchronous_needed,
    );
    let missing = members().find(|id| !is_covered(id));
    (covered < needed).then(|| {
        let missing = missing.map_or("a synchronous standby that pgring does not know", |id| {
            seen.name(id)
        });
        format!(
            "{missing} may have acknowledged some that {} does not have",
            seen.name(chosen.node)
        )
    })
}
