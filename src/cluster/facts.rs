//! Facts about one database that workers judge statements by, and up to when they hold.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::node::Lsn;
use crate::sql::catalog::{Catalog, EffectNames};

/// One database, as of one look of the control core at the primary.
#[derive(Debug, Default)]
pub struct DatabaseFacts {
    /// Its functions and relations.
    pub catalog: Arc<Catalog>,
    /// Effects of using them, on a connection.
    pub effects: Arc<EffectNames>,
    /// An operator, the check of a domain or the like may write, so that no look at a statement tells whether it does.
    pub any_may_write: bool,
    /// Until when that is relied on.
    pub validity: Validity,
    /// Version of the schema, as the shared part counts it, before the look. With another version nothing of this
    /// may be relied on.
    pub schema: u64,
    /// How far the log was written after the look: a standby that has not replayed so far may not have what is here.
    pub lsn: Lsn,
    /// A transaction that names no isolation level is READ COMMITTED, whoever begins it.
    pub read_committed: bool,
}

/// How long what was seen may be relied on: the control core looks for changes as long as somebody does rely on it.
#[derive(Debug, Default)]
pub struct Validity {
    until: AtomicU64,
    used: AtomicU64,
}

/// How exactly it is noted when a database was used last, in microseconds.
const USE_US: u64 = 100_000;

impl Validity {
    /// It holds until then, and was last used then.
    pub fn new(until: u64, used: u64) -> Self {
        Self {
            until: until.into(),
            used: used.into(),
        }
    }

    /// Nothing had changed; what was seen holds until then.
    pub fn extend(&self, until: u64) {
        self.until.store(until, Ordering::Release);
    }

    /// True while it holds. Notes that somebody wants to know.
    #[inline]
    pub fn holds(&self, now: u64) -> bool {
        if now.saturating_sub(self.used.load(Ordering::Relaxed)) > USE_US {
            self.used.store(now, Ordering::Relaxed);
        }
        now <= self.until.load(Ordering::Acquire)
    }

    /// When somebody last wanted to know, about.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}
