//! Which statements of a database are proven reads, by what is known of it.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use crate::{
    cluster::{
        facts::DatabaseFacts, messages::ToControl, node::Lsn, overrides::Overrides,
        snapshot::Snapshot,
    },
    worker::{
        Worker,
        classify::{self, Class, Knowledge, Reason},
        statements::Statement,
    },
};

/// What the statements of one database are judged by.
pub(crate) struct Judge {
    /// As of the last snapshot that was looked at.
    facts: RefCell<Option<Arc<DatabaseFacts>>>,
    overrides: RefCell<Arc<Overrides>>,
    /// Another one whenever that changes, on any core.
    edition: Cell<u64>,
    /// The version of the schema of which the control core was told that it is needed here.
    wanted: Cell<Option<u64>>,
}

impl Judge {
    pub(super) fn new(snapshot: &Snapshot, database: &str) -> Self {
        let judge = Self {
            facts: RefCell::default(),
            overrides: RefCell::new(Arc::clone(&snapshot.overrides)),
            edition: Cell::new(0),
            wanted: Cell::new(None),
        };
        judge.refresh(snapshot, database);
        judge
    }

    /// Takes over a new snapshot.
    pub(super) fn refresh(&self, snapshot: &Snapshot, database: &str) {
        let facts = snapshot.catalogs.get(database).cloned();
        self.facts.replace(facts);
        self.overrides.replace(Arc::clone(&snapshot.overrides));
        self.edition.set(snapshot.epoch.0);
    }

    /// Whether a text is a proven read.
    pub(crate) fn is_read(&self, worker: &Worker, database: &str, text: &[u8]) -> bool {
        self.with_knowledge(worker, database, |knowledge| {
            classify::class(text, knowledge) == Class::Read
        })
    }

    /// Whether a prepared statement is one, remembered with it.
    pub(crate) fn is_read_statement(
        &self,
        worker: &Worker,
        database: &str,
        statement: &Statement,
    ) -> bool {
        let version = worker.switchboard.schema_version();
        let facts = self.facts.borrow();
        let place = facts.as_ref().map_or(0, |facts| Arc::as_ptr(facts) as u64);
        // The snapshot's number, and within it the database, by the place of its facts.
        let key = (self.edition.get(), place, version);
        if let Some(is_read) = statement.class(key) {
            return is_read;
        }
        let is_read = self.is_read(worker, database, statement.text());
        statement.set_class(key, is_read);
        is_read
    }

    /// The class of a text, and why.
    pub(crate) fn explain<'t>(
        &self,
        worker: &Worker,
        database: &str,
        text: &'t [u8],
    ) -> (Class, Reason<'t>) {
        self.with_knowledge(worker, database, |knowledge| {
            classify::explain(text, knowledge)
        })
    }

    fn with_knowledge<T>(
        &self,
        worker: &Worker,
        database: &str,
        judge: impl FnOnce(&Knowledge<'_>) -> T,
    ) -> T {
        let version = worker.switchboard.schema_version();
        let facts = self.facts.borrow();
        let current = facts.as_deref().filter(|facts| facts.schema == version);
        if current.is_none() {
            self.want(worker, database, version);
        }
        judge(&Knowledge {
            catalog: current.map(|facts| &facts.catalog),
            overrides: &self.overrides.borrow(),
        })
    }

    /// The control core is to look at the database.
    #[cold]
    fn want(&self, worker: &Worker, database: &str, version: u64) {
        if self.wanted.get() == Some(version) {
            return;
        }
        let message = ToControl::Catalog(database.into());
        if worker.switchboard.control.put(message).is_ok() {
            self.wanted.set(Some(version));
        }
    }

    /// A standby that has not replayed so far may not have what is known here.
    pub(crate) fn position(&self) -> Lsn {
        self.facts.borrow().as_ref().map_or(0, |facts| facts.lsn)
    }

    /// True when a transaction that names no isolation level is READ COMMITTED, whoever begins it.
    pub(crate) fn is_read_committed(&self) -> bool {
        let facts = self.facts.borrow();
        facts.as_ref().is_some_and(|facts| facts.read_committed)
    }
}
