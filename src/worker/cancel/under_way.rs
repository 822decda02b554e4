//! The cancel requests of one core: how many are on their way to servers, within a bound, and counts for operators.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::{
    cluster::{budget::PoolKey, report::CancelReport},
    limits::CANCELS_MAX,
    worker::pool::backend::BackendInfo,
};

/// The cancel requests of one core.
#[derive(Default)]
pub(crate) struct Cancels {
    counts: Cell<CancelReport>,
    /// Requests that are on their way to a server: whose pool, and for which connection.
    pub(super) under_way: RefCell<Vec<(PoolKey, Rc<BackendInfo>)>>,
    /// Requests have been dropped, and that was logged, since the last time nothing was under way.
    flooded: Cell<bool>,
}

impl Cancels {
    pub(crate) fn counts(&self) -> CancelReport {
        self.counts.get()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut CancelReport)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Takes one of the places for requests to servers; false when there is none.
    pub(super) fn enter(&self, key: &PoolKey, server: &Rc<BackendInfo>) -> bool {
        if self.counts.get().active >= CANCELS_MAX {
            self.drop_one();
            return false;
        }
        self.count(|counts| {
            counts.active += 1;
            counts.forwarded += 1;
        });
        let entry = (key.clone(), Rc::clone(server));
        self.under_way.borrow_mut().push(entry);
        true
    }

    pub(super) fn leave(&self, server: &Rc<BackendInfo>) {
        self.count(|counts| counts.active -= 1);
        let mut under_way = self.under_way.borrow_mut();
        let place = under_way
            .iter()
            .position(|(_, other)| Rc::ptr_eq(other, server));
        under_way.swap_remove(place.expect("what leaves has entered"));
        if self.counts.get().active == 0 {
            self.flooded.set(false);
        }
    }

    pub(super) fn drop_one(&self) {
        self.count(|counts| counts.dropped += 1);
        if !self.flooded.replace(true) {
            tracing::warn!(
                limit = CANCELS_MAX,
                "too many cancel requests at once; those above the limit are dropped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{ConnectionId, NodeId},
        net::Address,
    };

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let cancels = Cancels::default();
        let key = PoolKey {
            database: "app".into(),
            user: "app".into(),
        };
        let server = Rc::new(BackendInfo {
            node: NodeId(0),
            address: Address::Unix("/".into()),
            id: ConnectionId {
                slot: 0,
                generation: 0,
            },
            process_id: 1,
            cancel_key: [].into(),
            opened_us: 0,
            cancels: Cell::new(0),
        });
        let enter = || cancels.enter(&key, &server);
        assert!((0..CANCELS_MAX).all(|_| enter()));
        assert!(!enter() && !enter());
        cancels.leave(&server);
        assert!(enter());
        let counts = cancels.counts();
        assert_eq!(counts.active, CANCELS_MAX);
        assert_eq!(counts.forwarded, u64::from(CANCELS_MAX) + 1);
        assert_eq!(counts.dropped, 2);
    }
}
