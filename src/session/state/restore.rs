//! RESET and its like in a session that came with settings of its own: they go back to those, not to the server's.
//!
//! The server knows of no difference, so that the client's settings are given to it anew before the client hears
//! that it is ready; of what the server reports meanwhile the client hears what has changed in the end. Pure.

use std::collections::HashMap;

use crate::protocol::backend::{ParameterStatus, TransactionStatus};

/// Settings that may have been reset in one session, the messages that are held back until they are restored, and the
/// values that the client was told.
#[derive(Debug, Default)]
pub(crate) struct Restore {
    /// The client came with settings.
    concerned: bool,
    /// A statement that may have reset some is under way, or has been executed.
    pub(crate) reset: bool,
    /// A function or trigger that has run since the last state query outside a transaction may have reset some, as
    /// nobody could see.
    unsure: bool,
    /// One that ran before the state query that is under way may have.
    was_unsure: bool,
    /// Resets that no state query outside a transaction has come after.
    since_state_query: Resets,
    /// Resets before the state query that is under way, or was the last.
    pub(crate) before_state_query: Resets,
    /// The ReadyForQuery that waits, while settings are restored.
    pub(crate) ready: Option<TransactionStatus>,
    /// Names and values that the server has reported since.
    pub(crate) reports: Vec<(Vec<u8>, Vec<u8>)>,
    /// Values that the client was told after its login, by the names of their settings.
    pub(crate) told: HashMap<Vec<u8>, Vec<u8>>,
}

/// Kinds of settings that may have been reset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resets {
    /// Some setting.
    pub(crate) any: bool,
    /// The session's user or role, of which the server does not say whether it was set or reset.
    pub(crate) role: bool,
    /// A limit of time, of which the question hides that.
    pub(crate) limit: bool,
}

impl Restore {
    /// The client has settings to go back to now, if it had none.
    pub(crate) fn is_concerned(&mut self) {
        self.concerned = true;
    }

    /// A statement that may change settings is sent.
    pub(crate) fn note(&mut self, text: &[u8]) {
        if !self.concerned {
            return;
        }
        let text = text.to_ascii_lowercase();
        let resets = may_reset(&text);
        self.reset |= resets;
        self.since_state_query.any |= resets;
        self.since_state_query.limit |= resets && has_one(&text, &[b"timeout", b"all"]);
        if names_role(&text) {
            self.since_state_query.role = resets;
        }
    }

    /// Functions are run that may leave what no text says.
    pub(crate) fn note_unseen(&mut self) {
        self.unsure |= self.concerned;
    }

    /// A state query outside a transaction has found what there is, unless it has failed.
    pub(crate) fn state_query_ends(&mut self, failed: bool) {
        self.was_unsure &= failed;
    }

    /// The server is asked behind all that was sent; what is sent from now on is for the next state query.
    pub(crate) fn state_query_begins(&mut self) {
        self.before_state_query = std::mem::take(&mut self.since_state_query);
        self.was_unsure |= std::mem::take(&mut self.unsure);
    }

    /// True while settings may be the server's.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.reset || self.unsure || self.was_unsure
    }

    /// It was taken in a transaction, which may yet be rolled back. A role that is given back now has been set, and
    /// whoever has none at a later state query has said so.
    pub(crate) fn state_query_was_early(&mut self) {
        let gives_back = self.ready.is_some();
        self.since_state_query.any |= self.before_state_query.any;
        self.since_state_query.limit |= self.before_state_query.limit && !gives_back;
        self.since_state_query.role |= self.before_state_query.role && !gives_back;
    }

    /// The only request under way has failed, and changed nothing.
    pub(crate) fn request_failed(&mut self) {
        self.since_state_query.role = false;
    }

    /// The connection is gone, and what was reset there with it. True when the client waited to hear of that.
    pub(crate) fn connection_is_gone(&mut self) -> bool {
        (self.reset, self.unsure, self.was_unsure) = (false, false, false);
        self.since_state_query = Resets::default();
        self.reports.clear();
        self.ready.take().is_some()
    }

    /// The server reports a setting; true when the client shall not hear it yet.
    pub(crate) fn report(&mut self, body: &[u8]) -> bool {
        let Some(status) = ParameterStatus::read(body).ok().filter(|_| self.concerned) else {
            return false;
        };
        let (name, value) = (status.name.to_vec(), status.value.to_vec());
        if self.unsure || self.was_unsure {
            // It may have gone back to what the server began with.
            (self.reset, self.since_state_query.any) = (true, true);
        }
        if self.reset {
            self.reports.push((name, value));
        } else {
            self.told.insert(name, value);
        }
        self.reset
    }
}

/// True for a text in small letters with one of the words that set something back.
fn may_reset(text: &[u8]) -> bool {
    has_one(text, &[b"reset", b"discard", b"default", b"null"])
}

/// True for a text in small letters with one of the words for a session's user or role. (RESET ALL leaves these alone,
/// DISCARD ALL does not.)
fn names_role(text: &[u8]) -> bool {
    has_one(text, &[b"role", b"authorization", b"discard"])
}

fn has_one(text: &[u8], words: &[&[u8]]) -> bool {
    let mut words = words.iter();
    words.any(|word| memchr::memmem::find(text, word).is_some())
}
