//! How many server connections there may be in the whole process: of a pool, a database, a user, a node. Who may
//! open the next one, and where a connection that becomes free is needed most. No connection lives here.
//!
//! Permits change hands under one lock, when connections are opened and closed; a query never takes it.

mod accounts;
mod core_share;
mod limit;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use crossbeam::utils::CachePadded;

use self::{
    accounts::Accounts,
    core_share::CoreShare,
    limit::{Limit, Party},
};
pub use self::{
    accounts::{Bounds, Budgets, ClientPermit, Terms},
    core_share::Want,
};
use super::told::Told;
use crate::{
    ids::{NodeId, WorkerId},
    time::Micros,
};

/// Database and user, as the client names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// Database.
    pub database: Arc<str>,
    /// User.
    pub user: Arc<str>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `size` of the pool, with the reserve when that may be used.
    Pool,
    /// `max_connections` or `max_clients` of the `[[database]]`.
    Database,
    /// `max_connections` or `max_clients` of the `[[user]]`.
    User,
    /// `max_connections` of the `[[node]]`.
    Node,
}

/// The limits that a pool shares with others, in the order of [`Budget::parties`].
const SHARED: [Refusal; 3] = [Refusal::Database, Refusal::User, Refusal::Node];

/// The shared limits that keep a core from opening a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked([bool; 3]);

impl Blocked {
    /// One of them.
    pub fn first(self) -> Option<Refusal> {
        let place = self.0.iter().position(|is_full| *is_full)?;
        Some(SHARED[place])
    }
}

fn place_of(limit: Refusal) -> Option<usize> {
    SHARED.iter().position(|shared| *shared == limit)
}

/// Step that helps a pool whose clients wait.
#[derive(Debug)]
pub enum Sought {
    /// Hand over a connection that is idle on this core.
    Give,
    /// Close the oldest idle connection of that pool on this core: it takes the place of a new one.
    Evict(Arc<Budget>),
    /// That core has such a connection.
    Ask(WorkerId),
    /// There is none: whoever has the next one sees who waits.
    Nothing,
}

/// Server connections that one pool may have on one node, and what its cores show each other.
#[derive(Debug)]
pub struct Budget {
    /// Whose it is.
    pub key: PoolKey,
    /// Which node.
    pub node: NodeId,
    own: Limit,
    /// How many beyond `own` those may have who have waited for long.
    reserve: AtomicU32,
    /// Database, user, node.
    parties: [Arc<Party>; 3],
    /// Cores on which clients wait.
    wanting: AtomicU32,
    core_shares: Box<[CachePadded<CoreShare>]>,
    accounts: Arc<Accounts>,
    /// The server's words at the last login.
    pub told: Told,
}

impl Budget {
    /// Takes a permit when every limit has room for one more.
    pub fn take(self: &Arc<Self>, overdue: bool) -> Result<Permit, Refusal> {
        if let Some(refusal) = self.refusal(overdue) {
            return Err(refusal);
        }
        let _books = self.accounts.open();
        match self.refusal(overdue) {
            Some(refusal) => Err(refusal),
            None => {
                self.charge();
                Ok(Permit::new(self))
            }
        }
    }

    /// A permit that was taken for this core when it came back elsewhere. `None` as well, and it goes on to the next,
    /// when it may not be used any more: a limit was lowered since, or whoever it was for had waited longer.
    pub fn collect(self: &Arc<Self>, worker: WorkerId, overdue: bool) -> Option<Permit> {
        let core_share = self.core_share(worker);
        let permit = (core_share.has_grant() && core_share.collect()).then(|| Permit::new(self));
        permit.filter(|_| self.is_within(overdue))
    }

    /// Gives back all that was taken for this core.
    pub fn decline(self: &Arc<Self>, worker: WorkerId) {
        while self.core_share(worker).collect() {
            drop(Permit::new(self));
        }
    }

    /// Which limit keeps this pool from one more connection.
    fn refusal(&self, overdue: bool) -> Option<Refusal> {
        self.first_full(|place, limit| match place {
            None => limit.has_room(self.reserve_for(overdue), 0),
            Some(_) => limit.has_room(0, 0),
        })
    }

    /// Limit that would refuse a permit once the connections have gone that are being closed, and one of `freed`.
    fn later_refusal(&self, overdue: bool, freed: Option<&Self>) -> Option<Refusal> {
        self.first_full(|place, limit| {
            let is_freed = freed.is_some_and(|freed| std::ptr::eq(freed.limit(place), limit));
            let more = match place {
                None => self.reserve_for(overdue),
                Some(_) => 0,
            };
            limit.will_have_room(more, u32::from(is_freed))
        })
    }

    /// The first limit that has no room: the pool's own, or that of a party.
    fn first_full(&self, has_room: impl Fn(Option<usize>, &Limit) -> bool) -> Option<Refusal> {
        if !has_room(None, &self.own) {
            return Some(Refusal::Pool);
        }
        let full = |place: &usize| !has_room(Some(*place), self.limit(Some(*place)));
        let place = (0..SHARED.len()).find(full)?;
        Some(SHARED[place])
    }

    fn limit(&self, place: Option<usize>) -> &Limit {
        match place {
            None => &self.own,
            Some(place) => &self.parties[place].connections,
        }
    }

    fn reserve_for(&self, overdue: bool) -> u32 {
        match overdue {
            true => self.reserve.load(SeqCst),
            false => 0,
        }
    }

    /// The accounts are open, and there is room.
    fn charge(&self) {
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
    fn is_within(&self, overdue: bool) -> bool {
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

    // What the cores of the pool show each other.

    /// Shows what this core waits for; `before` is what it showed last.
    pub fn show_want(&self, worker: WorkerId, before: Want, want: Want) {
        self.core_share(worker).show_want(want);
        match (before.waiting > 0, want.waiting > 0) {
            (false, true) => _ = self.wanting.fetch_add(1, SeqCst),
            (true, false) => _ = self.wanting.fetch_sub(1, SeqCst),
            _ => {}
        }
    }

    /// Shows since when the oldest idle connection of this core has been idle.
    pub fn show_idle(&self, worker: WorkerId, since: Option<Micros>) {
        self.core_share(worker).show_idle(since);
    }

    /// The shared limits that have no room.
    pub fn full(&self) -> Blocked {
        let is_full = |party: &Arc<Party>| !party.connections.has_room(0, 0);
        Blocked(self.parties.each_ref().map(is_full))
    }

    /// Shows which shared limits hold this core up; `before` is what it showed last.
    pub fn show_blocked(&self, before: Blocked, now: Blocked) {
        for (place, party) in self.parties.iter().enumerate() {
            match (before.0[place], now.0[place]) {
                (false, true) => _ = party.blocked.fetch_add(1, SeqCst),
                (true, false) => _ = party.blocked.fetch_sub(1, SeqCst),
                _ => {}
            }
        }
        self.accounts.note_blocked(before, now);
    }

    /// True when clients wait on another core; `waits` when they do on this one.
    #[inline]
    pub fn is_wanted_beside(&self, waits: bool) -> bool {
        self.wanting.load(SeqCst) > u32::from(waits)
    }

    /// The core on which somebody has waited for longest for whom no connection is on its way, and since when.
    pub fn oldest_want_beside(&self, worker: WorkerId) -> Option<(WorkerId, Micros)> {
        let wants = self
            .shares_beside(worker)
            .filter_map(|(other, core_share)| {
                let since = core_share.waits_for_connection()?;
                Some((other, since))
            });
        wants.min_by_key(|(_, since)| *since)
    }

    /// Since when the connection has been idle that has been so for longest on another core, while somebody waits on
    /// this one for whom none is on its way.
    pub fn oldest_idle_beside(&self, worker: WorkerId) -> Option<Micros> {
        self.core_share(worker).waits_for_connection()?;
        let idle = self.shares_beside(worker);
        idle.filter_map(|(_, core_share)| core_share.idle_since())
            .min()
    }

    /// Connections on their way to that core.
    pub fn coming(&self, worker: WorkerId) -> u32 {
        self.core_share(worker).coming()
    }

    /// Notes that a connection is on its way to `worker`.
    pub fn promise(&self, worker: WorkerId) {
        self.core_share(worker).promise();
    }

    /// Notes that a connection that was promised to `worker` has arrived there, or never will.
    pub fn settle_promise(&self, worker: WorkerId) {
        self.core_share(worker).settle_promise();
    }

    /// True when a pool that shares a limit with this one is held up by it.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.parties
            .iter()
            .any(|party| party.blocked.load(SeqCst) > 0)
    }

    /// Which other pool has waited for longest of those that could open a connection if this one closed one, and
    /// since when.
    pub fn oldest_claim_of_others(self: &Arc<Self>) -> Option<(Micros, Arc<Self>)> {
        let accounts = self.accounts.open();
        let others = accounts
            .budgets()
            .filter(|budget| !Arc::ptr_eq(budget, self));
        let claims = others.flat_map(|budget| {
            let claims = budget.needs(self);
            claims.map(move |(since, _)| (since, budget))
        });
        let (since, budget) = claims.min_by_key(|(since, _)| *since)?;
        Some((since, Arc::clone(budget)))
    }

    /// The cores that could use a permit now, and since when.
    fn claims(&self) -> impl Iterator<Item = (Micros, WorkerId)> {
        let waiting = self.waiting_for_permit();
        let fits = |(_, (_, overdue)): &(u16, (Micros, bool))| self.refusal(*overdue).is_none();
        waiting
            .filter(fits)
            .map(|(number, (since, _))| (since, WorkerId(number)))
    }

    /// The cores that could use a permit only if `victim` closed one more connection, and since when.
    fn needs(&self, victim: &Self) -> impl Iterator<Item = (Micros, WorkerId)> {
        let waiting = self.waiting_for_permit();
        let needs = |(_, (_, overdue)): &(u16, (Micros, bool))| {
            self.later_refusal(*overdue, None).is_some()
                && self.later_refusal(*overdue, Some(victim)).is_none()
        };
        waiting
            .filter(needs)
            .map(|(number, (since, _))| (since, WorkerId(number)))
    }

    fn waiting_for_permit(&self) -> impl Iterator<Item = (u16, (Micros, bool))> {
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

    /// Step that helps the clients that wait, seen from core `at`.
    pub fn seek(self: &Arc<Self>, at: WorkerId) -> Sought {
        if !self.has_uncovered() {
            return Sought::Nothing;
        }
        if self.core_share(at).idle_since().is_some() {
            return Sought::Give;
        }
        let idle = |(_, core_share): &(WorkerId, &CoreShare)| core_share.idle_since().is_some();
        if let Some((other, _)) = self.shares_beside(at).find(idle) {
            return Sought::Ask(other);
        }
        match self.victim() {
            Some((worker, budget)) if worker == at => Sought::Evict(budget),
            Some((worker, _)) => Sought::Ask(worker),
            None => Sought::Nothing,
        }
    }

    /// True when somebody waits for whom no connection is on its way from another core.
    fn has_uncovered(&self) -> bool {
        let waits =
            |core_share: &CachePadded<CoreShare>| core_share.waits_for_connection().is_some();
        self.wanting.load(SeqCst) > 0 && self.core_shares.iter().any(waits)
    }

    /// Where, and of which pool, the connection is that has been idle for longest of those whose end would let this
    /// pool open one. `None` as well when nothing keeps it from that.
    fn victim(&self) -> Option<(WorkerId, Arc<Self>)> {
        if !self.is_crowded() || self.claims().next().is_some() {
            return None;
        }
        let accounts = self.accounts.open();
        let spare = |budget: &&Arc<Self>| {
            !std::ptr::eq(&raw const ***budget, self)
                && !budget.has_uncovered()
                && self.needs(budget).next().is_some()
        };
        let idle = accounts.budgets().filter(spare).flat_map(|budget| {
            let core_shares = (0..).zip(&budget.core_shares);
            core_shares.filter_map(move |(number, core_share)| {
                Some((core_share.idle_since()?, WorkerId(number), budget))
            })
        });
        let (_, worker, budget) = idle.min_by_key(|(since, ..)| *since)?;
        Some((worker, Arc::clone(budget)))
    }

    fn core_share(&self, worker: WorkerId) -> &CoreShare {
        &self.core_shares[usize::from(worker.0)]
    }

    fn shares_beside(&self, worker: WorkerId) -> impl Iterator<Item = (WorkerId, &CoreShare)> {
        let numbered = (0..).map(WorkerId).zip(&self.core_shares);
        let others = numbered.filter(move |(other, _)| *other != worker);
        others.map(|(other, core_share)| (other, &**core_share))
    }
}

/// The right to one server connection. Dropping it gives it back, to whoever has waited for it longest.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    is_leaving: bool,
}

impl Permit {
    /// The budget has counted it.
    fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            is_leaving: false,
        }
    }

    /// The budget that it was taken from.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Its connection is being closed: nobody has to make room for whom this one is enough.
    pub fn leave(&mut self) {
        assert!(!self.is_leaving, "a connection is closed once");
        self.is_leaving = true;
        self.budget.accounts.leave(&self.budget);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.accounts.release(&self.budget, self.is_leaving);
    }
}
