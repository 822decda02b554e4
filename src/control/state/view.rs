//! Views of the nodes for workers, and for the status file. Pure.

use super::{ClusterState, Node, Remembered, event::Follower};
use crate::{
    cluster::{
        failover_state::FailoverState,
        node::{Role, Status},
    },
    control::failover::{
        seen::{Seen, SeenAnswer, SeenNode},
        synchronous::Synchronous,
    },
    ids::NodeId,
};

/// View of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) role: Role,
    pub(crate) status: Status,
    pub(crate) since_us: u64,
    pub(crate) reason: String,
    pub(crate) timeline: u32,
    pub(crate) takes_reads: bool,
    /// Nothing may go on there.
    pub(crate) is_cut: bool,
    pub(crate) replication_state: String,
    pub(crate) sync_state: String,
    /// Whether the last probe went well.
    pub(crate) is_alive: Option<bool>,
    /// Role that it claims.
    pub(crate) claims: Option<Role>,
}

impl ClusterState {
    /// The cluster as the planner sees it.
    pub(super) fn seen(&self) -> Seen {
        let synchronous = self.synchronous_standbys();
        let is_synchronous = |node: &Node| {
            let has = |it: &Synchronous| node.names().any(|name| it.has(name));
            synchronous.as_ref().is_some_and(has)
        };
        let node = |node: &Node| SeenNode {
            name: node.name.clone(),
            status: node.status,
            is_alive: node.is_alive,
            priority: node.priority,
            is_synchronous: is_synchronous(node),
            answer: node.answer.as_ref().map(|answer| SeenAnswer {
                asked_us: answer.asked_us,
                in_recovery: answer.in_recovery,
                timeline: answer.timeline,
                received: answer.received.max(answer.lsn),
                receiver: answer.receiver,
            }),
        };
        Seen {
            nodes: self.nodes.iter().map(node).collect(),
            primary: self.primary,
            last_primary: self.last_primary,
            timeline: self.timeline,
            written: self.written,
            synchronous_needed: synchronous
                .as_ref()
                .map_or(0, |it| it.needed(self.nodes.len() - 1)),
        }
    }

    /// Standbys whose word the commits of the last primary may have waited for.
    fn synchronous_standbys(&self) -> Option<Synchronous> {
        let read = Synchronous::read(&self.synchronous)?;
        let primary = self.last_primary.map(|id| self.node(id));
        Some(read.without(primary.into_iter().flat_map(Node::names)))
    }

    /// Where a failover stands.
    pub(crate) fn failover_state(&self) -> FailoverState {
        let planner = &self.planner;
        let chosen = planner.phase().chosen();
        FailoverState {
            phase: planner.phase().name(),
            since_us: planner.since_us(),
            lost: planner.phase().lost(),
            chosen: chosen.map(|chosen| chosen.node),
            lost_bytes: chosen.map_or(0, |chosen| chosen.lost_bytes),
            why: planner.why().to_owned(),
        }
    }

    /// All nodes, in their order.
    pub(crate) fn views(&self) -> Vec<View> {
        self.ids().map(|id| self.view(id)).collect()
    }

    fn view(&self, id: NodeId) -> View {
        let node = self.node(id);
        let row = self.primary.and_then(|primary| self.row_of(id, primary));
        let column =
            |of: fn(&Follower) -> &String| row.map_or(String::new(), |row| of(row).clone());
        let claims = node.answer.as_ref().map(|answer| match answer.in_recovery {
            true => Role::Standby,
            false => Role::Primary,
        });
        View {
            role: match self.primary == Some(id) {
                true => Role::Primary,
                false => Role::Standby,
            },
            status: node.status,
            since_us: node.since_us,
            reason: node.reason.clone(),
            timeline: self.timeline_of(id),
            takes_reads: self.takes_reads(id),
            is_cut: node.status == Status::Unused && !node.lets_end,
            replication_state: column(|row| &row.state),
            sync_state: column(|row| &row.sync_state),
            is_alive: node.is_alive,
            claims,
        }
    }

    /// Only a standby that follows the timeline of the last primary, as far as anybody can tell.
    fn takes_reads(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let Some(answer) = node.answer.as_ref() else {
            return false;
        };
        let newest = self.newest_timeline();
        let follows = answer.timeline == newest && newest != 0 && !answer.is_ahead;
        let is_ours = !self.is_foreign(node) && !self.follows_fenced(id);
        node.status.is_usable() && answer.in_recovery && follows && is_ours
    }

    /// The timeline of the last primary; where none was ever seen, and all nodes have had their chance, the newest one that
    /// a standby is on.
    fn newest_timeline(&self) -> u32 {
        if self.timeline != 0 || !self.is_surveyed() {
            return self.timeline;
        }
        let usable = self.nodes.iter().filter(|node| node.status.is_usable());
        let answers = usable.filter_map(|node| node.answer.as_ref());
        let standbys = answers.filter(|answer| answer.in_recovery);
        standbys.map(|answer| answer.timeline).max().unwrap_or(0)
    }

    /// True when it streams from a node that is fenced, and not from the primary.
    fn follows_fenced(&self, id: NodeId) -> bool {
        let fenced = |other: &NodeId| self.node(*other).is_fenced;
        let mut fenced = self.ids().filter(fenced);
        let streams = |upstream: NodeId| self.row_of(id, upstream).is_some();
        !self.primary.is_some_and(streams) && fenced.any(streams)
    }

    /// State of each node that outlasts a restart, by its name.
    pub(crate) fn to_remember(&self) -> Vec<(String, Remembered)> {
        let remembered = |id: NodeId| {
            let node = self.node(id);
            let status = match node.status {
                // A fence must not be forgotten because its node was down at the end.
                Status::Down if node.is_fenced => Status::Quarantine,
                status => status,
            };
            let since_us = node.since_us;
            (node.name.clone(), Remembered { status, since_us })
        };
        self.ids().map(remembered).collect()
    }
}
