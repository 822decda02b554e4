//! The effects of a pool's scheduler, carried out at once or as tasks of their own. Decides nothing.

use std::{rc::Rc, sync::Arc};

use super::{
    backend::Backend,
    node_pool::Pool,
    scheduler::{Effects, Scheduler},
    waiter::Waiter,
};
use crate::{cluster::budget, ids::WorkerId, net::task, time::Micros, worker::core::Worker};

/// Starts a task that does not begin before the caller is done: the scheduler is in use until then.
pub(super) fn spawn_later(future: impl Future<Output = ()> + 'static) {
    task::spawn(async move {
        task::yield_now().await;
        future.await;
    });
}

/// Carries out the effects of a pool's scheduler.
pub(super) struct PoolEffects<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) pool: &'a Rc<Pool>,
}

impl Effects for PoolEffects<'_> {
    type Connection = Box<Backend>;
    type Waiter = Rc<Waiter>;

    fn serve(&self, waiter: Rc<Waiter>, backend: Box<Backend>) {
        backend.stream.park(false);
        waiter.end(Ok(backend));
    }

    fn open(&self, permit: budget::Permit) {
        self.pool.open_one(self.worker, permit);
    }

    fn may_open(&self, opening: u32) -> bool {
        self.pool.backoff.borrow().may_open(opening)
    }

    fn hand_over(&self, backend: Box<Backend>, target: WorkerId) {
        self.pool.hand_over(self.worker, backend, target);
    }

    fn rest(&self, backend: &Box<Backend>) {
        backend.stream.park(true);
        self.worker.note_idle();
    }

    fn close(&self, backend: Box<Backend>) {
        self.pool.dismiss(self.worker, backend);
    }

    fn now(&self) -> Micros {
        self.worker.micros()
    }
}

/// While it lives a pool is between two states. A panic then must not be survived: a proxy whose pools are wrong
/// lends one client's connection to another.
pub(super) struct Unbroken {
    /// A panic from elsewhere is unwinding already: what happens now is its clean-up.
    unwinding: bool,
}

impl Unbroken {
    pub(super) fn new() -> Self {
        let unwinding = std::thread::panicking();
        Self { unwinding }
    }
}

impl Drop for Unbroken {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.unwinding {
            tracing::error!("panic while a pool was being changed; aborting");
            std::process::abort();
        }
    }
}

impl Pool {
    /// Works at the scheduler, and looks through the process for those who have come to wait there.
    pub(super) fn with_scheduler<T>(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        work: impl FnOnce(&mut Scheduler<Box<Backend>, Rc<Waiter>>, &PoolEffects<'_>) -> T,
    ) -> T {
        let _unbroken = Unbroken::new();
        let effects = PoolEffects { worker, pool: self };
        let mut scheduler = self.scheduler.borrow_mut();
        let done = work(&mut scheduler, &effects);
        if scheduler.is_seeking() {
            let budget = Arc::clone(scheduler.budget());
            drop(scheduler);
            worker.seek(&budget);
        }
        done
    }
}
