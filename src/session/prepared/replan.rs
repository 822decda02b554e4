//! A statement that the server has prepared and does not have any more, because something that it ran has dropped it: the
//! client is told nothing, and its pipeline runs again with fresh statements. Pure.
//!
//! Only a pipeline that the server has refused with its first answer, outside a transaction block; and all of which was
//! sent: then nothing of it was executed. A statement whose rows have got another shape since its client defined it is
//! refused, as PostgreSQL does ("cached plan must not change result type").

use super::rerun::Replan;
use super::server::{PREFIX, Prepared};
use crate::protocol::{
    SqlState, Tag,
    backend::{ErrorFields, TransactionStatus},
    frontend::may_name_statement,
};
use crate::session::conversation::Conversation;

impl Conversation {
    /// A message is the first of the client's that the server sees of a pipeline.
    #[inline]
    pub(crate) fn begin_recording(&mut self, tag: Tag) {
        let outside = self.ledger.status() == TransactionStatus::Idle;
        let begins = self.block.is_to_hand_over();
        if may_name_statement(tag)
            && self.shares_names()
            && outside
            && !begins
            && self.own_requests_are_done()
        {
            self.statements.replan.begin();
        }
    }

    /// True once when what the client sent is to be recorded from the message that was just judged.
    #[inline]
    pub(crate) fn take_recording(&mut self) -> bool {
        self.statements.replan.take_recording()
    }

    /// True when what is under way is recorded.
    #[inline]
    pub(crate) fn is_recorded(&self) -> bool {
        self.statements.replan == Replan::Possible
    }

    /// The recorded pipeline cannot run again any more: its client has been answered, or has sent more than was
    /// recorded.
    pub(crate) fn stop_recording(&mut self) {
        self.statements.replan.outgrow();
    }

    /// The client's messages wait until it is known whether earlier ones run again.
    #[inline]
    pub(crate) fn is_replanning(&self) -> bool {
        self.statements.replan == Replan::Refused
    }

    /// True once when what was recorded is to be sent again.
    #[inline]
    pub(crate) fn take_again(&mut self) -> bool {
        self.statements.replan.take_again()
    }

    /// An ErrorResponse that says that the server does not have a prepared statement of ours. True when the client need
    /// not know.
    #[cold]
    pub(crate) fn refuses_forgotten(&mut self, body: &[u8], server: &mut Prepared) -> bool {
        if !is_forgotten(body) {
            return false;
        }
        // What the connection has is not what it seems; it is parsed again when it is needed.
        server.doubt_named();
        self.ledger.client.is_one_pipeline() && self.statements.replan.refuse()
    }
}

/// True when the error is about a name of ours, and not about what the client asked.
fn is_forgotten(body: &[u8]) -> bool {
    let sqlstate = ErrorFields::sqlstate_in(body);
    sqlstate == Some(SqlState::INVALID_SQL_STATEMENT_NAME)
        && memchr::memmem::find(body, PREFIX).is_some()
}
