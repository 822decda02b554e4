//! Context in which a session's rules judge one message of the client: what they look up, and where they write. Pure.

use std::{ops::Deref, rc::Rc, sync::Arc};

use super::{
    prepared::{ClassKey, Store, server::Prepared},
    state::parameters::Parameters,
};
use crate::{
    cluster::{
        facts::DatabaseFacts,
        settings::{PinPolicy, PoolMode, PoolSettings, SequenceValues, StateCheck},
        stamps::Stamps,
    },
    sql::effects::Effects,
};

/// Facts about a database, in an `Rc` of this core: a turn does not touch the count of references that all cores share.
#[derive(Debug)]
pub(crate) struct KnownFacts(pub(crate) Arc<DatabaseFacts>);

impl Deref for KnownFacts {
    type Target = DatabaseFacts;

    fn deref(&self) -> &DatabaseFacts {
        &self.0
    }
}

/// Knowledge of its database that a session's rules have for one turn of the core.
#[derive(Clone, Debug, Default)]
pub(crate) enum Known {
    /// Functions and triggers are believed to leave nothing behind.
    Trusted,
    /// Nothing is known.
    #[default]
    Nothing,
    /// These facts, which may not be all any more.
    Stale(Rc<KnownFacts>),
    /// These facts, which hold, and the key by which conclusions from them are remembered.
    Facts(Rc<KnownFacts>, ClassKey),
}

/// Everything that the rules need to judge one message, and where they write.
pub struct Context<'a> {
    /// Statements that the server connection at hand has prepared; `None` when none is at hand.
    pub(crate) server: Option<&'a mut Prepared>,
    /// The statements of this core.
    pub(crate) store: &'a Store,
    /// Numbers for Parse messages.
    pub(crate) stamps: &'a Stamps,
    /// The session's settings, as far as they change what a text means.
    pub(crate) settings: &'a Parameters,
    /// Knowledge of the database's functions and triggers.
    pub(crate) known: &'a Known,
    /// Bounds from the configuration.
    pub(crate) bounds: Bounds,
    /// Takes answers to the client.
    pub out: &'a mut Vec<u8>,
    /// Takes what goes to the server before the message, or in place of its beginning.
    pub ahead: &'a mut Vec<u8>,
}

impl Context<'_> {
    /// Effects of these that are to be feared: not those that functions have unseen, where functions are trusted.
    #[inline]
    pub(crate) fn feared(&self, effects: Effects) -> Effects {
        match self.known {
            Known::Trusted => effects.without(Effects::UNSEEN),
            _ => effects,
        }
    }
}

/// Messages that the rules have written, before they are sent.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// To the client.
    pub(crate) out: Vec<u8>,
    /// To the server, before the message that is judged or in place of its beginning.
    pub(crate) ahead: Vec<u8>,
    /// To the server, with what was copied behind it: it goes before the rest of the client's bytes.
    pub(crate) front: Vec<u8>,
}

impl Words {
    /// Forgets what another session left when it came to a bad end.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.ahead.clear();
        self.front.clear();
    }
}

/// Bounds that the configuration sets to statements and to session state.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The server is asked for session state after every transaction.
    pub always_checked: bool,
    /// Only texts are looked at: functions and triggers are believed to leave nothing.
    pub trusts_functions: bool,
    /// A session that uses a sequence keeps its connection.
    pub pins_sequences: bool,
    /// A statement that would pin its session is refused.
    pub refuses_pins: bool,
    /// Statements of ours on one server connection.
    pub server_statements: usize,
    /// Bytes of names and statements of one client.
    pub client_bytes: usize,
}

impl From<&PoolSettings> for Bounds {
    fn from(settings: &PoolSettings) -> Self {
        Self {
            always_checked: settings.state_check == StateCheck::Always,
            trusts_functions: settings.state_check == StateCheck::Texts,
            pins_sequences: settings.sequence_values == SequenceValues::Session,
            refuses_pins: settings.pin == PinPolicy::Refuse && settings.mode != PoolMode::Session,
            server_statements: settings.statements_per_connection as usize,
            client_bytes: settings.statement_bytes_per_client,
        }
    }
}

/// A context's furniture, for those who judge messages without a worker: tests and benchmarks.
pub struct OwnedContext {
    /// Statements that the server connection has prepared.
    pub server: Prepared,
    pub(crate) store: Rc<Store>,
    pub(crate) stamps: Stamps,
    pub(crate) settings: Parameters,
    pub(crate) known: Known,
    pub(crate) bounds: Bounds,
    /// Messages of the rules to the client.
    pub out: Vec<u8>,
    /// Messages of the rules to the server.
    pub ahead: Vec<u8>,
}

impl Default for OwnedContext {
    fn default() -> Self {
        Self {
            server: Prepared::default(),
            store: Rc::default(),
            stamps: Stamps::default(),
            settings: crate::session::state::parameters::Interner::default().empty(),
            known: Known::Trusted,
            bounds: Bounds {
                always_checked: false,
                trusts_functions: true,
                pins_sequences: false,
                refuses_pins: false,
                server_statements: 100,
                client_bytes: 1 << 20,
            },
            out: Vec::new(),
            ahead: Vec::new(),
        }
    }
}

impl OwnedContext {
    /// The context, with the server connection at hand or not.
    pub fn context(&mut self, linked: bool) -> Context<'_> {
        Context {
            server: linked.then_some(&mut self.server),
            store: &self.store,
            stamps: &self.stamps,
            settings: &self.settings,
            known: &self.known,
            bounds: self.bounds,
            out: &mut self.out,
            ahead: &mut self.ahead,
        }
    }
}
