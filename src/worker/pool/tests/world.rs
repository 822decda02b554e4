//! A process in virtual time: cores with mailboxes that deliver late and overflow, servers that refuse, clients that
//! come, wait, leave and break things. The schedulers and the budgets in it are the real ones. Owns no test.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::worker::pool::scheduler::{self, Effects, Scheduler, Schedulers};
use crate::{
    cluster::{
        budget::{Bounds, Budget, Budgets, Permit, PoolKey, Terms},
        settings::Limits,
    },
    ids::{Epoch, NodeId, WorkerId},
    mailbox::Mailbox,
    random::Seeded,
    time::{self, Micros},
};

/// Longest that a free connection or permit may go unused while somebody waits for it.
const NEGLECT_MAX: Micros = 2_000;

const PLACE: &str = "a place could be freed";

/// Longest that a server takes to end a connection.
const FAREWELL_MAX: Micros = 3_000;

/// Limits of the configuration: the names of pools are `d0/u0`, `d0/u1`, `d1/u0`, `d1/u1`.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) size: [u32; 4],
    pub(super) reserve: u32,
    pub(super) reserve_after: Micros,
    pub(super) databases: [Option<u32>; 2],
    pub(super) users: [Option<u32>; 2],
    pub(super) node: Option<u32>,
}

impl Rules {
    fn any(random: &mut Seeded) -> Self {
        let maybe =
            |random: &mut Seeded| (random.below(3) == 0).then(|| 1 + random.below(5) as u32);
        Self {
            size: std::array::from_fn(|_| 1 + random.below(4) as u32),
            reserve: random.below(3) as u32,
            reserve_after: 1_000 * (1 + random.below(20)),
            databases: std::array::from_fn(|_| maybe(random)),
            users: std::array::from_fn(|_| maybe(random)),
            node: maybe(random),
        }
    }

    /// Shared limits that a connection of `pool` counts for: name, bound, and the pools that share it.
    fn shared(&self, pool: usize) -> [(&'static str, Option<u32>, [bool; 4]); 3] {
        let (database, user) = (pool / 2, pool % 2);
        [
            (
                "database",
                self.databases[database],
                std::array::from_fn(|it| it / 2 == database),
            ),
            (
                "user",
                self.users[user],
                std::array::from_fn(|it| it % 2 == user),
            ),
            ("node", self.node, [true; 4]),
        ]
    }
}

fn index(key: &PoolKey) -> usize {
    let digit = |name: &str| usize::from(name.ends_with('1'));
    2 * digit(&key.database) + digit(&key.user)
}

impl Bounds for Rules {
    fn pool(&self, key: &PoolKey) -> (u32, u32) {
        (self.size[index(key)], self.reserve)
    }

    fn database(&self, name: &str) -> Limits {
        Limits {
            max_connections: self.databases[usize::from(name.ends_with('1'))],
            max_clients: None,
        }
    }

    fn user(&self, name: &str) -> Limits {
        Limits {
            max_connections: self.users[usize::from(name.ends_with('1'))],
            max_clients: None,
        }
    }

    fn node(&self, _: NodeId) -> Option<u32> {
        self.node
    }
}

/// A server connection.
#[derive(Debug)]
pub(super) struct Connection {
    pool: usize,
    permit: Permit,
}

/// Messages between cores.
enum Mail {
    Seek(Arc<Budget>),
    Granted(Arc<Budget>),
    Handed(Connection),
    Reload,
}

/// Events that are due at some time.
enum Event {
    /// A client wants a connection.
    Ask(usize),
    /// It has waited long enough for the reserve.
    Overdue(usize),
    /// It does not want to wait any longer, if it still waits as then.
    GiveUp(usize, u64),
    /// It is done with its connection.
    Release(usize),
    /// The server has ended a connection that was closed.
    Gone(Connection),
    TestEnded(usize, Connection),
    Opened(usize, usize, Permit),
    Refused(usize, usize, Permit),
    Rested(usize, usize),
    /// A connection is off this core.
    Packed(usize, Connection, WorkerId),
    /// A core reads its mail.
    Turn(usize),
    Sweep(usize),
    Reload,
}

struct Due {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A client, for life on one core and of one pool.
struct Client {
    core: usize,
    pool: usize,
    waits: Cell<Option<Waits>>,
    /// How often it has asked.
    round: Cell<u64>,
    holds: RefCell<Option<Connection>>,
}

#[derive(Clone, Copy)]
struct Waits {
    since: Micros,
    /// In the order of arrival in the whole process.
    number: u64,
    /// How many of its pool were served that came clearly later.
    overtaken: u32,
}

/// Since when something has been neglected that ought to be seen to.
type Neglect = BTreeMap<(&'static str, usize), Micros>;

pub(super) struct World {
    random: RefCell<Seeded>,
    now: Cell<Micros>,
    numbers: Cell<u64>,
    due: RefCell<BinaryHeap<Reverse<Due>>>,
    rules: RefCell<Arc<Rules>>,
    epoch: Cell<u64>,
    budgets: Budgets,
    /// One for each core and pool.
    schedulers: Vec<[RefCell<Scheduler<Connection, usize>>; 4]>,
    /// Since when logins rest, for each core and pool.
    rests_until: Vec<[Cell<Micros>; 4]>,
    post: Post,
    clients: Vec<Client>,
    /// Connections that exist, those being opened included.
    alive: RefCell<[u32; 4]>,
    /// Connections of `alive` that are being closed.
    leaving: RefCell<[u32; 4]>,
    neglect: RefCell<Neglect>,
    /// No more new work.
    pub(super) is_closing: Cell<bool>,
    pub(super) counts: Counts,
}

/// Everything that a run must have had some of to be worth anything, counted.
#[derive(Default)]
pub(super) struct Counts {
    /// Clients that got a connection.
    pub(super) served: Cell<u64>,
    /// Connections that changed cores.
    pub(super) handed: Cell<u64>,
    /// Looks for a pool whose connection could make room.
    pub(super) evicted: Cell<u64>,
    /// Connections beyond a pool's size.
    pub(super) reserved: Cell<u64>,
    /// Messages that met a full mailbox.
    pub(super) lost: Cell<u64>,
    /// Most clients that came clearly later and were served before one of their pool.
    pub(super) overtaken_max: Cell<u32>,
}

/// The mailboxes of all cores, and who has to look into them.
struct Post {
    mailboxes: Arc<Vec<Mailbox<Mail>>>,
    /// By core: it has got mail.
    woken: Vec<Arc<AtomicBool>>,
    /// Cores that will read their mail at their next turn.
    turns: RefCell<BTreeSet<usize>>,
}

/// One pool of one core, for its scheduler.
struct Floor<'a> {
    world: &'a World,
    core: usize,
    pool: usize,
}

impl Effects for Floor<'_> {
    type Connection = Connection;
    type Waiter = usize;

    fn serve(&self, client: usize, connection: Connection) {
        self.world.serve(client, connection);
    }

    fn open(&self, permit: Permit) {
        self.world.open(self.core, self.pool, permit);
    }

    fn may_open(&self, opening: u32) -> bool {
        let until = self.world.rests_until[self.core][self.pool].get();
        until <= self.now() && (until == 0 || opening == 0)
    }

    fn hand_over(&self, connection: Connection, target: WorkerId) {
        let world = self.world;
        world.counts.handed.set(world.counts.handed.get() + 1);
        let event = Event::Packed(self.core, connection, target);
        world.later(5 + world.below(50), event);
    }

    fn rest(&self, connection: &Connection) {
        assert_eq!(connection.pool, self.pool);
    }

    fn close(&self, connection: Connection) {
        self.world.close(connection);
    }

    fn now(&self) -> Micros {
        self.world.now.get()
    }
}

/// The schedulers of one core.
struct Core<'a>(&'a World, usize);

impl Schedulers for Core<'_> {
    fn give_up(&self, budget: &Arc<Budget>) -> bool {
        let Self(world, core) = *self;
        world.with_scheduler(core, index(&budget.key), |scheduler, floor| {
            scheduler.give_up(floor)
        })
    }

    fn evict(&self, victim: &Arc<Budget>) -> bool {
        let Self(world, core) = *self;
        world.counts.evicted.set(world.counts.evicted.get() + 1);
        world.with_scheduler(core, index(&victim.key), |scheduler, floor| {
            scheduler.evict(floor)
        })
    }

    fn ask(&self, other: WorkerId, budget: &Arc<Budget>) {
        let sent = self.0.post.mailboxes[usize::from(other.0)].put(Mail::Seek(Arc::clone(budget)));
        let lost = &self.0.counts.lost;
        lost.set(lost.get() + u64::from(sent.is_err()));
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let cores = 1 + random.below(5) as usize;
        let rules = Arc::new(Rules::any(&mut random));
        let room = if random.below(4) == 0 { 2 } else { 64 };
        let woken: Vec<_> = (0..cores)
            .map(|_| Arc::new(AtomicBool::new(false)))
            .collect();
        let mailbox = |woken: &Arc<AtomicBool>| {
            let woken = Arc::clone(woken);
            Mailbox::new(room, move || woken.store(true, Relaxed))
        };
        let mailboxes: Arc<Vec<_>> = Arc::new(woken.iter().map(mailbox).collect());
        let boxes = Arc::clone(&mailboxes);
        let budgets = Budgets::new(cores as u16, time::now(), move |worker, budget| {
            let _ = boxes[usize::from(worker.0)].put(Mail::Granted(budget));
        });
        let terms = Terms {
            epoch: Epoch(1),
            bounds: Arc::<Rules>::clone(&rules),
        };
        let scheduler = |core: usize, pool: usize| {
            let key = PoolKey {
                database: format!("d{}", pool / 2).into(),
                user: format!("u{}", pool % 2).into(),
            };
            let budget = budgets.of(&key, NodeId(0), terms.clone());
            let mut scheduler = Scheduler::new(WorkerId(core as u16), budget);
            scheduler.set_reserve_after(Duration::from_micros(rules.reserve_after));
            RefCell::new(scheduler)
        };
        let crowd = 2 + random.below(14);
        let client = |_| Client {
            core: random.below(cores as u64) as usize,
            // The first pool is the busiest.
            pool: (random.below(4) * random.below(2)) as usize,
            waits: Cell::new(None),
            round: Cell::new(0),
            holds: RefCell::new(None),
        };
        let clients: Vec<_> = (0..crowd).map(client).collect();
        Self {
            schedulers: (0..cores)
                .map(|core| std::array::from_fn(|pool| scheduler(core, pool)))
                .collect(),
            rests_until: (0..cores).map(|_| Default::default()).collect(),
            random: RefCell::new(random),
            now: Cell::new(1),
            numbers: Cell::new(0),
            due: RefCell::default(),
            rules: RefCell::new(rules),
            epoch: Cell::new(1),
            budgets,
            post: Post {
                mailboxes,
                woken,
                turns: RefCell::default(),
            },
            clients,
            alive: RefCell::default(),
            leaving: RefCell::default(),
            neglect: RefCell::default(),
            is_closing: Cell::new(false),
            counts: Counts::default(),
        }
    }

    /// Runs until `end`, then lets everything come to rest, and looks whether anything is left.
    pub(super) fn run(&self, end: Micros) {
        for client in 0..self.clients.len() {
            self.later(self.below(2_000), Event::Ask(client));
        }
        for core in 0..self.schedulers.len() {
            self.later(self.below(20_000), Event::Sweep(core));
        }
        self.later(self.below(2 * end), Event::Reload);
        while self.step() {
            self.is_closing.set(self.now.get() >= end);
            assert!(
                self.now.get() < 20 * end,
                "it never comes to rest: {}",
                self.describe()
            );
        }
        self.check_rest();
    }

    fn step(&self) -> bool {
        let Some(Reverse(due)) = self.due.borrow_mut().pop() else {
            return false;
        };
        self.now.set(due.at);
        self.check_neglect();
        self.happen(due.event);
        self.note_neglect();
        for (core, woken) in self.post.woken.iter().enumerate() {
            if woken.swap(false, Relaxed) && self.post.turns.borrow_mut().insert(core) {
                self.later(2 + self.below(200), Event::Turn(core));
            }
        }
        true
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Ask(client) => self.ask(client),
            Event::Overdue(client) => {
                self.settle(self.clients[client].core, self.clients[client].pool)
            }
            Event::GiveUp(client, round) => self.give_up_waiting(client, round),
            Event::Gone(connection) => self.gone(connection),
            Event::Release(client) => self.release(client),
            Event::TestEnded(core, connection) => self.test_ended(core, connection),
            Event::Opened(core, pool, permit) => self.opened(core, pool, permit),
            Event::Refused(core, pool, permit) => self.refused(core, pool, permit),
            Event::Rested(core, pool) => self.settle(core, pool),
            Event::Packed(core, connection, target) => self.packed(core, connection, target),
            Event::Turn(core) => self.turn(core),
            Event::Sweep(core) => self.sweep(core),
            Event::Reload => self.reload(),
        }
    }

    /// Longest that a scheduler has seen somebody wait while a connection was idle elsewhere.
    pub(super) fn idle_beside_max(&self) -> Micros {
        let schedulers = self.schedulers.iter().flatten();
        schedulers
            .map(|scheduler| scheduler.borrow().idle_beside())
            .max()
            .unwrap_or(0)
    }

    // What clients do.

    fn ask(&self, number: usize) {
        let client = &self.clients[number];
        if self.is_closing.get() {
            return;
        }
        client.round.set(client.round.get() + 1);
        let floor = Floor {
            world: self,
            core: client.core,
            pool: client.pool,
        };
        let idle = self.schedulers[client.core][client.pool]
            .borrow_mut()
            .take_idle(&floor);
        if let Some(connection) = idle {
            return self.lend(number, connection);
        }
        let now = self.now.get();
        client.waits.set(Some(Waits {
            since: now,
            number: self.number(),
            overtaken: 0,
        }));
        self.with_scheduler(client.core, client.pool, |scheduler, floor| {
            scheduler.join(floor, number)
        });
        self.later(self.rules.borrow().reserve_after, Event::Overdue(number));
        if self.below(8) == 0 {
            let patience = self.below(20_000);
            self.later(patience, Event::GiveUp(number, client.round.get()));
        }
    }

    fn give_up_waiting(&self, number: usize, round: u64) {
        let client = &self.clients[number];
        if client.round.get() != round || client.waits.take().is_none() {
            return;
        }
        let left = self.with_scheduler(client.core, client.pool, |scheduler, floor| {
            scheduler.leave(floor, |waiter| *waiter == number)
        });
        assert_eq!(left, [number], "who waits is in the queue");
        self.later(self.below(5_000), Event::Ask(number));
    }

    fn serve(&self, number: usize, connection: Connection) {
        let client = &self.clients[number];
        assert_eq!(client.pool, connection.pool, "a connection of another pool");
        let waits = client.waits.take().expect("only those who wait are served");
        let wait = self.now.get() - waits.since;
        for other in self
            .clients
            .iter()
            .filter(|other| other.pool == client.pool)
        {
            let Some(mut theirs) = other.waits.get() else {
                continue;
            };
            let is_before = theirs.number < waits.number;
            assert!(
                !is_before || other.core != client.core,
                "the queue of a core has its order"
            );
            if theirs.since + 2_000 + wait / 4 < waits.since {
                theirs.overtaken += 1;
                other.waits.set(Some(theirs));
                let most = self.counts.overtaken_max.get().max(theirs.overtaken);
                self.counts.overtaken_max.set(most);
            }
        }
        self.counts.served.set(self.counts.served.get() + 1);
        self.lend(number, connection);
    }

    fn lend(&self, number: usize, connection: Connection) {
        let before = self.clients[number].holds.replace(Some(connection));
        assert!(before.is_none(), "a client holds one connection");
        let busy = if self.below(20) == 0 { 20_000 } else { 1_000 };
        self.later(self.below(busy), Event::Release(number));
    }

    fn release(&self, number: usize) {
        let client = &self.clients[number];
        let connection = client.holds.take().expect("it holds one until now");
        let (core, pool) = (client.core, client.pool);
        match self.below(20) {
            0 => {
                self.close(connection);
                self.settle(core, pool);
            }
            1 => {
                self.schedulers[core][pool].borrow_mut().test();
                self.later(self.below(1_000), Event::TestEnded(core, connection));
            }
            _ => self.place(core, connection),
        }
        let pause = if self.below(3) == 0 { 10_000 } else { 200 };
        self.later(self.below(pause), Event::Ask(number));
    }

    // What a core does.

    fn with_scheduler<T>(
        &self,
        core: usize,
        pool: usize,
        work: impl FnOnce(&mut Scheduler<Connection, usize>, &Floor<'_>) -> T,
    ) -> T {
        let floor = Floor {
            world: self,
            core,
            pool,
        };
        let mut scheduler = self.schedulers[core][pool].borrow_mut();
        let done = work(&mut scheduler, &floor);
        if scheduler.is_seeking() {
            let budget = Arc::clone(scheduler.budget());
            drop(scheduler);
            self.seek(core, &budget);
        }
        done
    }

    fn seek(&self, core: usize, budget: &Arc<Budget>) {
        scheduler::seek(WorkerId(core as u16), budget, &Core(self, core));
    }

    fn settle(&self, core: usize, pool: usize) {
        self.with_scheduler(core, pool, |scheduler, floor| scheduler.settle(floor));
    }

    fn place(&self, core: usize, connection: Connection) {
        let pool = connection.pool;
        self.with_scheduler(core, pool, |scheduler, floor| {
            scheduler.place(floor, connection)
        });
    }

    fn open(&self, core: usize, pool: usize, permit: Permit) {
        self.count_in(core, pool);
        let login = 500 + self.below(5_000);
        let event = match self.below(10) {
            0 => Event::Refused(core, pool, permit),
            _ => Event::Opened(core, pool, permit),
        };
        self.later(login, event);
    }

    /// The moment at which a connection begins to exist: no limit may be passed.
    fn count_in(&self, core: usize, pool: usize) {
        let rules = Arc::clone(&self.rules.borrow());
        let mut alive = self.alive.borrow_mut();
        alive[pool] += 1;
        if alive[pool] > rules.size[pool] {
            assert!(
                alive[pool] <= rules.size[pool] + rules.reserve,
                "size, with the reserve"
            );
            let overdue = |client: &&Client| {
                let long = |waits: Waits| waits.since + rules.reserve_after <= self.now.get();
                client.core == core && client.pool == pool && client.waits.get().is_some_and(long)
            };
            assert!(
                self.clients.iter().any(|client| overdue(&client)),
                "the reserve is for the patient"
            );
            self.counts.reserved.set(self.counts.reserved.get() + 1);
        }
        for (what, max, members) in rules.shared(pool) {
            let count = sum(&alive, members);
            assert!(
                max.is_none_or(|max| count <= max),
                "{what}: {count} of {max:?}"
            );
        }
    }

    /// The server takes its time to end a connection; until then it exists.
    fn close(&self, mut connection: Connection) {
        connection.permit.leave();
        self.leaving.borrow_mut()[connection.pool] += 1;
        self.later(self.below(FAREWELL_MAX), Event::Gone(connection));
    }

    fn gone(&self, connection: Connection) {
        self.alive.borrow_mut()[connection.pool] -= 1;
        self.leaving.borrow_mut()[connection.pool] -= 1;
        drop(connection.permit);
    }

    fn opened(&self, core: usize, pool: usize, permit: Permit) {
        let connection = Connection { pool, permit };
        self.rests_until[core][pool].set(0);
        self.schedulers[core][pool].borrow_mut().open_ended();
        self.place(core, connection);
        self.settle(core, pool);
    }

    fn refused(&self, core: usize, pool: usize, permit: Permit) {
        self.alive.borrow_mut()[pool] -= 1;
        drop(permit);
        let pause = 500 + self.below(5_000);
        self.rests_until[core][pool].set(self.now.get() + pause);
        self.schedulers[core][pool].borrow_mut().open_ended();
        self.settle(core, pool);
        self.later(pause, Event::Rested(core, pool));
    }

    fn test_ended(&self, core: usize, connection: Connection) {
        let pool = connection.pool;
        self.schedulers[core][pool].borrow_mut().test_ended();
        match self.below(5) {
            0 => self.close(connection),
            _ => self.place(core, connection),
        }
        self.settle(core, pool);
    }

    fn packed(&self, core: usize, connection: Connection, target: WorkerId) {
        let budget = Arc::clone(connection.permit.budget());
        if self.below(20) == 0 {
            self.close(connection);
            budget.settle_promise(target);
            return self.seek(core, &budget);
        }
        let sent = self.post.mailboxes[usize::from(target.0)].put(Mail::Handed(connection));
        if let Err(Mail::Handed(connection)) = sent {
            self.counts.lost.set(self.counts.lost.get() + 1);
            budget.settle_promise(target);
            self.adopt(core, connection);
        }
    }

    fn adopt(&self, core: usize, connection: Connection) {
        let pool = connection.pool;
        self.with_scheduler(core, pool, |scheduler, floor| {
            scheduler.adopt(floor, connection)
        });
    }

    fn turn(&self, core: usize) {
        self.post.turns.borrow_mut().remove(&core);
        while let Some(mail) = self.post.mailboxes[core].take() {
            match mail {
                Mail::Seek(budget) => self.seek(core, &budget),
                Mail::Granted(budget) => {
                    self.with_scheduler(core, index(&budget.key), |scheduler, floor| {
                        scheduler.hear(floor)
                    });
                }
                Mail::Handed(connection) => {
                    connection
                        .permit
                        .budget()
                        .settle_promise(WorkerId(core as u16));
                    self.adopt(core, connection);
                }
                Mail::Reload => (0..4).for_each(|pool| self.refresh(core, pool)),
            }
        }
        if self.post.mailboxes[core].has_overflowed() {
            for pool in 0..4 {
                self.with_scheduler(core, pool, |scheduler, floor| scheduler.look_around(floor));
                self.refresh(core, pool);
            }
        }
    }

    fn refresh(&self, core: usize, pool: usize) {
        self.with_scheduler(core, pool, |scheduler, floor| {
            scheduler.settle(floor);
            scheduler.close_excess(floor);
        });
    }

    fn sweep(&self, core: usize) {
        let all = self.is_closing.get();
        for pool in 0..4 {
            let out = self.with_scheduler(core, pool, |scheduler, floor| {
                scheduler.close_excess(floor);
                scheduler.take_out(|_| all || self.below(8) == 0)
            });
            out.into_iter()
                .for_each(|connection| self.close(connection));
        }
        let is_alive = self.alive.borrow().iter().any(|count| *count > 0);
        if !all || is_alive || (0..4).any(|pool| self.waits(pool)) {
            self.later(1_000 + self.below(20_000), Event::Sweep(core));
        }
    }

    fn reload(&self) {
        let rules = Arc::new(Rules {
            reserve_after: self.rules.borrow().reserve_after,
            ..Rules::any(&mut self.random.borrow_mut())
        });
        self.epoch.set(self.epoch.get() + 1);
        self.rules.replace(Arc::clone(&rules));
        self.budgets.refresh(Terms {
            epoch: Epoch(self.epoch.get()),
            bounds: rules,
        });
        self.neglect.borrow_mut().clear();
        for mailbox in self.post.mailboxes.iter() {
            let _ = mailbox.put(Mail::Reload);
        }
    }

    // What must hold.

    /// Whoever waits, by pool, for whom there is no connection on its way by this core.
    fn missing(&self, core: usize, pool: usize) -> bool {
        let scheduler = self.schedulers[core][pool].borrow();
        let rests = self.rests_until[core][pool].get();
        let may_open = rests <= self.now.get() && (rests == 0 || scheduler.opening() == 0);
        may_open && scheduler.waiting() > scheduler.opening() + scheduler.tested()
    }

    /// True when one more connection of `pool` fits.
    fn fits(&self, pool: usize) -> bool {
        self.has_room(pool, *self.alive.borrow())
    }

    /// True when one will fit once those have gone that are being closed, and one of `freed`.
    fn will_fit(&self, pool: usize, freed: Option<usize>) -> bool {
        let mut alive = *self.alive.borrow();
        for (alive, leaving) in alive.iter_mut().zip(*self.leaving.borrow()) {
            *alive -= leaving;
        }
        if let Some(freed) = freed {
            alive[freed] -= 1;
        }
        self.has_room(pool, alive)
    }

    fn has_room(&self, pool: usize, alive: [u32; 4]) -> bool {
        let rules = self.rules.borrow();
        let shared = rules.shared(pool);
        alive[pool] < rules.size[pool]
            && shared
                .iter()
                .all(|(_, max, members)| max.is_none_or(|max| sum(&alive, *members) < max))
    }

    fn idle(&self, pool: usize) -> bool {
        self.schedulers
            .iter()
            .any(|schedulers| schedulers[pool].borrow().idle_count() > 0)
    }

    fn waits(&self, pool: usize) -> bool {
        self.schedulers
            .iter()
            .any(|schedulers| schedulers[pool].borrow().waiting() > 0)
    }

    /// Notes since when whom nobody sees to.
    fn note_neglect(&self) {
        let now = self.now.get();
        let mut neglect = self.neglect.borrow_mut();
        let mut note = |what: &'static str, who: usize, is_so: bool| {
            if is_so {
                neglect.entry((what, who)).or_insert(now);
            } else {
                neglect.remove(&(what, who));
            }
        };
        for pool in 0..4 {
            let idle = self.idle(pool);
            let evictable = (0..4).any(|other| {
                other != pool
                    && self.idle(other)
                    && !self.waits(other)
                    && self.will_fit(pool, Some(other))
            });
            let (fits, waits) = (self.fits(pool), self.waits(pool));
            let missing = waits && (0..self.schedulers.len()).any(|core| self.missing(core, pool));
            note("a permit is free", pool, fits && missing);
            let is_coming = self.will_fit(pool, None);
            note(
                "a place could be freed",
                pool,
                !is_coming && missing && evictable,
            );
            for (number, client) in self
                .clients
                .iter()
                .enumerate()
                .filter(|(_, client)| client.pool == pool)
            {
                note(
                    "a connection is idle",
                    4 + number,
                    idle && client.waits.get().is_some(),
                );
            }
        }
    }

    fn check_neglect(&self) {
        let now = self.now.get();
        for ((what, who), since) in self.neglect.borrow().iter() {
            // Two places may be needed, and the first one be on its way.
            let farewell = if *what == PLACE { FAREWELL_MAX } else { 0 };
            assert!(
                now - since <= NEGLECT_MAX + farewell,
                "{what} for {who} since {since}, now {now}: {}",
                self.describe()
            );
        }
    }

    fn check_rest(&self) {
        assert_eq!(*self.alive.borrow(), [0; 4], "everything is closed");
        for schedulers in &self.schedulers {
            for (pool, scheduler) in schedulers.iter().enumerate() {
                let scheduler = scheduler.borrow();
                let budget = scheduler.budget();
                assert_eq!(budget.used(), 0, "permits of pool {pool}");
                assert!(!budget.is_wanted_beside(false) && !budget.is_crowded());
                assert_eq!(
                    (scheduler.waiting(), scheduler.opening(), scheduler.tested()),
                    (0, 0, 0)
                );
                let coming =
                    (0..self.schedulers.len()).map(|core| budget.coming(WorkerId(core as u16)));
                assert_eq!(coming.sum::<u32>(), 0, "nothing is on its way");
            }
        }
    }

    fn describe(&self) -> String {
        let mut text = format!("alive {:?}, {:?}", self.alive.borrow(), self.rules.borrow());
        for (core, schedulers) in self.schedulers.iter().enumerate() {
            for (pool, scheduler) in schedulers.iter().enumerate() {
                let scheduler = scheduler.borrow();
                text += &format!(
                    "\ncore {core} pool {pool}: {} wait, {} idle, {} opening, {} tested, {:?}, {} used, rests until {}",
                    scheduler.waiting(),
                    scheduler.idle_count(),
                    scheduler.opening(),
                    scheduler.tested(),
                    scheduler.blocked(),
                    scheduler.budget().used(),
                    self.rests_until[core][pool].get()
                );
            }
        }
        text
    }

    fn later(&self, delay: Micros, event: Event) {
        let (at, number) = (self.now.get() + delay, self.number());
        self.due
            .borrow_mut()
            .push(Reverse(Due { at, number, event }));
    }

    fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }
}

fn sum(alive: &[u32; 4], members: [bool; 4]) -> u32 {
    let counted = alive
        .iter()
        .zip(members)
        .filter(|(_, is_member)| *is_member);
    counted.map(|(count, _)| count).sum()
}
