//! What a client is told at login of the server it will talk to: asked of a server once per pool and settings.

use std::{rc::Rc, sync::Arc, task::Context};

use super::{
    Worker,
    parameters::{Belief, Parameters},
    pool::{CheckoutError, Lease, PoolSet, Urgency},
    route,
    startup::Refused,
    wire::WireError,
};
use crate::{
    cluster::welcome::Welcome,
    net::Stream,
    protocol::{
        ErrorReport, SqlState,
        backend::{ErrorFields, ParameterStatus},
        tag::backend,
    },
    time,
};

/// What a server tells a client that starts with these settings; asked of a server once per pool.
pub(super) async fn learn(
    worker: &Rc<Worker>,
    stream: &Stream,
    pools: &Rc<PoolSet>,
    parameters: &Parameters,
) -> Result<Arc<Welcome>, Refused> {
    if let Some(known) = pools.welcome(worker, parameters) {
        return Ok(known);
    }
    let mut lease = any_server(worker, stream, pools).await?;
    let none = worker.interner.empty();
    let welcome = if parameters.is_empty() {
        Arc::clone(&lease.backend().welcome)
    } else {
        loop {
            let deadline = time::now() + pools.settings().connect_timeout;
            let applied = apply(&mut lease, &none, parameters);
            let applied = worker.reactor.deadline(deadline, applied).await;
            match applied.unwrap_or(Err(None)) {
                Ok(welcome) => break Arc::new(welcome),
                // What a used connection refuses, a new one may take.
                Err(_) if !lease.is_new => lease = lease.renew().await?,
                Err(Some(error)) => return Err(as_fatal(&error).into()),
                Err(None) => return Err(server_failed().into()),
            }
        }
    };
    pools.remember_welcome(parameters.clone(), Arc::clone(&welcome));
    lease.release();
    Ok(welcome)
}

/// A connection to the primary; to a standby while there is none.
async fn any_server(
    worker: &Rc<Worker>,
    stream: &Stream,
    pools: &Rc<PoolSet>,
) -> Result<Lease, Refused> {
    loop {
        let node = worker.with_snapshot(|snapshot| {
            let standby = || snapshot.standbys().next();
            snapshot.primary.or_else(standby)
        });
        let node = node.ok_or_else(route::no_node)?;
        let pool = pools.pool(worker, node);
        let gone = |context: &Context<'_>| stream.poll_broken(context);
        match pool.checkout(worker, Urgency::Login, gone).await {
            Ok(lease) => return lease.ok_or(Refused::Silently(WireError::Ended)),
            Err(CheckoutError::Moved) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

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
    backend.run(RESET, |_, _| {}).await.map_err(|_| None)?;
    backend.has_been_given(none.clone());
    let text = none.transition(parameters, Belief::Exact, false);
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
    let fields = ErrorFields::read(body).ok();
    let sqlstate = fields
        .and_then(|fields| fields.sqlstate())
        .unwrap_or(SqlState::INTERNAL_ERROR);
    let message = fields.map_or_else(Default::default, |fields| {
        String::from_utf8_lossy(fields.message()).into_owned()
    });
    ErrorReport::fatal(sqlstate, message)
}
