//! Session state that running the client's statements may leave at the server connection, judged by their texts and by
//! the catalog's facts about functions, triggers and so on. Pure.
//!
//! When unsure it may be anything: the server is asked, and the connection is reset before another session has it.

use super::pin::Pin;
use crate::session::{context::Context, conversation::Conversation};
use crate::sql::class;
use crate::{
    cluster::facts::DatabaseFacts,
    session::{context::Known, prepared::Statement},
    sql::{
        body::Body,
        catalog::NamedEffects,
        effects::{self, Effects, StatementFlags},
        raw,
    },
};

/// Effects to be feared of functions and triggers that nobody knows.
const ANYTHING: Effects = Effects::UNSEEN.and(Effects::USES_SEQUENCES);

impl Conversation {
    /// A statement is to be executed, or a text of several. `hides`: bytes of its characters may look like ASCII.
    #[inline]
    pub(crate) fn note_effects(
        &mut self,
        flags: StatementFlags,
        text: &[u8],
        statement: Option<&Statement>,
        hides: bool,
        context: &Context<'_>,
    ) {
        let mut effects = self
            .effects_of(flags, text, statement, context)
            .and(context.feared(flags.effects()));
        if flags.changes_schema() && makes_code(text) {
            self.state.pending.note_code();
        }
        if flags.calls() && !matches!(context.known, Known::Facts(..)) {
            self.state.pending.note_schema();
        }
        if !effects.is_none() || flags.gains_state() {
            if hides {
                effects = effects.and(raw::effects(text));
            }
            self.note_leavings(effects, flags, text, context);
        }
    }

    /// Effects that running it may leave behind: those of the names in its text, and those that any statement may have.
    #[inline]
    fn effects_of(
        &self,
        flags: StatementFlags,
        text: &[u8],
        statement: Option<&Statement>,
        context: &Context<'_>,
    ) -> Effects {
        match context.known {
            Known::Trusted => Effects::NONE,
            Known::Facts(known, _)
                if known.effects.is_empty() && !self.state.pending.changes_schema() =>
            {
                Effects::NONE
            }
            Known::Facts(known, key) if !self.state.pending.changes_schema() => match statement {
                Some(statement) => {
                    statement.effects(*key, || named_effects(known, flags, text, context))
                }
                None => named_effects(known, flags, text, context),
            },
            // Nothing is known, or what the session itself has made is not.
            _ if calls_nothing(flags, text) => Effects::NONE,
            Known::Facts(known, _) | Known::Stale(known) => {
                ANYTHING.and(named_effects(known, flags, text, context))
            }
            // It was waited for in vain: what a function has set can be found by no question.
            Known::Nothing => ANYTHING.and(Effects::UNNAMED),
        }
    }

    #[cold]
    fn note_leavings(
        &mut self,
        mut effects: Effects,
        flags: StatementFlags,
        text: &[u8],
        context: &Context<'_>,
    ) {
        if context.bounds.pins_sequences && effects.has(Effects::USES_SEQUENCES) {
            self.state.pending.keep_forever(Pin::SequenceValue);
        }
        if flags.gains_state() {
            self.state.restore.note(text);
        }
        // Who only uses a sequence leaves no setting.
        if flags.gains_state() || effects.leaves_state() {
            let known = match context.known {
                Known::Facts(known, _) | Known::Stale(known) => Some(&***known),
                _ => None,
            };
            let found = self.note_settings(&Body::read(text), known, effects);
            effects = effects.and(context.feared(found));
        }
        self.may_leave(effects);
    }

    /// Something is run that may leave this behind.
    fn may_leave(&mut self, effects: Effects) {
        if effects.leaves_state() {
            self.state.restore.note_unseen();
        }
        self.state.pending.note_effects(effects);
    }

    /// Notes the settings with a dot that are named, and answers what else is found where texts are run.
    fn note_settings(
        &mut self,
        body: &Body,
        known: Option<&DatabaseFacts>,
        effects: Effects,
    ) -> Effects {
        let mut found = body.effects.and(effects);
        body.settings
            .iter()
            .for_each(|name| self.state.pending.note_setting(name));
        let mut look = |named: &NamedEffects| {
            found = found.and(named.writing);
            named
                .settings
                .iter()
                .for_each(|name| self.state.pending.note_setting(name));
        };
        if let Some(known) = known {
            known.effects.of_any(true, &mut look);
            known.effects.of_names(&body.mentions, &mut look);
        }
        match &body.literals {
            Some(literals) if found.has(Effects::UNSEEN) => {
                found.and(self.note_settings(literals, known, found))
            }
            _ => found,
        }
    }

    /// Values are bound to a statement that runs texts: they may be these.
    #[cold]
    pub(crate) fn note_values(&mut self, body: &[u8]) {
        self.may_leave(raw::effects(body));
        for name in super::pending_state::dotted_names(body) {
            self.state.pending.note_setting(&name);
        }
    }

    /// True for a statement that runs texts, as far as it was judged.
    #[inline]
    pub(crate) fn runs_texts(&self, statement: &Statement, context: &Context<'_>) -> bool {
        self.effects_of(statement.flags, statement.text(), Some(statement), context)
            .and(context.feared(statement.flags.effects()))
            .has(Effects::UNSEEN)
    }

    /// Something that nobody has judged is executed.
    pub(crate) fn note_unknown(&mut self, context: &Context<'_>) {
        self.may_leave(context.feared(Effects::UNSEEN));
    }

    /// More of a statement that is too long to be read as a whole.
    #[cold]
    pub(crate) fn note_rest(&mut self, piece: &[u8], known: &Known) {
        self.state.rest.extend_from_slice(piece);
        let mut effects = raw::effects(&self.state.rest);
        if let Known::Facts(known, _) | Known::Stale(known) = known {
            known.effects.of_words(&self.state.rest, |named| {
                effects = effects.and(named.writing);
                named
                    .settings
                    .iter()
                    .for_each(|name| self.state.pending.note_setting(name));
            });
        }
        self.may_leave(effects);
        let keep = self.state.rest.len().saturating_sub(raw::CONTEXT_BYTES);
        self.state.rest.drain(..keep);
    }

    /// True for a text in which bytes of characters may look like ASCII.
    #[inline]
    pub(crate) fn hides_ascii(&self, text: &[u8], context: &Context<'_>) -> bool {
        let may_hide = context.settings.hide_ascii() || self.state.pending.is_unsettled();
        may_hide && !text.is_ascii()
    }

    /// The flags of a text that the server may read in another way, because bytes of its characters look like ASCII.
    #[inline]
    pub(crate) fn flags_of(
        &self,
        text: &[u8],
        whole: bool,
        context: &Context<'_>,
    ) -> StatementFlags {
        if self.hides_ascii(text, context) {
            return effects::flags_of_beginning(b"");
        }
        if whole {
            effects::flags_of(text)
        } else {
            effects::flags_of_beginning(text)
        }
    }

    /// True while the rest of a statement comes that is too long to be read as a whole.
    pub(crate) fn is_unread(&self) -> bool {
        self.turns.is_unread
    }

    /// True when the connection must be reset before another session has it.
    #[inline]
    pub(crate) fn is_soiled(&self) -> bool {
        self.state.pending.is_soiled()
    }

    /// True when the connection must be closed when the session is over.
    pub(crate) fn is_lasting(&self) -> bool {
        self.state.pending.is_lasting()
    }

    /// True when a sequence may have given something to the session there.
    #[inline]
    pub(crate) fn has_used_sequences(&self) -> bool {
        self.state.pending.uses_sequences()
    }

    /// The connection is given back.
    #[inline]
    pub(crate) fn connection_is_given_back(&mut self) {
        self.state.pending.connection_is_given_back();
    }
}

/// Effects that a text may leave behind: those of the names in it, and those that any text may have.
fn named_effects(
    known: &DatabaseFacts,
    flags: StatementFlags,
    text: &[u8],
    context: &Context<'_>,
) -> Effects {
    if known
        .effects
        .may_misread(text, context.settings.get("client_encoding"))
    {
        return ANYTHING.and(Effects::UNNAMED);
    }
    let (mut reading, mut writing) = (Effects::NONE, Effects::NONE);
    let mut look = |named: &NamedEffects| {
        reading = reading.and(named.reading);
        writing = writing.and(named.writing);
    };
    known.effects.of_any(flags.changes_schema(), &mut look);
    known.effects.of_text(text, &mut look);
    if reading != writing && class::may_modify(text) {
        writing
    } else {
        reading
    }
}

/// True for a text that may make what other statements run.
#[cold]
fn makes_code(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] = [
        b"function",
        b"procedure",
        b"trigger",
        b"policy",
        b"rule",
        b"extension",
        b"view",
    ];
    let text = text.to_ascii_lowercase();
    let mut words = WORDS.into_iter();
    words.any(|word| memchr::memmem::find(&text, word).is_some())
}

/// True for what runs no function and no trigger whatever the database has: it only begins or ends something, sets or
/// shows a setting, or reads nothing.
fn calls_nothing(flags: StatementFlags, text: &[u8]) -> bool {
    let sets = flags.gains_state() && flags.is_single() && class::sets(text);
    if sets || flags.begins() || flags.rolls_back() || flags.is_empty() {
        return true;
    }
    let has_operator = |byte: &u8| !(byte.is_ascii_alphanumeric() || b" \t\r\n_,;*".contains(byte));
    let short = text.len() < 64 && !text.iter().any(has_operator);
    short && class::reads_nothing(text)
}
