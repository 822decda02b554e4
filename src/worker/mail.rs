//! What other cores tell this one, and the questions this one asked them.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hashbrown::HashMap;

use super::{
    Worker, accept, cancel,
    clients::{ClientInfo, Kill},
    pool::server_database,
    report,
};
use crate::{
    auth::SaltedKeys,
    cluster::{
        messages::{Ticket, ToControl, ToWorker},
        node::{NodeState, Role},
        report::{ClientReport, Report, ReportKind},
        settings::DrainFor,
    },
    ids::WorkerId,
    limits::{CANCEL_SECONDS_MAX, REPORT_SECONDS_MAX, VACATE_AFTER_MS},
    net::task::{self, WakerCell},
    time,
};

/// Reads the mailbox for the life of the core.
pub(super) async fn read(worker: &Rc<Worker>) {
    loop {
        worker.reactor.woken().await;
        let mailbox = &worker.shared.workers[usize::from(worker.id.0)];
        while let Some(message) = mailbox.take() {
            worker.on_message(message);
        }
        if mailbox.has_overflowed() {
            worker.look_around();
        }
    }
}

/// Answers that are awaited.
#[derive(Default)]
pub(super) struct Questions {
    keys: RefCell<HashMap<Ticket, Rc<Awaited<Arc<SaltedKeys>>>>>,
    reports: RefCell<HashMap<Ticket, Rc<Awaited<Report>>>>,
    cancels: RefCell<HashMap<Ticket, Rc<Awaited<()>>>>,
}

/// Answers to one question.
struct Awaited<T> {
    answers: RefCell<Vec<T>>,
    missing: Cell<usize>,
    waker: WakerCell,
}

impl<T> Awaited<T> {
    fn new(count: usize) -> Rc<Self> {
        Rc::new(Self {
            answers: RefCell::default(),
            missing: Cell::new(count),
            waker: WakerCell::default(),
        })
    }

    fn answer(&self, answer: T) {
        self.answers.borrow_mut().push(answer);
        self.missing.set(self.missing.get().saturating_sub(1));
        self.waker.wake();
    }

    async fn all(&self) -> Vec<T> {
        poll_fn(|context| {
            if self.missing.get() == 0 {
                return Poll::Ready(self.answers.take());
            }
            self.waker.register(context);
            Poll::Pending
        })
        .await
    }
}

impl Worker {
    fn on_message(self: &Rc<Self>, message: ToWorker) {
        match message {
            ToWorker::Cancel {
                process_id,
                key,
                asker,
                ticket,
            } => self.cancel_for(asker, ticket, process_id, key),
            ToWorker::Cancelled(ticket) => {
                let asked = self.questions.cancels.borrow_mut().remove(&ticket);
                asked.into_iter().for_each(|asked| asked.answer(()));
            }
            ToWorker::Keys(ticket, keys) => {
                let asked = self.questions.keys.borrow_mut().remove(&ticket);
                asked
                    .into_iter()
                    .for_each(|asked| asked.answer(Arc::clone(&keys)));
            }
            ToWorker::Seek(budget) => self.seek(&budget),
            ToWorker::Handed(handed) => self.handed(*handed),
            ToWorker::Granted(budget) => self.granted(&budget),
            ToWorker::Ask(ticket, asker, kind) => {
                self.shared
                    .tell(asker, ToWorker::Told(ticket, report::report(self, kind)));
            }
            ToWorker::Told(ticket, report) => {
                let asked = self.questions.reports.borrow().get(&ticket).cloned();
                asked
                    .into_iter()
                    .for_each(|asked| asked.answer(report.clone()));
            }
            ToWorker::Adopt(client) => accept::adopt(self, client),
            ToWorker::Reload => {
                self.refresh_pools();
                self.clients.reload_all();
            }
            ToWorker::NodesChanged => {
                self.refresh_pools();
                self.clients.wake_waiting();
                let snapshot = self.snapshot();
                self.clients.wake_those_at(|node| {
                    let state = snapshot.state(node);
                    let may_be_other = |state: &NodeState| {
                        !state.status.is_usable() || state.role == Role::Standby
                    };
                    state.is_none_or(may_be_other)
                });
            }
            ToWorker::Drain(until) => self.drain(until),
            ToWorker::Vacate(database) => self.leave_database(&database),
            ToWorker::Stop => self.stop(),
        }
    }

    /// A client's statement runs for which nobody may be connected to this database of the servers. For those who are, the
    /// server waits five seconds: when it does, and not when it refuses the statement, whose client may be anybody. While
    /// other clients are logged in to that database, the server is to refuse it, as if each had a connection.
    pub(super) fn vacate(self: &Rc<Self>, client: &Rc<ClientInfo>, database: Arc<str>) {
        let number = self.statements.number();
        client.vacates.set(number);
        let (worker, client) = (Rc::clone(self), Rc::clone(client));
        task::spawn(async move {
            let patience = Duration::from_millis(VACATE_AFTER_MS);
            loop {
                worker.reactor.sleep(patience).await;
                if client.vacates.get() != number {
                    return;
                }
                if !worker.is_used_beside(&client, &database).await {
                    return worker.have_left(database);
                }
            }
        });
    }

    /// True when clients of any core beside this one are logged in to a database of the servers, or one core cannot tell.
    async fn is_used_beside(self: &Rc<Self>, client: &ClientInfo, database: &str) -> bool {
        let reports = self.ask_all(ReportKind::Clients).await;
        let snapshot = self.snapshot();
        let is_there = |other: &ClientReport| {
            let name = server_database(&snapshot.settings, &other.key);
            other.process_id != client.process_id && name.is_some_and(|name| *name == *database)
        };
        let uses = |report: &Report| match report {
            Report::Clients(clients) => clients.iter().any(is_there),
            _ => true,
        };
        reports.len() < self.shared.workers.len() || reports.iter().any(uses)
    }

    fn have_left(self: &Rc<Self>, database: Arc<str>) {
        self.leave_database(&database);
        let tell = || ToWorker::Vacate(Arc::clone(&database));
        self.shared.tell_all(Some(self.id), tell);
        // A mailbox that is full costs the client its statement, which the server refuses then.
        let _ = self.shared.control.put(ToControl::Vacate(database));
    }

    /// Closes what is idle there.
    fn leave_database(self: &Rc<Self>, database: &str) {
        for pool in self.pools() {
            pool.leave_database(self, database);
        }
    }

    fn refresh_pools(self: &Rc<Self>) {
        let snapshot = self.snapshot();
        for set in self.pool_sets() {
            set.refresh(self, &snapshot);
        }
        for pool in self.pools() {
            // There may be more connections now.
            pool.serve_waiters(self);
        }
        self.reactor.wake_keeper();
    }

    /// Another core had a cancel request for a client of this one.
    fn cancel_for(self: &Rc<Self>, asker: WorkerId, ticket: Ticket, process_id: i32, key: Vec<u8>) {
        let worker = Rc::clone(self);
        task::spawn(async move {
            cancel::run(&worker, process_id, &key).await;
            worker.shared.tell(asker, ToWorker::Cancelled(ticket));
        });
    }

    /// Passes a cancel request on to its owner and waits until it has had its effect; false when the owner has
    /// too much to do.
    pub(super) async fn ask_to_cancel(
        &self,
        owner: WorkerId,
        process_id: i32,
        key: Vec<u8>,
    ) -> bool {
        let ticket = self.shared.ticket();
        let awaited = Awaited::new(1);
        self.questions
            .cancels
            .borrow_mut()
            .insert(ticket, Rc::clone(&awaited));
        let question = ToWorker::Cancel {
            process_id,
            key,
            asker: self.id,
            ticket,
        };
        let told = self.shared.tell(owner, question);
        if told {
            let deadline = time::now() + Duration::from_secs(CANCEL_SECONDS_MAX);
            let _ = self.reactor.deadline(deadline, awaited.all()).await;
        }
        self.questions.cancels.borrow_mut().remove(&ticket);
        told
    }

    fn drain(&self, until: DrainFor) {
        self.draining.set(true);
        self.doors.borrow().iter().for_each(|door| door.stop());
        if until == DrainFor::Transactions {
            self.clients.kill_all(Kill::Drain);
        }
        self.left();
    }

    fn stop(&self) {
        self.draining.set(true);
        self.stopping.set(true);
        self.doors.borrow().iter().for_each(|door| door.stop());
        self.clients.kill_all(Kill::Stop);
    }

    /// A client left: the last one of a draining core is news to the control core.
    pub(super) fn left(&self) {
        if self.draining.get() && self.clients.is_empty() {
            let _ = self.shared.control.put(ToControl::Drained(self.id));
        }
    }

    /// Has the control core run PBKDF2; `None` when it has too much to do.
    pub(super) async fn derive(
        &self,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Option<Arc<SaltedKeys>> {
        let ticket = self.shared.ticket();
        let awaited = Awaited::new(1);
        self.questions
            .keys
            .borrow_mut()
            .insert(ticket, Rc::clone(&awaited));
        let question = ToControl::Derive {
            worker: self.id,
            ticket,
            password,
            salt,
            iterations,
        };
        if self.shared.control.put(question).is_err() {
            self.questions.keys.borrow_mut().remove(&ticket);
            return None;
        }
        awaited.all().await.pop()
    }

    /// Asks every core, this one included.
    pub(super) async fn ask_all(self: &Rc<Self>, kind: ReportKind) -> Vec<Report> {
        let ticket = self.shared.ticket();
        let others = self.shared.workers.len() - 1;
        let awaited = Awaited::new(others + 1);
        self.questions
            .reports
            .borrow_mut()
            .insert(ticket, Rc::clone(&awaited));
        awaited.answer(report::report(self, kind));
        self.shared
            .tell_all(Some(self.id), || ToWorker::Ask(ticket, self.id, kind));
        let deadline = time::now() + Duration::from_secs(REPORT_SECONDS_MAX);
        let told = self.reactor.deadline(deadline, awaited.all()).await;
        self.questions.reports.borrow_mut().remove(&ticket);
        told.unwrap_or_else(|_| awaited.answers.take())
    }
}
