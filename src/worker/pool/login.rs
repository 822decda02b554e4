//! Opening a server connection: connect, startup packet, authentication, what the server says of itself.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Backend, CheckoutError, Facts, Permit, Pool, Urgency, spawn_later};
use crate::{
    auth::{ClientError, NONCE_BYTES, SaltedKeys, ScramClient},
    cluster::{
        budget,
        settings::NodeAddress,
        snapshot::{Snapshot, User},
        welcome::Welcome,
    },
    ids::NodeId,
    limits::LOGIN_MESSAGE_BYTES_MAX,
    net::{Address, Elapsed, Stream, task},
    protocol::{
        ErrorReport, ProtocolError, SqlState, Writer,
        backend::{Authentication, BackendKeyData, ErrorFields, ParameterStatus},
        startup::ProtocolVersion,
        tag::backend,
    },
    random, time,
    worker::{
        Worker,
        statements::prepared::Prepared,
        wire::{Wire, WireError},
    },
};

/// Why a server connection could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The server said no.
    #[error("the server refused: {}", message_of(.0))]
    Refused(Rc<[u8]>),
    /// It cannot be reached.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// Which server.
        address: String,
        /// Why.
        reason: String,
    },
    /// It does not answer in time.
    #[error("{0} did not complete the login in time")]
    TooSlow(String),
    /// It spoke out of turn, or closed.
    #[error("login at {address} failed: {reason}")]
    Broken {
        /// Which server.
        address: String,
        /// Why.
        reason: String,
    },
    /// It asks for what we do not have.
    #[error(
        "the server asks for {0}, and [[user]] has none that fits: give server_password in plain text"
    )]
    NoPassword(&'static str),
}

fn message_of(body: &[u8]) -> String {
    match ErrorFields::read(body) {
        Ok(fields) => String::from_utf8_lossy(fields.message()).into_owned(),
        Err(_) => "an unreadable error".to_owned(),
    }
}

impl LoginError {
    /// True when the same attempt may succeed later without anybody's doing here.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(body) => {
                let sqlstate = ErrorFields::read(body)
                    .ok()
                    .and_then(|fields| fields.sqlstate());
                sqlstate.is_some_and(|code| matches!(&code.class(), b"53" | b"57"))
            }
            Self::NoPassword(_) => false,
            Self::Unreachable { .. } | Self::TooSlow(_) | Self::Broken { .. } => true,
        }
    }

    /// True when the node itself may be in trouble.
    fn is_about_node(&self) -> bool {
        !matches!(self, Self::NoPassword(_)) && self.may_pass()
    }

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
    failures: u32,
    last: Option<LoginError>,
    until: Option<Instant>,
}

impl Backoff {
    /// How long to rest now. `None` when a rest has begun already: attempts that were under way together fail
    /// together, which says no more than one failure.
    fn failed(
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

    /// What a login hears while no attempt is made.
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

impl Pool {
    /// Starts to open a connection.
    pub(super) fn open_one(self: &Rc<Self>, worker: &Rc<Worker>, permit: budget::Permit) {
        let permit = Permit::of(permit, &self.open);
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
        self.desk.borrow_mut().open_ended();
        self.take_back(worker, backend);
        self.serve_waiters(worker);
    }

    fn open_failed(self: &Rc<Self>, worker: &Rc<Worker>, error: LoginError) {
        let settings = self.settings();
        let (first, longest) = (settings.login_backoff, settings.login_backoff_max);
        let repeated = self.backoff.borrow().failures > 0;
        let pause = self
            .backoff
            .borrow_mut()
            .failed(error.clone(), time::now(), first, longest);
        if !repeated {
            tracing::warn!(database = %self.key.database, user = %self.key.user, %error, "cannot open a server connection");
        }
        self.desk.borrow_mut().open_ended();
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

    async fn open(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        permit: Permit,
    ) -> Result<Box<Backend>, LoginError> {
        let snapshot = worker.snapshot();
        let node = self.node;
        let address = address_of(&snapshot, node);
        let deadline = time::now() + self.settings().connect_timeout;
        let database = self.server_database();
        let login = self.log_in(worker, &snapshot, &address, &database);
        let done = worker.reactor.deadline(deadline, login).await;
        let done = done.map_err(|Elapsed| LoginError::TooSlow(address.to_string()))?;
        let (stream, key, welcome) = done?;
        let parameters = worker.interner.empty();
        let welcome = Arc::new(welcome);
        self.budget().welcome.store(Some(Arc::clone(&welcome)));
        let facts = Facts {
            node,
            address,
            id: stream.id(),
            process_id: key.0,
            cancel_key: key.1,
            opened_us: time::unix_micros(),
            cancels: Cell::new(0),
        };
        let now = time::now();
        Ok(Box::new(Backend {
            stream,
            facts: Rc::new(facts),
            welcome,
            parameters,
            record: Vec::new(),
            read: Vec::new(),
            prepared: Prepared::default(),
            database,
            opened: now,
            used: Cell::new(now),
            permit,
        }))
    }

    async fn log_in(
        &self,
        worker: &Rc<Worker>,
        snapshot: &Snapshot,
        address: &Address,
        database: &str,
    ) -> Result<(Stream, (i32, Box<[u8]>), Welcome), LoginError> {
        let unreachable = |error: io::Error| LoginError::Unreachable {
            address: address.to_string(),
            reason: error.to_string(),
        };
        let stream = worker.reactor.connect(address).await.map_err(unreachable)?;
        let parameters = [("user", &*self.key.user), ("database", database)];
        let mut packet = Vec::new();
        let written = Writer::new(&mut packet).startup(ProtocolVersion::V3_0, parameters);
        written.map_err(|error| LoginError::Broken {
            address: address.to_string(),
            reason: error.to_string(),
        })?;
        stream.send(packet.into());
        let login = Login {
            worker,
            user: snapshot.users.get(&*self.key.user),
            name: &self.key.user,
            stream: &stream,
            wire: Wire::new(&stream),
        };
        let (key, welcome) = login.run().await.map_err(|failure| failure.at(address))?;
        Ok((stream, key, welcome))
    }
}

/// Where a node listens.
pub(super) fn address_of(snapshot: &Snapshot, node: NodeId) -> Address {
    match &snapshot.node(node).address {
        NodeAddress::Tcp(address) => Address::Tcp(*address),
        NodeAddress::Unix(path) => Address::Unix(path.clone()),
    }
}

/// A login in progress.
struct Login<'a> {
    worker: &'a Worker,
    user: Option<&'a Arc<User>>,
    name: &'a str,
    stream: &'a Stream,
    wire: Wire<'a>,
}

/// Why it stopped.
enum Failure {
    Refused(Vec<u8>),
    Wire(WireError),
    NoPassword(&'static str),
    Scram(ClientError),
    Unexpected(&'static str),
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        Self::Wire(error.into())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Scram(error)
    }
}

impl Failure {
    fn at(self, address: &Address) -> LoginError {
        let reason = match self {
            Self::Refused(body) => return LoginError::Refused(body.into()),
            Self::NoPassword(what) => return LoginError::NoPassword(what),
            Self::Wire(error) => error.to_string(),
            Self::Scram(error) => error.to_string(),
            Self::Unexpected(what) => format!("the server sent {what}"),
        };
        LoginError::Broken {
            address: address.to_string(),
            reason,
        }
    }
}

/// What the server asks for next.
enum Asked {
    Nothing,
    Cleartext,
    Md5([u8; 4]),
    Scram,
}

impl Login<'_> {
    async fn run(mut self) -> Result<((i32, Box<[u8]>), Welcome), Failure> {
        self.authenticate().await?;
        let mut welcome = Welcome::default();
        let mut key = (0, Box::default());
        loop {
            let ready = self
                .wire
                .message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                    backend::PARAMETER_STATUS => ParameterStatus::read(body)
                        .map(|status| {
                            welcome.report(status);
                            false
                        })
                        .map_err(Failure::from),
                    backend::BACKEND_KEY_DATA => BackendKeyData::read(body)
                        .map(|data| {
                            key = (data.process_id, data.key.into());
                            false
                        })
                        .map_err(Failure::from),
                    backend::READY_FOR_QUERY => Ok(true),
                    backend::ERROR_RESPONSE => Err(Failure::Refused(body.to_vec())),
                    backend::NOTICE_RESPONSE | backend::NEGOTIATE_VERSION => Ok(false),
                    _ => Err(Failure::Unexpected("an unknown message during login")),
                });
            if ready.await?? {
                return Ok((key, welcome));
            }
        }
    }

    async fn authenticate(&mut self) -> Result<(), Failure> {
        loop {
            let asked = self
                .wire
                .message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                    backend::AUTHENTICATION => what_is_asked(body),
                    backend::ERROR_RESPONSE => Err(Failure::Refused(body.to_vec())),
                    backend::NOTICE_RESPONSE | backend::NEGOTIATE_VERSION => Ok(None),
                    _ => Err(Failure::Unexpected("no authentication request")),
                });
            match asked.await?? {
                None => {}
                Some(Asked::Nothing) => return Ok(()),
                Some(Asked::Cleartext) => self.answer_cleartext()?,
                Some(Asked::Md5(salt)) => self.answer_md5(salt)?,
                Some(Asked::Scram) => self.answer_scram().await?,
            }
        }
    }

    fn send(
        &self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), ProtocolError>,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out))?;
        self.stream.send(out.into());
        Ok(())
    }

    fn answer_cleartext(&self) -> Result<(), Failure> {
        let password = self.user.and_then(|user| user.server_password());
        let password = password.ok_or(Failure::NoPassword("a password"))?;
        self.send(|writer| writer.password(password))
    }

    fn answer_md5(&self, salt: [u8; 4]) -> Result<(), Failure> {
        let hash = self.user.and_then(|user| user.server_md5());
        let hash = hash.ok_or(Failure::NoPassword("an md5 password"))?;
        self.send(|writer| writer.password(hash.answer(salt)))
    }

    async fn answer_scram(&mut self) -> Result<(), Failure> {
        let mut nonce = [0; NONCE_BYTES];
        random::fill(&mut nonce);
        let client = ScramClient::new(nonce);
        let first = client.client_first();
        self.send(|writer| writer.sasl_initial_response(crate::auth::MECHANISM, Some(&first)))?;
        let data = self.sasl(|authentication| match authentication {
            Authentication::SaslContinue { data } => Some(data.to_vec()),
            _ => None,
        });
        let server_first = client.server_first(&data.await?)?;
        let keys = self
            .keys(server_first.salt(), server_first.iterations())
            .await?;
        let (server_final, answer) = server_first.finish(&keys)?;
        self.send(|writer| {
            writer.sasl_response(&answer);
            Ok(())
        })?;
        let data = self.sasl(|authentication| match authentication {
            Authentication::SaslFinal { data } => Some(data.to_vec()),
            _ => None,
        });
        let data = data.await?;
        server_final.verify(&data)?;
        if let Some(user) = self.user {
            user.keys.store(Some(keys));
        }
        Ok(())
    }

    async fn sasl(
        &mut self,
        pick: impl FnOnce(Authentication<'_>) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Failure> {
        let picked = self
            .wire
            .message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                backend::AUTHENTICATION => Ok(pick(Authentication::read(body)?)),
                backend::ERROR_RESPONSE => Err(Failure::Refused(body.to_vec())),
                _ => Ok(None),
            });
        picked
            .await??
            .ok_or(Failure::Unexpected("an answer that is not part of SCRAM"))
    }

    /// Keys for the server's salt: learned before, or derived on another core.
    async fn keys(&self, salt: &[u8], iterations: u32) -> Result<Arc<SaltedKeys>, Failure> {
        let none = Failure::NoPassword("a SCRAM password");
        let Some(user) = self.user else {
            return Err(none);
        };
        if let Some(keys) = user
            .keys
            .load_full()
            .filter(|keys| keys.fit(salt, iterations))
        {
            return Ok(keys);
        }
        let Some(password) = user.server_password() else {
            return Err(none);
        };
        tracing::debug!(user = self.name, iterations, "deriving SCRAM keys");
        self.worker
            .derive(password.to_owned(), salt.to_vec(), iterations)
            .await
            .ok_or(none)
    }
}

/// The request in an Authentication message, if it is one that is answered.
fn what_is_asked(body: &[u8]) -> Result<Option<Asked>, Failure> {
    match Authentication::read(body)? {
        Authentication::Ok => Ok(Some(Asked::Nothing)),
        Authentication::Cleartext => Ok(Some(Asked::Cleartext)),
        Authentication::Md5 { salt } => Ok(Some(Asked::Md5(salt))),
        Authentication::Sasl { mut mechanisms } => {
            let known = mechanisms.any(|mechanism| mechanism == crate::auth::MECHANISM.as_bytes());
            if known {
                Ok(Some(Asked::Scram))
            } else {
                Err(Failure::Unexpected("no SASL mechanism we know"))
            }
        }
        _ => Err(Failure::Unexpected(
            "an authentication request we do not know (GSSAPI, SSPI, ...)",
        )),
    }
}
