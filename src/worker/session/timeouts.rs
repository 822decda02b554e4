//! A session's time limits when they are reached, and what it tells its clock and those that want to cancel. Never
//! reads the clock of the machine.

use super::{
    clock::{Doing, Due},
    link::Link,
    task::{End, Session},
};
use crate::{
    protocol::{
        ErrorReport, SqlState, Writer,
        backend::{ErrorFields, TransactionStatus},
    },
    session::work::Work,
    worker::{cancel, counters::Timeout},
};

impl Session {
    /// Before each wait: what is being done, for the time limits and for cancel requests.
    #[inline]
    pub(super) fn note_doing(&mut self) {
        let work = self.conversation.work();
        cancel::note_work(&self.worker, &self.info, work);
        let doing = match self.conversation.status() {
            _ if self.owes_rest_of_message() => Doing::IdleInTransaction,
            _ if work != Work::Nothing => Doing::Request,
            TransactionStatus::Idle => Doing::Idle,
            _ => Doing::IdleInTransaction,
        };
        self.clock.note(doing, self.worker.reactor.now());
        self.info.times.transaction.set(self.clock.transaction());
        if self.info.reloaded.take() {
            let settings = self.pools.settings();
            self.clock.set_limits((&*settings).into());
            self.bounds = (&*settings).into();
            self.may_be_stranded = true;
            self.note_leaving();
        }
    }

    /// Another node may be about to take the place of the one at hand.
    #[cold]
    fn note_leaving(&mut self) {
        if let Some(link) = &mut self.link {
            let node = link.node();
            link.is_leaving = self
                .worker
                .with_snapshot(|snapshot| snapshot.is_leaving(node));
        }
    }

    /// True when it is for the client to send the rest of a message that has begun to go to a server: nobody else can use
    /// the connection until it comes.
    #[inline]
    fn owes_rest_of_message(&self) -> bool {
        let takes_more = |link: &Link| link.backend().stream.unsent() <= self.high_water;
        self.intake.cutter.is_passing()
            && self.intake.forwards
            && self.link.as_ref().is_some_and(takes_more)
    }

    /// While pgring's own cancel request is on its way the client must wait, so that it hits the request it is
    /// meant for and none that comes after it.
    #[inline]
    pub(super) fn awaits_cancel(&mut self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_cancelling) && self.is_cancel_under_way()
    }

    #[cold]
    fn is_cancel_under_way(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        link.is_cancelling = link.backend().info.cancels.get() > 0;
        link.is_cancelling
    }

    /// A time limit is reached.
    #[cold]
    pub(super) fn limit_reached(&mut self, due: Due) -> Result<(), End> {
        self.worker.counters.timed_out(match due {
            Due::Query | Due::Grace => Timeout::Query,
            Due::Transaction => Timeout::Transaction,
            Due::IdleInTransaction => Timeout::IdleInTransaction,
            Due::ClientIdle => Timeout::ClientIdle,
        });
        if due == Due::Query {
            let key = &self.info.key;
            tracing::info!(
                client = %self.info.id, database = %key.database, user = %key.user,
                timeout = ?self.clock.limits().query, "query_timeout: cancelling a query"
            );
            self.clock.note_cancelled(self.worker.reactor.now());
            cancel::timed_out(&self.worker, &self.info);
            if let Some(link) = &mut self.link {
                link.is_cancelling = true;
            }
            return Ok(());
        }
        let mid_message = self.link.as_ref().is_some_and(Link::is_mid_message);
        if due == Due::Transaction
            && self.conversation.work() != Work::Nothing
            && let Some(lease) = self.unlink()
        {
            cancel::abandon(&self.worker, &self.info.key, lease);
        }
        match mid_message {
            true => Err(End::Done),
            false => Err(End::Told(last_words(due))),
        }
    }

    /// Error for a client whose request was cancelled, by a cancel request or for its length.
    #[cold]
    pub(super) fn why_cancelled(&self) -> ErrorReport {
        if !self.clock.has_cancelled() {
            return cancel::cancelled();
        }
        ErrorReport::error(
            SqlState::QUERY_CANCELED,
            "canceling statement due to query timeout",
        )
        .with_hint("The limit is pgring's setting query_timeout.")
    }

    /// The server's error, when it only says that the request was cancelled: in words that say by whom.
    #[inline]
    pub(super) fn overtime_error(&self, body: &[u8]) -> Option<Vec<u8>> {
        if !self.clock.has_cancelled() {
            return None;
        }
        let fields = ErrorFields::read(body).ok()?;
        (fields.sqlstate() == Some(SqlState::QUERY_CANCELED)).then(|| {
            let mut out = Vec::new();
            Writer::new(&mut out).error(&self.why_cancelled());
            out
        })
    }
}

/// Error that ends a session whose time is over.
fn last_words(due: Due) -> ErrorReport {
    let (sqlstate, message, setting) = match due {
        Due::Query | Due::Grace => (
            SqlState::QUERY_CANCELED,
            "terminating connection because a cancelled statement did not end",
            "query_timeout",
        ),
        Due::Transaction => (
            SqlState::TRANSACTION_TIMEOUT,
            "terminating connection due to transaction timeout",
            "transaction_timeout",
        ),
        Due::IdleInTransaction => (
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            "terminating connection due to idle-in-transaction timeout",
            "idle_in_transaction_timeout",
        ),
        Due::ClientIdle => (
            SqlState::IDLE_SESSION_TIMEOUT,
            "terminating connection due to idle-session timeout",
            "client_idle_timeout",
        ),
    };
    ErrorReport::fatal(sqlstate, message)
        .with_hint(format!("The limit is pgring's setting {setting}."))
}
