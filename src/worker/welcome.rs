//! The server's settings that a client is told at login (ParameterStatus): asked of a server once per pool and settings.

use std::{
    rc::Rc,
    sync::Arc,
    task::Context,
    time::{Duration, Instant},
};

use super::{
    core::Worker,
    pool::{
        common::Greeting,
        lease::Lease,
        set::PoolSet,
        waiter::{CheckoutError, Urgency},
    },
    refused::Refused,
    route,
};
use crate::session::state::parameters::{self, Parameters};
use crate::{
    cluster::welcome::Welcome,
    ids::NodeId,
    link::wire::WireError,
    net::Stream,
    protocol::{
        ErrorReport, Severity, SqlState,
        backend::{ErrorFields, ParameterStatus},
        tag::backend,
    },
    time::{self, Micros},
};

/// Greeting for a client that starts with these settings; asked of a server when it is not known, or may not be true any
/// more.
pub(super) async fn learn(
    worker: &Rc<Worker>,
    stream: &Stream,
    pools: &Rc<PoolSet>,
    parameters: &Parameters,
) -> Result<Greeting, Refused> {
    let (is_fresh, since) = (pools.is_fresh(worker), time::now());
    match pools.greeting(worker, parameters) {
        Some(known) if is_fresh => Ok(known),
        // The pool may have no connection to spare now, or the server none: then that is what is known.
        Some(known) => learn_anew(worker, stream, pools, parameters)
            .await
            .unwrap_or(Ok(known)),
        None => {
            let lease = any_server(worker, stream, pools).await?;
            let lease = if is_fresh {
                lease
            } else {
                as_new(lease, since).await?
            };
            ask(worker, pools, parameters, lease).await
        }
    }
}

impl PoolSet {
    /// Greeting of clients with these settings, if it is known here or can be foretold from what a server told some core.
    fn greeting(&self, worker: &Worker, parameters: &Parameters) -> Option<Greeting> {
        let plain = self.plain_welcome(worker)?;
        if let Some(known) = self.known_greeting(parameters, &plain) {
            return Some(known);
        }
        let told = match parameters.is_empty() {
            true => Arc::clone(&plain),
            false => Arc::new(plain.foretell(parameters.iter())?),
        };
        let greeting = Greeting { told, plain };
        self.remember_greeting(parameters.clone(), greeting.clone());
        Some(greeting)
    }

    /// Greeting of the primary at the last login of any core, else that of a standby. (Who was a standby at that login is
    /// none for the clients who are told of it.)
    fn plain_welcome(&self, worker: &Worker) -> Option<Arc<Welcome>> {
        let snapshot = worker.snapshot();
        let budgets = &worker.shared.budgets;
        let of = |node| budgets.of(&self.key, node, &*snapshot).last_welcome.last();
        let primary = snapshot.primary.and_then(of);
        let known = primary.or_else(|| snapshot.standbys().filter_map(of).next())?;
        match known.value(b"in_hot_standby") {
            Some(b"on") => Some(Arc::new(known.of_primary())),
            _ => Some(known),
        }
    }

    /// True when what is known of the primary's server is not too old.
    fn is_fresh(&self, worker: &Worker) -> bool {
        let snapshot = worker.snapshot();
        let Some(primary) = snapshot.primary else {
            return true;
        };
        let budget = worker.shared.budgets.of(&self.key, primary, &*snapshot);
        let schema = worker.shared.schema_version();
        budget
            .last_welcome
            .is_fresh(worker.micros(), self.greeting_age(), schema)
    }

    /// True for one login after the other that finds it too old.
    fn begin_asking(&self, worker: &Worker, node: NodeId) -> bool {
        let snapshot = worker.snapshot();
        let budget = worker.shared.budgets.of(&self.key, node, &*snapshot);
        let age = self.greeting_age().unwrap_or(Micros::MAX);
        let schema = worker.shared.schema_version();
        budget
            .last_welcome
            .begin_asking(worker.micros(), age, schema)
    }

    /// How long a login waits for newer words than those that are known.
    fn patience(&self, worker: &Worker, node: NodeId) -> Duration {
        let budget = worker
            .shared
            .budgets
            .of(&self.key, node, &*worker.snapshot());
        let schema = worker.shared.schema_version();
        WAIT[usize::from(budget.last_welcome.is_before(schema))]
    }

    fn greeting_age(&self) -> Option<Micros> {
        let age = self.settings().connections.greeting_age?;
        Some(age.as_micros() as Micros)
    }
}

/// Greeting from a connection that is opened for it, because a server tells only a new connection what its settings are
/// now. `None` when there is no connection to be had in time, or another login is asking already.
async fn learn_anew(
    worker: &Rc<Worker>,
    stream: &Stream,
    pools: &Rc<PoolSet>,
    parameters: &Parameters,
) -> Option<Result<Greeting, Refused>> {
    let node = worker.with_snapshot(|snapshot| snapshot.primary)?;
    if !pools.begin_asking(worker, node) {
        return None;
    }
    let pool = pools.pool(worker, node);
    let gone = |context: &Context<'_>| stream.poll_broken(context);
    let since = time::now();
    let deadline = since + pools.patience(worker, node);
    let lease = pool.checkout(worker, Urgency::Login, gone);
    let lease = worker.reactor.deadline(deadline, lease).await;
    let lease = match lease.ok()? {
        Ok(lease) => as_new(lease?.for_login(), since).await,
        Err(error) => Err(error),
    };
    match lease {
        Ok(lease) => Some(ask(worker, pools, parameters, lease).await),
        Err(CheckoutError::Refused(body)) if is_about_login(&body) => {
            Some(Err(CheckoutError::Refused(body).into()))
        }
        Err(_) => None,
    }
}

/// True for what a server says of who comes, and not of how it stands with the server itself: another login would hear
/// it, too.
fn is_about_login(body: &[u8]) -> bool {
    matches!(
        ErrorFields::sqlstate_in(body),
        Some(
            SqlState::INVALID_CATALOG_NAME
                | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                | SqlState::INSUFFICIENT_PRIVILEGE
        )
    )
}

/// How long a login waits for a connection of a busy pool when what it would be told is known, but not new; and when it is
/// known that a schema was changed since.
const WAIT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// A connection that was opened since then, in the place of this one.
async fn as_new(lease: Lease, since: Instant) -> Result<Lease, CheckoutError> {
    match lease.backend().opened >= since {
        true => Ok(lease),
        false => lease.renew().await,
    }
}

/// Greeting of the server at hand, whose connection goes back to its pool.
async fn ask(
    worker: &Rc<Worker>,
    pools: &Rc<PoolSet>,
    parameters: &Parameters,
    mut lease: Lease,
) -> Result<Greeting, Refused> {
    let none = worker.interner.empty();
    let told = loop {
        if parameters.is_empty() {
            break Arc::clone(&lease.backend().welcome);
        }
        let deadline = time::now() + pools.settings().connections.connect_timeout;
        let applied = apply(&mut lease, &none, parameters);
        let applied = worker.reactor.deadline(deadline, applied).await;
        match applied.unwrap_or(Err(None)) {
            Ok(welcome) => break Arc::new(welcome),
            Err(Some(error)) if is_final(&error) && (lease.is_new || !depends(parameters)) => {
                lease.release();
                return Err(as_fatal(&error).into());
            }
            // What a used connection refuses, a new one may take.
            Err(_) if !lease.is_new => lease = lease.renew().await?,
            Err(Some(error)) => return Err(as_fatal(&error).into()),
            Err(None) => return Err(server_failed().into()),
        }
    };
    let plain = Arc::clone(&lease.backend().welcome);
    let greeting = Greeting { told, plain };
    pools.remember_greeting(parameters.clone(), greeting.clone());
    lease.release();
    Ok(greeting)
}

/// Has a server say whether the user may take this `session_authorization`, which ends with the question.
pub(super) async fn check_identity(
    worker: &Rc<Worker>,
    stream: &Stream,
    pools: &Rc<PoolSet>,
    name: &[u8],
) -> Result<(), Refused> {
    let mut text = b"SELECT pg_catalog.set_config('session_authorization',".to_vec();
    parameters::put_literal(name, &mut text);
    text.extend_from_slice(b",true)");
    let mut lease = any_server(worker, stream, pools).await?;
    let deadline = time::now() + pools.settings().connections.connect_timeout;
    let asked = lease.backend_mut().run(&text, |_, _| {});
    let asked = worker.reactor.deadline(deadline, asked).await;
    match asked.unwrap_or(Err(None)) {
        Ok(()) => lease.release(),
        Err(Some(error)) if is_final(&error) => {
            lease.release();
            return Err(as_fatal(&error).into());
        }
        Err(_) => return Err(server_failed().into()),
    }
    Ok(())
}

/// True for a server's error after which the connection can be used.
fn is_final(body: &[u8]) -> bool {
    let severity = ErrorFields::read(body)
        .ok()
        .and_then(|fields| fields.severity());
    severity == Some(Severity::Error)
}

/// True for settings that a server may refuse because of what was done on the connection before.
fn depends(parameters: &Parameters) -> bool {
    parameters.get("temp_buffers").is_some()
}

/// A connection to the primary; to a standby while there is none.
async fn any_server(
    worker: &Rc<Worker>,
    stream: &Stream,
    pools: &Rc<PoolSet>,
) -> Result<Lease, Refused> {
    let hold = worker.with_snapshot(|snapshot| snapshot.settings.failover.hold);
    let patience = time::now() + hold.min(pools.settings().connections.connect_timeout);
    loop {
        let (node, other) = worker.with_snapshot(|snapshot| {
            let answers = |node: &NodeId| {
                let state = snapshot.state(*node);
                state.is_some_and(|state| state.answers == Some(true))
            };
            let standby = || snapshot.standbys().find(answers);
            (
                snapshot.primary.or_else(standby),
                snapshot.standbys().next(),
            )
        });
        let node = match (node, other) {
            (Some(node), _) => node,
            // What has not answered yet may never do so, while another one is about to.
            (None, Some(_)) if time::now() < patience => {
                worker
                    .reactor
                    .sleep(Duration::from_millis(NODE_LOOK_MS))
                    .await;
                continue;
            }
            (None, Some(other)) => other,
            (None, None) => return Err(route::no_node().into()),
        };
        let pool = pools.pool(worker, node);
        let gone = |context: &Context<'_>| stream.poll_broken(context);
        let urgency = match pools.settings().login_waits {
            true => Urgency::Statement,
            false => Urgency::Login,
        };
        match pool.checkout(worker, urgency, gone).await {
            Ok(lease) => {
                let lease = lease.map(Lease::for_login);
                return lease.ok_or(Refused::Silently(WireError::Ended));
            }
            Err(CheckoutError::Moved) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How often a login looks whether a node has answered, in milliseconds.
const NODE_LOOK_MS: u64 = 5;

/// Brings a server connection to the settings it was opened with.
const RESET: &[u8] = b"RESET session_authorization; RESET role; RESET ALL";

/// Brings a server connection to `parameters` and notes what it then reports. The error is the server's, if it said
/// one.
async fn apply(
    lease: &mut Lease,
    none: &Parameters,
    parameters: &Parameters,
) -> Result<Welcome, Option<Vec<u8>>> {
    let backend = lease.backend_mut();
    let mut welcome = Welcome::clone(&backend.welcome);
    // From the start, so that every report that differs from the plain ones is seen. The server reports what
    // has changed when it is ready, so that this must be a request of its own.
    if !backend.goes_back(RESET, none).await {
        return Err(None);
    }
    backend.has_been_given(none.clone());
    // Nothing is sent behind it: where it fails, all of it is undone, and the connection is as before.
    let text = none.step(parameters);
    let note = |tag, body: &[u8]| {
        if tag == backend::PARAMETER_STATUS
            && let Ok(status) = ParameterStatus::read(body)
        {
            welcome.report(status);
        }
    };
    backend.run(&text, note).await?;
    backend.has_been_given(parameters.clone());
    Ok(welcome)
}

fn server_failed() -> ErrorReport {
    ErrorReport::fatal(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost during login",
    )
}

/// A server's error about a setting, as the server would have said it at login.
fn as_fatal(body: &[u8]) -> ErrorReport {
    match ErrorFields::read(body) {
        Ok(fields) => fields.to_report(Severity::Fatal, SqlState::INTERNAL_ERROR),
        Err(_) => ErrorReport::fatal(SqlState::INTERNAL_ERROR, ""),
    }
}
