//! The sections of the file: every key, its form, its default. `config/pgring.toml` tells the same
//! to people; a test holds them together.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    address::{AbsoluteFile, ListenAddress, Permissions, ServerAddress, SocketFolder},
    error::Cause,
    form::{
        Choice, DatabaseName, LogFilter, Name, Statement, Toggle, Whole, Workers, allowed_cpus,
    },
    quantity::{Size, Span},
    secret::{self, Surroundings},
    section::{Located, Section},
};
use crate::cluster::settings::{
    Admin, AdminSocket, Auth, AuthMethod, Capacity, ConnectionSettings, DatabaseSettings, DrainFor,
    Limits, Listen, Log, LogFormat, NodeAddress, NodeSettings, PinPolicy, PoolMode, PoolOverride,
    PoolSettings, Runtime, SequenceValues, StateCheck, Timeouts, UserSettings,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A duration that must pass some time.
pub(super) const TIMEOUT: Span = Span { zero: None };
/// A duration that may be switched off.
pub(super) const LIMIT: Span = Span {
    zero: Some("never"),
};
/// Default of limits that are off.
const OFF: Duration = Duration::ZERO;
/// How long to wait for others to finish.
const DRAIN: Span = Span {
    zero: Some("at once"),
};

const DRAINS: Choice<DrainFor> = Choice(&[
    ("transactions", DrainFor::Transactions),
    ("clients", DrainFor::Clients),
]);
const MODES: Choice<PoolMode> = Choice(&[
    ("session", PoolMode::Session),
    ("transaction", PoolMode::Transaction),
    ("statement", PoolMode::Statement),
]);
const STATE_CHECKS: Choice<StateCheck> = Choice(&[
    ("text", StateCheck::Texts),
    ("suspected", StateCheck::Suspected),
    ("always", StateCheck::Always),
]);
const SEQUENCE_VALUES: Choice<SequenceValues> = Choice(&[
    ("transaction", SequenceValues::Transaction),
    ("session", SequenceValues::Session),
]);
const PINS: Choice<PinPolicy> =
    Choice(&[("allow", PinPolicy::Allow), ("refuse", PinPolicy::Refuse)]);
const METHODS: Choice<AuthMethod> = Choice(&[
    ("trust", AuthMethod::Trust),
    ("md5", AuthMethod::Md5),
    ("scram-sha-256", AuthMethod::ScramSha256),
]);
const FORMATS: Choice<LogFormat> = Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

/// More server connections than any PostgreSQL takes.
const POOL_SIZE_MAX: u32 = 100_000;
const SIZE: Whole<u32> = Whole {
    min: 1,
    max: POOL_SIZE_MAX,
};
const MIN_SIZE: Whole<u32> = Whole {
    min: 0,
    max: POOL_SIZE_MAX,
};
const STATEMENTS: Whole<u32> = Whole {
    min: 8,
    max: 100_000,
};
const STATEMENT_BYTES: Size = Size {
    min: 64 * KIB,
    max: GIB,
};
const WAITERS: Whole<u32> = Whole {
    min: 0,
    max: 10_000_000,
};
const CLIENTS: Whole<u32> = Whole {
    min: 1,
    max: 1_000_000,
};
const BACKLOG: Whole<u32> = Whole {
    min: 1,
    max: 65_535,
};
const WEIGHT: Whole<u32> = Whole {
    min: 0,
    max: 1_000_000,
};
/// As many CPUs as a Linux affinity mask of the usual size has.
const CPU: Whole<u16> = Whole { min: 0, max: 1023 };

/// `[runtime]`.
pub(super) fn runtime(mut section: Section<'_>) -> Located<Runtime> {
    const SMALL: Size = Size {
        min: 256 * KIB,
        max: 64 * GIB,
    };
    const LARGE: Size = Size {
        min: MIB,
        max: 64 * GIB,
    };
    const WATER: Size = Size {
        min: 16 * KIB,
        max: GIB,
    };
    let runtime = Runtime {
        workers: section
            .read("workers", &Workers)
            .unwrap_or_else(allowed_cpus),
        pin: section.read("pin", &Toggle).unwrap_or(true),
        control_cpu: section.read("control_cpu", &CPU).map(usize::from),
        client_buffers: section.read("client_buffers", &SMALL).unwrap_or(4 << 20),
        server_buffers: section.read("server_buffers", &LARGE).unwrap_or(16 << 20),
        high_water: section.read("high_water", &WATER).unwrap_or(256 << 10),
    };
    section.finish(runtime)
}

/// `[listen]`.
pub(super) fn listen(mut section: Section<'_>) -> Located<Listen> {
    let listen = Listen {
        addresses: addresses(&mut section),
        unix_socket_dir: section.read("unix_socket_dir", &SocketFolder),
        unix_socket_mode: section
            .read("unix_socket_mode", &Permissions)
            .unwrap_or(0o777),
        share_addresses: section.read("share_addresses", &Toggle).unwrap_or(false),
        max_clients: section.read("max_clients", &CLIENTS).unwrap_or(10_000),
        backlog: section.read("backlog", &BACKLOG).unwrap_or(4096),
        login_timeout: timeout(&mut section, "login_timeout", seconds(30)),
        drain: section
            .read("drain", &DRAINS)
            .unwrap_or(DrainFor::Transactions),
        drain_timeout: section.read("drain_timeout", &DRAIN).unwrap_or(seconds(30)),
    };
    section.finish(listen)
}

/// `addresses`, each address once: a name may stand for one that is listed as well.
fn addresses(section: &mut Section<'_>) -> Vec<SocketAddr> {
    let default = || vec![vec![SocketAddr::from(([127, 0, 0, 1], 6432))]];
    let given = section.list("addresses", &ListenAddress);
    if given.as_ref().is_some_and(Vec::is_empty) && section.report().is_clean() {
        let allowed = "at least one address, such as \"127.0.0.1:6432\"".to_owned();
        section.refuse("addresses", Cause::Missing { allowed });
    }
    let mut addresses = Vec::new();
    for address in given.unwrap_or_else(default).into_iter().flatten() {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// `[pool]`.
pub(super) fn pool(mut section: Section<'_>) -> Located<PoolSettings> {
    let it = &mut section;
    let pool = PoolSettings {
        mode: it.read("mode", &MODES).unwrap_or(PoolMode::Transaction),
        capacity: Capacity {
            size: it.read("size", &SIZE).unwrap_or(20),
            min_size: it.read("min_size", &MIN_SIZE).unwrap_or(0),
            reserve_size: it.read("reserve_size", &MIN_SIZE).unwrap_or(0),
            reserve_after: timeout(it, "reserve_after", seconds(5)),
            max_waiters: it.read("max_waiters", &WAITERS).unwrap_or(100_000),
        },
        timeouts: Timeouts {
            checkout_timeout: timeout(it, "checkout_timeout", seconds(30)),
            query_timeout: limit(it, "query_timeout", OFF),
            transaction_timeout: limit(it, "transaction_timeout", OFF),
            idle_in_transaction_timeout: limit(it, "idle_in_transaction_timeout", OFF),
            client_idle_timeout: limit(it, "client_idle_timeout", OFF),
        },
        connections: ConnectionSettings {
            connect_timeout: timeout(it, "connect_timeout", seconds(10)),
            idle_timeout: limit(it, "idle_timeout", seconds(600)),
            lifetime: limit(it, "lifetime", seconds(3600)),
            check_after_idle: limit(it, "check_after_idle", seconds(30)),
            greeting_age: limit(it, "greeting_age", Duration::from_millis(250)),
            login_backoff: timeout(it, "login_backoff", Duration::from_millis(100)),
            login_backoff_max: timeout(it, "login_backoff_max", seconds(15)),
        },
        login_waits: it.read("login_waits", &Toggle).unwrap_or(false),
        state_check: it
            .read("state_check", &STATE_CHECKS)
            .unwrap_or(StateCheck::Suspected),
        sequence_values: it
            .read("sequence_values", &SEQUENCE_VALUES)
            .unwrap_or(SequenceValues::Transaction),
        pin: it.read("pin", &PINS).unwrap_or(PinPolicy::Allow),
        statements_per_connection: it
            .read("statements_per_connection", &STATEMENTS)
            .unwrap_or(200),
        statement_bytes_per_client: it
            .read("statement_bytes_per_client", &STATEMENT_BYTES)
            .unwrap_or(64 << 20),
        reset_query: it
            .read("reset_query", &Statement)
            .unwrap_or_else(|| "DISCARD ALL".to_owned()),
    };
    section.finish(pool)
}

/// Pool settings of `[[database]]` or `[[user]]`.
fn pool_override(section: &mut Section<'_>) -> PoolOverride {
    PoolOverride {
        mode: section.read("mode", &MODES),
        size: section.read("size", &SIZE),
        min_size: section.read("min_size", &MIN_SIZE),
        reserve_size: section.read("reserve_size", &MIN_SIZE),
        reserve_after: section.read("reserve_after", &TIMEOUT),
        checkout_timeout: section.read("checkout_timeout", &TIMEOUT),
        query_timeout: or_off(section, "query_timeout"),
        transaction_timeout: or_off(section, "transaction_timeout"),
        idle_in_transaction_timeout: or_off(section, "idle_in_transaction_timeout"),
        client_idle_timeout: or_off(section, "client_idle_timeout"),
        connect_timeout: section.read("connect_timeout", &TIMEOUT),
        login_timeout: section.read("login_timeout", &TIMEOUT),
        idle_timeout: or_off(section, "idle_timeout"),
        lifetime: or_off(section, "lifetime"),
        pin: section.read("pin", &PINS),
        reset_query: section.read("reset_query", &Statement),
    }
}

/// Limits in `[[database]]` or `[[user]]` of all its pools together.
fn limits(section: &mut Section<'_>) -> Limits {
    Limits {
        max_connections: section.read("max_connections", &SIZE),
        max_clients: section.read("max_clients", &CLIENTS),
    }
}

/// `[auth]`.
pub(super) fn auth(mut section: Section<'_>) -> Located<Auth> {
    let method = section.read("method", &METHODS);
    let auth = Auth {
        method: method.unwrap_or(AuthMethod::ScramSha256),
        unknown_users: section.read("unknown_users", &Toggle).unwrap_or(false),
    };
    section.finish(auth)
}

/// The name of an authentication method, as `[auth]` writes it.
pub(crate) fn method_name(method: AuthMethod) -> &'static str {
    word(&METHODS, method)
}

/// The name of a pool mode, as `[pool]` writes it.
pub(crate) fn mode_name(mode: PoolMode) -> &'static str {
    word(&MODES, mode)
}

fn word<T: PartialEq>(choice: &Choice<T>, value: T) -> &'static str {
    let found = choice.0.iter().find(|(_, known)| *known == value);
    found.expect("every variant has its word").0
}

/// `[[node]]`. What a wrong one lacks is filled in; its problem is recorded, so nobody sees it.
pub(super) fn node(mut section: Section<'_>) -> Located<NodeSettings> {
    let nowhere = || NodeAddress::Unix("/".into());
    let node = NodeSettings {
        name: section.require("name", &Name).unwrap_or_default(),
        address: section
            .require("address", &ServerAddress)
            .unwrap_or_else(nowhere),
        weight: section.read("weight", &WEIGHT).unwrap_or(1),
        max_connections: section.read("max_connections", &SIZE),
        application_name: section.read("application_name", &Name),
        standby_address: section.read("standby_address", &ServerAddress),
        failover_priority: section.read("failover_priority", &WEIGHT).unwrap_or(1),
    };
    section.finish(node)
}

/// `[[database]]`.
pub(super) fn database(mut section: Section<'_>) -> Located<DatabaseSettings> {
    let database = DatabaseSettings {
        name: section.require("name", &DatabaseName).unwrap_or_default(),
        server_name: section.read("server_name", &Name),
        limits: limits(&mut section),
        pool: pool_override(&mut section),
    };
    section.finish(database)
}

/// `[[user]]`.
pub(super) fn user(
    mut section: Section<'_>,
    around: &Surroundings<'_>,
) -> Located<Arc<UserSettings>> {
    let name = section.require("name", &Name).unwrap_or_default();
    let password = secret::read(&mut section, "password", "[[user]] password", around);
    let title = "[[user]] server_password";
    let server_password = secret::read(&mut section, "server_password", title, around);
    let limits = limits(&mut section);
    let pool = pool_override(&mut section);
    section.finish(Arc::new(UserSettings {
        name,
        password,
        server_password,
        limits,
        pool,
    }))
}

/// `[admin]`.
pub(super) fn admin(mut section: Section<'_>) -> Located<Admin> {
    let default = || vec!["postgres".to_owned(), "pgring".to_owned()];
    let users = section.list("users", &Name).unwrap_or_else(default);
    let path = section.read("socket", &AbsoluteFile);
    let mode = section.read("socket_mode", &Permissions).unwrap_or(0o600);
    let group = section.read("socket_group", &Name);
    let socket = path.map(|path| AdminSocket { path, mode, group });
    section.finish(Admin { users, socket })
}

/// `[log]`.
pub(super) fn log(mut section: Section<'_>) -> Located<Log> {
    let level = section.read("level", &LogFilter);
    let log = Log {
        level: level.unwrap_or_else(|| "info".to_owned()),
        format: section.read("format", &FORMATS).unwrap_or(LogFormat::Text),
    };
    section.finish(log)
}

pub(super) fn timeout(section: &mut Section<'_>, key: &'static str, default: Duration) -> Duration {
    section.read(key, &TIMEOUT).unwrap_or(default)
}

fn limit(section: &mut Section<'_>, key: &'static str, default: Duration) -> Option<Duration> {
    or_never(section.read(key, &LIMIT).unwrap_or(default))
}

/// A limit in `[[database]]` or `[[user]]`; `Some(None)` for 0, which is never, and `None` without the key.
fn or_off(section: &mut Section<'_>, key: &'static str) -> Option<Option<Duration>> {
    section.read(key, &LIMIT).map(or_never)
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Zero in the file is never.
fn or_never(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
