//! Phases of a failover, what may be done in each, and why one does not end. Pure.
//!
//! ```text
//!            primary down          nobody hears it       candidate
//!   Steady ───────────► Suspecting ───────────► Electing ───────────► Draining
//!     ▲  ▲                  │  ▲                  │                      │ fenced, and still
//!     │  └── it is back ────┘  └── heard after all ┴──────────────────────┤ nobody hears it
//!     │                                                                  ▼
//!   Done ◄──────── Following ◄──────────────────────────────────── Promoting
//!          all follow, or are given up       it is the primary        │ it did not become one:
//!                                                                     └──► Electing, without it
//!   any ──── no candidate, too much would be lost, a step failed ────► Halted ── resume ──► Suspecting
//!
//!            an operator's word      all have ended         no writes any more       it is the primary
//!   Steady ───────────────► Holding ───────────► Stopping ───────────────► HandingOver ──► Following
//!     ▲                        │ it is called off   │ it failed, or takes too long │
//!     ├────────────────────────┘                    └────────► Undoing ◄───────────┘
//!     └──────────────────────────── writes are allowed again ─────┘
//! ```

use crate::{cluster::node::Lsn, ids::NodeId};

/// Phase of a failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is a primary, or none was ever known.
    Steady,
    /// The primary's probes have failed: does a standby hear it?
    Suspecting { lost: NodeId },
    /// It is dead: who follows?
    Electing { lost: NodeId },
    /// The lost primary is shut out, should it come back.
    Draining { lost: NodeId, chosen: Chosen },
    /// A standby becomes the primary.
    Promoting { lost: NodeId, chosen: Chosen },
    /// The other standbys are brought to follow it; `rest` are those who do not yet.
    Following {
        lost: NodeId,
        chosen: Chosen,
        rest: Vec<NodeId>,
    },
    /// All that could be done is done.
    Done { lost: NodeId, chosen: Chosen },
    /// Nothing more is done until an operator says so, or there is a primary.
    Halted { lost: NodeId, reason: Reason },
    /// Another node is to be the primary: new statements wait, and transactions under way may end.
    Holding(Switch),
    /// The primary is made to take no more writes.
    Stopping(Switch),
    /// The other one gets all that was written up to here, and becomes the primary.
    HandingOver(Switch, Lsn),
    /// The other one does not become it: the primary is to take writes again.
    Undoing(Switch),
}

/// A switchover: who takes whose place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// The second may have become the primary without anybody's hearing of it.
    pub(crate) is_unsure: bool,
}

/// The standby that is to be the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) node: NodeId,
    /// How far it had received the log: what others have beyond that, it does not have.
    pub(crate) received: Lsn,
    /// Bytes of log that the lost primary is known to have written and nobody else has.
    pub(crate) lost_bytes: u64,
}

/// Something to be done. The planner hears how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The lost primary is shut out: pgring believes it no more, and the operator's command keeps it from others.
    Fence(NodeId),
    /// The node becomes the primary, unless it hears the one that was.
    Promote(NodeId),
    /// The first node follows the second.
    Follow(NodeId, NodeId),
    /// The transactions under way at the node may end, for a bounded time.
    Drain(NodeId),
    /// The node takes no more writes, from nobody.
    StopWrites(NodeId),
    /// The second node becomes the primary as soon as it has all that the first had written, up to here.
    HandOver(Switch, Lsn),
    /// The first node takes writes again, unless the second one is the primary by now.
    AllowWrites(Switch),
}

/// Why a failover was halted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is nobody to promote; in words.
    NoCandidate(String),
    /// More is known to be lost than `max_lost_bytes`.
    TooMuchLost { bytes: u64, max: u64 },
    /// Commits that were acknowledged may be where nobody can ask.
    NoSynchronous(String),
    /// A step failed; in words.
    Failed(String),
    /// The primary could not be made to take writes again after a switchover that was called off; in words.
    TakesNoWrites(String),
    /// An operator has put an end to it.
    Aborted,
}

impl Phase {
    /// As `SHOW FAILOVER` says it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Suspecting { .. } => "suspecting",
            Self::Electing { .. } => "electing",
            Self::Draining { .. } => "draining",
            Self::Promoting { .. } => "promoting",
            Self::Following { .. } => "following",
            Self::Done { .. } => "done",
            Self::Halted { .. } => "halted",
            Self::Holding(_) => "holding",
            Self::Stopping(_) => "stopping",
            Self::HandingOver(..) => "handover",
            Self::Undoing(_) => "undoing",
        }
    }

    /// The primary that is, or was, to be replaced.
    pub(crate) const fn lost(&self) -> Option<NodeId> {
        match self {
            Self::Steady => None,
            Self::Suspecting { lost }
            | Self::Electing { lost }
            | Self::Draining { lost, .. }
            | Self::Promoting { lost, .. }
            | Self::Following { lost, .. }
            | Self::Done { lost, .. }
            | Self::Halted { lost, .. } => Some(*lost),
            Self::Holding(switch)
            | Self::Stopping(switch)
            | Self::HandingOver(switch, _)
            | Self::Undoing(switch) => Some(switch.from),
        }
    }

    /// The switchover that is under way.
    pub(crate) const fn switch(&self) -> Option<Switch> {
        match self {
            Self::Holding(switch)
            | Self::Stopping(switch)
            | Self::HandingOver(switch, _)
            | Self::Undoing(switch) => Some(*switch),
            _ => None,
        }
    }

    /// The standby that becomes, or has become, the primary.
    pub(crate) const fn chosen(&self) -> Option<Chosen> {
        match self {
            Self::Draining { chosen, .. }
            | Self::Promoting { chosen, .. }
            | Self::Following { chosen, .. }
            | Self::Done { chosen, .. } => Some(*chosen),
            Self::HandingOver(switch, at) => Some(switch.chosen(*at)),
            Self::Holding(switch) | Self::Stopping(switch) => Some(switch.chosen(0)),
            _ => None,
        }
    }

    /// True for a step that belongs to the phase.
    pub(crate) const fn has(&self, step: &Step) -> bool {
        matches!(
            (self, step),
            (Self::Draining { .. }, Step::Fence(_))
                | (Self::Promoting { .. }, Step::Promote(_))
                | (Self::Following { .. }, Step::Follow(..))
                | (Self::Holding(_), Step::Drain(_))
                | (Self::Stopping(_), Step::StopWrites(_))
                | (Self::HandingOver(..), Step::HandOver(..))
                | (Self::Undoing(_), Step::AllowWrites(_))
        )
    }

    /// True while a failover is under way.
    pub(crate) const fn is_under_way(&self) -> bool {
        !matches!(self, Self::Steady | Self::Done { .. } | Self::Halted { .. })
    }
}

impl Switch {
    /// The new primary, which has the log up to here; nothing is lost.
    pub(crate) const fn chosen(self, received: Lsn) -> Chosen {
        Chosen {
            node: self.to,
            received,
            lost_bytes: 0,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCandidate(why) => write!(f, "there is no standby to promote: {why}"),
            Self::TooMuchLost { bytes, max } => write!(
                f,
                "{bytes} bytes of log would be lost, and max_lost_bytes is {max}"
            ),
            Self::NoSynchronous(why) => {
                write!(f, "commits that were acknowledged might be lost: {why}")
            }
            Self::Failed(why) => f.write_str(why),
            Self::TakesNoWrites(why) => write!(
                f,
                "the primary takes no writes (default_transaction_read_only) and cannot be made to: {why}"
            ),
            Self::Aborted => f.write_str("an operator has put an end to it"),
        }
    }
}
