//! Server connections that change cores: which core's turn it is, giving one away, taking one in.
//!
//! A connection goes over alive, with its permit, so the pool's size holds and no login is needed.

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::{Backend, Facts, Pool, backend::Permit, login::address_of};
use crate::{
    cluster::messages::{Handed, HandedParameters, HandedStatements, ToWorker},
    net::{Side, task},
    time,
    worker::{
        Worker,
        statements::{Statement, prepared::Prepared},
    },
};

/// How many releases a core may keep to itself while it has more than its share and another core waits.
const KEPT_RELEASES_MAX: u32 = 16;

impl Pool {
    /// Whether a connection that is released here goes to another core that waits: always when nobody waits
    /// here, else now and then while this core has more than its share.
    pub(super) fn is_anothers_turn(&self, worker: &Worker) -> bool {
        if self.waiters.borrow().is_empty() {
            return true;
        }
        let kept = self.kept.get() + 1;
        let over = kept > KEPT_RELEASES_MAX;
        self.kept.set(if over { 0 } else { kept });
        over && self.open.get() > self.budget.even_share(worker.id)
    }

    /// Another core has clients waiting: it gets a connection that is idle here.
    pub(crate) fn give_up(self: &Rc<Self>, worker: &Rc<Worker>) {
        if !self.waiters.borrow().is_empty() {
            return;
        }
        let idle = self.idle.borrow_mut().pop();
        if let Some(backend) = idle {
            self.hand_over(worker, backend);
        }
    }

    /// Gives a connection that nothing is owed on to the next core that waits.
    pub(super) fn hand_over(self: &Rc<Self>, worker: &Rc<Worker>, backend: Box<Backend>) {
        let (pool, worker) = (Rc::clone(self), Rc::clone(worker));
        task::spawn(async move {
            if let Some(handed) = pool.pack(*backend).await {
                pool.dispatch(&worker, handed);
            }
            pool.serve_waiters(&worker);
        });
    }

    /// Takes a connection off this core. `None` when it is not fit any more; it is closed then.
    async fn pack(&self, backend: Backend) -> Option<Box<Handed>> {
        let Backend {
            stream,
            facts,
            database,
            welcome,
            parameters,
            prepared,
            opened,
            permit,
            ..
        } = backend;
        stream.park(false);
        let descriptor = stream.detach().await?;
        Some(Box::new(Handed {
            key: self.key.clone(),
            descriptor,
            database,
            permit: permit.hand_over(),
            node: facts.node,
            process_id: facts.process_id,
            cancel_key: facts.cancel_key.clone(),
            opened_us: facts.opened_us,
            opened,
            welcome,
            parameters: parameters.to_pairs(),
            prepared: pack_prepared(&prepared),
        }))
    }

    /// Sends it to a core that waits; it stays here when none does any more.
    fn dispatch(self: &Rc<Self>, worker: &Rc<Worker>, handed: Box<Handed>) {
        match self.budget.next_wanting(worker.id) {
            Some(other) => {
                worker.switchboard.tell(other, ToWorker::Handed(handed));
            }
            None => self.adopt(worker, *handed),
        }
    }

    /// Takes in a connection from another core, for the first who waits here.
    pub(crate) fn adopt(self: &Rc<Self>, worker: &Rc<Worker>, handed: Handed) {
        if *handed.database != **self.server_database.borrow() {
            // The database was renamed meanwhile.
            drop(handed);
            return self.serve_waiters(worker);
        }
        let backend = Box::new(self.unpack(worker, handed));
        match self.hand_to_waiter(backend) {
            None => self.ask_on(worker),
            Some(backend) => self.take_back(worker, backend),
        }
    }

    fn unpack(&self, worker: &Worker, handed: Handed) -> Backend {
        let permit = Permit::of(
            handed.permit,
            &self.budget,
            &worker.switchboard,
            &self.key,
            &self.open,
        );
        let address = worker.with_snapshot(|snapshot| address_of(snapshot, handed.node));
        let stream = worker.reactor.adopt(handed.descriptor, Side::Server);
        let pairs = handed.parameters.iter();
        let parameters = worker
            .interner
            .of(pairs.map(|(name, value)| (name.clone(), &value[..])));
        let facts = Facts {
            node: handed.node,
            address,
            id: stream.id(),
            process_id: handed.process_id,
            cancel_key: handed.cancel_key,
            opened_us: handed.opened_us,
            cancels: Cell::new(0),
        };
        Backend {
            stream,
            facts: Rc::new(facts),
            database: Arc::clone(&self.server_database.borrow()),
            welcome: handed.welcome,
            record: Vec::new(),
            prepared: unpack_prepared(worker, handed.prepared),
            parameters,
            opened: handed.opened,
            used: Cell::new(time::now()),
            permit,
        }
    }

    /// One came; whoever still waits may need the next.
    fn ask_on(&self, worker: &Worker) {
        self.settle_wants(worker);
        if self.queue().0 > self.opening.get() + self.tested.get() {
            worker.ask_for_connection(&self.key);
        }
    }
}

/// What a connection has prepared, for another core.
fn pack_prepared(prepared: &Prepared) -> HandedStatements {
    let (last, list) = prepared.inventory();
    let pack = |(number, statement): (u64, Rc<Statement>)| {
        let context = statement.context()?.to_pairs();
        Some((number, Arc::clone(statement.content()), context))
    };
    HandedStatements {
        last,
        // A statement that is not shared has its session on this core, and is of no use elsewhere.
        unused: list
            .iter()
            .filter(|(_, statement)| statement.context().is_none())
            .map(|(number, _)| *number)
            .chain(prepared.unused().iter().copied())
            .collect(),
        statements: list.into_iter().filter_map(pack).collect(),
    }
}

/// The same on this core.
fn unpack_prepared(worker: &Worker, handed: HandedStatements) -> Prepared {
    let unpack = |(number, content, context): (u64, Arc<[u8]>, HandedParameters)| {
        let pairs = context.iter();
        let context = worker
            .interner
            .of(pairs.map(|(name, value)| (name.clone(), &value[..])));
        (number, worker.statements.of(&content, Some(&context)))
    };
    let list = handed.statements.into_iter().map(unpack);
    Prepared::from_inventory(handed.last, list, handed.unused)
}
