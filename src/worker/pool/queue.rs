//! Waiting for a server connection: in order of arrival, for a bounded time, in a bounded queue.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use super::{Backend, Lease, LoginError, Pool};
use crate::{
    net::task::WakerCell,
    protocol::{ErrorReport, SqlState},
    worker::{Worker, route},
};

/// How a waiter takes a failing server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A client that logs in wants to hear at once why the server refuses.
    Login,
    /// A statement waits for a server that may come back.
    Statement,
}

/// Why there is no server connection.
#[derive(Clone, Debug)]
pub(crate) enum CheckoutError {
    /// The server's own refusal, its ErrorResponse body.
    Refused(Rc<[u8]>),
    /// Our reason.
    Own(ErrorReport),
}

/// One place in the queue.
pub(super) struct Waiter {
    pub(super) since: Instant,
    urgency: Urgency,
    outcome: RefCell<Option<Result<Box<Backend>, CheckoutError>>>,
    waker: WakerCell,
}

/// Leaves the queue however waiting ends, and passes on what was handed over too late.
struct Place<'a> {
    worker: &'a Rc<Worker>,
    pool: &'a Rc<Pool>,
    waiter: Rc<Waiter>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool
            .waiters
            .borrow_mut()
            .retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
        self.pool.settle_wants(self.worker);
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
        target: &route::Target,
        urgency: Urgency,
        mut gone: impl FnMut(&Context<'_>) -> Poll<()>,
    ) -> Result<Option<Lease>, CheckoutError> {
        if let Some(lease) = self.try_checkout(worker, target) {
            return Ok(Some(lease));
        }
        let settings = self.settings();
        if self.waiters.borrow().len() >= settings.max_waiters as usize {
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
        let granted = worker
            .reactor
            .deadline(since + settings.checkout_timeout, granted)
            .await;
        let waited = worker.reactor.now().saturating_duration_since(since);
        self.counters.borrow_mut().wait_us += waited.as_micros() as u64;
        match granted {
            Ok(Some(Ok(backend))) => Ok(Some(self.lend(worker, backend))),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => Ok(None),
            Err(_) => Err(CheckoutError::Own(self.waited_too_long())),
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
            outcome: RefCell::default(),
            waker: WakerCell::default(),
        });
        self.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        self.serve_waiters(worker);
        Place {
            worker,
            pool: self,
            waiter,
        }
    }

    /// Gives `backend` to the first in the queue, or hands it back.
    pub(super) fn hand_to_waiter(&self, backend: Box<Backend>) -> Option<Box<Backend>> {
        let Some(waiter) = self.waiters.borrow_mut().pop_front() else {
            return Some(backend);
        };
        waiter.outcome.replace(Some(Ok(backend)));
        waiter.waker.wake();
        None
    }

    /// Opens as many connections as the queue needs and the budget allows.
    pub(crate) fn serve_waiters(self: &Rc<Self>, worker: &Rc<Worker>) {
        let _unbroken = super::Unbroken::new();
        self.open_for_waiters(worker);
        if self.settle_wants(worker) && self.open_for_waiters(worker) {
            // A permit came back just before its holder could see that somebody waits here.
            self.settle_wants(worker);
        }
    }

    /// True when a connection is being opened that was not before.
    fn open_for_waiters(self: &Rc<Self>, worker: &Rc<Worker>) -> bool {
        let coming = self.opening.get() + self.tested.get();
        let waiting = self.waiters.borrow().len() as u32;
        (coming..waiting)
            .take_while(|_| self.open_one(worker))
            .count()
            > 0
    }

    /// Tells the other cores whether clients wait here that nothing of this core will serve: true when so. From
    /// then on whatever is released there may come here; those that are idle there are asked for.
    pub(super) fn settle_wants(&self, worker: &Worker) -> bool {
        let waiting = self.waiters.borrow().len() as u32;
        let served = self.opening.get() + self.tested.get();
        if waiting <= served || worker.switchboard.workers.len() == 1 {
            self.budget.content(worker.id);
            return false;
        }
        if self.budget.want(worker.id) {
            worker.ask_for_connection(&self.key);
        }
        true
    }

    /// A login failed: those who cannot gain by waiting hear it.
    pub(super) fn tell_waiters(&self, error: &LoginError) {
        let final_word = !error.may_pass();
        // While a connection exists the queue moves; then only those who log in gain by hearing it.
        let hears = |waiter: &Rc<Waiter>| {
            waiter.urgency == Urgency::Login || final_word && self.open.get() == 0
        };
        let (told, left): (VecDeque<_>, VecDeque<_>) =
            self.waiters.take().into_iter().partition(hears);
        self.waiters.replace(left);
        for waiter in told {
            waiter
                .outcome
                .replace(Some(Err(error.to_checkout_error(waiter.urgency))));
            waiter.waker.wake();
        }
    }

    fn waited_too_long(&self) -> ErrorReport {
        let settings = self.settings.borrow();
        let waited = format!(
            "no server connection became free within {:?}",
            settings.checkout_timeout
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
        let (key, size) = (&self.key, self.settings.borrow().size);
        let waiting = self.waiters.borrow().len();
        format!(
            "The pool of database \"{}\" and user \"{}\" has a size of {size} and {waiting} clients waiting on this core.",
            key.database, key.user
        )
    }
}
