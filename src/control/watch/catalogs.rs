//! The catalogs of the databases that clients use: asked of the primary, or of a standby while there is none, and
//! published. While somebody relies on what is known, it is looked again and again whether anything has changed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{bell::Bell, dialer::Dialer};
use crate::{
    cluster::{
        facts::{DatabaseFacts, Validity},
        node::{Lsn, read_lsn},
    },
    control::line::{Destination, Line, LineError},
    ids::NodeId,
    limits::{
        CATALOG_AGE_MS_MAX, CATALOG_CHECK_MS, CATALOG_CHECK_SHARE, CATALOG_LOADS_MAX,
        CATALOG_MS_MAX, CATALOG_PAUSE_MS, CATALOG_RETRY_MS, CATALOG_UNUSED_MS, CATALOGS_MAX,
        VACANT_MS,
    },
    net::task,
    protocol::backend::DataRow,
    sql::catalog::{
        CHANGES_SQL, Catalog, EffectNames, FUNCTIONS_SQL, FunctionFact, Needs, OWN_FUNCTIONS_SQL,
        OWN_RELATIONS_SQL, RELATIONS_SQL, ROUTINES_SQL, RelationFact, RoutineFact, USES_SQL,
        UseFact, bodies_of,
    },
    time,
};

/// Whether everybody's transactions are READ COMMITTED unless they say otherwise, and how far the log is written
/// after all that was asked before.
const LAST_SQL: &str = "\
SELECT current_setting('default_transaction_isolation') = 'read committed' AND NOT EXISTS (\
SELECT FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c \
WHERE c ILIKE 'default\\_transaction\\_isolation=%' AND s.setdatabase IN (0, (\
SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))); \
SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') \
ELSE pg_current_wal_insert_lsn() END";

/// Databases whose catalogs are loaded, or are to be.
pub(super) struct Catalogs {
    dialer: Rc<Dialer>,
    known: RefCell<BTreeMap<Arc<str>, Known>>,
    /// Objects that came with the servers, the same in all databases.
    own: RefCell<Option<Rc<Own>>>,
    /// Databases that are being asked.
    loading: Cell<usize>,
    bell: Bell,
}

/// Functions and relations that came with the server.
struct Own {
    functions: Vec<FunctionFact>,
    relations: Vec<RelationFact>,
}

/// One database.
struct Known {
    /// Role that may look, where no user is set for that.
    user: Arc<str>,
    /// A worker wants to know it, or it may have changed.
    is_wanted: bool,
    /// It is being asked.
    is_loading: bool,
    /// Not to be looked at before for changes that nobody has told of.
    rest_until: Instant,
    /// Not to be asked before, whatever has changed.
    busy_until: Instant,
    /// When it was last known.
    known_at: Option<Instant>,
    /// Answer to the question for changes before that.
    changes: Vec<Option<String>>,
    /// The connection that asks, between two questions.
    line: Option<Line>,
    /// The connection that asks now shall close then.
    vacated: bool,
    /// Since when it cannot be asked.
    failing_since: Option<Instant>,
}

impl Known {
    /// Nobody asks before that.
    fn rest(&mut self, until: Instant) {
        (self.busy_until, self.rest_until) = (until, until);
    }

    fn new(user: Arc<str>) -> Self {
        Self {
            user,
            is_wanted: true,
            is_loading: false,
            rest_until: time::now(),
            busy_until: time::now(),
            known_at: None,
            changes: Vec::new(),
            line: None,
            vacated: false,
            failing_since: None,
        }
    }
}

/// The answer of a database.
#[derive(Default)]
struct Answer {
    functions: Vec<FunctionFact>,
    relations: Vec<RelationFact>,
    routines: Vec<RoutineFact>,
    uses: Vec<UseFact>,
    read_committed: bool,
    lsn: Option<Lsn>,
}

/// Loads what is wanted for as long as pgring runs; a database that takes long keeps no other one waiting.
pub(super) async fn run(catalogs: Rc<Catalogs>) {
    loop {
        let now = time::now();
        match catalogs.next(now) {
            _ if catalogs.loading.get() >= CATALOG_LOADS_MAX => {
                catalogs.bell.heard().await;
            }
            Some((database, due)) if due <= now => start(&catalogs, database),
            Some((_, due)) => {
                let _rung = catalogs
                    .dialer
                    .reactor
                    .deadline(due, catalogs.bell.heard())
                    .await;
            }
            None => {
                catalogs.close_unused();
                catalogs.bell.heard().await;
            }
        }
    }
}

/// Has one database asked, beside others.
fn start(catalogs: &Rc<Catalogs>, database: Arc<str>) {
    catalogs.loading.set(catalogs.loading.get() + 1);
    catalogs.with_known(&database, |known| known.is_loading = true);
    let catalogs = Rc::clone(catalogs);
    task::spawn(async move {
        load(&catalogs, &database).await;
        catalogs.with_known(&database, |known| known.is_loading = false);
        catalogs.loading.set(catalogs.loading.get() - 1);
        catalogs.bell.ring();
    });
}

impl Catalogs {
    pub(super) fn new(dialer: Rc<Dialer>) -> Self {
        Self {
            dialer,
            known: RefCell::default(),
            own: RefCell::default(),
            loading: Cell::new(0),
            bell: Bell::default(),
        }
    }

    /// Statements of this database want its catalog, or it may have changed.
    pub(super) fn want(&self, database: Arc<str>, user: Arc<str>) {
        let mut known = self.known.borrow_mut();
        if known.len() >= CATALOGS_MAX && !known.contains_key(&database) {
            known.retain(|database, known| {
                let stays = known.failing_since.is_none() || known.is_loading;
                if !stays {
                    self.dialer.publishing.unreadable(database, false);
                }
                stays
            });
            if known.len() >= CATALOGS_MAX {
                return;
            }
        }
        let entry = known
            .entry(database)
            .or_insert_with(|| Known::new(Arc::clone(&user)));
        (entry.is_wanted, entry.user) = (true, user);
        drop(known);
        self.bell.ring();
    }

    /// There is another primary, or somebody to look again: what was known may not hold.
    pub(super) fn doubt(&self) {
        for known in self.known.borrow_mut().values_mut() {
            known.is_wanted = true;
            // What another primary answers is not to be compared.
            (known.changes, known.line) = (Vec::new(), None);
        }
        self.bell.ring();
    }

    /// Nobody may be connected to this database for now.
    pub(super) fn vacate(&self, database: &str) {
        self.with_known(database, |known| {
            known.rest(time::now() + Duration::from_millis(VACANT_MS));
            known.vacated = true;
            known.line.take().into_iter().for_each(Line::close);
        });
    }

    /// Node that is asked: the primary, and while there is none a standby, because reads go on there.
    fn node(&self) -> Option<NodeId> {
        let snapshot = self.dialer.publishing.current();
        let answers = |node: &NodeId| snapshot.state(*node).is_some_and(|it| it.takes_reads);
        snapshot
            .primary
            .or_else(|| snapshot.standbys().find(answers))
    }

    /// The database that is due first, and when. `None` while there is nobody to ask.
    fn next(&self, now: Instant) -> Option<(Arc<str>, Instant)> {
        self.node()?;
        let known = self.known.borrow();
        let due = |(name, known): (&Arc<str>, &Known)| {
            let due = match known.is_wanted {
                true => known.busy_until,
                false if self.is_used(name) => known.rest_until,
                false => return None,
            };
            (!known.is_loading).then_some((Arc::clone(name), due.max(now)))
        };
        known.iter().filter_map(due).min_by_key(|(_, due)| *due)
    }

    /// Somebody has relied on what is known of the database not long ago.
    fn is_used(&self, database: &str) -> bool {
        let snapshot = self.dialer.publishing.current();
        let used = snapshot
            .catalogs
            .get(database)
            .map(|facts| facts.validity.used());
        let now = self.dialer.publishing.shared().budgets.micros(time::now());
        used.is_some_and(|used| now.saturating_sub(used) < CATALOG_UNUSED_MS * 1000)
    }

    /// Takes leave of servers whose databases nobody uses.
    fn close_unused(&self) {
        for (name, known) in self.known.borrow_mut().iter_mut() {
            if !known.is_wanted && !self.is_used(name) {
                known.line.take().into_iter().for_each(Line::close);
            }
        }
    }

    /// All is to be asked again, whatever has changed.
    fn is_stale(&self, database: &str) -> bool {
        let refresh = self
            .dialer
            .publishing
            .current()
            .settings
            .routing
            .catalog_refresh;
        let known = self.known.borrow();
        let known_at = known.get(database).and_then(|known| known.known_at);
        known_at.is_none_or(|at| time::now().duration_since(at) > refresh)
    }

    fn with_known(&self, database: &str, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.known.borrow_mut().get_mut(database) {
            change(known);
        }
    }
}

async fn load(catalogs: &Catalogs, database: &Arc<str>) {
    let start = time::now();
    catalogs.with_known(database, |known| {
        (known.is_wanted, known.vacated) = (false, false)
    });
    // Read before the look, so that a change during it makes another one necessary.
    let schema = catalogs.dialer.publishing.shared().schema_version();
    let outcome = look(catalogs, database, schema, start).await;
    let now = time::now();
    let took = now.duration_since(start);
    // A schema that changes all the time must not keep the primary busy with this.
    let pause = Duration::from_millis(CATALOG_PAUSE_MS).max(took);
    let rest = Duration::from_millis(CATALOG_CHECK_MS)
        .max(took.saturating_mul(CATALOG_CHECK_SHARE as u32));
    catalogs.with_known(database, |known| {
        known.busy_until = now + pause;
        known.rest_until = match outcome {
            Ok(Look::Same) => now + rest,
            _ => now + pause,
        };
        if known.vacated {
            known.rest(now + Duration::from_millis(VACANT_MS));
            known.line.take().into_iter().for_each(Line::close);
        }
    });
    if let Err(error) = outcome {
        failed(catalogs, database, &error, now);
    }
    catalogs.close_unused();
    if catalogs.dialer.publishing.shared().schema_version() != schema {
        catalogs.with_known(database, |known| {
            known.is_wanted = true;
        });
    }
}

/// How a look ended.
enum Look {
    /// Nothing has changed.
    Same,
    /// All was asked.
    Loaded,
}

/// Looks whether anything has changed, and asks for everything if so.
async fn look(
    catalogs: &Catalogs,
    database: &Arc<str>,
    schema: u64,
    start: Instant,
) -> Result<Look, LineError> {
    let (mut line, is_new) = line_to(catalogs, database).await?;
    let mut changes = Vec::new();
    line.ask(CHANGES_SQL, |_, row| {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        changes.extend(row.map(|value| value.map(text)));
        Ok(())
    })
    .await?;
    let took = time::now().duration_since(start);
    let age = Duration::from_millis(CATALOG_AGE_MS_MAX)
        .max(took.saturating_mul(2 * CATALOG_CHECK_SHARE as u32));
    let until = catalogs
        .dialer
        .publishing
        .shared()
        .budgets
        .micros(start + age);
    let same = still_holds(catalogs, database, &changes);
    let done = match same {
        Some(facts) if !catalogs.is_stale(database) => {
            confirm(catalogs, database, &facts, schema, until);
            Look::Same
        }
        _ => {
            let own = own(catalogs, &mut line, is_new).await?;
            let answer = ask(&mut line).await?;
            loaded(catalogs, database, schema, until, (&own, answer))?;
            Look::Loaded
        }
    };
    let now = time::now();
    catalogs.with_known(database, |known| {
        known.line = Some(line);
        known.changes = changes;
        if matches!(done, Look::Loaded) {
            known.known_at = Some(now);
        }
        if known.failing_since.take().is_some() {
            tracing::info!(%database, "its catalog can be read again");
        }
    });
    catalogs.dialer.publishing.unreadable(database, false);
    Ok(done)
}

/// The connection that asks: the one of the last look, or, and then it is true, a new one.
async fn line_to(catalogs: &Catalogs, database: &str) -> Result<(Line, bool), LineError> {
    let (mut line, mut user) = (None, None);
    catalogs.with_known(database, |known| {
        line = known.line.take();
        user = Some(Arc::clone(&known.user));
    });
    if let Some(line) = line.filter(Line::is_open) {
        return Ok((line, false));
    }
    let to = catalogs
        .node()
        .zip(user)
        .and_then(|(node, user)| catalogs.dialer.publishing.looker(node, database, &user));
    let to = to.ok_or(LineError::Nonsense("there is no node to be asked"))?;
    let to = Destination {
        timeout: to.timeout.max(Duration::from_millis(CATALOG_MS_MAX)),
        ..to
    };
    let line = catalogs.dialer.open(&to).await?;
    Ok((line, true))
}

/// Objects that came with the server; asked again over each new connection, because there may be another server.
async fn own(catalogs: &Catalogs, line: &mut Line, is_new: bool) -> Result<Rc<Own>, LineError> {
    let known = catalogs.own.borrow().clone();
    if let Some(known) = known.filter(|_| !is_new) {
        return Ok(known);
    }
    let mut answer = Answer::default();
    let sql = [OWN_FUNCTIONS_SQL, OWN_RELATIONS_SQL].join("; ");
    line.ask(&sql, |statement, row| answer.row(statement, row))
        .await?;
    let own = Rc::new(Own {
        functions: answer.functions,
        relations: answer.relations,
    });
    catalogs.own.replace(Some(Rc::clone(&own)));
    Ok(own)
}

/// Facts that are published of the database, when the question for changes was answered so before.
fn still_holds(
    catalogs: &Catalogs,
    database: &str,
    changes: &[Option<String>],
) -> Option<Arc<DatabaseFacts>> {
    let mut is_same = false;
    catalogs.with_known(database, |known| is_same = known.changes == changes);
    let current = catalogs.dialer.publishing.current();
    current.catalogs.get(database).filter(|_| is_same).cloned()
}

/// Published facts hold on. Whoever could rely on them before the look can rely on the new ones.
fn confirm(
    catalogs: &Catalogs,
    database: &Arc<str>,
    before: &Arc<DatabaseFacts>,
    schema: u64,
    until: u64,
) {
    before.validity.extend(until);
    if before.schema == schema {
        return;
    }
    let facts = DatabaseFacts {
        catalog: Arc::clone(&before.catalog),
        effects: Arc::clone(&before.effects),
        any_may_write: before.any_may_write,
        validity: Validity::new(until, before.validity.used()),
        schema,
        lsn: before.lsn,
        read_committed: before.read_committed,
    };
    catalogs
        .dialer
        .publishing
        .catalog(database, Some(Arc::new(facts)));
}

async fn ask(line: &mut Line) -> Result<Answer, LineError> {
    let mut answer = Answer::default();
    let sql = [
        FUNCTIONS_SQL,
        RELATIONS_SQL,
        ROUTINES_SQL,
        USES_SQL,
        LAST_SQL,
    ]
    .join("; ");
    line.ask(&sql, |statement, row| answer.row(statement, row))
        .await?;
    Ok(answer)
}

impl Answer {
    fn row(&mut self, statement: usize, row: DataRow<'_>) -> Result<(), &'static str> {
        let values: Vec<_> = row
            .map(|value| value.map(String::from_utf8_lossy))
            .collect();
        let columns: Vec<_> = values.iter().map(Option::as_deref).collect();
        match statement {
            0 => self
                .functions
                .push(FunctionFact::from_columns(&columns).map_err(|_| "a function that is none")?),
            1 => self
                .relations
                .push(RelationFact::from_columns(&columns).map_err(|_| "a relation that is none")?),
            2 => self
                .routines
                .push(RoutineFact::from_columns(&columns).map_err(|_| "a routine that is none")?),
            3 => self
                .uses
                .push(UseFact::from_columns(&columns).map_err(|_| "a use that is none")?),
            4 => self.read_committed = columns == [Some("t")],
            5 => {
                let lsn = columns.first().copied().flatten().and_then(read_lsn);
                self.lsn = Some(lsn.ok_or("not a position in the log")?);
            }
            _ => return Err("more answers than questions"),
        }
        Ok(())
    }
}

fn loaded(
    catalogs: &Catalogs,
    database: &Arc<str>,
    schema: u64,
    until: u64,
    (own, answer): (&Own, Answer),
) -> Result<(), LineError> {
    let lsn = answer
        .lsn
        .ok_or(LineError::Nonsense("an answer without its end"))?;
    let bodies = bodies_of(&answer.routines);
    let needs = Needs::new(
        &own.functions,
        (&answer.routines, &bodies),
        &answer.relations,
        &answer.uses,
    );
    let effects = EffectNames::new(&answer.routines, &bodies, &answer.relations, answer.uses);
    let now = catalogs
        .dialer
        .publishing
        .shared()
        .budgets
        .micros(time::now());
    let functions = own.functions.iter().cloned().chain(answer.functions);
    let relations = own.relations.iter().cloned().chain(answer.relations);
    let facts = DatabaseFacts {
        catalog: Arc::new(Catalog::with_needs(functions, relations, &needs)),
        any_may_write: needs.any_statement,
        effects: Arc::new(effects),
        validity: Validity::new(until, now),
        schema,
        lsn,
        read_committed: answer.read_committed,
    };
    catalogs
        .dialer
        .publishing
        .catalog(database, Some(Arc::new(facts)));
    Ok(())
}

/// A look has failed. The published facts stay for `catalog_refresh`; then it is better to know nothing.
fn failed(catalogs: &Catalogs, database: &Arc<str>, error: &LineError, now: Instant) {
    let current = catalogs.dialer.publishing.current();
    let patience = current.settings.routing.catalog_refresh;
    let mut is_over = false;
    catalogs.with_known(database, |known| {
        if known.failing_since.is_none() {
            tracing::warn!(
                %database, %error,
                "its catalog cannot be read: statements with unknown names go to the primary, and connections are \
                 looked through after them"
            );
        }
        let since = *known.failing_since.get_or_insert(now);
        is_over = now.duration_since(since) > patience;
        known.rest(now + Duration::from_millis(CATALOG_RETRY_MS));
        known.is_wanted = !is_over;
        if is_over {
            known.changes = Vec::new();
        }
    });
    if is_over && current.catalogs.contains_key(database) {
        catalogs.dialer.publishing.catalog(database, None);
    }
    catalogs.dialer.publishing.unreadable(database, true);
}
