//! The accounts of a session: what is owed to its client, in order, and where its server stands. Pure.
//!
//! The one source of truth for "may this connection go back to its pool": only when every owed answer has
//! come, the last of them a ReadyForQuery outside a transaction, and nothing was sent since. Whatever the
//! ledger cannot follow makes it [lost](Ledger::is_lost), and the connection is closed instead.
//! (PostgreSQL manual, "Message Flow"; the rules of COPY are those of `CopyGetData`.)

pub(crate) mod ask;
pub(crate) mod client_account;
pub(crate) mod internal_queries;
pub(crate) mod owed;
pub(crate) mod server_account;

use std::collections::VecDeque;

use self::{client_account::ClientAccount, owed::Owed, server_account::ServerAccount};
use crate::protocol::{
    Tag,
    backend::TransactionStatus,
    tag::{backend, frontend},
};

/// The accounts of one session with its client and with the server connection it holds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) client: ClientAccount,
    server: ServerAccount,
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
        self.client.commit_unsynced |= !self.server.skipping;
    }

    /// Notes an answer that is owed from now on, if the server reads what asks for it.
    #[inline]
    pub(crate) fn owe(&mut self, owed: Owed) {
        if self.server.copying_in || self.server.skipping && self.server.doubtful > 0 {
            // A COPY fails on this message and swallows it; what becomes of the next ones depends on when
            // the server read them. After a COPY that failed, it may or may not skip this one.
            self.server.lost = true;
        }
        if self.server.skipping {
            return;
        }
        self.client.push(owed);
    }

    #[inline]
    fn sent_sync(&mut self) {
        if self.server.copying_in {
            self.server.swallowed += 1;
            return;
        }
        self.server.skipping = false;
        self.owe(Owed::Sync);
    }

    fn sent_copy_end(&mut self) {
        if self.server.copying_in {
            self.server.copying_in = false;
        } else if !self.client.owed.is_empty() && !self.server.skipping {
            self.client.owed.push_back(Owed::CopyEnd);
        }
    }

    /// Notes a message of the server, but for ReadyForQuery; true when it answers a message of ours.
    #[inline]
    pub(crate) fn received(&mut self, tag: Tag) -> bool {
        if self.client.own > 0 && self.received_own(tag) {
            return true;
        }
        if self.server.doubtful > 0 {
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
            return self.client.front().is_some_and(Owed::is_own);
        }
        let answer = match self.client.front() {
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
            self.client.pop();
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
                self.server.suspended = true;
                self.settle(Owed::Execute);
            }
            backend::ROW_DESCRIPTION if self.client.front() == Some(Owed::Describe) => {
                self.client.pop()
            }
            backend::ERROR_RESPONSE => self.received_error(),
            backend::COPY_IN => self.received_copy_in(),
            // The Function is answered when ReadyForQuery comes.
            backend::FUNCTION_CALL_RESPONSE => {
                self.server.lost |= self.client.front() != Some(Owed::Function)
            }
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
            self.server.doubtful = 0;
        }
    }

    /// True when nothing has been sent to the server that it has not answered.
    #[inline]
    pub(crate) fn is_unasked(&self) -> bool {
        let deaf = self.server.is_deaf() || self.server.doubtful > 0;
        self.client.owed.len() == self.client.said && !deaf
    }

    /// A BEGIN of ours precedes what is sent next.
    pub(crate) fn begins(&mut self) {
        self.client.status = TransactionStatus::InTransaction;
    }

    /// The block that was open is over, by a request of ours.
    pub(crate) fn ends(&mut self) {
        self.client.status = TransactionStatus::Idle;
        self.server.suspended = false;
    }

    /// True when the next message is the first of its pipeline, to a server that reads it.
    #[inline]
    pub(crate) fn begins_pipeline(&self) -> bool {
        !self.client.open && !self.server.is_deaf()
    }

    #[inline]
    fn settle(&mut self, expected: Owed) {
        if self.client.front() == Some(expected) {
            self.client.pop();
        } else {
            self.server.lost = true;
        }
    }

    /// A command is complete: the Execute is answered; a Query goes on until ReadyForQuery.
    #[inline]
    fn settle_execute(&mut self) {
        (self.server.swallowed, self.server.suspended) = (0, false);
        match self.client.front() {
            _ if self.server.copying_in => self.server.lost = true,
            Some(Owed::Execute) => self.client.pop(),
            Some(Owed::Query) => {}
            _ => self.server.lost = true,
        }
    }

    /// An error in the extended protocol makes the server skip to the next Sync.
    fn received_error(&mut self) {
        let own = self.client.front().is_some_and(Owed::is_own);
        self.server.copying_in = false;
        self.server.doubtful = std::mem::take(&mut self.server.swallowed);
        match self.client.owed.front_mut() {
            None => self.server.lost = true,
            // Only its ReadyForQuery is left to come, and that before those in doubt.
            Some(front @ Owed::Query) if self.server.doubtful > 0 => *front = Owed::Sync,
            Some(front) if front.ends_with_ready() => {}
            Some(_) => self.skip(own),
        }
    }

    /// `own`: it was a message of ours that failed. A Query right behind it, which the server skips for that, would
    /// never be answered: a Sync is due then.
    fn skip(&mut self, own: bool) {
        self.client.pop();
        let next = self.client.owed.iter().find(|next| !next.is_own());
        self.server.sync_due |= own && next.is_some_and(|next| next.is_request());
        if self.server.doubtful > 0 && self.client.front().is_some_and(|next| next != Owed::Sync) {
            // Skipped or answered: that depends on whether a Sync in doubt was read.
            self.server.lost = true;
        }
        while self.client.front().is_some_and(|next| next != Owed::Sync) {
            self.client.pop();
        }
        self.server.skipping = self.client.owed.is_empty();
        self.client.commit_unsynced &= !self.server.skipping;
    }

    /// The server wants data: until CopyDone or CopyFail it ignores Sync, those it was already sent included.
    fn received_copy_in(&mut self) {
        let expected = matches!(self.client.front(), Some(Owed::Query | Owed::Execute));
        if !expected || self.server.copying_in {
            self.server.lost = true;
            return;
        }
        self.server.copying_in = true;
        while self.server.copying_in
            && let Some(next) = self.client.owed.get(1)
        {
            match next {
                Owed::Sync => self.swallow_sync(),
                Owed::CopyEnd => self.server.copying_in = false,
                _ => {
                    self.server.lost = true;
                    return;
                }
            }
            self.client.owed.remove(1);
            self.client.gone += 1;
        }
        self.client.open |= self.client.readies == 0;
    }

    /// A Sync that was counted on ends nothing.
    fn swallow_sync(&mut self) {
        self.server.swallowed += 1;
        self.client.swallow_sync();
    }

    /// Notes a ReadyForQuery.
    #[inline]
    pub(crate) fn received_ready(&mut self, status: TransactionStatus) {
        self.client.status = status;
        self.server.suspended &= status == TransactionStatus::InTransaction;
        self.server.lost |= self.server.copying_in;
        match self.client.front() {
            Some(Owed::Sync) => self.client.pop(),
            _ if self.server.doubtful > 0 => self.received_doubtful_ready(),
            Some(Owed::Query | Owed::Function) => self.client.pop(),
            _ => self.server.lost = true,
        }
    }

    /// The answer to a Sync that the failed COPY had not read.
    #[cold]
    fn received_doubtful_ready(&mut self) {
        self.server.doubtful -= 1;
        if std::mem::take(&mut self.server.skipping) {
            self.client.open = false;
        }
    }

    /// True once when a Sync must be sent, because the server skips what the client asked.
    #[inline]
    pub(crate) fn take_sync_due(&mut self) -> bool {
        let due = std::mem::take(&mut self.server.sync_due);
        if due {
            self.sent_sync();
        }
        due
    }

    /// True when nothing is owed and the last word was ReadyForQuery, in whatever transaction status.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        let unfinished = self.client.open
            || self.server.skipping
            || self.server.doubtful > 0
            || self.server.lost;
        self.client.owed.is_empty() && !unfinished
    }

    /// True when the connection may serve somebody else.
    #[inline]
    pub(crate) fn is_releasable(&self) -> bool {
        self.is_at_rest() && self.client.status == TransactionStatus::Idle
    }

    /// True when no ReadyForQuery is sure to come unless the client sends more.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.client.readies == 0 || self.server.copying_in
    }

    /// Transaction status of the last ReadyForQuery.
    pub(crate) fn status(&self) -> TransactionStatus {
        self.client.status
    }

    /// True when a portal has more rows for the client, as far as the last Execute says.
    pub(crate) fn is_suspended(&self) -> bool {
        self.server.suspended
    }

    /// The client closes a portal, which may be that one.
    pub(crate) fn closes_portal(&mut self) {
        self.server.suspended = false;
    }

    /// True when what was sent and what came do not fit together.
    pub(crate) fn is_lost(&self) -> bool {
        self.server.lost
    }

    /// True when the server would not understand a message as what it is: it skips, or waits for data.
    pub(crate) fn is_deaf(&self) -> bool {
        self.server.is_deaf()
    }

    /// True when the server ignores everything up to the next Sync, the client having got its error.
    pub(crate) fn is_skipping(&self) -> bool {
        self.server.skipping
    }

    /// The server is gone: hands over what it owed, and whether the client is inside a pipeline whose Sync
    /// has not come. The ledger starts anew.
    pub(crate) fn abandon(&mut self) -> (VecDeque<Owed>, bool) {
        let old = std::mem::take(self);
        (old.client.owed, old.client.open || old.server.skipping)
    }
}

#[cfg(test)]
impl Ledger {
    /// Everything in it, on one line.
    pub(crate) fn summary(&self) -> String {
        let owed: Vec<_> = self
            .client
            .owed
            .iter()
            .map(|owed| format!("{owed:?}"))
            .collect();
        let flags = [
            (self.client.open, "open"),
            (self.server.skipping, "skipping"),
            (self.server.copying_in, "copying in"),
            (self.server.swallowed > 0, "swallowed Sync"),
            (self.server.doubtful > 0, "doubtful Sync"),
            (self.client.is_committing(), "committing"),
            (self.is_at_rest(), "at rest"),
            (self.is_releasable(), "releasable"),
            (self.server.lost, "LOST"),
        ];
        let flags: Vec<_> = flags
            .iter()
            .filter(|flag| flag.0)
            .map(|flag| flag.1)
            .collect();
        format!(
            "{:?} owes [{}] {}",
            self.client.status,
            owed.join(" "),
            flags.join(", ")
        )
        .trim_end()
        .to_owned()
    }
}
