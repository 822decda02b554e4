//! Opening a server connection: connect, startup packet, authentication, what the server says of itself.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::{
    backend::{Backend, BackendInfo, CorePermit, Membership},
    effects::spawn_later,
    maintenance::farewell,
    node_pool::Pool,
};
use crate::{
    cluster::{
        budget,
        node::{Lsn, REPLAYED_SQL, Role, read_lsn},
        settings::NodeAddress,
        snapshot::Snapshot,
        welcome::Welcome,
    },
    ids::NodeId,
    limits::FAREWELL_MS_MAX,
    link::login::{self, Identity, LoginError},
    net::{Address, Elapsed, Stream, task},
    protocol::{SqlState, backend::DataRow, tag::backend},
    session::{prepared::server::Prepared, state::parameters::Belief},
    time,
    worker::core::Worker,
};

impl LoginError {
    /// True when the node itself may be in trouble.
    fn is_about_node(&self) -> bool {
        !matches!(self, Self::NoPassword(_)) && self.may_pass()
    }
}

impl Pool {
    /// Starts to open a connection.
    pub(super) fn open_one(self: &Rc<Self>, worker: &Rc<Worker>, permit: budget::Permit) {
        let permit = CorePermit::of(permit, &self.open);
        let (pool, worker) = (Rc::clone(self), Rc::clone(worker));
        spawn_later(async move {
            match Box::pin(pool.open(&worker, permit)).await {
                Ok(backend) => pool.opened(&worker, backend),
                Err(error) => pool.open_failed(&worker, error),
            }
        });
    }

    fn opened(self: &Rc<Self>, worker: &Rc<Worker>, backend: Box<Backend>) {
        if self.backoff.take().failures > 0 {
            tracing::info!(database = %self.key.database, user = %self.key.user, "server connections open again");
        }
        worker.note_connected(self.node);
        self.scheduler.borrow_mut().open_ended();
        self.take_back(worker, backend);
        self.serve_waiters(worker);
    }

    fn open_failed(self: &Rc<Self>, worker: &Rc<Worker>, error: LoginError) {
        let settings = self.settings();
        let first = settings.connections.login_backoff;
        let longest = match error.sqlstate() {
            // It is starting, and will be there soon.
            Some(SqlState::CANNOT_CONNECT_NOW) => first,
            _ => settings.connections.login_backoff_max,
        };
        let repeated = self.backoff.borrow().failures > 0;
        let pause = self
            .backoff
            .borrow_mut()
            .failed(error.clone(), time::now(), first, longest);
        if !repeated {
            tracing::warn!(database = %self.key.database, user = %self.key.user, %error, "cannot open a server connection");
        }
        self.scheduler.borrow_mut().open_ended();
        if error.is_about_node() {
            worker.suspect(self.node);
        }
        self.tell_waiters(worker, &error);
        let Some(pause) = pause else { return };
        let (pool, worker) = (Rc::clone(self), Rc::clone(worker));
        task::spawn(async move {
            worker.reactor.sleep(pause).await;
            pool.serve_waiters(&worker);
            worker.forget_unused(&pool.key, 0, 1);
        });
    }

    /// Opens a connection with the permit of another, once that has ended.
    pub(super) async fn reopen(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        backend: Box<Backend>,
    ) -> Result<Box<Backend>, LoginError> {
        let deadline = time::now() + Duration::from_millis(FAREWELL_MS_MAX);
        let _ = worker
            .reactor
            .deadline(deadline, farewell(&backend.stream))
            .await;
        let permit = backend.membership.permit;
        drop(backend.stream);
        self.open(worker, permit).await
    }

    async fn open(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        permit: CorePermit,
    ) -> Result<Box<Backend>, LoginError> {
        let snapshot = worker.snapshot();
        let node = self.node;
        let address = address_of(&snapshot, node);
        let deadline = time::now() + self.settings().connections.connect_timeout;
        let database = self.server_database();
        // A change that is made meanwhile may be missing in what the server says.
        let (began, schema) = (worker.micros(), worker.shared.schema_version());
        let login = self.log_in(worker, &snapshot, &address, &database);
        let done = worker.reactor.deadline(deadline, login).await;
        let done = done.map_err(|Elapsed| LoginError::TooSlow(address.to_string()))?;
        let (stream, key, welcome) = done?;
        if let Some(version) = welcome.value(b"server_version") {
            worker.shared.note_server_version(version);
        }
        let parameters = worker.interner.empty();
        let (welcome, generation) = self.budget().last_welcome.hear(welcome, began, schema);
        let info = BackendInfo {
            node,
            address,
            id: stream.id(),
            process_id: key.0,
            cancel_key: key.1,
            opened_us: time::unix_micros(),
            cancels: Cell::new(0),
        };
        let now = time::now();
        let mut backend = Box::new(Backend {
            stream,
            info: Rc::new(info),
            welcome,
            parameters,
            belief: Belief::Exact,
            is_new: true,
            is_spent: false,
            sequences: None,
            record: Vec::new(),
            read: Vec::new(),
            replayed: 0,
            prepared: Prepared::default(),
            opened: now,
            used: Cell::new(now),
            membership: Membership {
                database,
                generation,
                permit,
            },
        });
        if self.standing.get().0 == Role::Standby {
            let replayed = worker.reactor.deadline(deadline, backend.ask_replayed());
            let replayed = replayed.await;
            backend.replayed = replayed
                .map_err(|Elapsed| LoginError::TooSlow(backend.info.address.to_string()))?;
        }
        Ok(backend)
    }

    async fn log_in(
        &self,
        worker: &Rc<Worker>,
        snapshot: &Snapshot,
        address: &Address,
        database: &str,
    ) -> Result<(Stream, (i32, Box<[u8]>), Welcome), LoginError> {
        let identity = Identity {
            name: &self.key.user,
            database,
            user: snapshot.users.get(&*self.key.user).map(|user| &**user),
            settings: &[],
        };
        let derive =
            async |password, salt, iterations| worker.derive(password, salt, iterations).await;
        let opened = login::open(&worker.reactor, address, &identity, derive).await?;
        Ok((opened.stream, opened.key, opened.welcome))
    }
}

impl Backend {
    /// How far the server has replayed; 0 when it does not say. What was asked of it before may have been of another life
    /// of the server, which began again further back.
    async fn ask_replayed(&mut self) -> Lsn {
        let mut replayed = 0;
        let look = |tag, body: &[u8]| {
            if tag == backend::DATA_ROW
                && let Ok(mut row) = DataRow::read(body)
                && let Some(text) = row.next().flatten()
            {
                replayed = std::str::from_utf8(text)
                    .ok()
                    .and_then(read_lsn)
                    .unwrap_or(0);
            }
        };
        // Who may not ask is told nothing.
        let _refused = self.run(REPLAYED_SQL.as_bytes(), look).await;
        replayed
    }
}

/// Where a node listens.
pub(super) fn address_of(snapshot: &Snapshot, node: NodeId) -> Address {
    match &snapshot.node(node).address {
        NodeAddress::Tcp(address) => Address::Tcp(*address),
        NodeAddress::Unix(path) => Address::Unix(path.clone()),
    }
}
