//! Clients that wait for a server connection: how their wait ends, and how long a server that fails is left alone.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use super::backend::Backend;
use crate::{
    link::login::LoginError,
    net::task::WakerCell,
    protocol::{ErrorReport, SqlState},
    time,
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
    /// The node cannot be reached; another one may take what this one cannot.
    Unreachable(ErrorReport),
    /// The node is not used any more, or not for the same.
    Moved,
}

/// One place in the queue.
pub(super) struct Waiter {
    pub(super) since: Instant,
    pub(super) urgency: Urgency,
    pub(super) is_queued: Cell<bool>,
    pub(super) outcome: RefCell<Option<Result<Box<Backend>, CheckoutError>>>,
    pub(super) waker: WakerCell,
}

impl Waiter {
    /// It is out of the queue, and this is how that came.
    pub(super) fn end(&self, outcome: Result<Box<Backend>, CheckoutError>) {
        self.is_queued.set(false);
        self.outcome.replace(Some(outcome));
        self.waker.wake();
    }
}

impl LoginError {
    pub(super) fn to_checkout_error(&self, urgency: Urgency) -> CheckoutError {
        match (self, urgency) {
            (Self::Refused(body), _) => CheckoutError::Refused(Rc::clone(body)),
            (Self::NoPassword(_), _) => CheckoutError::Own(ErrorReport::error(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "pgring cannot log in at the server for this user",
            )),
            _ => CheckoutError::Unreachable(
                ErrorReport::error(SqlState::CANNOT_CONNECT_NOW, "no server can be reached")
                    .with_detail(self.to_string()),
            ),
        }
    }
}

/// How long to leave a failing server alone.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pub(super) failures: u32,
    last: Option<LoginError>,
    until: Option<Instant>,
}

impl Backoff {
    /// How long to rest now. `None` when a rest has begun already: attempts that were under way together fail
    /// together, which says no more than one failure.
    pub(super) fn failed(
        &mut self,
        error: LoginError,
        now: Instant,
        first: Duration,
        longest: Duration,
    ) -> Option<Duration> {
        self.last = Some(error);
        if self.until.is_some_and(|until| until > now) {
            return None;
        }
        let pause = first
            .saturating_mul(1 << self.failures.min(16))
            .min(longest);
        self.failures += 1;
        self.until = Some(now + pause);
        Some(pause)
    }

    /// False while no attempt is made; after failures one at a time is.
    pub(super) fn may_open(&self, opening: u32) -> bool {
        let is_resting = self.until.is_some_and(|until| until > time::now());
        !is_resting && (self.failures == 0 || opening == 0)
    }

    /// Error for a login while no attempt is made; `None` while one may be.
    pub(super) fn refusal(&self, now: Instant) -> Option<CheckoutError> {
        let resting = self.until.is_some_and(|until| until > now);
        let last = self.last.as_ref().filter(|_| resting)?;
        Some(last.to_checkout_error(Urgency::Login))
    }

    /// The last failure since the last success.
    pub(super) fn last_failure(&self) -> Option<&LoginError> {
        self.last.as_ref()
    }
}
