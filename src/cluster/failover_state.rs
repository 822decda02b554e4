//! Where a failover stands, as everybody sees it.

use crate::ids::NodeId;

/// An operator's word about a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverOrder {
    /// One that was halted is tried again from the start.
    Resume,
    /// Likewise, whatever is lost.
    AcceptLoss,
    /// Nothing is done until there is a primary; a switchover is undone.
    Abort,
    /// This node is to be the primary in place of the one that is.
    SwitchOver(NodeId),
}

/// State of the planner that replaces a lost primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverState {
    /// Its phase: `steady`, `suspecting`, `electing`, `draining`, `promoting`, `following`, `done` or `halted`, and of a
    /// switchover `holding`, `stopping`, `handover` or `undoing`; empty is `steady`.
    pub phase: &'static str,
    /// When that began, in microseconds since 1970; 0 is at the start.
    pub since_us: u64,
    /// The primary that is, or was, to be replaced.
    pub lost: Option<NodeId>,
    /// The standby that becomes, or has become, the primary.
    pub chosen: Option<NodeId>,
    /// Bytes of log that are known to be lost.
    pub lost_bytes: u64,
    /// Fact that the phase waits for, or that keeps it from going on, in words.
    pub why: String,
}

impl FailoverState {
    /// The phase, which is `steady` where nobody has said otherwise.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            "" => "steady",
            phase => phase,
        }
    }
}
