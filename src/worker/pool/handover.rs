//! Server connections that change cores, and messages from other cores about this one's pools.
//!
//! A connection goes over alive, with its permit, so the limits hold and no login is needed. Whether and where it
//! goes is decided in `scheduler.rs`.

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::{
    backend::{Backend, BackendInfo, CorePermit, Membership},
    effects::spawn_later,
    login::address_of,
    node_pool::Pool,
    scheduler::{self, Schedulers},
};
use crate::{
    cluster::{
        budget::Budget,
        messages::{Handed, HandedStatement, HandedStatements, ServerProcess, ToWorker},
    },
    ids::WorkerId,
    net::Side,
    session::prepared::server::Prepared,
    worker::core::Worker,
};

impl Worker {
    /// Looks through the process for connections, or the places of some, for a pool whose clients wait: gives what
    /// is here; a core that has more goes on from there.
    pub(crate) fn seek(self: &Rc<Self>, budget: &Arc<Budget>) {
        scheduler::seek(self.id, budget, self);
    }

    /// A permit was taken for a pool of this core, or what it waits for has changed. Without that pool the permit goes
    /// on to the next.
    pub(crate) fn granted(self: &Rc<Self>, budget: &Arc<Budget>) {
        match self.pool_of(budget) {
            Some(pool) => pool.with_scheduler(self, |scheduler, effects| scheduler.hear(effects)),
            None => budget.decline(self.id),
        }
    }

    /// A connection has arrived from another core. Without its pool here it closes, and its permit is free again.
    pub(crate) fn handed(self: &Rc<Self>, handed: Handed) {
        handed.permit.budget().settle_promise(self.id);
        let set = self.pools.borrow().get(&handed.key).cloned();
        if let Some(pool) = set.and_then(|set| set.existing(handed.process.node)) {
            pool.adopt(self, handed);
        }
    }

    /// Messages to this core were lost: it looks for itself what they may have said.
    pub(crate) fn look_around(self: &Rc<Self>) {
        for pool in self.pools() {
            pool.look_around(self);
        }
    }

    fn pool_of(&self, budget: &Arc<Budget>) -> Option<Rc<Pool>> {
        let pool = self.pools.borrow().get(&budget.key)?.existing(budget.node);
        pool.filter(|pool| Arc::ptr_eq(&pool.budget(), budget))
    }
}

impl Schedulers for Rc<Worker> {
    fn give_up(&self, budget: &Arc<Budget>) -> bool {
        self.pool_of(budget).is_some_and(|pool| pool.give_up(self))
    }

    fn evict(&self, victim: &Arc<Budget>) -> bool {
        self.pool_of(victim).is_some_and(|pool| pool.evict(self))
    }

    fn ask(&self, other: WorkerId, budget: &Arc<Budget>) {
        // A core whose mailbox is full looks around when it has emptied it.
        let _ = self.shared.put(other, ToWorker::Seek(Arc::clone(budget)));
    }
}

impl Pool {
    /// Another core has clients waiting: it gets a connection that is idle here.
    fn give_up(self: &Rc<Self>, worker: &Rc<Worker>) -> bool {
        self.with_scheduler(worker, |scheduler, effects| scheduler.give_up(effects))
    }

    /// Another pool has clients waiting: it gets the place of a connection that is idle here.
    fn evict(self: &Rc<Self>, worker: &Rc<Worker>) -> bool {
        self.with_scheduler(worker, |scheduler, effects| scheduler.evict(effects))
    }

    fn look_around(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.with_scheduler(worker, |scheduler, effects| scheduler.look_around(effects));
    }

    /// Gives a connection that nothing is owed on to a core to which it is promised.
    pub(super) fn hand_over(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        backend: Box<Backend>,
        target: WorkerId,
    ) {
        let (pool, worker) = (Rc::clone(self), Rc::clone(worker));
        let budget = backend.membership.permit.budget();
        spawn_later(async move {
            let Some(handed) = pool.pack(*backend).await else {
                budget.settle_promise(target);
                // The connection was not fit any more. Somebody still waits.
                return worker.seek(&budget);
            };
            let sent = worker.shared.put(target, ToWorker::Handed(handed));
            if let Err(ToWorker::Handed(handed)) = sent {
                // Its mailbox is full: it will look for itself.
                budget.settle_promise(target);
                pool.adopt(&worker, *handed);
            }
        });
    }

    /// Takes a connection off this core. `None` when it is not fit any more; it is closed then.
    async fn pack(&self, backend: Backend) -> Option<Box<Handed>> {
        let Backend {
            stream,
            info,
            membership,
            welcome,
            parameters,
            belief,
            sequences,
            prepared,
            opened,
            used,
            replayed,
            ..
        } = backend;
        stream.park(false);
        let connection = stream.detach().await?;
        Some(Box::new(Handed {
            key: self.key.clone(),
            connection,
            database: membership.database,
            permit: membership.permit.hand_over(),
            process: ServerProcess {
                node: info.node,
                process_id: info.process_id,
                cancel_key: info.cancel_key.clone(),
                opened_us: info.opened_us,
            },
            opened,
            used: used.get(),
            replayed,
            welcome,
            parameters: parameters.to_pairs(),
            belief,
            generation: membership.generation,
            sequences,
            prepared: pack_prepared(&prepared),
        }))
    }

    /// Takes in a connection from another core, for the first who waits here.
    fn adopt(self: &Rc<Self>, worker: &Rc<Worker>, handed: Handed) {
        if !self.is_called(&handed.database) {
            // The database was renamed meanwhile.
            drop(handed);
            return self.serve_waiters(worker);
        }
        let backend = Box::new(self.unpack(worker, handed));
        let now = worker.reactor.now();
        if self.is_bygone(&backend) || self.is_old(&backend, now) {
            self.dismiss(worker, backend);
            return self.serve_waiters(worker);
        }
        if self.is_stale(&backend, now) {
            return self.verify(worker, backend);
        }
        self.with_scheduler(worker, |scheduler, effects| {
            scheduler.adopt(effects, backend)
        });
    }

    fn unpack(&self, worker: &Worker, handed: Handed) -> Backend {
        let permit = CorePermit::of(handed.permit, &self.open);
        let process = handed.process;
        let address = worker.with_snapshot(|snapshot| address_of(snapshot, process.node));
        let stream = worker.reactor.adopt(handed.connection, Side::Server);
        let pairs = handed.parameters.iter();
        let parameters = worker
            .interner
            .of(pairs.map(|(name, value)| (name.clone(), &value[..])));
        let info = BackendInfo {
            node: process.node,
            address,
            id: stream.id(),
            process_id: process.process_id,
            cancel_key: process.cancel_key,
            opened_us: process.opened_us,
            cancels: Cell::new(0),
        };
        Backend {
            stream,
            info: Rc::new(info),
            welcome: handed.welcome,
            record: Vec::new(),
            read: Vec::new(),
            replayed: handed.replayed,
            prepared: unpack_prepared(worker, handed.prepared),
            parameters,
            belief: handed.belief,
            is_new: false,
            is_spent: false,
            sequences: handed.sequences,
            opened: handed.opened,
            used: Cell::new(handed.used),
            membership: Membership {
                database: self.server_database(),
                generation: handed.generation,
                permit,
            },
        }
    }
}

/// Prepared statements of a connection, for another core.
fn pack_prepared(prepared: &Prepared) -> HandedStatements {
    // A statement that is not shared has its session on this core, and is of no use elsewhere.
    let unshared = prepared
        .inventory()
        .filter(|(_, statement)| statement.shared_under().is_none());
    HandedStatements {
        last: prepared.last_number(),
        unused: unshared
            .map(|(number, _)| number)
            .chain(prepared.unused().iter().copied())
            .collect(),
        statements: prepared.pack().collect(),
    }
}

/// Prepared statements of a connection that has come to this core.
fn unpack_prepared(worker: &Worker, handed: HandedStatements) -> Prepared {
    let unpack = |handed: HandedStatement| {
        let pairs = handed.context.iter();
        let context = worker
            .interner
            .of(pairs.map(|(name, value)| (name.clone(), &value[..])));
        (
            worker.statements.of(&handed.content, Some(&context)),
            handed,
        )
    };
    let list = handed.statements.into_iter().map(unpack);
    Prepared::unpack(handed.last, list, handed.unused)
}
