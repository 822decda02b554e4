//! The conversation of one session with its client and its server: where it stands. Pure.
//!
//! Its rules are in the files beside it: `requests.rs` judges the client's messages, `answers.rs` the server's; those of
//! prepared statements, session state and transaction blocks are in their folders. None of them ever sees a socket, a
//! pool or a clock.

use super::{
    ledger::{Ledger, internal_queries::InternalQueries},
    prepared::{client::ClientStatements, names::Change, rerun::Replan, server::ServerName},
    questions::Questions,
    refusal::Refusals,
    state::{pin::Pin, session_state::SessionState},
    transaction::block::{Begun, Block, Turns},
    work::Work,
};
use crate::{
    cluster::settings::PoolMode,
    limits::OUTSTANDING_MESSAGES_MAX,
    protocol::{ErrorReport, backend::TransactionStatus},
};

pub use super::verdict::{AfterLoss, Answer, Verdict};

/// One session's conversation.
#[derive(Debug)]
pub struct Conversation {
    mode: PoolMode,
    pub(crate) ledger: Ledger,
    pub(crate) statements: ClientStatements,
    pub(crate) questions: Questions,
    pub(crate) state: SessionState,
    pub(crate) block: Block,
    pub(crate) turns: Turns,
    pub(crate) refusals: Refusals,
    pub(crate) internal: InternalQueries,
    pub(crate) follow_ups: FollowUps,
    /// The ledger's number of the next message when the server was last asked for its answers.
    pub(crate) flushed: u64,
}

/// Consequences of messages that were judged, which the session's task is to take up.
#[derive(Debug, Default)]
pub(crate) struct FollowUps {
    /// pgring has answered a query that no server has seen.
    pub(crate) answered_alone: bool,
    /// The database that nobody may be connected to when what was sent runs.
    pub(crate) vacates: Option<String>,
    /// Reason for which a message was refused, until that is counted.
    pub(crate) refused_pin: Option<Pin>,
    /// The message that the client gets in place of the server's.
    pub(crate) replacement: Vec<u8>,
}

impl Conversation {
    /// A client that has just logged in, in a pool of this mode.
    pub fn new(mode: PoolMode) -> Self {
        Self {
            mode,
            ledger: Ledger::default(),
            statements: ClientStatements::default(),
            questions: Questions::default(),
            state: SessionState::default(),
            block: Block::default(),
            turns: Turns::default(),
            refusals: Refusals::default(),
            internal: InternalQueries::default(),
            follow_ups: FollowUps::default(),
            flushed: 0,
        }
    }

    /// The client has settings of its own, to which RESET goes back.
    pub(crate) fn has_settings(&mut self) {
        if self.mode != PoolMode::Session {
            self.state.restore.is_concerned();
        }
    }

    /// The client's unnamed statement was destroyed by a Query that pgring answered.
    pub(crate) fn forget_unnamed(&mut self) {
        let ticket = self.ledger.client.ticket();
        self.drop_unnamed(None);
        self.statements.names.settle(ticket + 1, None);
    }

    /// The next message destroys the unnamed statement.
    pub(crate) fn drop_unnamed(&mut self, at: Option<ServerName>) {
        self.note_change(at, Change::DropUnnamed);
    }

    /// Once: pgring has answered a query that no server has seen.
    #[inline]
    pub(crate) fn take_answered_alone(&mut self) -> bool {
        std::mem::take(&mut self.follow_ups.answered_alone)
    }

    /// Once: the database that nobody may be connected to when what was sent runs.
    #[inline]
    pub(crate) fn take_vacated(&mut self) -> Option<String> {
        self.follow_ups.vacates.take()
    }

    /// Notes what the next message does to the client's names for statements; called before it is entered in the
    /// ledger.
    #[inline]
    pub(crate) fn note_change(&mut self, at: Option<ServerName>, change: Change) {
        let (ticket, pipeline) = (self.ledger.client.ticket(), self.ledger.client.pipeline());
        self.statements.names.change(ticket, pipeline, at, change);
    }

    /// True when the transaction had failed when the server was last ready.
    pub(crate) fn block_had_failed(&self) -> bool {
        self.ledger.status() == TransactionStatus::Failed
    }

    /// True when the transaction has failed, and nothing under way ends it.
    pub(crate) fn block_has_failed(&self) -> bool {
        self.block_had_failed() && !self.turns.may_turn
    }

    /// How the pool shares its connections.
    pub(crate) fn mode(&self) -> PoolMode {
        self.mode
    }

    pub(crate) fn answers_itself(&self) -> bool {
        self.block.has_failed() || self.refusals.answers()
    }

    /// The request that waited for a server gets `report` instead.
    pub fn refuse(&mut self, report: ErrorReport) {
        self.refusals.local = Some(Box::new(report));
    }

    /// True when the server connection may go back to its pool now.
    #[inline]
    pub fn is_releasable(&self) -> bool {
        self.mode != PoolMode::Session
            && self.is_clean()
            && self.pinned().is_none()
            && !self.state.pending.wants_state_query()
    }

    /// True when the server connection carries no unfinished work of this session.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.ledger.is_releasable()
            && self.internal.asked.is_empty()
            && self.statements.replan != Replan::Again
    }

    /// True when the next request would be answered alike over another connection: nothing is under way that the client has
    /// asked for, and the session has left nothing at this one of which nobody knows.
    pub(crate) fn may_go_elsewhere(&self) -> bool {
        let knows_all = !self.state.pending.wants_state_query() && !self.is_in_state_query();
        self.is_unasked() && self.pinned().is_none() && knows_all && !self.state.pending.is_soiled()
    }

    /// True when nothing is owed to the client.
    pub fn is_at_rest(&self) -> bool {
        self.ledger.is_at_rest() && self.internal.asked.is_empty()
    }

    /// True when no ReadyForQuery is sure to come unless the client sends more.
    pub fn waits_for_client(&self) -> bool {
        self.internal.asked.is_empty() && self.ledger.waits_for_client()
    }

    /// True when nothing the client asked is under way at the server.
    pub(crate) fn is_unasked(&self) -> bool {
        self.ledger.is_unasked()
    }

    /// True when the next message of the client is the first of its pipeline.
    #[inline]
    pub(crate) fn begins_pipeline(&self) -> bool {
        !self.answers_itself() && self.ledger.begins_pipeline()
    }

    /// The block that no server has seen.
    #[inline]
    pub(crate) fn deferred_block(&self) -> Option<&Begun> {
        self.block.deferred()
    }

    /// True when what the server says next may tell the client of a commit.
    pub(crate) fn may_commit(&self) -> bool {
        self.ledger.client.is_committing()
            || self.ledger.status() == TransactionStatus::Idle
            || self.turns.may_turn
    }

    /// True when server and session disagree about what was asked.
    pub fn is_lost(&self) -> bool {
        self.ledger.is_lost()
    }

    /// Work that a cancel request would hit.
    pub(crate) fn work(&self) -> Work {
        if self.ledger.is_unasked() {
            Work::Nothing
        } else if !self.internal.asked.is_empty() {
            Work::Own
        } else {
            Work::Request
        }
    }

    /// True when so much is outstanding that the client must wait.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.ledger.client.outstanding() >= OUTSTANDING_MESSAGES_MAX
    }

    /// Where the client's transaction stands, as far as the last ReadyForQuery says.
    pub fn status(&self) -> TransactionStatus {
        self.block.status(self.ledger.status())
    }

    /// Why the session keeps its connection, if it does.
    #[inline]
    pub fn pinned(&self) -> Option<Pin> {
        self.state.pending.pin()
    }
}
