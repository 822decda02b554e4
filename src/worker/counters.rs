//! Counts of one core: sessions that are pinned and statements that would have pinned one, by reason; time limits that were
//! reached; answers of the nodes. Decides nothing.

use std::cell::{Cell, RefCell};

use crate::{
    cluster::report::{NodeCounters, PinReport, TimeoutReport},
    ids::NodeId,
    session::state::pin::Pin,
};

/// A time limit that somebody reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    Query,
    Transaction,
    IdleInTransaction,
    ClientIdle,
    Checkout,
    Login,
}

impl Timeout {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Query, "query_timeout"),
        (Self::Transaction, "transaction_timeout"),
        (Self::IdleInTransaction, "idle_in_transaction_timeout"),
        (Self::ClientIdle, "client_idle_timeout"),
        (Self::Checkout, "checkout_timeout"),
        (Self::Login, "login_timeout"),
    ];
}

/// The counts of one reason to pin.
#[derive(Clone, Copy, Debug, Default)]
struct Pins {
    sessions: u32,
    total: u64,
    refused: u64,
}

/// The counts of one core since it started.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pins: [Cell<Pins>; Pin::ALL.len()],
    timeouts: [Cell<u64>; Timeout::ALL.len()],
    /// Statements and errors that each node has answered to clients with.
    answered: RefCell<Vec<NodeCounters>>,
}

impl WorkerCounters {
    fn count(&self, pin: Pin, change: impl FnOnce(&mut Pins)) {
        let place = &self.pins[pin as usize];
        let mut pins = place.get();
        change(&mut pins);
        place.set(pins);
    }

    /// A session is pinned for another reason than before, or not any more.
    pub(super) fn pin_changed(&self, before: Option<Pin>, after: Option<Pin>) {
        if let Some(pin) = before {
            self.count(pin, |pins| pins.sessions -= 1);
        }
        if let Some(pin) = after {
            self.count(pin, |pins| {
                pins.sessions += 1;
                pins.total += 1;
            });
        }
    }

    /// A session was not allowed to be pinned.
    pub(super) fn pin_refused(&self, pin: Pin) {
        self.count(pin, |pins| pins.refused += 1);
    }

    /// Somebody reached a time limit.
    pub(super) fn timed_out(&self, which: Timeout) {
        let place = &self.timeouts[which as usize];
        place.set(place.get() + 1);
    }

    /// Counts what a node has answered to a client.
    #[inline]
    pub(super) fn count_answer(&self, node: NodeId, count: impl FnOnce(&mut NodeCounters)) {
        let mut answered = self.answered.borrow_mut();
        let place = usize::from(node.0);
        if answered.len() <= place {
            answered.resize(place + 1, NodeCounters::default());
        }
        count(&mut answered[place]);
    }

    /// Answers of the nodes, by node.
    pub(super) fn answered(&self) -> Vec<NodeCounters> {
        self.answered.borrow().clone()
    }

    /// All pins.
    pub(super) fn pins(&self) -> Vec<PinReport> {
        let report = |pin: Pin| {
            let pins = self.pins[pin as usize].get();
            PinReport {
                reason: pin.reason(),
                sessions: pins.sessions,
                total: pins.total,
                refused: pins.refused,
            }
        };
        Pin::ALL.map(report).to_vec()
    }

    /// All time limits.
    pub(super) fn timeouts(&self) -> Vec<TimeoutReport> {
        let report = |(which, setting): (Timeout, &'static str)| TimeoutReport {
            setting,
            total: self.timeouts[which as usize].get(),
        };
        Timeout::ALL.map(report).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_count() {
        let counters = WorkerCounters::default();
        for (number, pin) in Pin::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| counters.pin_changed(None, Some(pin)));
            counters.pin_changed(Some(pin), None);
        }
        for (number, (which, _)) in Timeout::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| counters.timed_out(which));
        }
        let pins = counters.pins();
        let totals: Vec<_> = pins.iter().map(|pins| pins.total).collect();
        assert!(
            totals.iter().copied().eq(1..=Pin::ALL.len() as u64),
            "{totals:?}"
        );
        assert!(
            pins.iter()
                .all(|pins| u64::from(pins.sessions) + 1 == pins.total)
        );
        let timeouts = counters.timeouts();
        let totals: Vec<_> = timeouts.iter().map(|timeouts| timeouts.total).collect();
        assert!(
            totals.iter().copied().eq(1..=Timeout::ALL.len() as u64),
            "{totals:?}"
        );
    }

    #[test]
    fn a_pin_that_changes_its_reason_is_another_one() {
        let counters = WorkerCounters::default();
        counters.pin_changed(None, Some(Pin::Listen));
        counters.pin_changed(Some(Pin::Listen), Some(Pin::AdvisoryLock));
        counters.pin_refused(Pin::Listen);
        let counts = |reason: Pin| {
            let pins = counters.pins();
            let found = pins.iter().find(|pins| pins.reason == reason.reason());
            let found = found.unwrap();
            (found.sessions, found.total, found.refused)
        };
        assert_eq!(counts(Pin::Listen), (0, 1, 1));
        assert_eq!(counts(Pin::AdvisoryLock), (1, 1, 0));
    }
}
