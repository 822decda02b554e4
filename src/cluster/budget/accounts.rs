//! Accounts of the budgets: their counts, and the lock under which permits are taken and given back, to whoever has waited
//! longest.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Instant,
};

use crossbeam::utils::CachePadded;

use super::{
    bounds::{PoolKey, Terms},
    core_share::CoreShare,
    limit::{Blocked, Limit, Party, Refusal, SHARED, place_of},
};
use crate::{
    cluster::last_welcome::LastWelcome,
    ids::{NodeId, WorkerId},
    time::Micros,
};

/// Tells a core that a permit was taken for it (see [`Budget::collect`]), or that what it waits for has changed. That
/// may get lost, if the core looks for itself afterwards.
type Bell = Box<dyn Fn(WorkerId, Arc<Budget>) + Send + Sync>;

/// Accounts of all budgets: the limits that they share.
pub(super) struct Accounts {
    register: Mutex<Register>,
    start: Instant,
    pub(super) workers: u16,
    bell: Bell,
    /// Cores of pools that any shared limit holds up.
    blocked: AtomicU32,
}

#[derive(Default)]
pub(super) struct Register {
    /// Terms that hold.
    pub(super) newest: Option<Terms>,
    /// How many names may be known before those that nobody uses are looked for.
    pub(super) kept_max: usize,
    pub(super) budgets: HashMap<(PoolKey, NodeId), Arc<Budget>>,
    pub(super) databases: HashMap<Arc<str>, Arc<Party>>,
    pub(super) users: HashMap<Arc<str>, Arc<Party>>,
    pub(super) nodes: HashMap<NodeId, Arc<Party>>,
}

impl Accounts {
    pub(super) fn new(
        workers: u16,
        start: Instant,
        bell: impl Fn(WorkerId, Arc<Budget>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            register: Mutex::default(),
            start,
            workers,
            bell: Box::new(bell),
            blocked: AtomicU32::new(0),
        }
    }

    pub(super) fn open(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn micros(&self, time: Instant) -> Micros {
        1 + time.saturating_duration_since(self.start).as_micros() as Micros
    }

    /// Takes one permit back. It goes at once to whoever has waited longest of those who can use it, so that nobody
    /// who comes later is faster; to several, when one needs the place in the user's limit, say, and another one that
    /// in the database's.
    pub(super) fn release(&self, budget: &Budget, was_leaving: bool) {
        let rings = {
            let register = self.open();
            budget.give_back(was_leaving);
            self.grants(&register, Some(budget))
        };
        self.ring(rings);
    }

    /// A connection is about to go.
    pub(super) fn leave(&self, budget: &Budget) {
        let rings = {
            let register = self.open();
            budget.leave();
            self.held_up(&register, Some(budget))
        };
        self.ring(rings);
    }

    /// Takes permits for those who wait, as long as anyone can use one, and adds those who still can use none.
    pub(super) fn grants(
        &self,
        register: &Register,
        freed: Option<&Budget>,
    ) -> Vec<(WorkerId, Arc<Budget>)> {
        let mut rings: Vec<_> = std::iter::from_fn(|| register.grant()).collect();
        rings.extend(self.held_up(register, freed));
        rings
    }

    /// Workers and pools that shared limits hold up, and which may find another way around that since `freed` has one connection
    /// less: they may need two places, or have seen one on its way to others.
    fn held_up(&self, register: &Register, freed: Option<&Budget>) -> Vec<(WorkerId, Arc<Budget>)> {
        // Its own cores may have known of no limit but the pool's.
        let is_own = |budget: &&Arc<Budget>| {
            freed.is_none_or(|freed| std::ptr::eq(freed, &raw const ***budget))
        };
        let all = self.blocked.load(SeqCst) > 0;
        let akin = register.budgets().filter(|budget| all || is_own(budget));
        let held_up = akin.flat_map(|budget| {
            let cores = budget.held_up(freed);
            cores.map(move |worker| (worker, Arc::clone(budget)))
        });
        held_up.collect()
    }

    /// One core more or less that a shared limit holds up.
    pub(super) fn note_blocked(&self, before: Blocked, now: Blocked) {
        match (before.first().is_some(), now.first().is_some()) {
            (false, true) => _ = self.blocked.fetch_add(1, SeqCst),
            (true, false) => _ = self.blocked.fetch_sub(1, SeqCst),
            _ => {}
        }
    }

    pub(super) fn ring(&self, cores: impl IntoIterator<Item = (WorkerId, Arc<Budget>)>) {
        for (worker, budget) in cores {
            (self.bell)(worker, budget);
        }
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accounts({} workers)", self.workers)
    }
}

impl Register {
    pub(super) fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.budgets.values()
    }

    /// Takes a permit for the core that has waited longest of those who can use one.
    fn grant(&self) -> Option<(WorkerId, Arc<Budget>)> {
        let claims = self.budgets().flat_map(|budget| {
            let claims = budget.claims();
            claims.map(move |(since, worker)| (since, worker, budget))
        });
        let (_, worker, budget) = claims.min_by_key(|(since, ..)| *since)?;
        // The core's share holds the permit until the core collects it.
        budget.charge();
        budget.core_share(worker).grant();
        Some((worker, Arc::clone(budget)))
    }
}

/// Server connections that one pool may have on one node, and what its cores show each other.
#[derive(Debug)]
pub struct Budget {
    /// Whose it is.
    pub key: PoolKey,
    /// Which node.
    pub node: NodeId,
    pub(super) own: Limit,
    /// How many beyond `own` those may have who have waited for long.
    pub(super) reserve: AtomicU32,
    /// Database, user, node.
    pub(super) parties: [Arc<Party>; 3],
    /// Cores on which clients wait.
    pub(super) wanting: AtomicU32,
    pub(super) core_shares: Box<[CachePadded<CoreShare>]>,
    pub(super) accounts: Arc<Accounts>,
    /// The server's words at the last login.
    pub last_welcome: LastWelcome,
}

impl Budget {
    /// Which limit keeps this pool from one more connection.
    pub(super) fn refusal(&self, overdue: bool) -> Option<Refusal> {
        self.first_full(|place, limit| match place {
            None => limit.has_room(self.reserve_for(overdue), 0),
            Some(_) => limit.has_room(0, 0),
        })
    }

    /// The first limit that has no room: the pool's own, or that of a party.
    pub(super) fn first_full(
        &self,
        has_room: impl Fn(Option<usize>, &Limit) -> bool,
    ) -> Option<Refusal> {
        if !has_room(None, &self.own) {
            return Some(Refusal::Pool);
        }
        let full = |place: &usize| !has_room(Some(*place), self.limit(Some(*place)));
        let place = (0..SHARED.len()).find(full)?;
        Some(SHARED[place])
    }

    pub(super) fn limit(&self, place: Option<usize>) -> &Limit {
        match place {
            None => &self.own,
            Some(place) => &self.parties[place].connections,
        }
    }

    pub(super) fn reserve_for(&self, overdue: bool) -> u32 {
        match overdue {
            true => self.reserve.load(SeqCst),
            false => 0,
        }
    }

    /// The accounts are open, and there is room.
    pub(super) fn charge(&self) {
        self.own.charge();
        for party in &self.parties {
            party.connections.charge();
        }
    }

    /// The accounts are open.
    fn leave(&self) {
        self.own.leave();
        for party in &self.parties {
            party.connections.leave();
        }
    }

    fn give_back(&self, was_leaving: bool) {
        self.own.give_back(was_leaving);
        for party in &self.parties {
            party.connections.give_back(was_leaving);
        }
    }

    /// Permits in use.
    pub fn used(&self) -> u32 {
        self.own.used()
    }

    /// True when more connections will stay than a limit allows, the reserve included.
    pub fn is_over(&self) -> bool {
        let mut parties = self.parties.iter();
        self.own.lasting_excess() > self.reserve.load(SeqCst)
            || parties.any(|party| party.connections.lasting_excess() > 0)
    }

    /// True when connections of the reserve are in use and will stay.
    pub fn is_on_reserve(&self) -> bool {
        self.own.lasting_excess() > 0
    }

    /// Whether a permit that was granted earlier may still be used: a limit may have been lowered since.
    pub(super) fn is_within(&self, overdue: bool) -> bool {
        let mut parties = self.parties.iter();
        self.own.excess() <= self.reserve_for(overdue)
            && parties.all(|party| party.connections.excess() == 0)
    }

    /// The configured bound of a limit.
    pub fn max(&self, limit: Refusal) -> u32 {
        match place_of(limit) {
            Some(place) => self.parties[place].connections.max(),
            None => self.own.max(),
        }
    }

    /// The cores that could use a permit now, and since when.
    pub(super) fn claims(&self) -> impl Iterator<Item = (Micros, WorkerId)> {
        let waiting = self.waiting_for_permit();
        let fits = |(_, (_, overdue)): &(u16, (Micros, bool))| self.refusal(*overdue).is_none();
        waiting
            .filter(fits)
            .map(|(number, (since, _))| (since, WorkerId(number)))
    }

    pub(super) fn waiting_for_permit(&self) -> impl Iterator<Item = (u16, (Micros, bool))> {
        let core_shares = match self.wanting.load(SeqCst) {
            0 => &[],
            _ => &self.core_shares[..],
        };
        (0..)
            .zip(core_shares)
            .filter_map(|(number, core_share)| Some((number, core_share.waits_for_permit()?)))
    }

    /// The cores that a shared limit holds up, if a connection less of `freed` could make a difference to them.
    fn held_up(&self, freed: Option<&Self>) -> impl Iterator<Item = WorkerId> {
        let is_akin = freed.is_none_or(|freed| {
            let mut places = [None, Some(0), Some(1), Some(2)].into_iter();
            places.any(|place| std::ptr::eq(self.limit(place), freed.limit(place)))
        });
        let is_held_up = move |(_, (_, overdue)): &(u16, (Micros, bool))| {
            is_akin && self.refusal(*overdue).and_then(place_of).is_some()
        };
        let waiting = self.waiting_for_permit().filter(is_held_up);
        waiting.map(|(number, _)| WorkerId(number))
    }

    pub(super) fn core_share(&self, worker: WorkerId) -> &CoreShare {
        &self.core_shares[usize::from(worker.0)]
    }
}
