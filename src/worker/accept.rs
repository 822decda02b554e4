//! A client comes in: counted, given its task, and counted out again however it ends.

use std::{panic::AssertUnwindSafe, pin::pin, rc::Rc, task::Poll};

use super::{
    console::Console,
    core::Worker,
    session::task::Session,
    startup::{self, Login, Service},
};
use crate::{
    cluster::messages::ToWorker,
    limits::REFUSED_CLIENTS_MAX,
    net::{Detached, Listener, Peer, Side, Stream, task},
};

/// Accepts from `listener` until the worker drains.
pub(super) fn start(worker: &Rc<Worker>, listener: &Listener) {
    let incoming = Rc::new(worker.reactor.accept_from(listener));
    worker.doors.add(&incoming);
    let worker = Rc::clone(worker);
    task::spawn(async move {
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(descriptor) => place(&worker, descriptor),
                Err(error) => {
                    tracing::error!(%error, "cannot accept; clients wait in the kernel's queue")
                }
            }
        }
    });
}

/// Accepts operators from their socket until the worker drains; who may use it is looked at here.
pub(super) fn start_operators(worker: &Rc<Worker>, listener: &Listener) {
    let incoming = Rc::new(worker.reactor.accept_from(listener));
    worker.doors.add(&incoming);
    let worker = Rc::clone(worker);
    task::spawn(async move {
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(operator) => admit_operator(&worker, operator),
                Err(error) => tracing::error!(%error, "cannot accept operators"),
            }
        }
    });
}

/// An operator stays where he came in; `max_clients` does not count him.
fn admit_operator(worker: &Rc<Worker>, operator: Detached) {
    let peer = operator.peer();
    let has_group = worker.with_snapshot(|snapshot| {
        let socket = snapshot.settings.admin.socket.as_ref();
        socket.is_some_and(|socket| socket.group.is_some())
    });
    let is_one = move |peer: &Peer| peer.is_root_or_ours() || has_group;
    let stream = worker.reactor.adopt(operator, Side::Client);
    let id = stream.id();
    let worker = Rc::clone(worker);
    task::spawn(async move {
        let served = match peer {
            Ok(peer) if is_one(&peer) => {
                tracing::info!(
                    client = %id, uid = peer.uid, process = peer.process_id,
                    "an operator has come"
                );
                catch(serve_operator(&worker, stream)).await
            }
            Ok(peer) => {
                tracing::warn!(
                    client = %id, uid = peer.uid, process = peer.process_id,
                    "a stranger at the admin socket is refused"
                );
                startup::refuse_stranger(&stream, peer.uid);
                Ok(())
            }
            Err(error) => {
                tracing::error!(client = %id, %error, "nobody knows who is at the admin socket");
                Ok(())
            }
        };
        if served.is_err() {
            tracing::error!(client = %id, "an operator's session panicked");
        }
    });
}

async fn serve_operator(worker: &Rc<Worker>, stream: Stream) {
    if let Some(login) = Box::pin(startup::welcome_operator(worker, &stream)).await {
        let worker = Rc::clone(worker);
        let console = Console::new(worker, stream, login.info, login.rest);
        Box::pin(console.serve()).await;
    }
}

/// The kernel spreads clients by chance: one that came to a busy core goes to the least busy one.
fn place(worker: &Rc<Worker>, client: Detached) {
    let loads = &worker.shared.loads;
    let other = loads.enter(worker.id);
    if other == worker.id {
        return adopt(worker, client);
    }
    let mailbox = &worker.shared.workers[usize::from(other.0)];
    if let Err(ToWorker::Adopt(client)) = mailbox.put(ToWorker::Adopt(client)) {
        loads.leave(other);
        loads.stay(worker.id);
        adopt(worker, client);
    }
}

/// A connection that is counted until it ends.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> (Self, u32) {
        (Self(Rc::clone(worker)), worker.count_client(true))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count_client(false);
        self.0.shared.loads.leave(self.0.id);
        self.0.left();
    }
}

/// Gives a client its task, on the core that serves it for good.
pub(super) fn adopt(worker: &Rc<Worker>, client: Detached) {
    let (counted, clients) = Counted::new(worker);
    let limit = worker.with_snapshot(|snapshot| snapshot.settings.listen.max_clients);
    if clients > limit.saturating_add(REFUSED_CLIENTS_MAX) {
        return;
    }
    let stream = worker.reactor.adopt(client, Side::Client);
    let id = stream.id();
    let worker = Rc::clone(worker);
    task::spawn(async move {
        if catch(serve(&worker, stream, clients > limit))
            .await
            .is_err()
        {
            tracing::error!(client = %id, worker = %worker.id, "a session panicked; it and its server connection are closed");
        }
        drop(counted);
    });
}

/// Login, then the session. The login's memory is given back before the session begins.
async fn serve(worker: &Rc<Worker>, stream: Stream, refuse: bool) {
    match Box::pin(log_in(worker, stream, refuse)).await {
        Some(Admitted::Session(session)) => session.serve().await,
        Some(Admitted::Console(console)) => Box::pin(console.serve()).await,
        None => {}
    }
}

/// Server of a client that is logged in: a session of a database, or the console.
enum Admitted {
    /// A database of the servers.
    Session(Box<Session>),
    /// The virtual database.
    Console(Console),
}

/// Logs a client in and begins its session; `None` when the connection is over.
async fn log_in(worker: &Rc<Worker>, stream: Stream, refuse: bool) -> Option<Admitted> {
    let Login {
        info,
        rest,
        service,
    } = startup::welcome(worker, &stream, refuse).await?;
    let worker = Rc::clone(worker);
    Some(match service {
        Service::Pool(pool, parameters, greeting) => {
            let told = (parameters, greeting);
            let session = Session::new(worker, stream, info, pool, told, rest);
            Admitted::Session(Box::new(session))
        }
        Service::Console => Admitted::Console(Console::new(worker, stream, info, rest)),
    })
}

/// Runs a session's task; a panic ends that session alone. (A panic of the reactor or of a pool aborts.)
async fn catch(future: impl Future<Output = ()>) -> Result<(), ()> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(())),
        }
    })
    .await
}
