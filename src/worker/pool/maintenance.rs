//! Making connections fit for use, and taking those away that nobody uses.

use std::{
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use super::{backend::Backend, effects::spawn_later, node_pool::Pool};
use crate::{
    cluster::{messages::Owner, settings::PoolMode},
    limits::{FAREWELL_BYTES_MAX, FAREWELL_MS_MAX, LOGIN_MESSAGE_BYTES_MAX, VACANT_MS},
    link::wire::Wire,
    net::{Received, Stream, task},
    protocol::{
        Tag, Writer,
        backend::{ParameterStatus, TransactionStatus},
        tag::backend,
    },
    session::state::parameters::{Belief, Parameters},
    time,
    worker::core::Worker,
};

/// Takes everything away that a session can leave, but for the schema of its temporary objects.
const EVERYTHING: &str = "DISCARD ALL";

/// A row where there is such a schema. It stays as long as the connection, and what is done in it differs from what is
/// done where there is none yet.
const TEMPORARY: &[u8] =
    b"SELECT WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid";

impl Pool {
    /// Asks a connection that was idle for long whether it still lives; then it is an ordinary one.
    pub(super) fn verify(self: &Rc<Self>, worker: &Rc<Worker>, backend: Box<Backend>) {
        self.make_fit(worker, backend, String::new());
    }

    /// Brings a connection that carries a session's state back to how it started. In session mode what is sent for that
    /// is for the operator to say; elsewhere nobody may find anything of anybody.
    pub(super) fn reset(self: &Rc<Self>, worker: &Rc<Worker>, mut backend: Box<Backend>) {
        if backend.is_spent {
            return self.dismiss(worker, backend);
        }
        let query = match self.mode() {
            PoolMode::Session => self.settings().reset_query.clone(),
            PoolMode::Transaction | PoolMode::Statement => EVERYTHING.to_owned(),
        };
        let discards = query.eq_ignore_ascii_case(EVERYTHING);
        if discards {
            backend.prepared.forget();
            backend.sequences = None;
            backend.has_been_given(worker.interner.empty());
        } else {
            backend.prepared.drop_unnamed();
            backend.belief = Belief::Names;
        }
        self.make_fit(worker, backend, query);
    }

    fn make_fit(self: &Rc<Self>, worker: &Rc<Worker>, mut backend: Box<Backend>, query: String) {
        self.scheduler.borrow_mut().test();
        let (pool, worker) = (Rc::clone(self), Rc::clone(worker));
        let none = worker.interner.empty();
        task::spawn(async move {
            let deadline = time::now() + pool.settings().connections.connect_timeout;
            let fit = async {
                // An empty one only shows that the connection lives, or that nothing is to be sent.
                backend.goes_back(query.as_bytes(), &none).await
                    && (query.is_empty() || backend.has_no_temporary().await)
            };
            let fit = worker.reactor.deadline(deadline, fit).await;
            pool.scheduler.borrow_mut().test_ended();
            if fit == Ok(true) {
                pool.take_back(&worker, backend);
            } else {
                tracing::debug!(
                    process_id = backend.info.process_id,
                    query,
                    "server connection is not fit for use; closing it"
                );
                pool.dismiss(&worker, backend);
            }
            pool.serve_waiters(&worker);
        });
    }

    /// Closes a connection. It counts until the server has ended it: else there would be one more there than allowed.
    pub(super) fn dismiss(self: &Rc<Self>, worker: &Rc<Worker>, mut backend: Box<Backend>) {
        backend.membership.permit.leave();
        self.leaving.set(self.leaving.get() + 1);
        let (pool, worker) = (Rc::clone(self), Rc::clone(worker));
        spawn_later(async move {
            let deadline = time::now() + Duration::from_millis(FAREWELL_MS_MAX);
            let farewell = farewell(&backend.stream);
            let _ = worker.reactor.deadline(deadline, farewell).await;
            pool.leaving.set(pool.leaving.get() - 1);
            drop(backend);
            pool.serve_waiters(&worker);
            pool.fill(&worker);
            worker.forget_unused(&pool.key, 0, 1);
        });
    }

    /// Nobody may be connected to this database of the servers for now: what is idle there is closed.
    pub(crate) fn leave_database(self: &Rc<Self>, worker: &Rc<Worker>, database: &str) {
        if !self.is_called(database) {
            return;
        }
        let vacant = Duration::from_millis(VACANT_MS);
        self.vacant_until.set(Some(worker.reactor.now() + vacant));
        let idle = self.scheduler.borrow_mut().take_out(|_| true);
        for backend in idle {
            self.dismiss(worker, backend);
        }
    }

    /// Closes idle connections that are dead, too many, or have been idle too long; answers when to look again.
    pub(crate) fn sweep(self: &Rc<Self>, worker: &Rc<Worker>, now: Instant) -> Option<Instant> {
        let settings = self.settings();
        self.with_scheduler(worker, |scheduler, effects| scheduler.close_excess(effects));
        let staying = self.open.get() - self.leaving.get();
        let mut surplus = staying.saturating_sub(settings.capacity.min_size);
        let mut next: Option<Instant> = None;
        let closed = self.scheduler.borrow_mut().take_out(|backend| {
            if backend.stream.has_news() || self.is_old(backend, now) {
                return true;
            }
            let mut is_due = |due: Instant| {
                if due > now {
                    next = Some(next.map_or(due, |next| next.min(due)));
                }
                due <= now
            };
            if let Some(lifetime) = settings.connections.lifetime {
                is_due(backend.opened + lifetime);
            }
            let Some(limit) = settings.connections.idle_timeout else {
                return false;
            };
            let close = is_due(backend.used.get() + limit) && surplus > 0;
            surplus -= u32::from(close);
            close
        });
        for backend in closed {
            self.dismiss(worker, backend);
        }
        next
    }

    /// Opens connections up to `min_size`.
    pub(crate) fn fill(self: &Rc<Self>, worker: &Rc<Worker>) {
        if !self.standing.get().1 {
            return;
        }
        if self
            .vacant_until
            .get()
            .is_some_and(|until| time::now() < until)
        {
            return;
        }
        let capacity = self.settings().capacity;
        let least = capacity.min_size.min(capacity.size);
        let is_short = || self.budget().used() < least;
        while is_short()
            && self.with_scheduler(worker, |scheduler, effects| scheduler.open_spare(effects))
        {
        }
    }
}

/// Waits until the server has ended its side as well.
pub(super) async fn farewell(stream: &Stream) {
    stream.park(false);
    stream.flushed().await;
    stream.finish_sending();
    stream.resume();
    let mut heard = 0;
    while let Received::Bytes(chunk) = stream.receive().await
        && heard <= FAREWELL_BYTES_MAX
    {
        heard += chunk.len();
    }
}

impl Backend {
    /// Brings it to these settings, and waits until it has them; else what the server said, if it did. With what its server
    /// reports of settings of its own.
    pub(crate) async fn give(
        &mut self,
        parameters: &Parameters,
        session: Owner,
    ) -> Result<Vec<Vec<u8>>, Option<Vec<u8>>> {
        let text = self.become_fit(parameters, session);
        self.run_and_hear(&text, parameters).await
    }

    async fn run_and_hear(
        &mut self,
        query: &[u8],
        parameters: &Parameters,
    ) -> Result<Vec<Vec<u8>>, Option<Vec<u8>>> {
        let mut reports = Vec::new();
        let note = |tag, body: &[u8]| {
            if tag == backend::PARAMETER_STATUS {
                reports.push(body.to_vec());
            }
        };
        self.run(query, note).await?;
        reports.retain(|body| {
            let status = ParameterStatus::read(body);
            status.is_ok_and(|status| self.is_news(status, parameters))
        });
        Ok(reports)
    }

    /// Runs a query that leaves it with the settings that it began with; false when it has others now.
    pub(crate) async fn goes_back(&mut self, query: &[u8], none: &Parameters) -> bool {
        let heard = self.run_and_hear(query, none).await;
        heard.is_ok_and(|reports| reports.is_empty())
    }

    /// True when it has no schema for temporary objects.
    async fn has_no_temporary(&mut self) -> bool {
        let mut rows = 0;
        let count = |tag, _: &[u8]| rows += u32::from(tag == backend::DATA_ROW);
        self.run(TEMPORARY, count).await.is_ok() && rows == 0
    }

    /// Runs a query and waits until the server is ready outside a transaction; `look` is shown its other messages. The
    /// error is what the server says against it, if it says anything; unless that was fatal, it is ready then, too.
    pub(crate) async fn run(
        &mut self,
        query: &[u8],
        mut look: impl FnMut(Tag, &[u8]),
    ) -> Result<(), Option<Vec<u8>>> {
        self.prepared.drop_unnamed();
        let mut out = Vec::new();
        Writer::new(&mut out).query(query).map_err(|_| None)?;
        self.stream.send(out.into());
        let mut wire = Wire::new(&self.stream);
        let mut error = None;
        loop {
            let message = wire.message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                backend::READY_FOR_QUERY => Some(TransactionStatus::read(body)),
                tag => {
                    if tag == backend::ERROR_RESPONSE && error.is_none() {
                        error = Some(body.to_vec());
                    }
                    look(tag, body);
                    None
                }
            });
            match message.await {
                Ok(None) => {}
                Ok(Some(Ok(TransactionStatus::Idle))) if error.is_none() && !wire.has_more() => {
                    return Ok(());
                }
                Ok(Some(_)) | Err(_) => return Err(error),
            }
        }
    }
}

impl Worker {
    /// A connection became idle: it will be due some time.
    #[inline]
    pub(super) fn note_idle(&self) {
        if self.maintenance_waits.take() {
            self.reactor.wake_keeper();
        }
    }

    /// Looks after idle connections for the life of the core; sleeps until one of them is due or dies.
    pub(crate) async fn maintain_pools(self: &Rc<Self>) {
        loop {
            let now = time::now();
            let pools = self.pools();
            let next = pools.iter().filter_map(|pool| pool.sweep(self, now)).min();
            for pool in pools {
                pool.fill(self);
            }
            for set in self.pool_sets() {
                self.forget_unused(&set.key, 1, 0);
            }
            self.maintenance_waits.set(next.is_none());
            let mut called = false;
            let wait = std::future::poll_fn(|context| {
                if std::mem::replace(&mut called, true) {
                    return Poll::Ready(());
                }
                self.reactor.keep_parked(context);
                Poll::Pending
            });
            match next {
                Some(next) => drop(self.reactor.deadline(next, wait).await),
                None => wait.await,
            }
        }
    }
}
