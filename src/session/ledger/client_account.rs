//! The account of a session with its client: answers that are owed to it, in order, whoever gives them. Pure.

use std::collections::VecDeque;

use super::owed::Owed;
use crate::protocol::backend::TransactionStatus;

/// Answers that are owed to a client, and those that are owed to pgring in between.
#[derive(Debug, Default)]
pub(crate) struct ClientAccount {
    /// Never starts with [`Owed::CopyEnd`].
    pub(super) owed: VecDeque<Owed>,
    /// Entries that have left `owed`.
    pub(super) gone: u64,
    /// Messages sent whose answer ends with ReadyForQuery.
    pipelines: u64,
    /// How many of `owed` the client must not see answered.
    pub(super) own: usize,
    /// How many of `owed` are ours to give.
    pub(super) said: usize,
    /// How many of `owed` end with ReadyForQuery.
    pub(super) readies: usize,
    /// A request without Sync follows messages of ours that the server has not answered.
    risky: bool,
    /// The pipeline's Sync has not been sent.
    pub(super) open: bool,
    /// ReadyForQuery messages to come until the last COMMIT is answered.
    readies_to_commit: usize,
    /// A COMMIT was sent in the pipeline that is open.
    pub(super) commit_unsynced: bool,
    /// Transaction status of the last ReadyForQuery.
    pub(super) status: TransactionStatus,
}

impl ClientAccount {
    /// An answer is owed from now on.
    #[inline]
    pub(super) fn push(&mut self, owed: Owed) {
        self.open = !owed.ends_with_ready();
        if !self.open {
            self.owe_ready();
        }
        self.risky |= self.own > 0 && owed.is_request();
        self.own += usize::from(owed.is_own());
        self.said += usize::from(owed.is_said());
        self.owed.push_back(owed);
        debug_assert!(self.is_counted(), "{self:?}");
    }

    #[inline]
    fn owe_ready(&mut self) {
        self.readies += 1;
        self.pipelines += 1;
        if std::mem::take(&mut self.commit_unsynced) {
            self.readies_to_commit = self.readies;
        }
    }

    /// How many statements of ours are executed before what the client asked first.
    pub(crate) fn own_executes_ahead(&self) -> usize {
        let own = self.owed.iter().take_while(|owed| owed.is_own());
        own.filter(|owed| **owed == Owed::OwnExecute).count()
    }

    /// The oldest answer owed.
    #[inline]
    pub(crate) fn front(&self) -> Option<Owed> {
        self.owed.front().copied()
    }

    /// The answer that is ours to give now, if one is.
    #[inline]
    pub(crate) fn take_said(&mut self) -> Option<Owed> {
        let said = self.front().filter(|front| front.is_said())?;
        self.pop();
        Some(said)
    }

    /// True when all that is outstanding is one pipeline, and its end has been sent.
    pub(crate) fn is_one_pipeline(&self) -> bool {
        self.readies == 1 && !self.open && self.owed.back() == Some(&Owed::Sync)
    }

    /// True when what is answered now is not followed by another pipeline.
    pub(crate) fn is_last_pipeline(&self) -> bool {
        self.readies + usize::from(self.open) <= 1
    }

    /// A Sync that pgring answers: the server has seen nothing of its pipeline.
    pub(crate) fn sync_alone(&mut self) {
        self.open = false;
        self.pipelines += 1;
    }

    /// The number of the next message that is answered.
    #[inline]
    pub(crate) fn ticket(&self) -> u64 {
        self.gone + self.owed.len() as u64
    }

    /// The number of the oldest message that is not answered.
    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        self.gone
    }

    /// The number of the message that the client takes an error for refusing: not one of ours, but what it precedes.
    pub(crate) fn refused(&self) -> u64 {
        let ours = self.owed.iter().take_while(|owed| owed.is_own()).count();
        self.gone + ours as u64
    }

    /// The number of the pipeline that the next message belongs to.
    #[inline]
    pub(crate) fn pipeline(&self) -> u64 {
        self.pipelines
    }

    /// True when a request follows messages of ours that may make the server skip it.
    pub(crate) fn is_at_risk(&self) -> bool {
        self.own > 0 && self.readies > 0
    }

    /// True when the server may skip the last request, and what follows it, because of messages of ours.
    #[inline]
    pub(crate) fn is_risky(&self) -> bool {
        self.risky
    }

    /// The oldest answer has come.
    #[inline]
    pub(super) fn pop(&mut self) {
        if let Some(front) = self.owed.pop_front() {
            self.gone += 1;
            self.own -= usize::from(front.is_own());
            self.risky &= self.own > 0;
            self.said -= usize::from(front.is_said());
            if front.ends_with_ready() {
                self.readies -= 1;
                self.readies_to_commit = self.readies_to_commit.saturating_sub(1);
            }
        }
        while self.front() == Some(Owed::CopyEnd) {
            self.owed.pop_front();
            self.gone += 1;
        }
        debug_assert!(self.is_counted(), "{self:?}");
    }

    /// True when the counts are those of the queue, as far as it is short enough to look.
    fn is_counted(&self) -> bool {
        const LENGTH_MAX: usize = 32;
        let count = |is_it: fn(Owed) -> bool| self.owed.iter().filter(|owed| is_it(**owed)).count();
        self.owed.len() > LENGTH_MAX
            || (self.own, self.said, self.readies)
                == (
                    count(Owed::is_own),
                    count(Owed::is_said),
                    count(Owed::ends_with_ready),
                )
    }

    /// A Sync that was counted on ends nothing.
    pub(super) fn swallow_sync(&mut self) {
        self.readies -= 1;
        self.commit_unsynced |= self.readies_to_commit > 0;
        self.readies_to_commit = self.readies_to_commit.min(self.readies);
    }

    /// True when a COMMIT was sent and its ReadyForQuery has not come.
    pub(crate) fn is_committing(&self) -> bool {
        self.commit_unsynced || self.readies_to_commit > 0
    }

    /// Messages whose answers are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        self.owed.len()
    }
}
