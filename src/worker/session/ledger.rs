//! What a client has asked of its server and what the server still owes, in order. Pure.
//!
//! The one source of truth for "may this connection go back to its pool": only when every owed answer has
//! come, the last of them a ReadyForQuery outside a transaction, and nothing was sent since. Whatever the
//! ledger cannot follow makes it [lost](Ledger::is_lost), and the connection is closed instead.
//! (PostgreSQL manual, "Message Flow"; the rules of COPY are those of `CopyGetData`.)

use std::collections::VecDeque;

use crate::protocol::{
    Tag,
    backend::TransactionStatus,
    tag::{backend, frontend},
};

/// One answer that the server owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// ReadyForQuery after a Query.
    Query,
    /// ReadyForQuery after a FunctionCall.
    Function,
    /// ReadyForQuery after a Sync.
    Sync,
    /// ParseComplete.
    Parse,
    /// BindComplete.
    Bind,
    /// RowDescription or NoData.
    Describe,
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close,
    /// Nothing: the place of a CopyDone or CopyFail that was sent before the server asked for data.
    CopyEnd,
}

impl Owed {
    /// True when the answer ends with ReadyForQuery.
    pub(crate) fn ends_with_ready(self) -> bool {
        matches!(self, Self::Query | Self::Function | Self::Sync)
    }
}

/// The account of one session with the server connection it holds.
#[derive(Debug)]
pub(crate) struct Ledger {
    owed: VecDeque<Owed>,
    status: TransactionStatus,
    /// The server ignores everything up to the next Sync.
    skipping: bool,
    /// The server takes data and ignores Sync.
    copying_in: bool,
    /// Nothing was sent since the last ReadyForQuery.
    at_rest: bool,
    lost: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            owed: VecDeque::new(),
            status: TransactionStatus::Idle,
            skipping: false,
            copying_in: false,
            at_rest: true,
            lost: false,
        }
    }
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

    #[inline]
    fn owe(&mut self, owed: Owed) {
        self.at_rest = false;
        if self.copying_in {
            // The server answers with an error and swallows this message; what it makes of the next ones
            // depends on when it read them.
            self.lost = true;
        }
        if !self.skipping {
            self.owed.push_back(owed);
        }
    }

    #[inline]
    fn sent_sync(&mut self) {
        if self.copying_in {
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

    /// Notes a message of the server, but for ReadyForQuery.
    #[inline]
    pub(crate) fn received(&mut self, tag: Tag) {
        match tag {
            backend::DATA_ROW | backend::COPY_DATA => {}
            backend::BIND_COMPLETE => self.settle(Owed::Bind),
            backend::COMMAND_COMPLETE | backend::EMPTY_QUERY => self.settle_execute(),
            backend::PARSE_COMPLETE => self.settle(Owed::Parse),
            backend::CLOSE_COMPLETE => self.settle(Owed::Close),
            backend::NO_DATA => self.settle(Owed::Describe),
            backend::PORTAL_SUSPENDED => self.settle(Owed::Execute),
            backend::ROW_DESCRIPTION if self.front() == Some(Owed::Describe) => {
                self.owed.pop_front();
            }
            backend::ERROR_RESPONSE => self.received_error(),
            backend::COPY_IN => self.received_copy_in(),
            _ => {}
        }
    }

    /// The oldest answer owed.
    pub(crate) fn front(&mut self) -> Option<Owed> {
        while self.owed.front() == Some(&Owed::CopyEnd) {
            self.owed.pop_front();
        }
        self.owed.front().copied()
    }

    #[inline]
    fn settle(&mut self, expected: Owed) {
        if self.front() == Some(expected) {
            self.owed.pop_front();
        } else {
            self.lost = true;
        }
    }

    /// A command is complete: the Execute is answered; a Query goes on until ReadyForQuery.
    #[inline]
    fn settle_execute(&mut self) {
        match self.front() {
            Some(Owed::Execute) => {
                self.owed.pop_front();
            }
            Some(Owed::Query) => {}
            _ => self.lost = true,
        }
    }

    /// An error in the extended protocol makes the server skip to the next Sync.
    fn received_error(&mut self) {
        self.copying_in = false;
        match self.front() {
            None => self.lost = true,
            Some(front) if front.ends_with_ready() => {}
            Some(_) => {
                while self.owed.front().is_some_and(|owed| *owed != Owed::Sync) {
                    self.owed.pop_front();
                }
                self.skipping = self.owed.is_empty();
            }
        }
    }

    /// The server wants data: until CopyDone or CopyFail it ignores Sync, those it was already sent included.
    fn received_copy_in(&mut self) {
        if !matches!(self.front(), Some(Owed::Query | Owed::Execute)) {
            self.lost = true;
            return;
        }
        self.copying_in = true;
        while let Some(next) = self.owed.get(1) {
            match next {
                Owed::Sync => {}
                Owed::CopyEnd => self.copying_in = false,
                _ => {
                    self.lost = true;
                    return;
                }
            }
            self.owed.remove(1);
            if !self.copying_in {
                return;
            }
        }
    }

    /// Notes a ReadyForQuery.
    #[inline]
    pub(crate) fn received_ready(&mut self, status: TransactionStatus) {
        self.status = status;
        match self.front() {
            Some(front) if front.ends_with_ready() => {
                self.owed.pop_front();
            }
            _ => self.lost = true,
        }
        self.at_rest = self.owed.is_empty() && !self.skipping && !self.copying_in;
    }

    /// True when nothing is owed and the last word was ReadyForQuery, in whatever transaction status.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.at_rest && !self.lost
    }

    /// True when the connection may serve somebody else.
    #[inline]
    pub(crate) fn is_releasable(&self) -> bool {
        self.is_at_rest() && self.status == TransactionStatus::Idle
    }

    /// Transaction status of the last ReadyForQuery.
    pub(crate) fn status(&self) -> TransactionStatus {
        self.status
    }

    /// True when what was sent and what came do not fit together.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// True when the server says no more unless it is sent more: it takes data, or no Sync ends what was sent.
    pub(crate) fn waits_for_client(&self) -> bool {
        let mut owed = self.owed.iter().rev();
        let last = owed.find(|owed| **owed != Owed::CopyEnd);
        self.copying_in || last.is_none_or(|last| !last.ends_with_ready())
    }

    /// Messages whose answers are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        self.owed.len()
    }

    /// The server is gone: hands over what it owed, and whether the client is inside a pipeline whose Sync
    /// has not come. The ledger starts anew.
    pub(crate) fn abandon(&mut self) -> (VecDeque<Owed>, bool) {
        let owed = std::mem::take(&mut self.owed);
        let mid_pipeline = self.skipping
            || !self.at_rest && owed.back().is_none_or(|last| !last.ends_with_ready());
        *self = Self::default();
        (owed, mid_pipeline)
    }
}
