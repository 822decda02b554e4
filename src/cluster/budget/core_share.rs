//! One core's part of a pool, as the others see it: who waits there, what is idle there, what is on its way to it.
//!
//! Written by its own core but for `coming` and `granted`. Whoever waits shows it first and looks for a connection
//! or a permit afterwards; whoever has one to give lays it open first and looks for waiters afterwards. All of it
//! in one order for all cores, so that at least one of the two sees the other.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use crate::time::Micros;

/// Clients of one core that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// How many wait.
    pub waiting: u32,
    /// For how many of them no connection is being opened or made fit: permits that could be used.
    pub missing: u32,
    /// Since when the first one has waited.
    pub since: Micros,
    /// The first one has waited long enough for the reserve.
    pub overdue: bool,
}

/// One core's place in a pool's budget.
#[derive(Debug, Default)]
pub(super) struct CoreShare {
    waiting: AtomicU32,
    missing: AtomicU32,
    since: AtomicU64,
    overdue: AtomicBool,
    /// Since when the connection has been idle that has been so for longest; 0 when none is.
    idle_since: AtomicU64,
    /// Connections handed over to this core that have not arrived.
    coming: AtomicU32,
    /// Permits taken for this core that it has not collected.
    granted: AtomicU32,
}

impl CoreShare {
    pub(super) fn show_want(&self, want: Want) {
        self.since.store(want.since, SeqCst);
        self.overdue.store(want.overdue, SeqCst);
        self.waiting.store(want.waiting, SeqCst);
        self.missing.store(want.missing, SeqCst);
    }

    pub(super) fn show_idle(&self, since: Option<Micros>) {
        self.idle_since.store(since.unwrap_or(0), SeqCst);
    }

    pub(super) fn idle_since(&self) -> Option<Micros> {
        Some(self.idle_since.load(SeqCst)).filter(|since| *since > 0)
    }

    /// Since when somebody waits for whom no connection is on its way from another core.
    pub(super) fn waits_for_connection(&self) -> Option<Micros> {
        let uncovered = self.waiting.load(SeqCst) > self.coming();
        uncovered.then(|| self.since.load(SeqCst))
    }

    /// Since when somebody waits for whom a permit would help, and whether that is long enough for the reserve.
    pub(super) fn waits_for_permit(&self) -> Option<(Micros, bool)> {
        let uncovered = self.missing.load(SeqCst) > self.granted.load(SeqCst);
        uncovered.then(|| (self.since.load(SeqCst), self.overdue.load(SeqCst)))
    }

    pub(super) fn coming(&self) -> u32 {
        self.coming.load(SeqCst)
    }

    pub(super) fn promise(&self) {
        self.coming.fetch_add(1, SeqCst);
    }

    pub(super) fn settle_promise(&self) {
        let coming = self.coming.fetch_sub(1, SeqCst);
        assert!(coming > 0, "what arrives or is lost was promised once");
    }

    pub(super) fn grant(&self) {
        self.granted.fetch_add(1, SeqCst);
    }

    /// True when there was a grant to collect.
    pub(super) fn collect(&self) -> bool {
        let less = |granted: u32| granted.checked_sub(1);
        self.granted.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    pub(super) fn has_grant(&self) -> bool {
        self.granted.load(SeqCst) > 0
    }
}
