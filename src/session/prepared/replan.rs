//! A statement that the server has prepared and does not have any more, because something that it ran has dropped it: the
//! client is told nothing, and its pipeline runs again with fresh statements. Pure.
//!
//! Only a pipeline that the server has refused with its first answer, outside a transaction block; and all of which was
//! sent: then nothing of it was executed. A statement whose rows have got another shape since its client defined it is
//! refused, as PostgreSQL does ("cached plan must not change result type").

use super::extended::may_name_statement;
use super::server::{PREFIX, Prepared};
use crate::protocol::{
    SqlState, Tag,
    backend::{ErrorFields, TransactionStatus},
};
use crate::session::conversation::Conversation;

/// Where a session stands with that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replan {
    /// What is under way cannot run again.
    #[default]
    Impossible,
    /// What the client sends is to be recorded from here on.
    Record,
    /// What is under way has been recorded, and the server has not answered.
    Possible,
    /// It was refused; the end of its pipeline is to come.
    Refused,
    /// It is to run again.
    Again,
    /// It runs again, and will not a second time.
    Last,
}

impl Conversation {
    /// A message is the first of the client's that the server sees of a pipeline.
    #[inline]
    pub(crate) fn begin_recording(&mut self, tag: Tag) {
        let outside = self.ledger.status() == TransactionStatus::Idle;
        let begins = self.deferred.is_some() || self.bound_alone.is_some();
        if may_name_statement(tag)
            && self.shares_names()
            && outside
            && !begins
            && self.own_requests_are_done()
        {
            self.replan = match self.replan {
                Replan::Again | Replan::Last => Replan::Last,
                _ => Replan::Record,
            };
        }
    }

    /// True once when what the client sent is to be recorded from the message that was just judged.
    #[inline]
    pub(crate) fn take_recording(&mut self) -> bool {
        let record = self.replan == Replan::Record;
        if record {
            self.replan = Replan::Possible;
        }
        record
    }

    /// True when what is under way is recorded.
    #[inline]
    pub(crate) fn is_recorded(&self) -> bool {
        self.replan == Replan::Possible
    }

    /// What was recorded is not all that the client sent.
    pub(crate) fn stop_recording(&mut self) {
        if self.replan == Replan::Possible {
            self.replan = Replan::Impossible;
        }
    }

    /// The client's messages wait until it is known whether earlier ones run again.
    #[inline]
    pub(crate) fn is_replanning(&self) -> bool {
        matches!(self.replan, Replan::Refused)
    }

    /// True once when what was recorded is to be sent again.
    #[inline]
    pub(crate) fn take_again(&mut self) -> bool {
        self.replan == Replan::Again && {
            self.replan = Replan::Last;
            true
        }
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
        let possible = self.replan == Replan::Possible && self.ledger.is_one_pipeline();
        if possible {
            self.replan = Replan::Refused;
        }
        possible
    }
}

/// True when the error is about a name of ours, and not about what the client asked.
fn is_forgotten(body: &[u8]) -> bool {
    let sqlstate = ErrorFields::sqlstate_in(body);
    sqlstate == Some(SqlState::INVALID_SQL_STATEMENT_NAME)
        && memchr::memmem::find(body, PREFIX).is_some()
}
