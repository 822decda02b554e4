//! The data plane: one `Worker` per core. Clients come in, sessions run, server connections are pooled.
//!
//! The modules are in the order in which a query meets them.

mod accept;
mod arena;
mod ask;
mod cancel;
mod clients;
mod console;
mod core;
mod counters;
mod date_style;
mod doors;
mod guard;
mod mail;
mod pool;
mod refused;
mod report;
pub mod route;
mod session;
mod startup;
mod welcome;

use std::{io, rc::Rc, sync::Arc};

use self::core::Worker;
use crate::{
    cluster::{messages::ToControl, shared::Shared},
    ids::WorkerId,
    limits::WORKER_IO_MEMORY_BYTES,
    net::{BufferSizes, Listener, ProbeError, Reactor, WakeHandle, task},
};

/// Plan of one worker core, by which it is started.
pub struct WorkerPlan {
    /// Which one.
    pub id: WorkerId,
    /// CPU it is bound to.
    pub cpu: Option<usize>,
    /// Sizes of its receive buffers.
    pub buffers: BufferSizes,
    /// Sockets it accepts from.
    pub listeners: Vec<Listener>,
    /// Socket from which it accepts operators, if it is the one that does.
    pub operators: Option<Listener>,
    /// How other cores wake it.
    pub wake: WakeHandle,
    /// State that it shares with the other cores.
    pub shared: Arc<Shared>,
}

/// Why a worker core ended other than by being told.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The kernel lacks something.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The ring failed.
    #[error("the ring of worker {0} failed: {1}")]
    Ring(WorkerId, io::Error),
    /// Its thread could not be started, or panicked.
    #[error("worker {0} cannot run: {1}")]
    Thread(WorkerId, String),
}

/// A running worker core.
pub struct WorkerThread(
    WorkerId,
    glommio::ExecutorJoinHandle<Result<(), WorkerError>>,
);

impl WorkerThread {
    /// Waits until the core has ended.
    pub fn join(self) -> Result<(), WorkerError> {
        match self.1.join() {
            Ok(ended) => ended,
            Err(error) => Err(WorkerError::Thread(self.0, error.to_string())),
        }
    }
}

impl WorkerPlan {
    /// Starts the core.
    pub fn start(self) -> Result<WorkerThread, WorkerError> {
        let id = self.id;
        let placement = match self.cpu {
            Some(cpu) => glommio::Placement::Fixed(cpu),
            None => glommio::Placement::Unbound,
        };
        let thread = glommio::LocalExecutorBuilder::new(placement)
            .name(&format!("worker-{id}"))
            .io_memory(WORKER_IO_MEMORY_BYTES)
            .ring_depth(8)
            .preempt_timer(crate::limits::PREEMPT_TIMER)
            .spawn(move || run(self))
            .map_err(|error| WorkerError::Thread(id, error.to_string()))?;
        Ok(WorkerThread(id, thread))
    }
}

async fn run(plan: WorkerPlan) -> Result<(), WorkerError> {
    let shared = Arc::clone(&plan.shared);
    let told = AbsenceNotice {
        id: plan.id,
        shared,
    };
    let reactor = Reactor::new(plan.buffers, plan.wake)?;
    let worker = Worker::new(plan.id, reactor.clone(), plan.shared);
    start_tasks(&worker, &plan.listeners);
    if let Some(operators) = &plan.operators {
        accept::start_operators(&worker, operators);
    }
    drop((plan.listeners, plan.operators));
    let _ = worker.shared.control.put(ToControl::Ready(worker.id));
    // Clients that have not logged in by now never will; those that were told to leave have their last word sent.
    let done =
        || worker.doors.is_stopping() && worker.clients.is_empty() && !reactor.has_queued_sends();
    let ended = reactor
        .run(done)
        .await
        .map_err(|error| WorkerError::Ring(told.id, error));
    drop(told);
    ended
}

/// Tells the control core when a worker has ended, however it ended.
struct AbsenceNotice {
    id: WorkerId,
    shared: Arc<Shared>,
}

impl Drop for AbsenceNotice {
    fn drop(&mut self) {
        let _ = self.shared.control.put(ToControl::Ended(self.id));
    }
}

fn start_tasks(worker: &Rc<Worker>, listeners: &[Listener]) {
    for listener in listeners {
        accept::start(worker, listener);
    }
    let reads = Rc::clone(worker);
    task::spawn(async move { mail::read(&reads).await });
    let cleans = Rc::clone(worker);
    task::spawn(async move { cleans.maintain_pools().await });
}
