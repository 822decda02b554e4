//! How far the log had been written when clients were told of their commits: what reads of the whole process must
//! see with `consistency = "global"`. Atomics, shared by all cores.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use crossbeam::utils::CachePadded;

use super::node::Lsn;

/// The newest commit of the process.
#[derive(Debug, Default)]
pub struct Commits {
    newest: CachePadded<AtomicU64>,
    /// Commits of which clients may know, and whose positions nobody knows yet.
    unknown: CachePadded<AtomicU32>,
}

impl Commits {
    /// The position that a read must not miss; `None` while that is not known.
    #[inline]
    pub fn newest(&self) -> Option<Lsn> {
        // In this order: whoever lowers `unknown` has raised `newest` before.
        let unknown = self.unknown.load(SeqCst);
        let newest = self.newest.load(SeqCst);
        (unknown == 0).then_some(newest)
    }

    /// A client is about to learn of a commit. [`Commits::found`] follows.
    pub fn begin(&self) {
        self.unknown.fetch_add(1, SeqCst);
    }

    /// The log had been written up to `lsn` after that commit.
    pub fn found(&self, lsn: Lsn) {
        self.newest.fetch_max(lsn, SeqCst);
        self.unknown.fetch_sub(1, SeqCst);
    }
}
