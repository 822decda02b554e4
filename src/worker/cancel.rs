//! Cancel requests: a key leads to the core and the session; only what that session runs is cancelled.
//!
//! Who asked is kept waiting until the server has dealt with the request, as a server does it: once that
//! connection closes, no later statement is hit.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use subtle::ConstantTimeEq;

use super::{
    Worker,
    clients::{ClientInfo, State},
    pool::{BackendInfo, Lease},
};
use crate::session::work::Work;
use crate::{
    cluster::{
        budget::PoolKey,
        report::{CancelReport, PoolCancels},
    },
    ids::WorkerId,
    limits::{CANCEL_SECONDS_MAX, CANCELS_MAX},
    net::{Received, task},
    protocol::{ErrorReport, SqlState, Writer},
    time,
};

/// Bits of a process id that tell the clients of a worker apart.
const NUMBER_BITS: u32 = 20;

/// The number of a worker, in a process id: there are at most 1024 (`[runtime] workers`).
const WORKERS_MASK: u16 = 0x3ff;

/// One request to the server, shared by all who asked for it.
struct Round {
    /// When the client sent what shall be cancelled; tells its requests apart.
    request: Instant,
    /// It waits until the server has done what pgring itself asked.
    held: Cell<bool>,
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// Clients that have asked for it.
    askers: Cell<u32>,
}

/// Somebody who is counted while waiting.
struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    fn enter(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Round {
    fn new(request: Instant) -> Rc<Self> {
        Rc::new(Self {
            request,
            held: Cell::new(false),
            over: Cell::new(false),
            waiting: RefCell::default(),
            askers: Cell::new(0),
        })
    }

    fn end(&self) {
        self.over.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// A client has asked for it, and waits.
    async fn has_effect(&self) {
        let _asker = Counted::enter(&self.askers);
        self.is_over().await;
    }

    async fn is_over(&self) {
        poll_fn(|context| {
            if self.over.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Cancel requests for one client.
#[derive(Default)]
pub(crate) struct Inbox {
    work: Cell<Work>,
    round: RefCell<Option<Rc<Round>>>,
    /// The client waits for a server connection and shall not any more.
    dequeued: Cell<bool>,
    /// Who asks for a later request than the one that is being cancelled.
    behind: Cell<u32>,
}

impl Inbox {
    /// The session begins to wait for a server connection.
    pub(super) fn clear(&self) {
        self.dequeued.set(false);
    }

    /// True when the session shall not wait for a server connection any more.
    pub(super) fn is_dequeued(&self) -> bool {
        self.dequeued.get()
    }

    /// The session has gone: nothing is left to cancel.
    pub(super) fn close(&self) {
        self.work.set(Work::Nothing);
        if let Some(round) = self.round.take() {
            round.end();
        }
    }
}

/// The cancel requests of one core.
#[derive(Default)]
pub(crate) struct Cancels {
    counts: Cell<CancelReport>,
    /// Those that are on their way to a server: whose pool, and for which connection.
    under_way: RefCell<Vec<(PoolKey, Rc<BackendInfo>)>>,
    /// Requests have been dropped, and that was logged, since the last time nothing was under way.
    flooded: Cell<bool>,
}

impl Cancels {
    pub(crate) fn counts(&self) -> CancelReport {
        self.counts.get()
    }

    fn count(&self, change: impl FnOnce(&mut CancelReport)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Takes one of the places for requests to servers; false when there is none.
    fn enter(&self, key: &PoolKey, server: &Rc<BackendInfo>) -> bool {
        if self.counts.get().active >= CANCELS_MAX {
            self.drop_one();
            return false;
        }
        self.count(|counts| {
            counts.active += 1;
            counts.forwarded += 1;
        });
        let entry = (key.clone(), Rc::clone(server));
        self.under_way.borrow_mut().push(entry);
        true
    }

    fn leave(&self, server: &Rc<BackendInfo>) {
        self.count(|counts| counts.active -= 1);
        let mut under_way = self.under_way.borrow_mut();
        let place = under_way
            .iter()
            .position(|(_, other)| Rc::ptr_eq(other, server));
        under_way.swap_remove(place.expect("what leaves has entered"));
        if self.counts.get().active == 0 {
            self.flooded.set(false);
        }
    }

    fn drop_one(&self) {
        self.count(|counts| counts.dropped += 1);
        if !self.flooded.replace(true) {
            tracing::warn!(
                limit = CANCELS_MAX,
                "too many cancel requests at once; those above the limit are dropped"
            );
        }
    }
}

/// The process id of the client with this number on its worker. It says who the worker is, so that any core finds the
/// client, and is above all that an operating system gives a process (2^22 at most on Linux): a driver that ends "its own"
/// backend must not meet another client's.
pub(super) fn process_id(worker: WorkerId, number: u32) -> i32 {
    let number = number & ((1 << NUMBER_BITS) - 1);
    1 << 30 | i32::from(worker.0 & WORKERS_MASK) << NUMBER_BITS | number.cast_signed()
}

fn owner(process_id: i32) -> WorkerId {
    WorkerId((process_id >> NUMBER_BITS) as u16 & WORKERS_MASK)
}

/// A cancel request came in on this core. Ends when it has had what effect it will have.
pub(super) async fn requested(worker: &Rc<Worker>, process_id: i32, key: Vec<u8>) {
    let owner = owner(process_id);
    if usize::from(owner.0) >= worker.shared.workers.len() {
        return tracing::info!(process_id, "cancel request with a wrong key");
    }
    if owner == worker.id {
        run(worker, process_id, &key).await;
    } else if !worker.ask_to_cancel(owner, process_id, key).await {
        worker.cancels.drop_one();
    }
}

/// Cancels what the client of that key runs, if it runs anything.
pub(super) async fn run(worker: &Rc<Worker>, process_id: i32, key: &[u8]) {
    let Some(info) = worker.clients.with_process_id(process_id) else {
        return;
    };
    if !is_owner(&info, process_id, key) {
        tracing::info!(process_id, "cancel request with a wrong key");
        return;
    }
    loop {
        let before = info.cancel.round.borrow().clone();
        let Some(round) = before else { break };
        if round.request == info.request.get() {
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
pub(super) fn by_pool(worker: &Worker) -> HashMap<PoolKey, PoolCancels> {
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

fn is_owner(info: &ClientInfo, process_id: i32, key: &[u8]) -> bool {
    info.process_id == process_id && bool::from(info.cancel_key.ct_eq(key))
}

/// Cancels what a client waits for or runs.
fn begin(worker: &Rc<Worker>, info: &Rc<ClientInfo>) -> Option<Rc<Round>> {
    if info.state.get() == State::Waiting {
        if !info.cancel.dequeued.replace(true) {
            worker.cancels.count(|counts| counts.dequeued += 1);
        }
        info.waker.wake();
        return None;
    }
    let round = Round::new(info.request.get());
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
pub(super) fn note_work(worker: &Rc<Worker>, info: &Rc<ClientInfo>, work: Work) {
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
pub(super) fn timed_out(worker: &Rc<Worker>, info: &Rc<ClientInfo>) {
    let request = info.request.get();
    let before = info.cancel.round.borrow().clone();
    match before {
        None => drop(begin(worker, info)),
        Some(round) if round.request == request => {}
        Some(round) => {
            // The client cancelled an earlier request, and that is still on its way.
            let (worker, info) = (Rc::clone(worker), Rc::clone(info));
            task::spawn(async move {
                round.is_over().await;
                if info.request.get() == request {
                    begin(&worker, &info);
                }
            });
        }
    }
}

/// Ends what still runs over a connection that nobody will use any more, then closes it. Its permit is kept
/// until then, because the server does not notice a closed connection before it has something to say.
pub(super) fn abandon(worker: &Rc<Worker>, key: &PoolKey, lease: Lease) {
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

/// What a request gets that was cancelled before a server took it.
pub(super) fn cancelled() -> ErrorReport {
    ErrorReport::error(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
    .with_detail("It was still waiting for a server connection.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{ConnectionId, NodeId},
        net::Address,
    };

    #[test]
    fn a_process_id_names_its_owner() {
        let mut all = std::collections::HashSet::new();
        for (worker, number) in [
            (0, 0),
            (3, 17),
            (1023, (1 << NUMBER_BITS) - 1),
            (1, u32::MAX),
        ] {
            let id = process_id(WorkerId(worker), number);
            assert_eq!(owner(id), WorkerId(worker));
            assert!(id > 1 << 22, "no process of an operating system has it");
            assert!(all.insert(id));
        }
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let cancels = Cancels::default();
        let key = PoolKey {
            database: "app".into(),
            user: "app".into(),
        };
        let server = Rc::new(BackendInfo {
            node: NodeId(0),
            address: Address::Unix("/".into()),
            id: ConnectionId {
                slot: 0,
                generation: 0,
            },
            process_id: 1,
            cancel_key: [].into(),
            opened_us: 0,
            cancels: Cell::new(0),
        });
        let enter = || cancels.enter(&key, &server);
        assert!((0..CANCELS_MAX).all(|_| enter()));
        assert!(!enter() && !enter());
        cancels.leave(&server);
        assert!(enter());
        let counts = cancels.counts();
        assert_eq!(counts.active, CANCELS_MAX);
        assert_eq!(counts.forwarded, u64::from(CANCELS_MAX) + 1);
        assert_eq!(counts.dropped, 2);
    }
}
