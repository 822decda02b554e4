//! Waiting for a server connection: in order of arrival, for a bounded time, in a bounded queue.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use super::{
    lease::Lease,
    node_pool::Pool,
    waiter::{CheckoutError, Urgency, Waiter},
};
use crate::{
    cluster::{budget::Refusal, node::Role},
    link::login::LoginError,
    net::{Elapsed, task::WakerCell},
    protocol::{ErrorReport, SqlState},
    worker::{core::Worker, counters::Timeout},
};

/// Leaves the queue however waiting ends, and passes on what was handed over too late.
struct Place<'a> {
    worker: &'a Rc<Worker>,
    pool: &'a Rc<Pool>,
    waiter: Rc<Waiter>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.waiter.is_queued.get() {
            let is_this = |waiter: &Rc<Waiter>| Rc::ptr_eq(waiter, &self.waiter);
            self.pool.with_scheduler(self.worker, |scheduler, effects| {
                scheduler.leave(effects, is_this)
            });
        }
        if let Some(Ok(backend)) = self.waiter.outcome.take() {
            self.pool.take_back(self.worker, backend);
        }
    }
}

impl Pool {
    /// A server connection, after waiting for it if need be. `gone` ends the wait early, with `None`.
    pub(crate) async fn checkout(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        urgency: Urgency,
        mut gone: impl FnMut(&Context<'_>) -> Poll<()>,
    ) -> Result<Option<Lease>, CheckoutError> {
        if let Some(lease) = self.try_checkout(worker) {
            return Ok(Some(lease));
        }
        let settings = self.settings();
        if self.scheduler.borrow().waiting() >= settings.capacity.max_waiters {
            return Err(CheckoutError::Own(self.queue_is_full()));
        }
        if urgency == Urgency::Login
            && let Some(refusal) = self.backoff.borrow().refusal(worker.reactor.now())
        {
            return Err(refusal);
        }
        let since = worker.reactor.now();
        let place = self.join(worker, since, urgency);
        let granted = poll_fn(|context| {
            if let Some(outcome) = place.waiter.outcome.take() {
                return Poll::Ready(Some(outcome));
            }
            place.waiter.waker.register(context);
            gone(context).map(|()| None)
        });
        let mut granted = pin!(granted);
        let timeout = settings.timeouts.checkout_timeout;
        let mut outcome = Err(Elapsed);
        if settings.capacity.reserve_size > 0 && settings.capacity.reserve_after < timeout {
            let until = since + settings.capacity.reserve_after;
            outcome = worker.reactor.deadline(until, granted.as_mut()).await;
            // From now on the reserve is for this one, too.
            self.serve_waiters(worker);
        }
        if outcome.is_err() {
            outcome = worker.reactor.deadline(since + timeout, granted).await;
        }
        let waited = worker.reactor.now().saturating_duration_since(since);
        self.counters.borrow_mut().wait_us += waited.as_micros() as u64;
        match outcome {
            Ok(Some(Ok(backend))) => Ok(Some(self.lend(worker, backend))),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => Ok(None),
            Err(Elapsed) => {
                worker.counters.timed_out(Timeout::Checkout);
                Err(CheckoutError::Own(self.waited_too_long()))
            }
        }
    }

    fn join<'a>(
        self: &'a Rc<Self>,
        worker: &'a Rc<Worker>,
        since: Instant,
        urgency: Urgency,
    ) -> Place<'a> {
        let waiter = Rc::new(Waiter {
            since,
            urgency,
            is_queued: Cell::new(true),
            outcome: RefCell::default(),
            waker: WakerCell::default(),
        });
        self.with_scheduler(worker, |scheduler, effects| {
            scheduler.join(effects, Rc::clone(&waiter));
        });
        Place {
            worker,
            pool: self,
            waiter,
        }
    }

    /// Opens as many connections as the queue needs and the limits allow.
    pub(crate) fn serve_waiters(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.with_scheduler(worker, |scheduler, effects| scheduler.settle(effects));
    }

    /// A login failed: those who cannot gain by waiting hear it.
    pub(super) fn tell_waiters(self: &Rc<Self>, worker: &Rc<Worker>, error: &LoginError) {
        let final_word = !error.may_pass();
        let is_standby = self.standing.get().0 == Role::Standby;
        // While a connection exists the queue moves; then only those who log in gain by hearing it, and those who
        // can go elsewhere.
        let hears = |waiter: &Rc<Waiter>| {
            waiter.urgency == Urgency::Login || is_standby || final_word && self.open.get() == 0
        };
        let told =
            self.with_scheduler(worker, |scheduler, effects| scheduler.leave(effects, hears));
        for waiter in told {
            waiter.end(Err(error.to_checkout_error(waiter.urgency)));
        }
    }

    /// Ends the wait of all clients of this pool: they look for another node.
    pub(super) fn send_waiters_away(self: &Rc<Self>, worker: &Rc<Worker>) {
        let sent = self.with_scheduler(worker, |scheduler, effects| {
            scheduler.leave(effects, |_| true)
        });
        for waiter in sent {
            waiter.end(Err(CheckoutError::Moved));
        }
    }

    fn waited_too_long(&self) -> ErrorReport {
        let settings = self.settings();
        let waited = format!(
            "no server connection became free within {:?}",
            settings.timeouts.checkout_timeout
        );
        let report = ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, waited)
            .with_hint(self.describe_queue());
        match self.backoff.borrow().last_failure() {
            Some(failure) => {
                report.with_detail(format!("The last attempt to open one failed: {failure}"))
            }
            None => report,
        }
    }

    fn queue_is_full(&self) -> ErrorReport {
        ErrorReport::error(
            SqlState::TOO_MANY_CONNECTIONS,
            "too many clients wait for a server connection",
        )
        .with_hint(self.describe_queue())
    }

    fn describe_queue(&self) -> String {
        let (key, size) = (&self.key, self.settings().capacity.size);
        let waiting = self.scheduler.borrow().waiting();
        let limit = match self.scheduler.borrow().blocked() {
            Some(refusal) => self.describe_limit(refusal),
            None => String::new(),
        };
        format!(
            "The pool of database \"{}\" and user \"{}\" has a size of {size} and {waiting} clients waiting on this core.{limit}",
            key.database, key.user
        )
    }

    fn describe_limit(&self, refusal: Refusal) -> String {
        let section = match refusal {
            Refusal::Database => "[[database]]",
            Refusal::User => "[[user]]",
            Refusal::Node => "[[node]]",
            Refusal::Pool => return String::new(),
        };
        let max = self.budget().max(refusal);
        format!(" max_connections of its {section}, {max}, is reached, too.")
    }
}
