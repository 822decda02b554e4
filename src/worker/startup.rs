//! A client's first conversation: greeting, authentication, and what it is told before its first statement.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{
    cancel::{self, backend_key::BackendKey},
    clients::{ClientInfo, ClientState, Origin, Times},
    console,
    core::Worker,
    counters::Timeout,
    date_style,
    guard::Guard,
    pool::{common::Greeting, set::PoolSet},
    refused::Refused,
    welcome,
};
use crate::session::state::parameters::{self, Parameters};
use crate::{
    cluster::{
        budget::{ClientPermit, PoolKey, Refusal},
        snapshot::Snapshot,
    },
    link::wire::{Wire, WireError},
    net::{Chunk, Elapsed, Stream},
    protocol::{
        ErrorReport, SqlState, Writer,
        backend::TransactionStatus,
        startup::{Initial, ProtocolVersion, StartupPacket},
        tag::backend,
    },
    random, time,
};

/// Name of the virtual database.
const CONSOLE: &str = "pgring";

/// AuthenticationOk.
const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

/// Content of a startup packet.
struct Hello {
    key: PoolKey,
    settings: Vec<(String, Vec<u8>)>,
    /// `session_authorization`, where that is somebody else than who logs in.
    session_authorization: Option<Vec<u8>>,
    /// NegotiateProtocolVersion, when the client asked for something else than it gets.
    negotiation: Vec<u8>,
    long_keys: bool,
    refusal: Option<ErrorReport>,
}

/// Request of a packet before the login: SSLRequest or GSSENCRequest, CancelRequest, or a startup packet.
enum Wish {
    Encryption(Encryption),
    Cancel(i32, Vec<u8>),
    Session(Hello),
}

/// Encryption that a client may ask for before its startup packet, each kind once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Tls,
    Gss,
}

/// Logs a client in. `None` when the connection is over: refused, a cancel request, or gone.
/// `refuse`: the process has as many clients as it may have.
pub(super) async fn welcome(worker: &Rc<Worker>, stream: &Stream, refuse: bool) -> Option<Login> {
    let entrance = match refuse {
        true => Entrance::Full,
        false => Entrance::Open,
    };
    told(stream, let_in(worker, stream, entrance).await)
}

/// Logs an operator in who has come by the admin socket, whatever name he gives.
pub(super) async fn welcome_operator(worker: &Rc<Worker>, stream: &Stream) -> Option<Login> {
    told(stream, let_in(worker, stream, Entrance::Operators).await)
}

/// Door by which somebody comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entrance {
    /// One of the addresses for clients.
    Open,
    /// Likewise, and there are as many clients as there may be.
    Full,
    /// The admin socket.
    Operators,
}

/// Somebody at the admin socket who is no operator.
pub(super) fn refuse_stranger(stream: &Stream, uid: u32) {
    let report = ErrorReport::fatal(
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        format!("the account with uid {uid} may not order pgring about"),
    )
    .with_hint("Be root or the account that pgring runs as, or set [admin] socket_group.");
    let mut out = Vec::new();
    Writer::new(&mut out).error(&report);
    stream.send(out.into());
}

/// A client that was not let in is told why.
fn told(stream: &Stream, outcome: Result<Option<Login>, Refused>) -> Option<Login> {
    let refused = match outcome {
        Ok(login) => return login,
        Err(refused) => refused,
    };
    let id = stream.id();
    let mut out = Vec::new();
    match refused {
        Refused::Report(report) => {
            tracing::info!(client = %id, sqlstate = report.sqlstate.as_str(), reason = %report.message, "login refused");
            Writer::new(&mut out).error(&report);
        }
        Refused::Server(body) => {
            Writer::new(&mut out).message(backend::ERROR_RESPONSE, &body);
        }
        Refused::Silently(WireError::Protocol(error)) => {
            tracing::info!(client = %id, %error, "not a PostgreSQL client");
        }
        Refused::Silently(error @ WireError::EndedEarly) => {
            tracing::info!(client = %id, %error, "login given up");
        }
        Refused::Silently(error) => tracing::debug!(client = %id, %error, "login given up"),
    }
    stream.send(out.into());
    None
}

/// Greeting and authentication have to be over in time; waiting for a server has its own limits.
async fn let_in(
    worker: &Rc<Worker>,
    stream: &Stream,
    entrance: Entrance,
) -> Result<Option<Login>, Refused> {
    let begun = time::now();
    let limit = worker.with_snapshot(|snapshot| snapshot.settings.listen.login_timeout);
    let mut wire = Wire::new(stream);
    let greeted = Box::pin(greet(worker, stream, &mut wire));
    let greeted = worker.reactor.deadline(begun + limit, greeted).await;
    let Ok(greeted) = greeted else {
        tracing::info!(client = %stream.id(), timeout = ?limit, "a client did not complete its login in time");
        worker.counters.timed_out(Timeout::Login);
        return Ok(None);
    };
    let hello = match greeted? {
        Opening::Cancel(process_id, key) => {
            cancel::requested(worker, process_id, key).await;
            return Ok(None);
        }
        Opening::Hello(hello) => hello,
    };
    let key = &hello.key;
    let limit =
        worker.with_snapshot(|snapshot| snapshot.settings.login_timeout(&key.database, &key.user));
    let proven = Box::pin(prove(worker, stream, &mut wire, &hello, entrance));
    let proven = worker.reactor.deadline(begun + limit, proven).await;
    let snapshot = proven.unwrap_or_else(|Elapsed| {
        worker.counters.timed_out(Timeout::Login);
        Err(too_slow().into())
    })?;
    let guest = Guest {
        hello,
        snapshot,
        rest: wire.into_rest(),
        entrance,
    };
    admit(worker, stream, guest).await.map(Some)
}

/// As PostgreSQL says it. (It says nothing to those who do not even send a startup packet.)
fn too_slow() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::QUERY_CANCELED,
        "canceling authentication due to timeout",
    )
}

/// A client that is who it says.
struct Guest {
    hello: Hello,
    snapshot: Arc<Snapshot>,
    /// Bytes that it sent beyond its login.
    rest: Chunk,
    entrance: Entrance,
}

/// A client that is logged in.
pub(super) struct Login {
    pub(super) info: Rc<ClientInfo>,
    /// Bytes that it sent beyond its login.
    pub(super) rest: Chunk,
    pub(super) service: Service,
}

/// Database that a logged-in client is served by.
pub(super) enum Service {
    /// One of the servers.
    Pool(Rc<PoolSet>, Parameters, Greeting),
    /// The virtual one.
    Console,
}

/// Request of a client that asks for no encryption any more.
enum Opening {
    Cancel(i32, Vec<u8>),
    Hello(Hello),
}

async fn greet(worker: &Worker, stream: &Stream, wire: &mut Wire<'_>) -> Result<Opening, Refused> {
    let mut declined = Vec::new();
    let read = |initial: Initial<'_>| read_wish(initial, worker.shared.newest_protocol());
    loop {
        match wire.initial(read).await? {
            Wish::Session(hello) => return Ok(Opening::Hello(hello)),
            Wish::Cancel(process_id, key) => return Ok(Opening::Cancel(process_id, key)),
            Wish::Encryption(_) if wire.has_more() => return Err(unencrypted_data().into()),
            Wish::Encryption(kind) if declined.contains(&kind) => {
                return Err(asked_again().into());
            }
            Wish::Encryption(kind) => {
                declined.push(kind);
                stream.send(b"N".as_slice().into());
            }
        }
    }
}

/// Lets a client in that is who it says.
async fn prove(
    worker: &Rc<Worker>,
    stream: &Stream,
    wire: &mut Wire<'_>,
    hello: &Hello,
    entrance: Entrance,
) -> Result<Arc<Snapshot>, Refused> {
    // Who has to make room is let in.
    if entrance == Entrance::Full && &*hello.key.database != CONSOLE {
        return Err(ErrorReport::fatal(
            SqlState::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        )
        .with_hint("pgring serves as many as [listen] max_clients allows.")
        .into());
    }
    check_serving(worker)?;
    if let Some(report) = &hello.refusal {
        return Err(report.clone().into());
    }
    if !hello.negotiation.is_empty() {
        stream.send(hello.negotiation.clone().into());
    }
    let snapshot = worker.snapshot();
    if entrance == Entrance::Operators {
        // The kernel has said who it is.
        stream.send(AUTHENTICATION_OK.into());
        return Ok(snapshot);
    }
    Guard {
        worker,
        snapshot: &snapshot,
        user: &hello.key.user,
        stream,
        wire,
    }
    .authenticate()
    .await?;
    Ok(snapshot)
}

fn check_serving(worker: &Worker) -> Result<(), Refused> {
    if !worker.doors.is_draining() {
        return Ok(());
    }
    Err(ErrorReport::fatal(SqlState::CANNOT_CONNECT_NOW, "pgring is shutting down").into())
}

/// Another name would be another role.
fn unreadable_name() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        "the name of the database or of the user is not valid UTF-8",
    )
}

fn asked_again() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::PROTOCOL_VIOLATION,
        "the client asked twice for an encryption that was declined",
    )
}

fn unencrypted_data() -> ErrorReport {
    ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, "received unencrypted data after an encryption request")
        .with_detail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.")
}

fn read_wish(initial: Initial<'_>, newest: ProtocolVersion) -> Wish {
    match initial {
        Initial::Ssl => Wish::Encryption(Encryption::Tls),
        Initial::Gss => Wish::Encryption(Encryption::Gss),
        Initial::Cancel { process_id, key } => Wish::Cancel(process_id, key.to_vec()),
        Initial::Startup(packet) => Wish::Session(read_hello(packet, newest)),
    }
}

fn read_hello(packet: StartupPacket<'_>, newest: ProtocolVersion) -> Hello {
    let text = |bytes: &[u8]| Arc::from(String::from_utf8_lossy(bytes));
    let (version, negotiation) = packet.negotiate(newest);
    let mut out = Vec::new();
    if let Some(negotiation) = negotiation {
        Writer::new(&mut out)
            .negotiate_version(negotiation.version(), negotiation.unknown_options());
    }
    let (mut settings, mut refusal) = match read_settings(packet) {
        Ok(settings) => (settings, None),
        Err(report) => (vec![], Some(report)),
    };
    let names = [packet.database(), packet.user()];
    if names.iter().any(|name| std::str::from_utf8(name).is_err()) {
        refusal = Some(unreadable_name());
    }
    let session_authorization =
        take_session_authorization(&mut settings).filter(|name| name != packet.user());
    Hello {
        key: PoolKey {
            database: text(packet.database()),
            user: text(packet.user()),
        },
        settings,
        session_authorization,
        negotiation: out,
        long_keys: version.has_long_cancel_keys(),
        refusal,
    }
}

/// The settings a client wants to start with, those in `options` first, as the server applies them.
fn read_settings(packet: StartupPacket<'_>) -> Result<Vec<(String, Vec<u8>)>, ErrorReport> {
    let mut settings = Vec::new();
    if let Some(options) = packet.parameter(b"options") {
        settings = parameters::read_options(options).ok_or_else(|| {
            ErrorReport::fatal(
                SqlState::FEATURE_NOT_SUPPORTED,
                "unsupported command-line options in startup packet",
            )
            .with_hint("pgring understands -c name=value and --name=value.")
        })?;
    }
    for (name, value) in packet.settings() {
        match name {
            b"options" => {}
            b"replication" if !matches!(value, b"false" | b"off" | b"no" | b"0") => {
                return Err(ErrorReport::fatal(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "replication connections are not supported through pgring",
                )
                .with_hint("Connect to the server itself."));
            }
            b"replication" => {}
            name => settings.push((String::from_utf8_lossy(name).into_owned(), value.to_vec())),
        }
    }
    date_style::add_up(&mut settings);
    Ok(settings)
}

/// `session_authorization` of a startup packet, which is not a setting to start with: a server looks whether the user may
/// be that role, and yet the session is that of the user who logs in.
fn take_session_authorization(settings: &mut Vec<(String, Vec<u8>)>) -> Option<Vec<u8>> {
    let is_it = |name: &str| name.eq_ignore_ascii_case("session_authorization");
    let (found, others) = std::mem::take(settings)
        .into_iter()
        .partition(|(name, _)| is_it(name));
    *settings = others;
    let found: Vec<(String, Vec<u8>)> = found;
    found.into_iter().next_back().map(|(_, value)| value)
}

/// The client is who it says: what it wants is looked up, and it is told what a server would tell it.
async fn admit(worker: &Rc<Worker>, stream: &Stream, guest: Guest) -> Result<Login, Refused> {
    let hello = guest.hello;
    let settings = hello
        .settings
        .iter()
        .map(|(name, value)| (name.clone(), &value[..]));
    let parameters = worker.interner.of(settings);
    let is_operator = guest.entrance == Entrance::Operators;
    let is_console = is_operator || &*hello.key.database == CONSOLE;
    let counted = match is_console {
        true => None,
        false => Some(count_in(worker, &hello.key)?),
    };
    let info = introduce(worker, stream, &hello, &parameters, counted);
    let mut out = Vec::new();
    let service = if is_console {
        if !is_operator {
            console::permit(&guest.snapshot, &hello.key.user)?;
        }
        console::write_welcome(&mut out);
        Service::Console
    } else {
        let pools = worker
            .pool_set(&hello.key)
            .ok_or_else(|| no_such_database(&hello.key))?;
        let greeting = welcome::learn(worker, stream, &pools, &parameters).await?;
        if let Some(name) = &hello.session_authorization {
            welcome::check_identity(worker, stream, &pools, name).await?;
        }
        greeting.told.write(&mut out);
        Service::Pool(pools, parameters, greeting)
    };
    // A server may have been waited for: those who come in now would miss that everyone is to leave.
    check_serving(worker)?;
    Writer::new(&mut out)
        .backend_key_data(info.backend_key.process_id, &info.backend_key.secret)
        .ready_for_query(TransactionStatus::Idle);
    stream.send(out.into());
    Ok(Login {
        info,
        rest: guest.rest,
        service,
    })
}

/// Counts a client for its database and its user, as long as the result lives.
fn count_in(worker: &Worker, key: &PoolKey) -> Result<ClientPermit, ErrorReport> {
    let budgets = &worker.shared.budgets;
    let counted = worker.with_snapshot(|snapshot| budgets.admit(key, snapshot));
    counted.map_err(|(limit, max)| {
        let (what, section, name) = match limit {
            Refusal::Database => ("database", "[[database]]", &key.database),
            _ => ("user", "[[user]]", &key.user),
        };
        ErrorReport::fatal(
            SqlState::TOO_MANY_CONNECTIONS,
            format!("too many clients of {what} \"{name}\""),
        )
        .with_hint(format!("max_clients of its {section} is {max}."))
    })
}

fn no_such_database(key: &PoolKey) -> ErrorReport {
    ErrorReport::fatal(
        SqlState::INVALID_CATALOG_NAME,
        format!("database \"{}\" does not exist", key.database),
    )
    .with_hint(
        "pgring serves the databases of its [[database]] sections; \"*\" stands for every name.",
    )
}

fn introduce(
    worker: &Worker,
    stream: &Stream,
    hello: &Hello,
    parameters: &Parameters,
    counted: Option<ClientPermit>,
) -> Rc<ClientInfo> {
    let mut secret = vec![0; if hello.long_keys { 32 } else { 4 }];
    random::fill(&mut secret);
    let (address, local_address) = stream.addresses();
    let application_name = parameters.get("application_name").unwrap_or_default();
    Rc::new(ClientInfo {
        id: stream.id(),
        key: hello.key.clone(),
        backend_key: BackendKey {
            process_id: worker.clients.new_process_id(worker.id),
            secret,
        },
        origin: Origin {
            address,
            local_address,
            connected_us: time::unix_micros(),
        },
        times: Times {
            request: Cell::new(time::now()),
            transaction: Cell::new(None),
        },
        state: Cell::new(ClientState::Idle),
        pinned: Cell::new(None),
        application_name: RefCell::new(application_name.to_vec()),
        server: RefCell::new(None),
        kept: RefCell::default(),
        kill: Cell::new(None),
        cancel: Default::default(),
        vacates: Cell::new(0),
        reloaded: Cell::new(false),
        waker: Default::default(),
        _counted: counted,
    })
}
