//! What a client has asked of its server and what the server still owes, in order. Pure.
//!
//! The one source of truth for "may this connection go back to its pool": only when every owed answer has
//! come, the last of them a ReadyForQuery outside a transaction, and nothing was sent since. Whatever the
//! ledger cannot follow makes it [lost](Ledger::is_lost), and the connection is closed instead.
//! (PostgreSQL manual, "Message Flow"; the rules of COPY are those of `CopyGetData`.)

pub(crate) mod ask;
pub(crate) mod internal_queries;
pub(crate) mod owed;

use std::collections::VecDeque;

use super::ledger::owed::Owed;
use crate::protocol::{
    Tag,
    backend::TransactionStatus,
    tag::{backend, frontend},
};

/// The account of one session with the server connection it holds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Never starts with [`Owed::CopyEnd`].
    owed: VecDeque<Owed>,
    /// Entries that have left `owed`.
    gone: u64,
    /// Messages sent whose answer ends with ReadyForQuery.
    pipelines: u64,
    /// How many of `owed` the client must not see answered.
    own: usize,
    /// A request without Sync follows messages of ours that the server has not answered.
    risky: bool,
    /// How many of `owed` are ours to give.
    said: usize,
    /// How many of `owed` end with ReadyForQuery.
    readies: usize,
    /// ReadyForQuery messages to come until the last COMMIT is answered.
    readies_to_commit: usize,
    /// A COMMIT was sent in the pipeline that is open.
    commit_unsynced: bool,
    status: TransactionStatus,
    /// The pipeline's Sync has not been sent.
    open: bool,
    /// The server ignores everything up to the next Sync.
    skipping: bool,
    /// The server takes data and ignores Sync.
    copying_in: bool,
    /// The Execute that was answered last left rows in its portal.
    suspended: bool,
    /// Syncs sent to a COPY that goes on: it ignores those that it reads.
    swallowed: usize,
    /// Syncs sent to a COPY that failed. Whether it read them first nobody knows, so each may be answered or
    /// not. The server works in order: the first answer to anything later tells that no more will come.
    doubtful: usize,
    /// A Sync of ours must be sent.
    sync_due: bool,
    lost: bool,
}

impl Ledger {
    /// Notes a message that goes to the server.
    #[inline]
    pub(crate) fn sent(&mut self, tag: Tag) {
        match tag {
            frontend::QUERY => self.owe(Owed::Query),
            frontend::SYNC => self.sent_sync(),
            frontend::BIND => self.owe(Owed::Bind),
            frontend::EXECUTE => self.owe(Owed::Execute),
            frontend::PARSE => self.owe(Owed::Parse),
            frontend::DESCRIBE => self.owe(Owed::Describe),
            frontend::CLOSE => self.owe(Owed::Close),
            frontend::FUNCTION_CALL => self.owe(Owed::Function),
            frontend::COPY_DONE | frontend::COPY_FAIL => self.sent_copy_end(),
            _ => {}
        }
    }

    /// Notes that the next message, or the pipeline it belongs to, may commit a transaction.
    #[inline]
    pub(crate) fn sends_commit(&mut self) {
        self.commit_unsynced |= !self.skipping;
    }

    /// Notes an answer that is owed from now on, if the server reads what asks for it.
    #[inline]
    pub(crate) fn owe(&mut self, owed: Owed) {
        if self.copying_in || self.skipping && self.doubtful > 0 {
            // A COPY fails on this message and swallows it; what becomes of the next ones depends on when
            // the server read them. After a COPY that failed, it may or may not skip this one.
            self.lost = true;
        }
        if self.skipping {
            return;
        }
        self.open = !owed.ends_with_ready();
        if !self.open {
            self.owe_ready();
        }
        self.risky |= self.own > 0 && owed.is_request();
        self.own += usize::from(owed.is_own());
        self.said += usize::from(owed.is_said());
        self.owed.push_back(owed);
    }

    #[inline]
    fn owe_ready(&mut self) {
        self.readies += 1;
        self.pipelines += 1;
        if std::mem::take(&mut self.commit_unsynced) {
            self.readies_to_commit = self.readies;
        }
    }

    #[inline]
    fn sent_sync(&mut self) {
        if self.copying_in {
            self.swallowed += 1;
            return;
        }
        self.skipping = false;
        self.owe(Owed::Sync);
    }

    fn sent_copy_end(&mut self) {
        if self.copying_in {
            self.copying_in = false;
        } else if !self.owed.is_empty() && !self.skipping {
            self.owed.push_back(Owed::CopyEnd);
        }
    }

    /// Notes a message of the server, but for ReadyForQuery; true when it answers a message of ours.
    #[inline]
    pub(crate) fn received(&mut self, tag: Tag) -> bool {
        if self.own > 0 && self.received_own(tag) {
            return true;
        }
        if self.doubtful > 0 {
            self.doubt_less(tag);
        }
        self.received_for_client(tag);
        false
    }

    /// True when `tag` answers a message of ours.
    #[cold]
    fn received_own(&mut self, tag: Tag) -> bool {
        if tag == backend::NOTICE_RESPONSE {
            // What the server remarks on a text, it remarked to the client when that was parsed first.
            return self.front().is_some_and(Owed::is_own);
        }
        let answer = match self.front() {
            Some(Owed::OwnParse) => backend::PARSE_COMPLETE,
            Some(Owed::OwnBind) => backend::BIND_COMPLETE,
            Some(Owed::OwnExecute) if tag == backend::DATA_ROW => return true,
            Some(Owed::OwnExecute) => backend::COMMAND_COMPLETE,
            Some(Owed::OwnClose) => backend::CLOSE_COMPLETE,
            Some(Owed::OwnDescribe) if tag == backend::PARAMETER_DESCRIPTION => return true,
            Some(Owed::OwnDescribe) if tag == backend::ROW_DESCRIPTION => tag,
            Some(Owed::OwnDescribe) => backend::NO_DATA,
            _ => return false,
        };
        let own = tag == answer;
        if own {
            self.pop();
        }
        own
    }

    #[inline]
    fn received_for_client(&mut self, tag: Tag) {
        match tag {
            backend::DATA_ROW | backend::COPY_DATA => {}
            backend::BIND_COMPLETE => self.settle(Owed::Bind),
            backend::COMMAND_COMPLETE | backend::EMPTY_QUERY => self.settle_execute(),
            backend::PARSE_COMPLETE => self.settle(Owed::Parse),
            backend::CLOSE_COMPLETE => self.settle(Owed::Close),
            backend::NO_DATA => self.settle(Owed::Describe),
            backend::PORTAL_SUSPENDED => {
                self.suspended = true;
                self.settle(Owed::Execute);
            }
            backend::ROW_DESCRIPTION if self.front() == Some(Owed::Describe) => self.pop(),
            backend::ERROR_RESPONSE => self.received_error(),
            backend::COPY_IN => self.received_copy_in(),
            // The Function is answered when ReadyForQuery comes.
            backend::FUNCTION_CALL_RESPONSE => self.lost |= self.front() != Some(Owed::Function),
            _ => {}
        }
    }

    /// An answer shows that the server has passed the Syncs in doubt; what it says unasked shows nothing.
    #[cold]
    fn doubt_less(&mut self, tag: Tag) {
        let unasked = [
            backend::NOTICE_RESPONSE,
            backend::NOTIFICATION,
            backend::PARAMETER_STATUS,
        ];
        if !unasked.contains(&tag) {
            self.doubtful = 0;
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

    /// True when nothing has been sent to the server that it has not answered.
    #[inline]
    pub(crate) fn is_unasked(&self) -> bool {
        let deaf = self.skipping || self.copying_in || self.doubtful > 0;
        self.owed.len() == self.said && !deaf
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

    /// A BEGIN of ours precedes what is sent next.
    pub(crate) fn begins(&mut self) {
        self.status = TransactionStatus::InTransaction;
    }

    /// The block that was open is over, by a request of ours.
    pub(crate) fn ends(&mut self) {
        self.status = TransactionStatus::Idle;
        self.suspended = false;
    }

    /// True when the next message is the first of its pipeline, to a server that reads it.
    #[inline]
    pub(crate) fn begins_pipeline(&self) -> bool {
        !self.open && !self.skipping && !self.copying_in
    }

    /// The oldest answer has come.
    #[inline]
    fn pop(&mut self) {
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
    }

    #[inline]
    fn settle(&mut self, expected: Owed) {
        if self.front() == Some(expected) {
            self.pop();
        } else {
            self.lost = true;
        }
    }

    /// A command is complete: the Execute is answered; a Query goes on until ReadyForQuery.
    #[inline]
    fn settle_execute(&mut self) {
        (self.swallowed, self.suspended) = (0, false);
        match self.front() {
            _ if self.copying_in => self.lost = true,
            Some(Owed::Execute) => self.pop(),
            Some(Owed::Query) => {}
            _ => self.lost = true,
        }
    }

    /// An error in the extended protocol makes the server skip to the next Sync.
    fn received_error(&mut self) {
        let own = self.front().is_some_and(Owed::is_own);
        self.copying_in = false;
        self.doubtful = std::mem::take(&mut self.swallowed);
        match self.owed.front_mut() {
            None => self.lost = true,
            // Only its ReadyForQuery is left to come, and that before those in doubt.
            Some(front @ Owed::Query) if self.doubtful > 0 => *front = Owed::Sync,
            Some(front) if front.ends_with_ready() => {}
            Some(_) => self.skip(own),
        }
    }

    /// `own`: it was a message of ours that failed. A Query right behind it, which the server skips for that, would
    /// never be answered: a Sync is due then.
    fn skip(&mut self, own: bool) {
        self.pop();
        let next = self.owed.iter().find(|next| !next.is_own());
        self.sync_due |= own && next.is_some_and(|next| next.is_request());
        if self.doubtful > 0 && self.front().is_some_and(|next| next != Owed::Sync) {
            // Skipped or answered: that depends on whether a Sync in doubt was read.
            self.lost = true;
        }
        while self.front().is_some_and(|next| next != Owed::Sync) {
            self.pop();
        }
        self.skipping = self.owed.is_empty();
        self.commit_unsynced &= !self.skipping;
    }

    /// The server wants data: until CopyDone or CopyFail it ignores Sync, those it was already sent included.
    fn received_copy_in(&mut self) {
        let expected = matches!(self.front(), Some(Owed::Query | Owed::Execute));
        if !expected || self.copying_in {
            self.lost = true;
            return;
        }
        self.copying_in = true;
        while self.copying_in
            && let Some(next) = self.owed.get(1)
        {
            match next {
                Owed::Sync => self.swallow_sync(),
                Owed::CopyEnd => self.copying_in = false,
                _ => {
                    self.lost = true;
                    return;
                }
            }
            self.owed.remove(1);
            self.gone += 1;
        }
        self.open |= self.readies == 0;
    }

    /// A Sync that was counted on ends nothing.
    fn swallow_sync(&mut self) {
        self.swallowed += 1;
        self.readies -= 1;
        self.commit_unsynced |= self.readies_to_commit > 0;
        self.readies_to_commit = self.readies_to_commit.min(self.readies);
    }

    /// Notes a ReadyForQuery.
    #[inline]
    pub(crate) fn received_ready(&mut self, status: TransactionStatus) {
        self.status = status;
        self.suspended &= status == TransactionStatus::InTransaction;
        self.lost |= self.copying_in;
        match self.front() {
            Some(Owed::Sync) => self.pop(),
            _ if self.doubtful > 0 => self.received_doubtful_ready(),
            Some(Owed::Query | Owed::Function) => self.pop(),
            _ => self.lost = true,
        }
    }

    /// The answer to a Sync that the failed COPY had not read.
    #[cold]
    fn received_doubtful_ready(&mut self) {
        self.doubtful -= 1;
        if std::mem::take(&mut self.skipping) {
            self.open = false;
        }
    }

    /// True once when a Sync must be sent, because the server skips what the client asked.
    #[inline]
    pub(crate) fn take_sync_due(&mut self) -> bool {
        let due = std::mem::take(&mut self.sync_due);
        if due {
            self.sent_sync();
        }
        due
    }

    /// True when nothing is owed and the last word was ReadyForQuery, in whatever transaction status.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        let unfinished = self.open || self.skipping || self.doubtful > 0 || self.lost;
        self.owed.is_empty() && !unfinished
    }

    /// True when the connection may serve somebody else.
    #[inline]
    pub(crate) fn is_releasable(&self) -> bool {
        self.is_at_rest() && self.status == TransactionStatus::Idle
    }

    /// True when no ReadyForQuery is sure to come unless the client sends more.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.readies == 0 || self.copying_in
    }

    /// Transaction status of the last ReadyForQuery.
    pub(crate) fn status(&self) -> TransactionStatus {
        self.status
    }

    /// True when a portal has more rows for the client, as far as the last Execute says.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// The client closes a portal, which may be that one.
    pub(crate) fn closes_portal(&mut self) {
        self.suspended = false;
    }

    /// True when what was sent and what came do not fit together.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// True when the server would not understand a message as what it is: it skips, or waits for data.
    pub(crate) fn is_deaf(&self) -> bool {
        self.skipping || self.copying_in
    }

    /// True when the server ignores everything up to the next Sync, the client having got its error.
    pub(crate) fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// True when a COMMIT was sent and its ReadyForQuery has not come.
    pub(crate) fn is_committing(&self) -> bool {
        self.commit_unsynced || self.readies_to_commit > 0
    }

    /// Messages whose answers are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        self.owed.len()
    }

    /// The server is gone: hands over what it owed, and whether the client is inside a pipeline whose Sync
    /// has not come. The ledger starts anew.
    pub(crate) fn abandon(&mut self) -> (VecDeque<Owed>, bool) {
        let old = std::mem::take(self);
        (old.owed, old.open || old.skipping)
    }
}

#[cfg(test)]
impl Ledger {
    /// Everything in it, on one line.
    pub(crate) fn summary(&self) -> String {
        let owed: Vec<_> = self.owed.iter().map(|owed| format!("{owed:?}")).collect();
        let flags = [
            (self.open, "open"),
            (self.skipping, "skipping"),
            (self.copying_in, "copying in"),
            (self.swallowed > 0, "swallowed Sync"),
            (self.doubtful > 0, "doubtful Sync"),
            (self.is_committing(), "committing"),
            (self.is_at_rest(), "at rest"),
            (self.is_releasable(), "releasable"),
            (self.lost, "LOST"),
        ];
        let flags: Vec<_> = flags
            .iter()
            .filter(|flag| flag.0)
            .map(|flag| flag.1)
            .collect();
        format!(
            "{:?} owes [{}] {}",
            self.status,
            owed.join(" "),
            flags.join(", ")
        )
        .trim_end()
        .to_owned()
    }
}
