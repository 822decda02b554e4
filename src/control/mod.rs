//! The control plane: one core that starts the workers, publishes what they decide by, and tells them when to stop.
//!
//! It runs the same reactor as a worker, so that there is one kind of socket, timer and wake-up in the program.

pub mod config;
mod cpus;
mod error;
mod failover;
mod keys;
mod line;
mod listen;
mod prepare;
mod publishing;
mod rights;
mod signals;
mod state;
mod status_file;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

pub use self::error::ControlError;
pub use self::failover::rights::{RIGHTS, Right};
pub use self::rights::NodeRights;
pub use self::status_file::discard as discard_status;
use self::{
    keys::{Deriver, KeyMaker},
    publishing::Publishing,
    state::{ClusterState, Event},
    watch::Watch,
};
use crate::{
    auth::MockSecret,
    cluster::{
        balance::Loads,
        failover_state::FailoverOrder,
        messages::{CoreId, Order, Reply, ToControl, ToWorker},
        publish::Publisher,
        replies::Replies,
        settings::{DrainFor, Settings},
        shared::Shared,
    },
    ids::{Epoch, WorkerId},
    limits::{
        CONTROL_BUFFERS_BYTES, DESCRIPTORS_SPARE, MAILBOX_MESSAGES_MAX, WORKER_IO_MEMORY_BYTES,
    },
    mailbox::Mailbox,
    net::{BufferSizes, Listener, Reactor, WakeHandle, raise_descriptor_limit, task},
    random, time,
};

/// How the control plane starts a worker: handed in, because the planes do not know each other.
pub struct WorkerStart {
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
    /// Everything that it shares with the other cores.
    pub shared: Arc<Shared>,
}

/// Waits for a worker's end; the text says why it ended.
pub type Join = Box<dyn FnOnce() -> Result<(), String>>;

/// Runs pgring until it is told to stop.
pub fn run(
    settings: Settings,
    file: &Path,
    start_worker: impl Fn(WorkerStart) -> Result<Join, String> + 'static,
) -> Result<(), ControlError> {
    check_descriptors(&settings)?;
    let file = file.to_owned();
    let placement = match settings.runtime.control_cpu {
        Some(cpu) => glommio::Placement::Fixed(cpu),
        None => glommio::Placement::Unbound,
    };
    let executor = glommio::LocalExecutorBuilder::new(placement)
        .name("control")
        .io_memory(WORKER_IO_MEMORY_BYTES)
        .ring_depth(8)
        .preempt_timer(crate::limits::PREEMPT_TIMER)
        .make()
        .map_err(|error| {
            ControlError::Start(
                "cannot start the control core",
                io::Error::other(error.to_string()),
            )
        })?;
    executor.run(async move { Control::start(settings, file, start_worker)?.run().await })
}

/// Connects to every node as the role of `[health]`, and asks which rights for failover it lacks; nothing without one.
///
/// # Errors
/// It cannot be tried on this machine.
pub fn look_at_rights(settings: Settings) -> Result<Vec<NodeRights>, ControlError> {
    glommio::LocalExecutor::default().run(rights::look(settings))
}

fn check_descriptors(settings: &Settings) -> Result<(), ControlError> {
    let limit = raise_descriptor_limit().map_err(|error| {
        ControlError::Start("cannot raise the limit of open descriptors", error)
    })?;
    let clients = settings.listen.max_clients;
    let needed = u64::from(clients) + DESCRIPTORS_SPARE;
    if limit >= needed {
        return Ok(());
    }
    Err(ControlError::Descriptors {
        limit,
        clients,
        needed,
    })
}

/// One worker for each wake-up, with listening sockets of its own.
fn start_workers(
    settings: &Settings,
    shared: &Arc<Shared>,
    wakes: Vec<WakeHandle>,
    start_worker: impl Fn(WorkerStart) -> Result<Join, String>,
) -> Result<Vec<Option<Join>>, ControlError> {
    let cpus = cpus::for_workers(&settings.runtime);
    let listeners = listen::open(&settings.listen, wakes.len())?;
    let mut operators = settings
        .admin
        .socket
        .as_ref()
        .map(listen::open_admin)
        .transpose()?;
    let mut joins = Vec::new();
    for (number, (listeners, wake)) in listeners.into_iter().zip(wakes).enumerate() {
        let id = WorkerId(number as u16);
        let start = WorkerStart {
            id,
            cpu: cpus.get(number).copied(),
            buffers: BufferSizes {
                client: settings.runtime.client_buffers,
                server: settings.runtime.server_buffers,
            },
            listeners,
            operators: operators.take(),
            wake,
            shared: Arc::clone(shared),
        };
        let join = start_worker(start).map_err(|error| ControlError::Worker(id, error))?;
        joins.push(Some(join));
    }
    Ok(joins)
}

/// State of the nodes before anybody has looked: as the status file has it.
fn remembered(settings: &Settings) -> ClusterState {
    let mut state = ClusterState::new(
        watch::members(settings),
        watch::rules(settings),
        time::unix_micros(),
    );
    status_file::restore(settings, &mut state);
    state
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Not every worker is up.
    Starting,
    Serving,
    /// No new clients; transactions end.
    Draining,
    /// Everything ends.
    Stopping,
}

/// The control core.
struct Control {
    file: PathBuf,
    reactor: Reactor,
    shared: Arc<Shared>,
    publishing: Rc<Publishing>,
    watch: Rc<Watch>,
    keys: KeyMaker,
    replies: Rc<Replies>,
    joins: Vec<Option<Join>>,
    phase: Phase,
    /// Workers that are up.
    ready: usize,
    /// Workers without clients, while draining; or ended, while stopping.
    drained: Vec<bool>,
    deadline: Option<Instant>,
}

impl Control {
    fn start(
        settings: Settings,
        file: PathBuf,
        start_worker: impl Fn(WorkerStart) -> Result<Join, String>,
    ) -> Result<Self, ControlError> {
        let made = |what| move |error| ControlError::Start(what, error);
        let own_wake = WakeHandle::new().map_err(made("cannot make an event descriptor"))?;
        let buffers = BufferSizes {
            client: 0,
            server: CONTROL_BUFFERS_BYTES,
        };
        let reactor = Reactor::new(buffers, own_wake.clone())?;
        let workers = usize::from(settings.runtime.workers);
        let wakes: Vec<_> = (0..workers)
            .map(|_| WakeHandle::new())
            .collect::<Result<_, _>>()
            .map_err(made("cannot make an event descriptor"))?;
        let mut secret = [0; 32];
        random::fill(&mut secret);
        let publisher = Publisher::new(prepare::snapshot(settings.clone(), Epoch(1)));
        let mailbox = |wake: WakeHandle| Mailbox::new(MAILBOX_MESSAGES_MAX, move || wake.wake());
        let mailboxes: Arc<[_]> = wakes.iter().cloned().map(mailbox).collect();
        let shared = Arc::new(Shared {
            budgets: Shared::budgets(Arc::clone(&mailboxes), time::now()),
            workers: mailboxes,
            control: Mailbox::new(MAILBOX_MESSAGES_MAX, move || own_wake.wake()),
            readers: publisher.readers(),
            mock_secret: MockSecret::new(secret),
            clients: Default::default(),
            loads: Loads::new(workers),
            commits: Default::default(),
            tickets: AtomicU64::new(1),
            schema: AtomicU64::new(0),
            stamps: Default::default(),
            server_major: Default::default(),
        });
        signals::watch(Arc::clone(&shared)).map_err(made("cannot handle signals"))?;
        let joins = start_workers(&settings, &shared, wakes, start_worker)?;
        let keys = KeyMaker::start(Arc::clone(&shared)).map_err(made("cannot start a thread"))?;
        let publishing = Rc::new(Publishing::new(publisher, Arc::clone(&shared)));
        let replies = Rc::new(Replies::new(CoreId::Control));
        let deriver = Deriver::new(keys.clone(), Arc::clone(&shared), Rc::clone(&replies));
        let watch = Watch::new(
            reactor.clone(),
            Rc::clone(&publishing),
            (deriver, Rc::clone(&replies)),
            remembered(&settings),
        );
        Ok(Self {
            file,
            reactor,
            shared,
            publishing,
            watch,
            keys,
            replies,
            joins,
            phase: Phase::Starting,
            ready: 0,
            drained: vec![false; workers],
            deadline: None,
        })
    }

    async fn run(mut self) -> Result<(), ControlError> {
        let reactor = self.reactor.clone();
        let ended = Rc::new(std::cell::RefCell::new(None));
        let result = Rc::clone(&ended);
        watch::start(&self.watch);
        task::spawn(async move {
            let outcome = self.read_mail().await;
            listen::clean_up(&self.publishing.current().settings);
            result.replace(Some(outcome));
        });
        reactor
            .run(|| ended.borrow().is_some())
            .await
            .map_err(|error| ControlError::Start("the control ring failed", error))?;
        ended
            .take()
            .expect("the reactor runs until the outcome is there")
    }

    async fn read_mail(&mut self) -> Result<(), ControlError> {
        loop {
            while let Some(message) = self.shared.control.take() {
                self.on_message(message)?;
            }
            if self.phase == Phase::Stopping && self.drained.iter().all(|drained| *drained) {
                return self.join_all();
            }
            match self.deadline {
                None => self.reactor.woken().await,
                Some(deadline) => {
                    if self
                        .reactor
                        .deadline(deadline, self.reactor.woken())
                        .await
                        .is_err()
                    {
                        tracing::warn!("drain_timeout is over; ending what is left");
                        self.stop();
                    }
                }
            }
        }
    }

    fn on_message(&mut self, message: ToControl) -> Result<(), ControlError> {
        match message {
            ToControl::Derive(order) => {
                self.keys.make(order);
            }
            ToControl::Reply(ticket, reply) => self.replies.arrived(ticket, reply),
            ToControl::Suspect(node) => self.watch.suspect(node),
            ToControl::Order(Order::Stop(until), reply_to) => {
                // Who has ordered it is among those who are told to leave.
                self.shared.reply(reply_to, Reply::Ordered(Ok(())));
                match until {
                    Some(until) if self.phase <= Phase::Serving => self.drain(until),
                    _ => self.stop(),
                }
            }
            ToControl::Order(order, reply_to) => {
                let taken = self.ordered(order);
                self.shared.reply(reply_to, Reply::Ordered(taken));
            }
            ToControl::Connected(node) => self.watch.connected(node),
            ToControl::Catalog(database, user) => self.watch.want_catalog(database, user),
            ToControl::Vacate(database) => self.watch.vacate(&database),
            ToControl::LostCommit => self.watch.lost_commit(),
            ToControl::Surveyed => self.serve_when_ready(),
            ToControl::Ready(_) => {
                self.ready += 1;
                self.serve_when_ready();
            }
            ToControl::Drained(worker) => return self.worker_is_empty(worker),
            ToControl::Ended(worker) => return self.worker_ended(worker),
            ToControl::Signal(signal) => self.on_signal(signal),
        }
        Ok(())
    }

    /// Does what an operator wants, or says why not.
    fn ordered(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Attach(node) => self.watch.on(Event::Attach(node)),
            Order::Detach(node, lets_end) => self.watch.on(Event::Detach(node, lets_end)),
            Order::Failover(FailoverOrder::SwitchOver(to)) => return self.watch.switch_over(to),
            Order::Failover(order) => self.watch.on(Event::Ordered(order)),
            Order::Reload => return self.reload(),
            Order::Stop(_) => {}
        }
        Ok(())
    }

    /// Clients may come when all workers are up and it is known what the nodes are.
    fn serve_when_ready(&mut self) {
        let is_ready = self.ready >= self.joins.len() && self.watch.is_surveyed();
        if !is_ready || self.phase != Phase::Starting {
            return;
        }
        self.phase = Phase::Serving;
        let current = self.publishing.current();
        let listen = &current.settings.listen;
        tracing::info!(
            addresses = ?listen.addresses, workers = self.joins.len(), process = std::process::id(),
            "pgring {} is ready", env!("CARGO_PKG_VERSION")
        );
    }

    fn on_signal(&mut self, signal: i32) {
        match signal {
            signals::RELOAD => drop(self.reload()),
            signals::TERMINATE if self.phase <= Phase::Serving => {
                let until = self.publishing.current().settings.listen.drain;
                self.drain(until);
            }
            _ => self.stop(),
        }
    }

    fn drain(&mut self, until: DrainFor) {
        let limit = self.publishing.current().settings.listen.drain_timeout;
        match until {
            DrainFor::Transactions => {
                tracing::info!(timeout = ?limit, "draining: no new clients, transactions may end");
            }
            DrainFor::Clients => {
                tracing::info!(timeout = ?limit, "draining: no new clients, those that are here may leave");
            }
        }
        self.phase = Phase::Draining;
        self.deadline = Some(time::now() + limit);
        self.shared.tell_all(None, move || ToWorker::Drain(until));
    }

    fn stop(&mut self) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Stopping;
        self.deadline = None;
        self.drained.fill(false);
        self.shared.tell_all(None, || ToWorker::Stop);
    }

    fn worker_is_empty(&mut self, worker: WorkerId) -> Result<(), ControlError> {
        if self.phase == Phase::Draining {
            self.drained[usize::from(worker.0)] = true;
            if self.drained.iter().all(|drained| *drained) {
                self.stop();
            }
        }
        Ok(())
    }

    /// A worker's thread is ending: by order, or because something is badly wrong. A proxy that has lost a core
    /// must restart, not limp.
    fn worker_ended(&mut self, worker: WorkerId) -> Result<(), ControlError> {
        let number = usize::from(worker.0);
        if self.phase == Phase::Stopping {
            self.drained[number] = true;
            return Ok(());
        }
        let join = self.joins[number].take().expect("a worker ends once");
        let reason = join()
            .err()
            .unwrap_or_else(|| "it was not told to".to_owned());
        Err(ControlError::Worker(worker, reason))
    }

    fn join_all(&mut self) -> Result<(), ControlError> {
        for (number, join) in self.joins.iter_mut().enumerate() {
            let ended = join.take().map_or(Ok(()), |join| join());
            ended.map_err(|reason| ControlError::Worker(WorkerId(number as u16), reason))?;
        }
        tracing::info!("pgring has stopped");
        Ok(())
    }

    /// Reads the file again; a wrong one changes nothing, and what is wrong is said.
    fn reload(&mut self) -> Result<(), String> {
        let current = self.publishing.current();
        let loaded = match config::load(&self.file) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!("the configuration was not reloaded:\n{error}");
                return Err(format!("the configuration was not reloaded:\n{error}"));
            }
        };
        let reload = config::changes(&current.settings, &loaded);
        for key in &reload.needs_restart {
            tracing::warn!(key, "changed in the file, takes effect at the next restart");
        }
        self.publishing.settings(reload.settings);
        self.watch.reloaded(&current.settings);
        tracing::info!(applied = ?reload.applied, "configuration reloaded");
        Ok(())
    }
}
