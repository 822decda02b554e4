//! Lending of connections that are at hand, and what becomes of them afterwards.

use std::{rc::Rc, time::Instant};

use super::{
    backend::Backend,
    effects::{PoolEffects, Unbroken},
    node_pool::Pool,
    waiter::{CheckoutError, Urgency},
};
use crate::{cluster::welcome::Welcome, worker::core::Worker};

/// A backend lent to one session. Dropping it closes the connection; only [`Lease::release`] keeps it.
pub(crate) struct Lease {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    backend: Option<Box<Backend>>,
    /// When it was lent.
    pub(crate) since: Instant,
    /// To nobody before.
    pub(crate) is_new: bool,
}

impl Lease {
    pub(crate) fn backend(&self) -> &Backend {
        self.backend
            .as_ref()
            .expect("a lease has its backend until it ends")
    }

    pub(crate) fn backend_mut(&mut self) -> &mut Backend {
        self.backend
            .as_mut()
            .expect("a lease has its backend until it ends")
    }

    /// It is lent for a login, which counts as no assignment to a client.
    pub(crate) fn for_login(self) -> Self {
        self.pool.counters.borrow_mut().assignments -= 1;
        self
    }

    /// Gives the connection back; it must be outside a transaction with nothing owed.
    pub(crate) fn release(mut self) {
        let backend = self.backend.take().expect("a lease is released once");
        self.pool.take_back(&self.worker, backend);
    }

    /// Its server has come to say this of itself. Of one that is used no more nobody has to know.
    pub(crate) fn hear(&mut self, new: &Welcome) {
        if !self.pool.standing.get().1 {
            return;
        }
        let old = &self.backend().welcome;
        let (welcome, generation) = self.pool.budget().last_welcome.amend(old, new);
        let backend = self.backend_mut();
        (backend.welcome, backend.membership.generation) = (welcome, generation);
    }

    /// Closes the connection, and opens a new one in its place.
    pub(crate) async fn renew(mut self) -> Result<Self, CheckoutError> {
        let backend = self
            .backend
            .take()
            .expect("a lease is renewed in one piece");
        let new = self.pool.reopen(&self.worker, backend).await;
        match new {
            Ok(backend) => Ok(self.pool.lend(&self.worker, backend)),
            Err(error) => {
                self.pool.serve_waiters(&self.worker);
                self.pool.fill(&self.worker);
                Err(error.to_checkout_error(Urgency::Statement))
            }
        }
    }

    /// The pool that it is from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Gives a connection back that carries a session's state: it is reset first.
    pub(crate) fn release_dirty(mut self) {
        let backend = self.backend.take().expect("a lease is released once");
        self.pool.reset(&self.worker, backend);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.pool.dismiss(&self.worker, backend);
        }
    }
}

impl Pool {
    /// An idle connection that needs no further look, if nobody waits for one.
    #[inline]
    pub(crate) fn try_checkout(self: &Rc<Self>, worker: &Rc<Worker>) -> Option<Lease> {
        let _unbroken = Unbroken::new();
        let now = worker.reactor.now();
        loop {
            let effects = PoolEffects { worker, pool: self };
            let backend = self.scheduler.borrow_mut().take_idle(&effects)?;
            backend.stream.park(false);
            // Closed by the server, speaking out of turn, too old, or from before it began to say something else.
            let is_old = self.is_old(&backend, now);
            if is_old || backend.stream.has_news() || self.is_bygone(&backend) {
                self.dismiss(worker, backend);
                continue;
            }
            if self.is_stale(&backend, now) {
                self.verify(worker, backend);
                continue;
            }
            return Some(self.lend(worker, backend));
        }
    }

    pub(super) fn lend(self: &Rc<Self>, worker: &Rc<Worker>, mut backend: Box<Backend>) -> Lease {
        let is_new = std::mem::take(&mut backend.is_new);
        self.counters.borrow_mut().assignments += 1;
        let (worker, pool) = (Rc::clone(worker), Rc::clone(self));
        Lease {
            since: worker.reactor.now(),
            worker,
            pool,
            backend: Some(backend),
            is_new,
        }
    }

    /// A connection fit for the next session: to the first in the queue, to a core that wants it, or idle.
    pub(super) fn take_back(self: &Rc<Self>, worker: &Rc<Worker>, backend: Box<Backend>) {
        let _unbroken = Unbroken::new();
        let now = worker.reactor.now();
        backend.used.set(now);
        if self.is_worn_out(&backend, now) {
            return self.dismiss(worker, backend);
        }
        self.with_scheduler(worker, |scheduler, effects| {
            scheduler.place(effects, backend)
        });
    }
}
