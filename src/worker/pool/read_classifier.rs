//! Which statements of a database are proven reads, by what is known of it. Never asks a server: it has the control core
//! look at the database.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cluster::{messages::ToControl, node::Lsn, shared::Shared, snapshot::Snapshot},
    limits::{FACTS_WAIT_MS_MAX, FIRST_FACTS_WAIT_MS_MAX},
    session::{
        context::{Known, KnownFacts},
        prepared::{ClassKey, Statement},
    },
    sql::class::{self, Class, Knowledge, Reason, overrides::Overrides},
};

/// How often the control core is told that something is wanted, in microseconds.
const WANT_US: u64 = 50_000;

/// Classifier of the statements of one database, with the facts that it judges them by.
pub(crate) struct ReadClassifier {
    /// Its name on the servers, and a role that may look at it.
    database: RefCell<Arc<str>>,
    role: Arc<str>,
    /// As of the last snapshot that was looked at.
    facts: RefCell<Option<Rc<KnownFacts>>>,
    overrides: RefCell<Arc<Overrides>>,
    /// Another one whenever that changes, on any core.
    edition: Cell<u64>,
    /// The version of the schema of which the control core was told that it is needed here, and when.
    wanted: Cell<Option<(u64, u64)>>,
    /// The catalogs could not be read.
    is_unreadable: Cell<bool>,
    /// Somebody has waited in vain for what is known.
    gave_up: Cell<bool>,
}

impl ReadClassifier {
    pub(super) fn new(snapshot: &Snapshot, database: &str, role: &Arc<str>) -> Self {
        let classifier = Self {
            database: RefCell::new(database.into()),
            role: Arc::clone(role),
            facts: RefCell::default(),
            overrides: RefCell::new(Arc::clone(&snapshot.overrides)),
            edition: Cell::new(0),
            wanted: Cell::new(None),
            is_unreadable: Cell::new(false),
            gave_up: Cell::new(false),
        };
        classifier.refresh(snapshot, database);
        classifier
    }

    /// Takes over a new snapshot.
    pub(super) fn refresh(&self, snapshot: &Snapshot, database: &str) {
        let facts = snapshot
            .catalogs
            .get(database)
            .cloned()
            .map(|facts| Rc::new(KnownFacts(facts)));
        if **self.database.borrow() != *database {
            self.database.replace(database.into());
        }
        self.facts.replace(facts);
        self.is_unreadable
            .set(snapshot.unreadable.contains(database));
        self.overrides.replace(Arc::clone(&snapshot.overrides));
        self.edition.set(snapshot.epoch.0);
    }

    /// Whether a text is a proven read.
    pub(crate) fn is_read(&self, shared: &Shared, now: Instant, text: &[u8]) -> bool {
        self.with_knowledge(shared, now, |knowledge| {
            class::class(text, knowledge) == Class::Read
        })
    }

    /// Whether a prepared statement is one, remembered with it.
    pub(crate) fn is_read_statement(
        &self,
        shared: &Shared,
        now: Instant,
        statement: &Statement,
    ) -> bool {
        let Some((_, key)) = self.current(shared, now) else {
            return self.is_read(shared, now, statement.text());
        };
        if let Some(is_read) = statement.class(key) {
            return is_read;
        }
        let is_read = self.is_read(shared, now, statement.text());
        statement.set_class(key, is_read);
        is_read
    }

    /// Facts that may be relied on now: of the schema's own version, seen not long ago. With them the snapshot's number,
    /// and within it the database, by the place of its facts.
    #[inline]
    fn current(&self, shared: &Shared, now: Instant) -> Option<(Rc<KnownFacts>, ClassKey)> {
        let facts = self.facts.borrow();
        let facts = facts.as_ref()?;
        let version = shared.schema_version();
        let holds = facts.validity.holds(shared.budgets.micros(now)) && facts.schema == version;
        let place = Arc::as_ptr(&facts.0) as u64;
        holds.then(|| (Rc::clone(facts), (self.edition.get(), place, version)))
    }

    /// Facts for the rules of a session: current, stale or none. It asks for current ones.
    #[inline]
    pub(crate) fn known(&self, shared: &Shared, now: Instant) -> Known {
        match self.current(shared, now) {
            Some((facts, key)) => Known::Facts(facts, key),
            None => {
                self.want(shared, now);
                let before = self.facts.borrow();
                before.clone().map_or(Known::Nothing, Known::Stale)
            }
        }
    }

    /// The class of a text, and why.
    pub(crate) fn explain<'t>(
        &self,
        shared: &Shared,
        now: Instant,
        text: &'t [u8],
    ) -> (Class, Reason<'t>) {
        self.with_knowledge(shared, now, |knowledge| class::explain(text, knowledge))
    }

    fn with_knowledge<T>(
        &self,
        shared: &Shared,
        now: Instant,
        judge: impl FnOnce(&Knowledge<'_>) -> T,
    ) -> T {
        let current = self.current(shared, now);
        if current.is_none() {
            self.want(shared, now);
        }
        judge(&Knowledge {
            catalog: current.as_ref().map(|(facts, _)| &*facts.catalog),
            overrides: &self.overrides.borrow(),
        })
    }

    /// True while nothing was ever known, or not what came with that version of the schema, and soon will be.
    pub(crate) fn is_behind(&self, shared: &Shared, now: Instant, version: u64) -> bool {
        let facts = self.facts.borrow();
        let is_behind = match &*facts {
            Some(facts) => facts.schema < version,
            None => !self.gave_up.get(),
        };
        if is_behind {
            self.want(shared, now);
        }
        is_behind
    }

    /// How long it is worth waiting for what is behind.
    pub(crate) fn patience(&self) -> Duration {
        let is_first = self.facts.borrow().is_none() && !self.is_unreadable.get();
        Duration::from_millis(match is_first {
            true => FIRST_FACTS_WAIT_MS_MAX,
            false => FACTS_WAIT_MS_MAX,
        })
    }

    /// Nothing can be known for now: nobody waits for it until something is.
    pub(crate) fn give_up(&self) {
        self.gave_up.set(true);
    }

    /// The control core is to look at the database.
    #[cold]
    fn want(&self, shared: &Shared, now: Instant) {
        let (version, now) = (shared.schema_version(), shared.budgets.micros(now));
        let was_told = |(told, at): (u64, u64)| told == version && now.saturating_sub(at) < WANT_US;
        if self.wanted.get().is_some_and(was_told) {
            return;
        }
        let message =
            ToControl::Catalog(Arc::clone(&self.database.borrow()), Arc::clone(&self.role));
        if shared.control.put(message).is_ok() {
            self.wanted.set(Some((version, now)));
        }
    }

    /// A standby that has not replayed so far may not have what is known here.
    pub(crate) fn position(&self) -> Lsn {
        self.facts.borrow().as_ref().map_or(0, |facts| facts.lsn)
    }

    /// True when even a proven read may write, by what its operators call.
    pub(crate) fn any_may_write(&self) -> bool {
        let facts = self.facts.borrow();
        facts.as_ref().is_some_and(|facts| facts.any_may_write)
    }

    /// True when a transaction that names no isolation level is READ COMMITTED, whoever begins it.
    pub(crate) fn is_read_committed(&self) -> bool {
        let facts = self.facts.borrow();
        facts.as_ref().is_some_and(|facts| facts.read_committed)
    }
}
