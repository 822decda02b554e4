//! The end of a request that may have reset settings: the client hears that the server is ready when it has its own
//! settings again. Pure.

use std::collections::BTreeMap;

use crate::{
    protocol::{Writer, backend::TransactionStatus},
    session::{conversation::Conversation, verdict::Answer},
};

impl Conversation {
    /// The server is ready after a statement that may have reset settings: what becomes of that message.
    pub(crate) fn ready_after_reset(&mut self) -> Answer {
        let status = self.ledger.status();
        self.state.restore.ready = Some(status);
        if status == TransactionStatus::Failed || !self.ledger.is_at_rest() {
            // Nothing can be set now, or other requests are under way behind it.
            return Answer::Restored;
        }
        Answer::Restore
    }

    /// True when settings may have been reset between the last two state queries (those in transactions do not count).
    pub(crate) fn has_reset(&self) -> bool {
        self.state.restore.before_state_query.any
    }

    /// True when that may have been a limit of time.
    pub(crate) fn has_reset_limit(&self) -> bool {
        self.state.restore.before_state_query.limit
    }

    /// True when that may have been the session's role.
    pub(crate) fn has_reset_role(&self) -> bool {
        self.state.restore.before_state_query.role
    }

    /// True when the next request must wait until the client has its own settings again, not the server's.
    #[inline]
    pub(crate) fn waits_for_settings(&self) -> bool {
        self.state.restore.is_awaited() && self.ledger.begins_pipeline() && !self.is_at_rest()
    }

    /// True while the client waits to hear that its reset is done.
    pub(crate) fn is_restoring(&self) -> bool {
        self.state.restore.ready.is_some()
    }

    /// The settings are what they must be: writes what the client shall hear. `login`: what it was told there.
    pub(crate) fn restored(&mut self, login: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::new();
        let restore = &mut self.state.restore;
        // A request before the one that resets may have been answered.
        restore.reset &= !self.ledger.is_at_rest();
        // The last of each name counts; the server reports in the order of names.
        let reports: BTreeMap<_, _> = std::mem::take(&mut restore.reports)
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), (name, value)))
            .collect();
        for (name, value) in reports.values() {
            let told = restore.told.get(name).cloned().or_else(|| login(name));
            if told.as_ref() != Some(value) {
                Writer::new(&mut out).parameter_status(name, value);
                restore.told.insert(name.clone(), value.clone());
            }
        }
        if let Some(status) = restore.ready.take() {
            Writer::new(&mut out).ready_for_query(status);
        }
        out
    }
}
