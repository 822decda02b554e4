//! A session's time limits: how long it has been doing what it does, and which limit is reached next.
//!
//! One timer a session, set only when it would ring too late: while limits are off it costs nothing, and a
//! session that works sets it about once in the length of its shortest limit. Never decides what a limit
//! that is reached means.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::{
    cluster::settings::PoolSettings,
    limits::CANCEL_GRACE_MS,
    net::{Reactor, Sleep},
};

/// Activity of a session, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Between transactions.
    Idle,
    /// Between two requests of a transaction.
    IdleInTransaction,
    /// Something it asked for.
    Request,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The request shall be cancelled.
    Query,
    /// It was, and the server has not ended it.
    Grace,
    Transaction,
    IdleInTransaction,
    ClientIdle,
}

/// How long a session may take; `None` as long as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TimeLimits {
    pub(super) query: Option<Duration>,
    transaction: Option<Duration>,
    idle_in_transaction: Option<Duration>,
    client_idle: Option<Duration>,
}

impl From<&PoolSettings> for TimeLimits {
    fn from(settings: &PoolSettings) -> Self {
        Self {
            query: settings.timeouts.query_timeout,
            transaction: settings.timeouts.transaction_timeout,
            idle_in_transaction: settings.timeouts.idle_in_transaction_timeout,
            client_idle: settings.timeouts.client_idle_timeout,
        }
    }
}

/// One session's time.
pub(super) struct Clock {
    limits: TimeLimits,
    /// No limit is set.
    off: bool,
    doing: Doing,
    /// Since when it does that.
    since: Instant,
    /// When the transaction began.
    begun: Instant,
    /// The request was cancelled for its length then.
    cancelled: Option<Instant>,
    /// Wakes the session; when that is (or was).
    alarm: Option<(Instant, Sleep)>,
}

impl Clock {
    pub(super) fn new(limits: TimeLimits, now: Instant) -> Self {
        Self {
            off: limits == TimeLimits::default(),
            limits,
            doing: Doing::Idle,
            since: now,
            begun: now,
            cancelled: None,
            alarm: None,
        }
    }

    /// The limits as of now, which hold for what is under way as well.
    pub(super) fn set_limits(&mut self, limits: TimeLimits) {
        self.off = limits == TimeLimits::default();
        self.limits = limits;
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> TimeLimits {
        self.limits
    }

    /// Notes what the session does now.
    #[inline]
    pub(super) fn note(&mut self, doing: Doing, now: Instant) {
        if doing == self.doing {
            return;
        }
        if self.doing == Doing::Idle {
            self.begun = now;
        }
        self.doing = doing;
        self.since = now;
        self.cancelled = None;
    }

    /// When the transaction began that is under way.
    #[inline]
    pub(super) fn transaction(&self) -> Option<Instant> {
        (self.doing != Doing::Idle).then_some(self.begun)
    }

    /// One of several requests that were sent together is answered; the next one's time begins.
    #[inline]
    pub(super) fn answered(&mut self, ends_transaction: bool, now: Instant) {
        self.since = now;
        self.cancelled = None;
        if ends_transaction {
            self.begun = now;
        }
    }

    /// The request has been cancelled for its length.
    #[cold]
    pub(super) fn note_cancelled(&mut self, now: Instant) {
        self.cancelled = Some(now);
    }

    /// True while a request is under way that was cancelled for its length.
    #[inline]
    pub(super) fn has_cancelled(&self) -> bool {
        self.cancelled.is_some()
    }

    /// The limit that is reached next, and when. `heard`: when the client last said something.
    fn next(&self, heard: Instant) -> Option<(Instant, Due)> {
        let at =
            |from: Instant, limit: Option<Duration>, due| limit.map(|limit| (from + limit, due));
        let limits = &self.limits;
        let transaction = || at(self.begun, limits.transaction, Due::Transaction);
        match self.doing {
            Doing::Idle => at(self.since.max(heard), limits.client_idle, Due::ClientIdle),
            Doing::IdleInTransaction => {
                let idle = limits.idle_in_transaction;
                let idle = at(self.since.max(heard), idle, Due::IdleInTransaction);
                sooner(idle, transaction())
            }
            Doing::Request => {
                let grace = Duration::from_millis(CANCEL_GRACE_MS);
                let request = match self.cancelled {
                    Some(then) => at(then, Some(grace), Due::Grace),
                    None => at(self.since, limits.query, Due::Query),
                };
                sooner(request, transaction())
            }
        }
    }

    /// Ready once a limit is reached; the task behind `context` is woken then. It must be the session's,
    /// always.
    #[inline]
    pub(super) fn poll(
        &mut self,
        reactor: &Reactor,
        heard: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Due> {
        // What was cancelled for its length is awaited even if the limit is gone meanwhile.
        if self.off && self.cancelled.is_none() {
            return Poll::Pending;
        }
        let Some((at, due)) = self.next(heard) else {
            return Poll::Pending;
        };
        let now = reactor.now();
        if at <= now {
            return Poll::Ready(due);
        }
        if rings_in_time(self.alarm.as_ref().map(|(at, _)| *at), now, at) {
            return Poll::Pending;
        }
        let mut sleep = reactor.sleep_until(at);
        let rung = Pin::new(&mut sleep).poll(context);
        self.alarm = Some((at, sleep));
        rung.map(|()| due)
    }
}

/// True when a timer set to `alarm` will ring, and not after `at`.
fn rings_in_time(alarm: Option<Instant>, now: Instant, at: Instant) -> bool {
    alarm.is_some_and(|alarm| alarm > now && alarm <= at)
}

fn sooner(one: Option<(Instant, Due)>, other: Option<(Instant, Due)>) -> Option<(Instant, Due)> {
    match (one, other) {
        (Some(one), Some(other)) if other.0 < one.0 => Some(other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const LIMITS: TimeLimits = TimeLimits {
        query: Some(Duration::from_secs(10)),
        transaction: Some(Duration::from_secs(100)),
        idle_in_transaction: Some(Duration::from_secs(30)),
        client_idle: Some(Duration::from_secs(1000)),
    };

    /// A clock and its start; times are seconds after that.
    struct Bench(Clock, Instant);

    impl Bench {
        fn new(limits: TimeLimits) -> Self {
            let start = time::now();
            Self(Clock::new(limits, start), start)
        }

        fn at(&self, seconds: u64) -> Instant {
            self.1 + Duration::from_secs(seconds)
        }

        fn note(&mut self, doing: Doing, seconds: u64) -> &mut Self {
            self.0.note(doing, self.at(seconds));
            self
        }

        /// The limit that is next when the client has said nothing, and its second.
        fn next(&self) -> Option<(u64, Due)> {
            let next = self.0.next(self.1);
            next.map(|(at, due)| ((at - self.1).as_secs(), due))
        }
    }

    #[test]
    fn each_doing_has_its_limit() {
        let mut bench = Bench::new(LIMITS);
        assert_eq!(bench.next(), Some((1000, Due::ClientIdle)));
        bench.note(Doing::Request, 50);
        assert_eq!(bench.next(), Some((60, Due::Query)));
        bench.note(Doing::IdleInTransaction, 55);
        assert_eq!(bench.next(), Some((85, Due::IdleInTransaction)));
        bench.note(Doing::Request, 80);
        assert_eq!(bench.next(), Some((90, Due::Query)));
        bench.note(Doing::Idle, 81);
        assert_eq!(bench.next(), Some((1081, Due::ClientIdle)));
    }

    #[test]
    fn a_transaction_counts_from_its_first_request() {
        let mut bench = Bench::new(LIMITS);
        bench
            .note(Doing::Request, 7)
            .note(Doing::IdleInTransaction, 8);
        bench.note(Doing::Request, 100);
        assert_eq!(bench.next(), Some((107, Due::Transaction)));
        bench.note(Doing::IdleInTransaction, 101);
        assert_eq!(bench.next(), Some((107, Due::Transaction)));
        bench.note(Doing::Idle, 102).note(Doing::Request, 103);
        assert_eq!(bench.next(), Some((113, Due::Query)));
    }

    #[test]
    fn noting_the_same_again_changes_nothing() {
        let mut bench = Bench::new(LIMITS);
        bench.note(Doing::Request, 1).note(Doing::Request, 9);
        assert_eq!(bench.next(), Some((11, Due::Query)));
        bench.note(Doing::Idle, 10).note(Doing::Idle, 500);
        assert_eq!(bench.next(), Some((1010, Due::ClientIdle)));
    }

    #[test]
    fn a_client_that_says_something_is_not_idle() {
        let bench = Bench::new(LIMITS);
        let next = bench.0.next(bench.at(5));
        assert_eq!(next, Some((bench.at(1005), Due::ClientIdle)));
    }

    #[test]
    fn in_a_pipeline_each_request_has_its_own_time() {
        let mut bench = Bench::new(LIMITS);
        bench.note(Doing::Request, 0);
        let then = bench.at(9);
        bench.0.answered(false, then);
        assert_eq!(bench.next(), Some((19, Due::Query)));
        let then = bench.at(99);
        bench.0.answered(false, then);
        assert_eq!(bench.next(), Some((100, Due::Transaction)));
        bench.0.answered(true, then);
        assert_eq!(bench.next(), Some((109, Due::Query)));
    }

    #[test]
    fn what_was_cancelled_gets_a_grace() {
        let mut bench = Bench::new(LIMITS);
        let grace = CANCEL_GRACE_MS / 1000;
        bench.note(Doing::Request, 0);
        let then = bench.at(10);
        bench.0.note_cancelled(then);
        assert_eq!(bench.next(), Some((10 + grace, Due::Grace)));
        bench
            .note(Doing::IdleInTransaction, 11)
            .note(Doing::Request, 12);
        assert_eq!(bench.next(), Some((22, Due::Query)));
    }

    #[test]
    fn limits_may_come_and_go() {
        let mut bench = Bench::new(TimeLimits::default());
        assert!(bench.0.off && bench.next().is_none());
        bench.note(Doing::Request, 3);
        bench.0.set_limits(LIMITS);
        assert!(!bench.0.off);
        assert_eq!(bench.next(), Some((13, Due::Query)));
        bench.0.set_limits(TimeLimits::default());
        assert!(bench.0.off && bench.next().is_none());
    }

    #[test]
    fn a_timer_is_set_only_when_it_would_ring_too_late() {
        let bench = Bench::new(LIMITS);
        let rings = |alarm: Option<u64>| {
            let alarm = alarm.map(|alarm| bench.at(alarm));
            rings_in_time(alarm, bench.at(10), bench.at(20))
        };
        assert!(rings(Some(11)) && rings(Some(20)));
        // Not set, rung already, too late.
        assert!(!rings(None) && !rings(Some(10)) && !rings(Some(21)));
    }
}
