//! The catalogs of the databases that clients use: asked of the primary, and published. One database at a time.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{Watch, bell::Bell, questions::read_lsn};
use crate::{
    cluster::{
        catalog::{Catalog, FUNCTIONS_SQL, FunctionFact, RELATIONS_SQL, RelationFact},
        facts::DatabaseFacts,
        node::Lsn,
    },
    control::line::{Destination, Line, LineError},
    limits::{CATALOG_MS_MAX, CATALOG_PAUSE_MS, CATALOG_RETRY_MS, CATALOGS_MAX},
    protocol::backend::DataRow,
    time,
};

/// Whether everybody's transactions are READ COMMITTED unless they say otherwise, and how far the log is written
/// after all that was asked before.
const LAST_SQL: &str = "\
SELECT current_setting('default_transaction_isolation') = 'read committed' AND NOT EXISTS (\
SELECT FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c \
WHERE c ILIKE 'default\\_transaction\\_isolation=%' AND s.setdatabase IN (0, (\
SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))); \
SELECT pg_current_wal_insert_lsn()";

/// What is known of the databases, and what is to be found out.
#[derive(Default)]
pub(super) struct Catalogs {
    known: RefCell<BTreeMap<Arc<str>, Known>>,
    bell: Bell,
}

/// One database.
#[derive(Debug)]
struct Known {
    /// A worker wants to know it, or it may have changed.
    is_wanted: bool,
    /// Not to be asked before.
    rest_until: Instant,
    /// When it was last known.
    known_at: Option<Instant>,
    /// Of all that was answered.
    digest: Option<[u128; 2]>,
    /// Since when it cannot be asked.
    failing_since: Option<Instant>,
}

/// The answer of a database.
struct Answer {
    functions: Vec<FunctionFact>,
    relations: Vec<RelationFact>,
    read_committed: bool,
    lsn: Option<Lsn>,
    digest: [u128; 2],
}

/// Loads what is wanted for as long as pgring runs.
pub(super) async fn run(watch: Rc<Watch>) {
    loop {
        let now = time::now();
        match watch.next_catalog(now) {
            Some((database, due)) if due <= now => load(&watch, &database).await,
            Some((_, due)) => {
                let _rung = watch
                    .reactor
                    .deadline(due, watch.catalogs.bell.heard())
                    .await;
            }
            None => watch.catalogs.bell.heard().await,
        }
    }
}

impl Watch {
    /// Statements of this database want its catalog, or it may have changed.
    pub(in crate::control) fn want_catalog(&self, database: Arc<str>) {
        let mut known = self.catalogs.known.borrow_mut();
        if known.len() >= CATALOGS_MAX && !known.contains_key(&database) {
            known.retain(|_, known| known.failing_since.is_none());
            if known.len() >= CATALOGS_MAX {
                return;
            }
        }
        let entry = known.entry(database).or_insert_with(|| Known {
            is_wanted: true,
            rest_until: time::now(),
            known_at: None,
            digest: None,
            failing_since: None,
        });
        entry.is_wanted = true;
        drop(known);
        self.catalogs.bell.ring();
    }

    /// There is another primary, or somebody to look again: what was known may not hold.
    pub(super) fn doubt_catalogs(&self) {
        for known in self.catalogs.known.borrow_mut().values_mut() {
            known.is_wanted = true;
        }
        self.catalogs.bell.ring();
    }

    /// The database that is due first, and when. `None` while there is nobody to ask, or as nobody.
    fn next_catalog(&self, now: Instant) -> Option<(Arc<str>, Instant)> {
        let snapshot = self.publishing.current();
        snapshot.primary.filter(|_| self.is_on())?;
        let refresh = snapshot.settings.routing.catalog_refresh;
        let known = self.catalogs.known.borrow();
        let due = |known: &Known| match (known.is_wanted, known.known_at) {
            (false, Some(at)) => (at + refresh).max(known.rest_until),
            _ => known.rest_until,
        };
        let all = known.iter().map(|(name, known)| (name, due(known)));
        let (name, due) = all.min_by_key(|(_, due)| *due)?;
        Some((Arc::clone(name), due.max(now)))
    }

    fn with_known(&self, database: &str, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.catalogs.known.borrow_mut().get_mut(database) {
            change(known);
        }
    }
}

async fn load(watch: &Watch, database: &Arc<str>) {
    let start = time::now();
    watch.with_known(database, |known| known.is_wanted = false);
    // Read before the look, so that a change during it makes another one necessary.
    let schema = watch.publishing.switchboard().schema_version();
    let outcome = ask(watch, database).await;
    let now = time::now();
    // A schema that changes all the time must not keep the primary busy with this.
    let pause = Duration::from_millis(CATALOG_PAUSE_MS).max(now.duration_since(start));
    watch.with_known(database, |known| known.rest_until = now + pause);
    match outcome {
        Ok(answer) => loaded(watch, database, schema, answer, now),
        Err(error) => failed(watch, database, &error, now),
    }
    if watch.publishing.switchboard().schema_version() != schema {
        watch.with_known(database, |known| known.is_wanted = true);
    }
}

async fn ask(watch: &Watch, database: &str) -> Result<Answer, LineError> {
    let primary = watch.publishing.current().primary;
    let to = primary.and_then(|primary| watch.publishing.destination(primary, Some(database)));
    let to = to.ok_or(LineError::Nonsense("there is no primary to be asked"))?;
    let to = Destination {
        timeout: to.timeout.max(Duration::from_millis(CATALOG_MS_MAX)),
        ..to
    };
    let mut line = Line::open(&watch.reactor, &to, &watch.deriver).await?;
    let mut answer = Answer {
        functions: Vec::new(),
        relations: Vec::new(),
        read_committed: false,
        lsn: None,
        digest: [0; 2],
    };
    let sql = [FUNCTIONS_SQL, RELATIONS_SQL, LAST_SQL].join("; ");
    line.ask(&sql, |statement, row| answer.row(statement, row))
        .await?;
    line.close();
    Ok(answer)
}

impl Answer {
    fn row(&mut self, statement: usize, row: DataRow<'_>) -> Result<(), &'static str> {
        let values: Vec<_> = row
            .map(|value| value.map(String::from_utf8_lossy))
            .collect();
        let columns: Vec<_> = values.iter().map(Option::as_deref).collect();
        if statement < 3 {
            self.note(statement, &columns);
        }
        match statement {
            0 => self
                .functions
                .push(FunctionFact::from_columns(&columns).map_err(|_| "a function that is none")?),
            1 => self
                .relations
                .push(RelationFact::from_columns(&columns).map_err(|_| "a relation that is none")?),
            2 => self.read_committed = columns == [Some("t")],
            3 => {
                let lsn = columns.first().copied().flatten().and_then(read_lsn);
                self.lsn = Some(lsn.ok_or("not a position in the log")?);
            }
            _ => return Err("more answers than questions"),
        }
        Ok(())
    }

    /// The order of rows means nothing, so each is digested alone and the digests are added.
    fn note(&mut self, statement: usize, columns: &[Option<&str>]) {
        let mut row = Sha256::new_with_prefix([statement as u8]);
        for column in columns {
            let text = column.unwrap_or_default();
            row.update((text.len() as u64).to_le_bytes());
            row.update(text);
        }
        let digest: [u8; 32] = row.finalize().into();
        let (halves, _) = digest.as_chunks::<16>();
        for (sum, half) in self.digest.iter_mut().zip(halves) {
            *sum = sum.wrapping_add(u128::from_le_bytes(*half));
        }
    }
}

fn loaded(watch: &Watch, database: &Arc<str>, schema: u64, answer: Answer, now: Instant) {
    let Some(lsn) = answer.lsn else {
        let error = LineError::Nonsense("an answer without its end");
        return failed(watch, database, &error, now);
    };
    let mut is_same = false;
    watch.with_known(database, |known| {
        is_same = known.digest == Some(answer.digest);
        known.digest = Some(answer.digest);
        known.known_at = Some(now);
        if known.failing_since.take().is_some() {
            tracing::info!(%database, "its catalog can be read again");
        }
    });
    let current = watch.publishing.current();
    let facts = match current.catalogs.get(database).filter(|_| is_same) {
        Some(before) if before.schema == schema => return,
        // Who has what was known before has what is known now.
        Some(before) => DatabaseFacts {
            catalog: before.catalog.clone(),
            schema,
            ..**before
        },
        None => DatabaseFacts {
            catalog: Catalog::new(answer.functions, answer.relations),
            schema,
            lsn,
            read_committed: answer.read_committed,
        },
    };
    watch.publishing.catalog(database, Some(Arc::new(facts)));
}

/// What is known stays for a while; then it is better to know nothing.
fn failed(watch: &Watch, database: &Arc<str>, error: &LineError, now: Instant) {
    let current = watch.publishing.current();
    let patience = current.settings.routing.catalog_refresh;
    let mut is_over = false;
    watch.with_known(database, |known| {
        if known.failing_since.is_none() {
            tracing::warn!(%database, %error, "its catalog cannot be read, so statements with unknown names go to the primary");
        }
        let since = *known.failing_since.get_or_insert(now);
        is_over = now.duration_since(since) > patience;
        known.rest_until = now + Duration::from_millis(CATALOG_RETRY_MS);
        known.is_wanted = true;
        if is_over {
            known.digest = None;
            known.is_wanted = false;
            known.known_at = Some(now);
        }
    });
    if is_over && current.catalogs.contains_key(database) {
        watch.publishing.catalog(database, None);
    }
}
