//! The state of a client's transaction block, as far as no server knows it. Pure.
//!
//! ```text
//!               Bind of a BEGIN           Execute
//!   AtServer ───────────────────▶ Bound ──────────▶ Deferred ──▶ AtServer   COMMIT, ROLLBACK, or a server is at hand
//!      │  ▲                         │ Sync              ▲  │
//!      │  └─────────────────────────┘                   │  └────▶ Failed     its first request is refused
//!      ├── BEGIN as a Query ────────────────────────────┤
//!      ├── goes on at another node ──▶ Moving ──────────┘  the server has ended it
//!      └── its server is lost ──▶ Failed ──▶ AtServer      the client ends it
//! ```
//!
//! `AtServer` is where all ordinary requests run: whether there is a block then says the server's last ReadyForQuery,
//! which the ledger keeps. All transitions are in this file.

use std::rc::Rc;

use super::failed_block::FailedBlock;
use crate::{
    protocol::backend::TransactionStatus, session::prepared::Statement, sql::effects::Begin,
};

/// A client's transaction block.
#[derive(Debug, Default)]
pub(crate) enum Block {
    /// Whether there is one, the server knows.
    #[default]
    AtServer,
    /// A BEGIN was bound and not executed, and no server has seen it.
    Bound(Rc<Statement>),
    /// A BEGIN was answered, and no server has seen it.
    Deferred(Begun),
    /// It is being ended at a standby, to begin anew at another node.
    Moving(Begun),
    /// It has failed with its server connection, or because no server could be had for it.
    Failed(FailedBlock),
}

/// A transaction block whose BEGIN pgring keeps, to send it to a server, or to another one.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) begin: Rc<Statement>,
    /// It has had its first snapshot at another server: SET TRANSACTION is too late.
    pub(crate) has_read: bool,
}

impl Begun {
    fn new(begin: Rc<Statement>) -> Self {
        Self {
            begin,
            has_read: false,
        }
    }

    /// Options of its BEGIN.
    pub(crate) fn options(&self) -> Option<&Begin> {
        self.begin.begin.as_ref()
    }

    /// True for a block that was not declared READ ONLY.
    pub(crate) fn may_write(&self) -> bool {
        self.options()
            .is_none_or(|options| options.read_only != Some(true))
    }
}

impl Block {
    /// A BEGIN was bound to the unnamed portal. False where that is not for pgring to answer: there is a block already.
    pub(crate) fn bind(&mut self, begin: Rc<Statement>) -> bool {
        let is_free = matches!(self, Self::AtServer | Self::Bound(_));
        if is_free {
            *self = Self::Bound(begin);
        }
        is_free
    }

    /// The BEGIN that is bound is executed. False when none is.
    pub(crate) fn execute(&mut self) -> bool {
        let Self::Bound(begin) = self else {
            return false;
        };
        *self = Self::Deferred(Begun::new(Rc::clone(begin)));
        true
    }

    /// A BEGIN is answered.
    pub(crate) fn begin(&mut self, begin: Rc<Statement>) {
        *self = Self::Deferred(Begun::new(begin));
    }

    /// A block that had begun at a server begins at another one, with the next request.
    pub(crate) fn begin_anew(&mut self, begun: Begun) {
        *self = Self::Deferred(begun);
    }

    /// The pipeline ends that no server has seen: portals end with it, and a block goes on.
    pub(crate) fn sync(&mut self) {
        if matches!(self, Self::Bound(_)) {
            *self = Self::AtServer;
        }
    }

    /// The client ends a block that no server has seen.
    pub(crate) fn end(&mut self) {
        if matches!(self, Self::Deferred(_)) {
            *self = Self::AtServer;
        }
    }

    /// A server is at hand: what it must be sent first, if anything. It is the server's from now on.
    #[inline]
    pub(crate) fn hand_over(&mut self) -> Option<Handed> {
        match self {
            Self::AtServer | Self::Moving(_) | Self::Failed(_) => None,
            Self::Bound(_) | Self::Deferred(_) => match std::mem::take(self) {
                Self::Bound(begin) => Some(Handed::Bound(begin)),
                Self::Deferred(begun) => Some(Handed::Begun(begun)),
                _ => None,
            },
        }
    }

    /// The server is asked to end the block, which is to go on elsewhere.
    pub(crate) fn move_on(&mut self, begun: Begun) {
        *self = Self::Moving(begun);
    }

    /// The server has ended it for that.
    pub(crate) fn moved(&mut self) {
        if let Self::Moving(begun) = self {
            *self = Self::Deferred(begun.clone());
        }
    }

    /// The first request of the block is refused. False when there is no block, which a server would know of.
    pub(crate) fn refuse(&mut self, failed: FailedBlock) -> bool {
        let fails = matches!(self, Self::Deferred(_));
        match self {
            Self::Deferred(_) => *self = Self::Failed(failed),
            Self::Bound(_) => *self = Self::AtServer,
            Self::AtServer | Self::Moving(_) | Self::Failed(_) => {}
        }
        fails
    }

    /// The server connection is lost; `failed` when a transaction was open there.
    pub(crate) fn lose(&mut self, failed: Option<FailedBlock>) {
        match failed {
            Some(failed) => *self = Self::Failed(failed),
            None if matches!(self, Self::Moving(_)) => *self = Self::AtServer,
            None => {}
        }
    }

    /// The client has ended the block that had failed.
    pub(crate) fn recover(&mut self) {
        if matches!(self, Self::Failed(_)) {
            *self = Self::AtServer;
        }
    }

    /// The block that no server has seen.
    #[inline]
    pub(crate) fn deferred(&self) -> Option<&Begun> {
        match self {
            Self::Deferred(begun) => Some(begun),
            Self::AtServer | Self::Bound(_) | Self::Moving(_) | Self::Failed(_) => None,
        }
    }

    /// The block that has failed.
    #[inline]
    pub(crate) fn failed(&mut self) -> Option<&mut FailedBlock> {
        match self {
            Self::Failed(failed) => Some(failed),
            Self::AtServer | Self::Bound(_) | Self::Deferred(_) | Self::Moving(_) => None,
        }
    }

    /// True while the block is being ended at a standby.
    #[inline]
    pub(crate) fn is_moving(&self) -> bool {
        matches!(self, Self::Moving(_))
    }

    /// True while pgring itself answers every message of the client.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// True when something of it goes to the next server before the client's message.
    #[inline]
    pub(crate) fn is_to_hand_over(&self) -> bool {
        matches!(self, Self::Bound(_) | Self::Deferred(_))
    }

    /// Status of the client's transaction, given the server's.
    #[inline]
    pub(crate) fn status(&self, server: TransactionStatus) -> TransactionStatus {
        match self {
            Self::Failed(_) => TransactionStatus::Failed,
            Self::Deferred(_) => TransactionStatus::InTransaction,
            Self::AtServer | Self::Bound(_) | Self::Moving(_) => server,
        }
    }
}

/// Part of a block that a server must be sent before the client's message.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A BEGIN that is to be bound.
    Bound(Rc<Statement>),
    /// A BEGIN that is to be executed.
    Begun(Begun),
}

/// Requests under way, as far as they may begin or end a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    /// One of them may begin or end a transaction block.
    pub(crate) may_turn: bool,
    /// The last is a ROLLBACK.
    pub(crate) rolls_back: bool,
    /// The beginning of the last was too short to tell whether it commits.
    pub(crate) is_unread: bool,
}
