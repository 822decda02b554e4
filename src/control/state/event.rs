//! Events of the nodes, and the effects of events. Pure.

use crate::{
    cluster::{failover_state::FailoverOrder, node::Lsn},
    control::failover::{phase::Step, plan, seen::Receiver},
    ids::NodeId,
};

/// Something that has happened to a node.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A probe has ended.
    Probed(NodeId, Outcome),
    /// A node has answered what it is.
    Answered(NodeId, NodeAnswer),
    /// It has not, though it was asked.
    Silent(NodeId, String),
    /// A client's connection was made to it.
    Connected(NodeId),
    /// The operator wants it to be used.
    Attach(NodeId),
    /// The operator wants it not to be used; true lets end what is under way there.
    Detach(NodeId, bool),
    /// Time has passed.
    Tick,
    /// A step of a failover has ended.
    StepEnded(Step, plan::Outcome),
    /// The operator's word about a failover.
    Ordered(FailoverOrder),
}

impl Event {
    /// The node it is about, if it is about one.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self {
            Self::Probed(id, _)
            | Self::Answered(id, _)
            | Self::Silent(id, _)
            | Self::Connected(id)
            | Self::Attach(id)
            | Self::Detach(id, _) => Some(*id),
            Self::Tick | Self::StepEnded(..) | Self::Ordered(_) => None,
        }
    }
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a login and an answer.
    Well,
    /// Somebody is there, who has no room or does not let pgring in; no reason to give the node up.
    Refused(String),
    /// Without.
    Failed(String),
}

/// Answer of a node that was asked for its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeAnswer {
    /// It is a standby.
    pub(crate) in_recovery: bool,
    /// How far it has replayed, or written.
    pub(crate) lsn: Lsn,
    /// The timeline it is on; 0 is unknown.
    pub(crate) timeline: u32,
    /// When it was asked, in microseconds since 1970.
    pub(crate) asked_us: u64,
    /// How far it has received the log; 0 is unknown.
    pub(crate) received: Lsn,
    /// Its connection to whom it follows.
    pub(crate) receiver: Receiver,
    /// It is not further behind than `[routing]` allows.
    pub(crate) is_near: bool,
    /// It has replayed what the primary never wrote.
    pub(crate) is_ahead: bool,
    /// Facts, when it was asked for them as well.
    pub(crate) facts: Option<NodeFacts>,
}

/// Facts that a node is asked for less often than for its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// `system_identifier`: the same on all nodes of a cluster.
    pub(crate) system: u64,
    /// Names by which its primary may know it.
    pub(crate) names: Vec<String>,
    /// `synchronous_standby_names`.
    pub(crate) synchronous: String,
    /// Standbys that follow it.
    pub(crate) followers: Vec<Follower>,
}

/// A row of `pg_stat_replication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Follower {
    pub(crate) application_name: String,
    pub(crate) state: String,
    pub(crate) sync_state: String,
}

/// Something that is to be done after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Something for people to read; true is a warning.
    Say(bool, String),
    /// Workers may use the node again.
    Trust(NodeId),
    /// Workers should rather use another one.
    Suspect(NodeId),
    /// The node is to be asked what it is.
    Ask(NodeId),
    /// Write the status file: something that outlasts a restart has changed. What follows waits for that.
    Save,
    /// Carry out a step of a failover; [`Event::StepEnded`] follows.
    Do(Step),
}
