//! The election: who is the primary, who returns, who is fenced. Pure.

use std::cmp::Reverse;

use super::{
    ClusterState, Node,
    event::{Effect, Follower, NodeAnswer},
};
use crate::{cluster::node::Status, ids::NodeId};

impl ClusterState {
    /// Draws the conclusions.
    pub(super) fn settle(&mut self, now_us: u64) {
        for id in self.ids() {
            self.lift_fence(id, now_us);
            self.let_return(id, now_us);
        }
        let primary = self.find_primary(now_us);
        self.set_primary(primary, now_us);
    }

    /// A fenced node that has become a standby is no danger any more.
    fn lift_fence(&mut self, id: NodeId, now_us: u64) {
        let timeline = self.timeline;
        let node = self.node_mut(id);
        let follows = |it: &NodeAnswer| it.timeline == timeline && it.receiver.may_hear();
        let is_harmless = |it: &NodeAnswer| it.in_recovery && (!node.must_follow || follows(it));
        if !node.is_fenced || !node.answer.as_ref().is_some_and(is_harmless) {
            return;
        }
        (node.is_fenced, node.must_follow) = (false, false);
        if node.status == Status::Quarantine {
            self.set_status(id, Status::Waiting, "it is a standby again", now_us);
        }
    }

    /// A node that was down comes back when it is well: a standby when it follows and is near, another one at
    /// once, to claim what it claims.
    fn let_return(&mut self, id: NodeId, now_us: u64) {
        let (timeline, has_primary) = (self.timeline, self.primary.is_some());
        let node = self.node_mut(id);
        let Some(answer) = node.answer.as_ref() else {
            return;
        };
        if node.status != Status::Down || node.is_alive != Some(true) {
            return;
        }
        if node.is_fenced {
            let why = "it runs again, and still claims to be the primary";
            return self.set_status(id, Status::Quarantine, why, now_us);
        }
        let follows = !has_primary || (answer.timeline == timeline && answer.is_near);
        if !answer.in_recovery || follows {
            self.set_status(id, Status::Waiting, "it is well again", now_us);
        }
    }

    fn find_primary(&mut self, now_us: u64) -> Option<NodeId> {
        let claimants = self.credible_claimants(now_us);
        let newest = claimants.iter().map(|id| self.timeline_of(*id)).max()?;
        // Who is seen first must not win because it is seen first.
        let is_certain = self.primary.is_some() || (self.timeline > 0 && newest > self.timeline);
        if !is_certain && !self.is_surveyed() {
            return None;
        }
        let best = claimants.iter().copied().max_by_key(|id| {
            let was_it = self.last_primary == Some(*id);
            (
                self.timeline_of(*id),
                self.followers_of(*id),
                was_it,
                Reverse(id.0),
            )
        })?;
        for loser in claimants.into_iter().filter(|id| *id != best) {
            let why = self.why_fenced(loser, best);
            self.fence(loser, &why, now_us);
        }
        Some(best)
    }

    /// Nodes that claim to be the primary; of them, those that cannot be are fenced.
    fn credible_claimants(&mut self, now_us: u64) -> Vec<NodeId> {
        let claims = |id: &NodeId| {
            let node = self.node(*id);
            let answer = node.answer.as_ref();
            node.status.is_usable() && answer.is_some_and(|answer| !answer.in_recovery)
        };
        let mut claimants: Vec<_> = self.ids().filter(claims).collect();
        claimants.retain(|id| match self.why_incredible(*id) {
            None => true,
            Some(why) => {
                self.fence(*id, &why, now_us);
                false
            }
        });
        claimants
    }

    fn why_incredible(&self, id: NodeId) -> Option<String> {
        let node = self.node(id);
        if self.is_foreign(node) {
            return Some("it belongs to another cluster: its system identifier differs".to_owned());
        }
        let (timeline, newest) = (self.timeline_of(id), self.timeline);
        (timeline < newest).then(|| {
            format!(
                "it claims to be the primary on timeline {timeline}, but there was one on timeline {newest}"
            )
        })
    }

    fn why_fenced(&self, loser: NodeId, winner: NodeId) -> String {
        let (ours, theirs) = (self.timeline_of(loser), self.timeline_of(winner));
        let name = &self.node(winner).name;
        if ours < theirs {
            return format!(
                "it claims to be the primary on timeline {ours}, but {name} is it on timeline {theirs}"
            );
        }
        let (ours, theirs) = (self.followers_of(loser), self.followers_of(winner));
        match ours < theirs {
            true => format!(
                "it claims to be the primary, as {name} does, which more standbys follow ({theirs}, not {ours})"
            ),
            false => {
                let why = match self.last_primary == Some(winner) {
                    true => "which was it before",
                    false => "which comes before it in the configuration",
                };
                format!("it claims to be the primary, as {name} does, {why}")
            }
        }
    }

    pub(super) fn fence(&mut self, id: NodeId, why: &str, now_us: u64) {
        self.node_mut(id).is_fenced = true;
        self.set_status(id, Status::Quarantine, why, now_us);
    }

    /// The planner believes it again.
    pub(super) fn unfence(&mut self, id: NodeId, now_us: u64) {
        self.node_mut(id).is_fenced = false;
        if self.node(id).status == Status::Quarantine {
            self.set_status(id, Status::Waiting, "it was not replaced", now_us);
        }
        self.settle(now_us);
    }

    fn set_primary(&mut self, primary: Option<NodeId>, now_us: u64) {
        if let Some(id) = primary {
            let newest = self.timeline_of(id);
            if newest > self.timeline {
                self.timeline = newest;
                self.effects.push(Effect::Save);
            }
            if self.system == 0 {
                self.system = self.node(id).facts.system;
            }
        }
        if primary == self.primary {
            return;
        }
        for id in self.primary.into_iter().chain(primary) {
            self.node_mut(id).since_us = now_us;
        }
        self.primary = primary;
        match primary {
            None => self.say(true, "there is no primary: writes wait".to_owned()),
            Some(id) => self.greet_primary(id),
        }
    }

    fn greet_primary(&mut self, id: NodeId) {
        self.last_primary = Some(id);
        let (name, timeline) = (&self.node(id).name, self.timeline_of(id));
        let text = format!("node {name} is the primary, on timeline {timeline}");
        self.say(false, text);
    }

    pub(super) fn timeline_of(&self, id: NodeId) -> u32 {
        let answer = self.node(id).answer.as_ref();
        answer.map_or(0, |answer| answer.timeline)
    }

    pub(super) fn is_foreign(&self, node: &Node) -> bool {
        let (ours, theirs) = (self.system, node.facts.system);
        ours != 0 && theirs != 0 && ours != theirs
    }

    /// How many of our usable nodes stream from this one.
    fn followers_of(&self, id: NodeId) -> usize {
        let streams = |other: &NodeId| *other != id && self.row_of(*other, id).is_some();
        let usable = |other: &NodeId| self.node(*other).status.is_usable();
        self.ids().filter(usable).filter(streams).count()
    }

    /// The row by which `upstream` knows `standby`: by the name in the configuration, by the node's name, by what
    /// the standby says of itself. When several have the same name, the rows must agree.
    pub(super) fn row_of(&self, standby: NodeId, upstream: NodeId) -> Option<&Follower> {
        let node = self.node(standby);
        let in_recovery = node.answer.as_ref().is_some_and(|it| it.in_recovery);
        if standby == upstream || !in_recovery {
            return None;
        }
        let rows = &self.node(upstream).facts.followers;
        node.names()
            .map(|name| rows.iter().filter(move |row| row.application_name == *name))
            .find_map(|mut rows| {
                let first = rows.next()?;
                rows.all(|row| row == first).then_some(first)
            })
    }
}
