//! The cluster as the planner sees it: what is believed of each node, and what it has said itself. Pure.

use crate::{
    cluster::node::{Lsn, Status},
    ids::NodeId,
};

/// All nodes, as of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// In the order of the settings.
    pub(crate) nodes: Vec<SeenNode>,
    /// The node that takes writes.
    pub(crate) primary: Option<NodeId>,
    /// The last one that did.
    pub(crate) last_primary: Option<NodeId>,
    /// The newest timeline on which a primary was believed; 0 is unknown.
    pub(crate) timeline: u32,
    /// How far the last primary's log was written when it last said so; 0 is unknown.
    pub(crate) written: Lsn,
    /// How many of those whose word commits may have waited for must be asked; 0 where they waited for nobody.
    pub(crate) synchronous_needed: usize,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct SeenNode {
    pub(crate) name: String,
    pub(crate) status: Status,
    /// Whether the last probe went well.
    pub(crate) is_alive: Option<bool>,
    /// `failover_priority`: 0 is never promoted.
    pub(crate) priority: u32,
    /// Commits may have waited for its word.
    pub(crate) is_synchronous: bool,
    /// Its last answer, and when it was asked for that.
    pub(crate) answer: Option<SeenAnswer>,
}

/// Answer of a node, as far as it matters for who follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenAnswer {
    /// When it was asked, in microseconds since 1970.
    pub(crate) asked_us: u64,
    pub(crate) in_recovery: bool,
    pub(crate) timeline: u32,
    /// How far it has received and flushed, or replayed if that is further; of a primary how far it has written.
    pub(crate) received: Lsn,
    pub(crate) receiver: Receiver,
}

/// State of a standby's connection to whom it follows (`pg_stat_wal_receiver`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// There is none.
    #[default]
    None,
    /// It is there, and may be told something at any time.
    Streaming {
        /// How long ago it was last told something, in microseconds; `None` where the role that asks may not know.
        silent_us: Option<u64>,
        /// How long it may be told nothing while its sender lives, in microseconds; `None` is for ever.
        patience_us: Option<u64>,
    },
}

impl Receiver {
    /// True while its sender may live, as far as the standby can know. (A standby that hears nothing for half of
    /// `wal_receiver_timeout` asks its sender for a sign of life.)
    pub(crate) fn may_hear(self) -> bool {
        match self {
            Self::None => false,
            Self::Streaming {
                silent_us: Some(silent),
                patience_us: Some(patience),
            } => silent <= patience,
            Self::Streaming { .. } => true,
        }
    }
}

impl Seen {
    /// The primary that was, when it is down and nobody has taken its place.
    pub(crate) fn lost_primary(&self) -> Option<NodeId> {
        let last = self.last_primary.filter(|_| self.primary.is_none())?;
        (self.node(last).status == Status::Down).then_some(last)
    }

    pub(crate) fn node(&self, id: NodeId) -> &SeenNode {
        &self.nodes[usize::from(id.0)]
    }

    pub(crate) fn name(&self, id: NodeId) -> &str {
        &self.node(id).name
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|place| NodeId(place as u16))
    }

    /// Nodes that may be standbys of the one that is lost, usable ones.
    pub(crate) fn standbys(&self, lost: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.ids()
            .filter(move |id| *id != lost && self.node(*id).status.is_usable())
    }
}

impl SeenNode {
    /// Its answer, when it was asked for it since then.
    pub(crate) fn answer_since(&self, since_us: u64) -> Option<&SeenAnswer> {
        self.answer.as_ref().filter(|it| it.asked_us > since_us)
    }

    /// True when nobody can say that it is away.
    pub(crate) fn may_answer(&self) -> bool {
        self.is_alive != Some(false)
    }
}
