//! Common part of the pools of one database and user on one core, whatever their node. Knows no connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use hashbrown::HashMap;

use super::read_classifier::ReadClassifier;
use crate::{
    cluster::{
        budget::PoolKey,
        report::Counters,
        settings::{PoolMode, PoolSettings, Settings},
        snapshot::Snapshot,
        welcome::Welcome,
    },
    ids::Epoch,
    limits::{PARAMETER_SETS_MAX, POSITION_REST_MS},
    session::state::parameters::Parameters,
    time::Micros,
};

/// Greeting of a client at its login.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    /// Parameters that the client is told.
    pub(crate) told: Arc<Welcome>,
    /// Parameters that a server reports to those who ask for no settings.
    pub(crate) plain: Arc<Welcome>,
}

/// Common part of the pools of one database and user, whatever their node.
pub(crate) struct Common {
    pub(crate) key: PoolKey,
    /// Name of the database on the servers.
    pub(super) server_database: RefCell<Arc<str>>,
    pub(super) settings: RefCell<Rc<PoolSettings>>,
    pub(super) epoch: Cell<Epoch>,
    /// Greetings of clients by the settings they ask for, beside the one they were foretold from.
    pub(super) welcomes: RefCell<HashMap<Parameters, Greeting>>,
    /// Clients of this database and user on this core.
    pub(crate) clients: Cell<u32>,
    pub(crate) counters: RefCell<Counters>,
    /// Classifier of its statements.
    pub(crate) classifier: ReadClassifier,
    /// Until then nobody asks the primary how far it has written: it could not tell.
    no_position_until: Cell<Micros>,
}

impl Common {
    /// `None` when there is no such database.
    pub(super) fn new(snapshot: &Snapshot, key: PoolKey) -> Option<Rc<Self>> {
        let settings = &snapshot.settings;
        let server_database = server_database(settings, &key)?;
        Some(Rc::new(Self {
            server_database: RefCell::new(server_database.into()),
            settings: RefCell::new(Rc::new(settings.pool_for(&key.database, &key.user))),
            epoch: Cell::new(snapshot.epoch),
            welcomes: RefCell::default(),
            clients: Cell::new(0),
            counters: RefCell::default(),
            classifier: ReadClassifier::new(snapshot, server_database, &key.user),
            no_position_until: Cell::new(0),
            key,
        }))
    }

    /// Settings as of the last snapshot that was looked at.
    pub(crate) fn settings(&self) -> Rc<PoolSettings> {
        Rc::clone(&self.settings.borrow())
    }

    pub(crate) fn mode(&self) -> PoolMode {
        self.settings.borrow().mode
    }

    /// Name of the database on the servers.
    pub(crate) fn server_database(&self) -> Arc<str> {
        Arc::clone(&self.server_database.borrow())
    }

    /// The primary could not tell how far it has written.
    #[cold]
    pub(crate) fn note_no_position(&self, now: Micros) {
        self.no_position_until.set(now + POSITION_REST_MS * 1000);
    }

    /// True when that was not long ago.
    pub(crate) fn has_no_position(&self, now: Micros) -> bool {
        self.no_position_until.get() > now
    }

    /// True when the database is still called so on the servers.
    pub(super) fn is_called(&self, database: &str) -> bool {
        **self.server_database.borrow() == *database
    }

    /// Greeting of clients with these settings, if it was found out under the same `plain` one.
    pub(crate) fn known_greeting(
        &self,
        parameters: &Parameters,
        plain: &Arc<Welcome>,
    ) -> Option<Greeting> {
        let welcomes = self.welcomes.borrow();
        let known = welcomes.get(parameters)?;
        Arc::ptr_eq(&known.plain, plain).then(|| known.clone())
    }

    /// Remembers what clients with these settings are told.
    pub(crate) fn remember_greeting(&self, parameters: Parameters, greeting: Greeting) {
        let mut welcomes = self.welcomes.borrow_mut();
        if welcomes.len() >= PARAMETER_SETS_MAX {
            welcomes.retain(|parameters, _| parameters.is_empty());
        }
        welcomes.insert(parameters, greeting);
    }
}

/// The name on the servers of the database that clients call `key.database`; `None` when it is not served.
pub(crate) fn server_database<'a>(settings: &'a Settings, key: &'a PoolKey) -> Option<&'a str> {
    match settings.database(&key.database) {
        Some(database) => Some(database.server_name.as_deref().unwrap_or(&key.database)),
        None => settings.databases.is_empty().then_some(&key.database),
    }
}
