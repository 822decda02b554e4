//! Asking a server on pgring's own account, and the judgement of its answers. Pure.

use crate::session::{
    conversation::Conversation, ledger::internal_queries::Own, server_errors::is_fatal,
    state::state_query::StateQuery, verdict::Answer,
};
use crate::{
    cluster::{
        node::{Lsn, end_of_log},
        settings::PoolMode,
    },
    protocol::{
        ProtocolError, Tag,
        backend::{DataRow, ErrorFields, TransactionStatus},
        tag::backend,
    },
    session::{prepared::server::Prepared, transaction::block::Begun},
};

impl Conversation {
    /// The session's settings were sent ahead of its request, in a Query.
    pub fn sent_settings(&mut self, server: &mut Prepared) {
        server.drop_unnamed();
        self.internal.asked.push_back(Own::Settings);
    }

    /// True when the server must be asked for the session state before the connection can go back.
    #[inline]
    pub(crate) fn wants_state_query(&self) -> bool {
        self.mode() != PoolMode::Session
            && self.state.pending.wants_state_query()
            && self.is_clean()
    }

    /// Begins the state query and returns its text, to be sent in a Query. `known`: names of the settings that the
    /// session is known to have.
    pub(crate) fn begin_state_query<'a>(
        &mut self,
        known: impl Iterator<Item = &'a str>,
        server: &mut Prepared,
    ) -> Vec<u8> {
        server.drop_unnamed();
        self.internal.asked.push_back(Own::StateQuery);
        self.internal.state_query = StateQuery::default();
        self.state.pending.state_query_begins();
        self.state.restore.state_query_begins();
        let in_transaction = self.ledger.status() != TransactionStatus::Idle;
        self.state.pending.question(known, in_transaction)
    }

    /// Takes what the server answered to the state query.
    pub(crate) fn take_state_query(&mut self) -> StateQuery {
        let state_query = std::mem::take(&mut self.internal.state_query);
        self.state.pending.state_query_ends(&state_query);
        if self.ledger.status() == TransactionStatus::Idle {
            self.state.restore.state_query_ends(state_query.failed);
        } else {
            // What was found may yet be rolled back.
            self.state.pending.note_report();
            self.state.restore.state_query_was_early();
        }
        state_query
    }

    /// True while rows of the server answer the state query.
    #[inline]
    pub(crate) fn is_in_state_query(&self) -> bool {
        self.internal.asked.front() == Some(&Own::StateQuery)
    }

    /// True while rows of the server answer a question of ours.
    #[inline]
    pub(crate) fn awaits_rows(&self) -> bool {
        matches!(
            self.internal.asked.front(),
            Some(Own::StateQuery | Own::Position)
        )
    }

    /// The primary is asked how far its log was written, behind what the client asked.
    /// `waits`: the session's transactions may begin by waiting for a safe snapshot, as this one must not.
    pub(crate) fn begin_position(&mut self, waits: bool, server: &mut Prepared) -> &'static str {
        /// With and without what a transaction of our own begins with.
        const QUESTIONS: [&str; 2] = [
            "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.current_setting('wal_block_size')",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE;\
             SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.current_setting('wal_block_size')",
        ];
        server.drop_unnamed();
        self.internal.position = None;
        self.internal.asked.push_back(Own::Position);
        let is_its_own = self.ledger.status() == TransactionStatus::Idle;
        QUESTIONS[usize::from(waits && is_its_own)]
    }

    /// Takes the position that the primary told, if it could tell.
    pub(crate) fn take_position(&mut self) -> Option<Lsn> {
        self.internal.position.take()
    }

    /// The block ends on the node where it has only read, and begins anew with the next request.
    pub(crate) fn leave_block(&mut self, block: Begun, server: &mut Prepared) -> &'static str {
        server.drop_unnamed();
        self.internal.asked.push_back(Own::Leave);
        self.block.move_on(block);
        "ROLLBACK"
    }

    /// The server has ended it.
    fn block_left(&mut self) {
        self.ledger.ends();
        self.statements.portals.clear();
        self.state.pending.transaction_ends();
        self.block.moved();
    }

    /// True while the server answers something of ours that changes nothing the client was told.
    pub(crate) fn hears_for_us(&self) -> bool {
        !self.internal.asked.is_empty() && !self.is_restoring()
    }

    /// The server has reported a setting of its own.
    pub(crate) fn note_reported(&mut self, body: &[u8]) {
        self.state.pending.note_reported(body);
    }

    /// How many requests of pgring's own the server answers before the client's.
    #[inline]
    pub(crate) fn own_requests_ahead(&self) -> usize {
        self.internal.asked.len()
    }

    /// How many statements of ours the server executes before the client's first, within its pipeline.
    pub(crate) fn own_executes_ahead(&self) -> usize {
        self.ledger.client.own_executes_ahead()
    }

    /// True when nothing that pgring itself asked is outstanding.
    pub(crate) fn own_requests_are_done(&self) -> bool {
        self.internal.asked.is_empty()
    }

    #[cold]
    pub(crate) fn server_message_for_us(
        &mut self,
        own: Own,
        tag: Tag,
        body: &[u8],
    ) -> Result<Answer, ProtocolError> {
        match tag {
            backend::READY_FOR_QUERY => {
                self.internal.asked.pop_front();
                return Ok(match own {
                    Own::StateQuery => Answer::StateTold,
                    Own::Position => Answer::PositionTold,
                    Own::Leave => {
                        self.block_left();
                        Answer::Swallow
                    }
                    Own::Settings if self.is_restoring() => Answer::Restored,
                    Own::Settings => Answer::Swallow,
                });
            }
            // The server ends the connection when it refuses settings, so that nothing runs without them.
            backend::ERROR_RESPONSE if own == Own::Settings && !is_shutdown(body) => {
                return Ok(Answer::SettingsRefused);
            }
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            backend::ERROR_RESPONSE if own == Own::StateQuery => {
                self.internal.state_query.failed = true
            }
            backend::ERROR_RESPONSE if own == Own::Position => {}
            backend::ERROR_RESPONSE => return Ok(Answer::SettingsRefused),
            backend::DATA_ROW if own == Own::Position => {
                self.internal.position = read_position(body)
            }
            backend::DATA_ROW
                if own == Own::StateQuery && self.internal.state_query.read(body).is_err() =>
            {
                self.internal.state_query.failed = true;
            }
            backend::PARAMETER_STATUS if self.is_restoring() => {
                self.state.restore.report(body);
            }
            backend::NOTIFICATION => return Ok(Answer::Forward),
            _ => {}
        }
        Ok(Answer::Swallow)
    }
}

/// True when the server ends its connections, whatever they ask.
fn is_shutdown(body: &[u8]) -> bool {
    let fields = ErrorFields::read(body).ok();
    let sqlstate = fields.and_then(|fields| fields.sqlstate());
    sqlstate.is_some_and(|code| matches!(&code.class(), b"57" | b"58" | b"XX"))
}

/// A row with a position as PostgreSQL writes it, two hexadecimal numbers and a slash, and the size of a page.
fn read_position(body: &[u8]) -> Option<Lsn> {
    let mut columns = DataRow::read(body).ok()?;
    let mut text = || std::str::from_utf8(columns.next()??).ok();
    let ((high, low), page) = (text()?.split_once('/')?, text()?.parse().ok()?);
    let half = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
    Some(end_of_log(half(high)? << 32 | half(low)?, page))
}
