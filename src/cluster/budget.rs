//! How many server connections a pool may have in the whole process, counted across cores.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{ids::WorkerId, limits::BUDGETS_KEPT_MAX};

/// Database and user, as the client names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// Database.
    pub database: Arc<str>,
    /// User.
    pub user: Arc<str>,
}

/// One pool's permits.
#[derive(Debug, Default)]
pub struct Budget {
    limit: AtomicU32,
    used: AtomicU32,
    /// One bit for each worker (modulo 64) that waits for a connection.
    wanting: AtomicU64,
}

impl Budget {
    /// Sets how many permits there are; those in use above it run out as they come back.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes a permit if one is left.
    pub fn acquire(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let take = |used| (used < limit).then_some(used + 1);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Gives a permit back.
    pub fn release(&self) {
        let used = self.used.fetch_sub(1, Ordering::AcqRel);
        assert!(used > 0, "a permit is given back once");
    }

    /// Permits in use.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Notes that `worker` has clients waiting that nothing of its own will serve; false when that was noted
    /// already.
    pub fn want(&self, worker: WorkerId) -> bool {
        self.wanting.fetch_or(bit(worker), Ordering::AcqRel) & bit(worker) == 0
    }

    /// Takes the note back.
    pub fn content(&self, worker: WorkerId) {
        self.wanting.fetch_and(!bit(worker), Ordering::AcqRel);
    }

    /// True when some core other than `worker` waits for a connection.
    #[inline]
    pub fn is_wanted_beside(&self, worker: WorkerId) -> bool {
        self.wanting.load(Ordering::Relaxed) & !bit(worker) != 0
    }

    /// The next worker after `worker`, going round, that waits for a connection.
    pub fn next_wanting(&self, worker: WorkerId) -> Option<WorkerId> {
        let own = u32::from(worker.0) % 64;
        let others = self.wanting.load(Ordering::Acquire) & !bit(worker);
        let distance = others.rotate_right(own).trailing_zeros();
        (others != 0).then(|| WorkerId(((own + distance) % 64) as u16))
    }

    /// What each core would have if the permits in use were shared evenly among those that wait and `worker`.
    pub fn even_share(&self, worker: WorkerId) -> u32 {
        let claims = self.wanting.load(Ordering::Relaxed) | bit(worker);
        self.used() / claims.count_ones()
    }

    /// The workers that wait for a connection.
    pub fn wanting(&self) -> impl Iterator<Item = WorkerId> + use<> {
        let bits = self.wanting.load(Ordering::Acquire);
        (0..64)
            .filter(move |place| bits >> place & 1 == 1)
            .map(WorkerId)
    }
}

fn bit(worker: WorkerId) -> u64 {
    1 << (worker.0 % 64)
}

/// The right to one server connection. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit(Arc<Budget>);

impl Permit {
    /// Takes one if one is left.
    pub fn take(budget: &Arc<Budget>) -> Option<Self> {
        budget.acquire().then(|| Self(Arc::clone(budget)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Every pool's budget. Asked when a core makes a pool, never per query.
#[derive(Debug, Default)]
pub struct Budgets(Mutex<HashMap<PoolKey, Arc<Budget>>>);

impl Budgets {
    /// The budget of one pool.
    pub fn of(&self, key: &PoolKey) -> Arc<Budget> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= BUDGETS_KEPT_MAX {
            // Clients choose the names: those of pools that no core has any more are forgotten.
            budgets.retain(|_, budget| Arc::strong_count(budget) > 1);
        }
        Arc::clone(budgets.entry(key.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit() {
        let budget = Arc::new(Budget::default());
        budget.set_limit(3);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                std::thread::spawn(move || {
                    for _ in 0..10_000 {
                        if budget.acquire() {
                            assert!(budget.used() <= 3);
                            budget.release();
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn remembers_who_waits() {
        let budget = Budget::default();
        budget.want(WorkerId(3));
        assert!(budget.is_wanted_beside(WorkerId(0)));
        assert!(!budget.is_wanted_beside(WorkerId(3)));
        assert_eq!(budget.wanting().collect::<Vec<_>>(), [WorkerId(3)]);
        assert!(!budget.want(WorkerId(3)));
        budget.content(WorkerId(3));
        assert_eq!(budget.wanting().count(), 0);
    }

    #[test]
    fn budgets_of_pools_that_are_gone_are_forgotten() {
        let budgets = Budgets::default();
        let key = |number: u32| PoolKey {
            database: number.to_string().into(),
            user: "app".into(),
        };
        let kept = budgets.of(&key(0));
        (1..3 * BUDGETS_KEPT_MAX as u32).for_each(|number| drop(budgets.of(&key(number))));
        assert!(Arc::ptr_eq(&kept, &budgets.of(&key(0))));
        assert!(budgets.0.lock().unwrap().len() <= BUDGETS_KEPT_MAX);
    }

    #[test]
    fn the_next_one_is_found_going_round() {
        let budget = Budget::default();
        assert_eq!(budget.next_wanting(WorkerId(1)), None);
        for waiting in [1, 3, 63] {
            budget.want(WorkerId(waiting));
        }
        let order = [1, 3, 63].map(|worker| budget.next_wanting(WorkerId(worker)));
        assert_eq!(order, [3, 63, 1].map(|next| Some(WorkerId(next))));
    }

    #[test]
    fn a_share_counts_those_who_wait_and_the_asker() {
        let budget = Arc::new(Budget::default());
        budget.set_limit(7);
        let permits: Vec<_> = (0..7).map_while(|_| Permit::take(&budget)).collect();
        budget.want(WorkerId(0));
        budget.want(WorkerId(2));
        assert_eq!(budget.even_share(WorkerId(0)), 3);
        assert_eq!(budget.even_share(WorkerId(1)), 2);
        drop(permits);
        assert_eq!(budget.used(), 0);
    }
}
