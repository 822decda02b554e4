//! Messages of other cores to this one.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    accept, cancel,
    clients::{ClientInfo, Kill},
    core::Worker,
    pool::common::server_database,
    report,
};
use crate::{
    cluster::{
        messages::{Reply, ReplyTo, ToControl, ToWorker},
        node::{NodeState, Role},
        report::{ClientReport, Report, ReportKind},
        settings::DrainFor,
    },
    limits::VACATE_AFTER_MS,
    net::task,
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

impl Worker {
    fn on_message(self: &Rc<Self>, message: ToWorker) {
        match message {
            ToWorker::Cancel {
                process_id,
                key,
                reply_to,
            } => self.cancel_for(reply_to, process_id, key),
            ToWorker::Reply(ticket, reply) => self.replies.arrived(ticket, reply),
            ToWorker::Seek(budget) => self.seek(&budget),
            ToWorker::Handed(handed) => self.handed(*handed),
            ToWorker::Granted(budget) => self.granted(&budget),
            ToWorker::Ask(to, kind) => {
                self.shared
                    .reply(to, Reply::Report(report::report(self, kind)));
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
                    state.is_none_or(may_be_other) || snapshot.is_leaving(node)
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
            other.process_id != client.backend_key.process_id
                && name.is_some_and(|name| *name == *database)
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
    fn cancel_for(self: &Rc<Self>, reply_to: ReplyTo, process_id: i32, key: Vec<u8>) {
        let worker = Rc::clone(self);
        task::spawn(async move {
            cancel::run(&worker, process_id, &key).await;
            worker.shared.reply(reply_to, Reply::Cancelled);
        });
    }

    fn drain(&self, until: DrainFor) {
        self.doors.drain();
        if until == DrainFor::Transactions {
            self.clients.kill_all(Kill::Drain);
        }
        self.left();
    }

    fn stop(&self) {
        self.doors.stop();
        self.clients.kill_all(Kill::Stop);
    }

    /// A client left: the last one of a draining core is news to the control core.
    pub(super) fn left(&self) {
        if self.doors.is_draining() && self.clients.is_empty() {
            let _ = self.shared.control.put(ToControl::Drained(self.id));
        }
    }
}
