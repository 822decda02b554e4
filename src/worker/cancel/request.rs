//! Cancel requests: a key leads to the core and the session; only what that session runs is cancelled.
//!
//! The client that asked is kept waiting until the server has dealt with the request, as a server does it: once that
//! connection closes, no later statement is hit.

use std::{rc::Rc, time::Duration};

use hashbrown::HashMap;

use super::{
    backend_key::owner,
    inbox::{Counted, Round},
};
use crate::{
    cluster::{budget::PoolKey, messages::ToWorker, report::PoolCancels},
    ids::WorkerId,
    limits::CANCEL_SECONDS_MAX,
    net::{Received, task},
    protocol::{ErrorReport, SqlState, Writer},
    session::work::Work,
    time,
    worker::{
        clients::{ClientInfo, ClientState},
        core::Worker,
        pool::{backend::BackendInfo, lease::Lease},
    },
};

/// A cancel request came in on this core. Ends when it has had what effect it will have.
pub(crate) async fn requested(worker: &Rc<Worker>, process_id: i32, key: Vec<u8>) {
    let owner = owner(process_id);
    if usize::from(owner.0) >= worker.shared.workers.len() {
        return tracing::info!(process_id, "cancel request with a wrong key");
    }
    if owner == worker.id {
        run(worker, process_id, &key).await;
    } else if !pass_on(worker, owner, process_id, key).await {
        worker.cancels.drop_one();
    }
}

/// Passes a cancel request on to its owner and waits until it has had its effect; false when the owner has
/// too much to do.
async fn pass_on(worker: &Worker, owner: WorkerId, process_id: i32, key: Vec<u8>) -> bool {
    let inquiry = worker.replies.inquire(worker.shared.ticket(), 1);
    let question = ToWorker::Cancel {
        process_id,
        key,
        reply_to: inquiry.reply_to(),
    };
    let told = worker.shared.tell(owner, question);
    if told {
        let limit = Duration::from_secs(CANCEL_SECONDS_MAX);
        inquiry.within(&worker.reactor, limit).await;
    }
    told
}

/// Cancels what the client of that key runs, if it runs anything.
pub(crate) async fn run(worker: &Rc<Worker>, process_id: i32, key: &[u8]) {
    let Some(info) = worker.clients.with_process_id(process_id) else {
        return;
    };
    if !info.backend_key.is(process_id, key) {
        tracing::info!(process_id, "cancel request with a wrong key");
        return;
    }
    loop {
        let before = info.cancel.round.borrow().clone();
        let Some(round) = before else { break };
        if round.request == info.times.request.get() {
            worker.cancels.count(|counts| counts.coalesced += 1);
            return round.has_effect().await;
        }
        // It is for an earlier request of the same client.
        let _asker = Counted::enter(&info.cancel.behind);
        round.is_over().await;
    }
    if let Some(round) = begin(worker, &info) {
        round.has_effect().await;
    }
}

/// The cancel requests that are under way now, by pool.
pub(crate) fn by_pool(worker: &Worker) -> HashMap<PoolKey, PoolCancels> {
    let mut pools: HashMap<PoolKey, PoolCancels> = HashMap::new();
    for info in worker.clients.all() {
        let round = info.cancel.round.borrow();
        let askers = round.as_ref().map_or(0, |round| round.askers.get());
        let held = round.as_ref().is_some_and(|round| round.held.get());
        let behind = info.cancel.behind.get();
        if askers + behind > 0 {
            let counts = pools.entry(info.key.clone()).or_default();
            counts.clients_waiting += behind + if held { askers } else { 0 };
            counts.clients_active += if held { 0 } else { askers };
        }
    }
    let under_way = worker.cancels.under_way.borrow();
    for (number, (key, server)) in under_way.iter().enumerate() {
        let counts = pools.entry(key.clone()).or_default();
        counts.servers_active += 1;
        let mut before = under_way[..number].iter();
        let is_first = !before.any(|(_, other)| Rc::ptr_eq(other, server));
        counts.servers_canceled += u32::from(is_first);
    }
    pools
}

/// Cancels what a client waits for or runs.
fn begin(worker: &Rc<Worker>, info: &Rc<ClientInfo>) -> Option<Rc<Round>> {
    if info.state.get() == ClientState::Waiting {
        if !info.cancel.dequeued.replace(true) {
            worker.cancels.count(|counts| counts.dequeued += 1);
        }
        info.waker.wake();
        return None;
    }
    let round = Round::new(info.times.request.get());
    match info.cancel.work.get() {
        Work::Nothing => return None,
        Work::Own => {
            round.held.set(true);
            info.cancel.round.replace(Some(Rc::clone(&round)));
        }
        Work::Request => forward(worker, info, &round),
    }
    Some(round)
}

/// Has the server cancel what this client runs.
fn forward(worker: &Rc<Worker>, info: &Rc<ClientInfo>, round: &Rc<Round>) {
    let server = info.server.borrow().clone();
    let Some(server) = server.filter(|server| worker.cancels.enter(&info.key, server)) else {
        info.cancel.round.take();
        return round.end();
    };
    info.cancel.round.replace(Some(Rc::clone(round)));
    // The session does not let go of this connection for others while a cancel is on its way to it.
    server.cancels.set(server.cancels.get() + 1);
    let (worker, info, round) = (Rc::clone(worker), Rc::clone(info), Rc::clone(round));
    task::spawn(async move {
        deliver(&worker, &server).await;
        worker.cancels.leave(&server);
        server.cancels.set(server.cancels.get() - 1);
        info.cancel
            .round
            .borrow_mut()
            .take_if(|current| Rc::ptr_eq(current, &round));
        round.end();
        info.waker.wake();
    });
}

/// The session tells what its server connection does now. Cheap when that has not changed.
#[inline]
pub(crate) fn note_work(worker: &Rc<Worker>, info: &Rc<ClientInfo>, work: Work) {
    if info.cancel.work.replace(work) != work {
        release_held(worker, info, work);
    }
}

/// A cancel request that was held back until the client's request is the server's next.
fn release_held(worker: &Rc<Worker>, info: &Rc<ClientInfo>, work: Work) {
    let held = info
        .cancel
        .round
        .borrow_mut()
        .take_if(|round| round.held.get() && work != Work::Own);
    let Some(round) = held else { return };
    round.held.set(false);
    match work {
        Work::Request => forward(worker, info, &round),
        _ => round.end(),
    }
}

/// The client's request has taken too long: it is cancelled as if the client had asked for it.
pub(crate) fn timed_out(worker: &Rc<Worker>, info: &Rc<ClientInfo>) {
    let request = info.times.request.get();
    let before = info.cancel.round.borrow().clone();
    match before {
        None => drop(begin(worker, info)),
        Some(round) if round.request == request => {}
        Some(round) => {
            // The client cancelled an earlier request, and that is still on its way.
            let (worker, info) = (Rc::clone(worker), Rc::clone(info));
            task::spawn(async move {
                round.is_over().await;
                if info.times.request.get() == request {
                    begin(&worker, &info);
                }
            });
        }
    }
}

/// Ends what still runs over a connection that nobody will use any more, then closes it. Its permit is kept
/// until then, because the server does not notice a closed connection before it has something to say.
pub(crate) fn abandon(worker: &Rc<Worker>, key: &PoolKey, lease: Lease) {
    if !worker.cancels.enter(key, &lease.backend().info) {
        return;
    }
    let worker = Rc::clone(worker);
    task::spawn(async move {
        let backend = lease.backend();
        backend.stream.pause();
        deliver(&worker, &backend.info).await;
        worker.cancels.leave(&backend.info);
        drop(lease);
    });
}

/// Sends the request and waits until the server has dealt with it, which it shows by closing.
async fn deliver(worker: &Worker, server: &BackendInfo) {
    let deadline = time::now() + Duration::from_secs(CANCEL_SECONDS_MAX);
    let _ = worker
        .reactor
        .deadline(deadline, send(worker, server))
        .await;
}

async fn send(worker: &Worker, server: &BackendInfo) {
    let Ok(stream) = worker.reactor.connect(&server.address).await else {
        return;
    };
    let mut out = Vec::new();
    if Writer::new(&mut out)
        .cancel_request(server.process_id, &server.cancel_key)
        .is_err()
    {
        return;
    }
    stream.send(out.into());
    while let Received::Bytes(_) = stream.receive().await {}
}

/// Error (57014) for a request that was cancelled before a server took it.
pub(crate) fn cancelled() -> ErrorReport {
    ErrorReport::error(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
    .with_detail("It was still waiting for a server connection.")
}
