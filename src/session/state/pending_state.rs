//! Session state that statements may have left at the server connection, until the server has been asked. Pure.

use super::{
    pin::Pin,
    state_query::{self, StateQuery},
};
use crate::{
    limits::CUSTOM_SETTINGS_MAX,
    protocol::{backend::ParameterStatus, frontend::FunctionCall},
    sql::{
        body::Body,
        effects::{Effects, StatementFlags},
        raw,
    },
};

/// Bytes of a FunctionCall that say which function it calls.
pub(crate) const FUNCTION_BYTES: usize = 4;

/// The functions of large objects, which libpq and JDBC call in this way and which leave no session state: their
/// object ids in `pg_proc`, the same in every server.
const LARGE_OBJECTS: [u32; 13] = [
    715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172,
];

/// Session state that statements may have left or removed since the last state query, and what that query found.
#[derive(Debug, Default)]
pub(crate) struct PendingState {
    /// There may be more session state than was found.
    gained: bool,
    /// There may be less.
    lost: bool,
    /// The settings at hand may not be the session's: texts may mean something else.
    unsettled: bool,
    /// The schema may have another version.
    schema: bool,
    /// Functions, triggers or the like were made, unless that is rolled back.
    makes: bool,
    /// Settings with a dot in their names that may have been set, or will be by what was prepared.
    custom_settings: Vec<Box<str>>,
    /// There may be what nobody can ask for: the connection is reset before another session has it.
    soiled: bool,
    /// There may be what no reset takes away.
    lasting: bool,
    /// A sequence may have given something to the session.
    uses_sequences: bool,
    /// The session has used a sequence at some time, as far as was seen.
    has_used_sequences: bool,
    /// Settings that the server has reported.
    reported: Vec<Box<str>>,
    /// Statements may have been prepared by SQL.
    prepared: bool,
    /// Reason to keep the connection that the last state query found: state that cannot be carried.
    found: Option<Pin>,
    /// Reason to keep the connection until the session ends.
    forever: Option<Pin>,
    /// State queries in a row in which the server could not tell.
    failures: u8,
    /// It is asked again after the session's next transaction.
    asks_later: bool,
}

/// More settings than any server reports.
const REPORTED_SETTINGS_MAX: usize = 64;

/// So often in a row a server is asked that cannot tell; then the session keeps its connection for a transaction.
const STATE_QUERY_FAILURES_MAX: u8 = 5;

impl PendingState {
    /// A statement goes to the server.
    #[inline]
    pub(crate) fn note(&mut self, flags: StatementFlags) {
        self.gained |= flags.gains_state();
        self.lost |= flags.loses_state();
        self.unsettled |= flags.changes_meaning();
        self.schema |= flags.changes_schema();
        self.prepared |= flags.prepares();
        if flags.loads() {
            self.keep_forever(Pin::Library);
        }
    }

    /// Running something may leave this behind.
    pub(crate) fn note_effects(&mut self, effects: Effects) {
        if effects.leaves_state() {
            self.note_report();
            self.lost = true;
        }
        self.schema |= effects.has(Effects::SCHEMA.and(Effects::UNSEEN));
        self.soiled |= effects.has(Effects::UNSEEN.and(Effects::UNNAMED));
        if effects.has(Effects::USES_SEQUENCES) {
            self.uses_sequences = true;
            self.has_used_sequences |= !effects.has(Effects::UNSEEN);
        }
        if effects.has(Effects::LASTING) {
            self.lasting = true;
            self.keep_forever(Pin::Lasting);
        }
        if effects.has(Effects::UNNAMED) {
            self.keep_forever(Pin::Setting);
        }
    }

    /// A setting with a dot in its name may be set, which no view of the server shows.
    pub(crate) fn note_setting(&mut self, name: &str) {
        if self.custom_settings.iter().any(|known| **known == *name) {
            return;
        }
        if self.custom_settings.len() < CUSTOM_SETTINGS_MAX {
            self.custom_settings.push(name.into());
        } else {
            (self.soiled, self.gained) = (true, true);
            self.keep_forever(Pin::Setting);
        }
    }

    /// True when a text may set what nobody could ask for.
    pub(crate) fn has_unseen_setting(&self, text: &[u8]) -> bool {
        let body = Body::read(text);
        let new = body
            .settings
            .iter()
            .filter(|name| !self.custom_settings.contains(name));
        body.effects.has(Effects::UNNAMED)
            || self.custom_settings.len() + new.count() > CUSTOM_SETTINGS_MAX
    }

    /// True when the connection must be reset before another session has it.
    pub(crate) fn is_soiled(&self) -> bool {
        self.soiled
    }

    /// True when it must be closed instead.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lasting
    }

    /// True when a sequence may have given something to the session since its connection was at hand.
    pub(crate) fn uses_sequences(&self) -> bool {
        self.uses_sequences
    }

    /// True when one has given something to the session at any time.
    pub(crate) fn has_ever_used_sequences(&self) -> bool {
        self.has_used_sequences
    }

    /// The connection is given back. What its session has set by names of its own may be set there again.
    pub(crate) fn connection_is_given_back(&mut self) {
        (self.soiled, self.uses_sequences) = (false, false);
    }

    /// True while the session has changed the schema and nobody else may know.
    pub(crate) fn changes_schema(&self) -> bool {
        self.schema
    }

    /// Functions, triggers or the like are made.
    pub(crate) fn note_code(&mut self) {
        self.makes = true;
    }

    /// A procedure of which nothing is known is called.
    pub(crate) fn note_schema(&mut self) {
        self.schema = true;
    }

    /// A function is called, which may do whatever a statement may do. `body` is that of a FunctionCall. False when it is
    /// known to leave nothing.
    #[cold]
    pub(crate) fn note_call(&mut self, body: &[u8], whole: bool) -> bool {
        if is_of_large_objects(body) {
            return false;
        }
        self.note_effects(Effects::STATE.and(raw::effects(body)));
        for name in dotted_names(body) {
            self.note_setting(&name);
        }
        if !whole {
            self.keep_forever(Pin::Setting);
        }
        true
    }

    /// True when a call may do what the session could not be asked for afterwards.
    pub(crate) fn call_pins(&self, body: &[u8], whole: bool) -> bool {
        let names_none = || raw::effects(body).has(Effects::UNNAMED);
        !is_of_large_objects(body) && (!whole || names_none())
    }

    /// Text of the state query, given the names of the settings that the session is known to have. Names are kept: the
    /// transaction may be rolled back, and a prepared statement may set them again.
    pub(crate) fn question<'a>(
        &mut self,
        known: impl Iterator<Item = &'a str>,
        in_transaction: bool,
    ) -> Vec<u8> {
        for name in known.filter(|name| name.contains('.')) {
            if !self.custom_settings.iter().any(|custom| **custom == *name) {
                self.custom_settings.push(name.into());
            }
        }
        let custom = self.custom_settings.iter().map(|name| &**name);
        let reported = self.reported.iter().map(|name| &**name);
        let question = state_query::question(custom, reported, in_transaction);
        if !in_transaction {
            self.reported = Vec::new();
        }
        question
    }

    /// The connection stays with this session. The first reason is the one that is told.
    pub(crate) fn keep_forever(&mut self, pin: Pin) {
        self.forever = self.forever.or(Some(pin));
    }

    /// The server reports a setting that nobody was seen to change.
    pub(crate) fn note_report(&mut self) {
        self.gained = true;
        self.unsettled = true;
    }

    /// The server reports a setting: the session's, or one of its own that was changed under the connection.
    pub(crate) fn note_reported(&mut self, body: &[u8]) {
        self.note_report();
        let name = ParameterStatus::read(body).ok();
        let name = name.and_then(|status| std::str::from_utf8(status.name).ok());
        let is_known = |name: &str| self.reported.iter().any(|known| **known == *name);
        if let Some(name) = name.filter(|name| !is_known(name))
            && self.reported.len() < REPORTED_SETTINGS_MAX
        {
            self.reported.push(name.into());
        }
    }

    /// True when the server must be asked before the connection can go back.
    #[inline]
    pub(crate) fn wants_state_query(&self) -> bool {
        self.gained || self.lost && self.found.is_some()
    }

    /// The server is being asked: what happens from now on is not in its answer.
    pub(crate) fn state_query_begins(&mut self) {
        (self.gained, self.lost) = (false, false);
    }

    /// The server's answer.
    pub(crate) fn state_query_ends(&mut self, state_query: &StateQuery) {
        if state_query.failed {
            return self.state_query_failed();
        }
        self.failures = 0;
        self.found = state_query.pin;
        self.prepared = state_query.prepared || self.gained && self.prepared;
        self.unsettled = self.gained;
    }

    /// The server could not tell: nobody else may have the connection until it can.
    fn state_query_failed(&mut self) {
        self.failures += 1;
        if self.failures < STATE_QUERY_FAILURES_MAX {
            self.gained = true;
            return;
        }
        // From now on once for each transaction.
        self.failures = STATE_QUERY_FAILURES_MAX - 1;
        self.found = self.found.or(Some(Pin::Setting));
        (self.unsettled, self.asks_later) = (true, true);
    }

    /// The transaction has ended: what it had for itself is gone.
    #[inline]
    pub(crate) fn transaction_ends(&mut self) {
        self.gained |= std::mem::take(&mut self.asks_later);
        if !self.gained {
            self.unsettled = false;
        }
    }

    /// The connection is gone with all that was there.
    pub(crate) fn connection_is_gone(&mut self) {
        *self = Self {
            schema: self.schema,
            makes: self.makes,
            has_used_sequences: self.has_used_sequences,
            ..Self::default()
        };
    }

    /// True when the same text may mean something else than at the session's other connections.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// True when a name may be taken by a statement that SQL prepared.
    pub(crate) fn may_have_prepared(&self) -> bool {
        self.prepared
    }

    /// Whether functions or the like were made, when the schema may have changed.
    #[inline]
    pub(crate) fn schema_change(&self) -> Option<bool> {
        self.schema.then_some(self.makes)
    }

    /// Whether functions or the like were made, when the schema may have changed; once.
    #[inline]
    pub(crate) fn take_schema_change(&mut self) -> Option<bool> {
        let change = self.schema_change();
        (self.schema, self.makes) = (false, false);
        change
    }

    /// Why the connection must stay with the session, if it must.
    #[inline]
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.forever.or(self.found)
    }
}

/// Names with a dot that the arguments of a function call spell.
pub(crate) fn dotted_names(body: &[u8]) -> impl Iterator<Item = String> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$.".contains(byte);
    let words = body.split(move |byte| !is_part(byte));
    let names = words.filter_map(|word| std::str::from_utf8(word).ok());
    let dotted = |name: &&str| name.trim_matches('.').contains('.');
    names.filter(dotted).map(str::to_ascii_lowercase)
}

fn is_of_large_objects(body: &[u8]) -> bool {
    FunctionCall::read(body).is_ok_and(|call| LARGE_OBJECTS.contains(&call.function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_called_function_may_leave_anything_unless_it_is_known() {
        let called = |function: u32, name: &[u8], whole| {
            let mut pending_state = PendingState::default();
            pending_state.note_call(&[&function.to_be_bytes(), name].concat(), whole);
            pending_state
        };
        let pending_state = called(2077, b"\0\0\0\x02my.var", true);
        assert!(
            pending_state.wants_state_query()
                && pending_state.is_unsettled()
                && pending_state.pin().is_none()
        );
        let question =
            String::from_utf8(called(2077, b"\0my.var", true).question([].into_iter(), false));
        assert!(question.unwrap().contains("E'my.var'"));
        assert_eq!(called(2077, b"", false).pin(), Some(Pin::Setting));
        let unlink = called(964, b"", false);
        assert!(!unlink.wants_state_query() && unlink.pin().is_none());
    }
}
