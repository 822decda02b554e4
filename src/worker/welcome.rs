//! What a client is told at login of the server it will talk to: asked of a server once per pool and settings.

use std::{rc::Rc, sync::Arc, task::Context};

use super::{
    Worker,
    parameters::Parameters,
    pool::{CheckoutError, Lease, PoolSet, Urgency},
    route,
    startup::Refused,
    wire::{Wire, WireError},
};
use crate::{
    cluster::welcome::Welcome,
    limits::LOGIN_MESSAGE_BYTES_MAX,
    net::{Elapsed, Stream},
    protocol::{
        ErrorReport, SqlState, Writer,
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
    let welcome = if parameters.is_empty() {
        Arc::clone(&lease.backend().welcome)
    } else {
        let deadline = time::now() + pools.settings().connect_timeout;
        let applied = apply(worker, &mut lease, parameters);
        let applied = worker.reactor.deadline(deadline, applied).await;
        let welcome =
            applied.unwrap_or_else(|Elapsed| Err(server_failed("no answer in time").into()));
        Arc::new(welcome?)
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
const RESET: &str = "RESET session_authorization; RESET role; RESET ALL";

/// Brings a server connection to `parameters` and notes what it then reports.
async fn apply(
    worker: &Worker,
    lease: &mut Lease,
    parameters: &Parameters,
) -> Result<Welcome, Refused> {
    let backend = lease.backend_mut();
    let mut welcome = Welcome::clone(&backend.welcome);
    // From the start, so that every report that differs from the plain ones is seen. The server reports what
    // has changed when it is ready, so that this must be a request of its own.
    if !backend.ask(RESET).await {
        return Err(server_failed("it did not go back to its own settings").into());
    }
    let text = worker.interner.empty().transition(parameters);
    let mut out = Vec::new();
    Writer::new(&mut out)
        .query(&text)
        .map_err(WireError::from)?;
    backend.stream.send(out.into());
    let mut wire = Wire::new(&backend.stream);
    let mut refusal = None;
    loop {
        let ready = wire.message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| {
            match tag {
                backend::PARAMETER_STATUS => ParameterStatus::read(body)
                    .into_iter()
                    .for_each(|status| welcome.report(status)),
                backend::ERROR_RESPONSE => refusal = Some(as_fatal(body)),
                _ => {}
            }
            tag == backend::READY_FOR_QUERY
        });
        let ready = ready
            .await
            .map_err(|error| server_failed(&error.to_string()))?;
        if ready {
            break;
        }
    }
    match refusal {
        Some(report) => Err(report.into()),
        None => {
            backend.parameters = parameters.clone();
            Ok(welcome)
        }
    }
}

fn server_failed(why: &str) -> ErrorReport {
    ErrorReport::fatal(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost during login",
    )
    .with_detail(why.to_owned())
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
