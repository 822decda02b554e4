//! Judgement of each message of a server: it goes to the client, as it is or in other words, or it stays here. Pure.
//!
//! Answers to pgring's own queries are judged in `ledger/ask.rs`; what is owed stands in the ledger.

use super::prepared::{server::Prepared, write_head};
use super::{
    conversation::{Answer, Conversation},
    prepared::{names::rename, sql_commands},
    server_errors::is_fatal,
};
use crate::{
    cluster::stamps::Stamps,
    protocol::{
        ProtocolError, SqlState, Tag,
        backend::{ErrorFields, TransactionStatus},
        tag::backend,
    },
    sql::effects::Use,
};

impl Conversation {
    /// Judges a server's message; `body` is whole for CommandComplete, ErrorResponse and ReadyForQuery.
    #[inline]
    pub fn server_message(
        &mut self,
        tag: Tag,
        body: &[u8],
        server: &mut Prepared,
    ) -> Result<Answer, ProtocolError> {
        if let Some(own) = self.internal.asked.front() {
            return self.server_message_for_us(*own, tag, body);
        }
        match tag {
            backend::READY_FOR_QUERY => {
                self.server_ready(TransactionStatus::read(body)?, server);
                if self.statements.replan.end() {
                    return Ok(Answer::Swallow);
                }
                self.stop_recording();
                if self.state.restore.reset {
                    return Ok(self.ready_after_reset());
                }
                return Ok(Answer::Ready);
            }
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            backend::ERROR_RESPONSE => return Ok(self.server_error(body, server)),
            backend::ROW_DESCRIPTION | backend::NO_DATA | backend::PARAMETER_DESCRIPTION => {
                self.note_shape(tag, body, server);
                if self.ledger.received(tag) {
                    return Ok(Answer::Swallow);
                }
            }
            _ if self.ledger.received(tag) => {
                self.statements
                    .names
                    .settle(self.ledger.client.settled(), Some(server));
                return Ok(Answer::Swallow);
            }
            backend::COMMAND_COMPLETE if !self.statements.commands.is_empty() => {
                self.command_done(body, server);
            }
            backend::PARAMETER_STATUS => {
                self.state.pending.note_reported(body);
                if self.state.restore.report(body) {
                    return Ok(Answer::Swallow);
                }
            }
            _ => {}
        }
        self.statements.replan.give_up();
        self.statements
            .names
            .settle(self.ledger.client.settled(), Some(server));
        Ok(Answer::Forward)
    }

    #[cold]
    fn server_error(&mut self, body: &[u8], server: &mut Prepared) -> Answer {
        let told = self
            .refusal_error()
            .or_else(|| {
                rename(body, |name| {
                    self.statements.names.name_of(server.by_name(name)?)
                })
            })
            .or_else(|| self.sequence_hint(body));
        let again = self.refuses_forgotten(body, server);
        if !again {
            // The client hears of it, and must not hear of it twice.
            self.stop_recording();
        }
        if self.ledger.client.is_last_pipeline() {
            self.state.restore.request_failed();
        }
        let failed = self.ledger.client.refused();
        self.ledger.received(backend::ERROR_RESPONSE);
        self.statements
            .names
            .refute(failed, self.ledger.client.settled(), Some(server));
        match told {
            _ if again => Answer::Swallow,
            Some(body) => {
                self.follow_ups.replacement = body;
                Answer::Renamed
            }
            None => Answer::Forward,
        }
    }

    /// The server's error about a value that no sequence has given to this connection, with what is to be known of that:
    /// one did give something to this session, in another transaction.
    fn sequence_hint(&self, body: &[u8]) -> Option<Vec<u8>> {
        const HINT: &[u8] = b"HIn transaction pooling currval and lastval know what the transaction itself has used. \
            Use RETURNING, ask within the transaction, or set sequence_values = \"session\".\0\0";
        let fields = ErrorFields::read(body).ok()?;
        let is_it = fields.sqlstate() == Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
            && matches!(fields.field(b'R'), Some(b"currval_oid" | b"lastval"))
            && self.state.pending.has_ever_used_sequences();
        let rest = body.strip_suffix(b"\0").filter(|_| is_it)?;
        let mut out = Vec::new();
        write_head(
            backend::ERROR_RESPONSE.0,
            &[],
            rest.len() + HINT.len(),
            &mut out,
        );
        out.extend_from_slice(rest);
        out.extend_from_slice(HINT);
        Some(out)
    }

    /// Stamps the names whose Parse the server has answered so far: whatever is parsed from now on is parsed later.
    #[inline]
    pub(crate) fn note_answered(&mut self, stamps: &Stamps) {
        self.statements.names.stamp(stamps);
    }

    /// The client gets this message in place of the server's.
    pub(crate) fn rename(&mut self, message: Vec<u8>) {
        self.follow_ups.replacement = message;
    }

    /// The error in the client's words.
    pub(crate) fn take_renamed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.follow_ups.replacement)
    }

    #[inline]
    fn server_ready(&mut self, status: TransactionStatus, server: &mut Prepared) {
        self.ledger.received_ready(status);
        self.statements
            .names
            .settle(self.ledger.client.settled(), Some(server));
        self.turns.rolls_back = false;
        self.turns.is_unread &= !self.ledger.waits_for_client();
        self.turns.may_turn &= !self.ledger.is_at_rest();
        if !self.statements.commands.is_empty()
            && self.ledger.client.settled() > self.statements.commands_ticket
        {
            self.statements.commands.clear();
        }
        if self.ledger.is_releasable() {
            self.statements.portals.clear();
            self.state.pending.transaction_ends();
        }
    }

    /// A DEALLOCATE or its like was done.
    #[cold]
    fn command_done(&mut self, body: &[u8], server: &mut Prepared) {
        let tag = body.strip_suffix(b"\0").unwrap_or(body);
        match sql_commands::done(&mut self.statements.commands, tag) {
            Some(Use::Deallocate(name)) => {
                self.statements.names.remove(&name);
                self.forget_shown(Some(&name));
                server.unstain(&name);
            }
            Some(Use::DeallocateAll | Use::DiscardAll) => {
                self.statements.names.remove_all();
                self.forget_shown(None);
                server.drop_named();
            }
            _ => {}
        }
    }

    /// True once when a Sync of ours must be sent: the server skips a request because one of ours failed.
    #[inline]
    pub fn take_sync_due(&mut self) -> bool {
        self.ledger.take_sync_due()
    }

    /// Whether functions or the like were made, when the schema may have changed and the change is there for everybody. Asked
    /// at each ReadyForQuery and when nothing is under way; it is said again as long as something is that may change more.
    #[inline]
    pub(crate) fn take_schema_change(&mut self) -> Option<bool> {
        if self.ledger.is_releasable() {
            return self.state.pending.take_schema_change();
        }
        let is_over = self.ledger.status() == TransactionStatus::Idle;
        is_over.then(|| self.state.pending.schema_change())?
    }

    /// Whether functions or the like were made, when the schema may have changed by a transaction whose end is not known.
    pub(crate) fn take_doubtful_schema_change(&mut self) -> Option<bool> {
        self.state.pending.take_schema_change()
    }
}
