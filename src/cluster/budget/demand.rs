//! Demand for the connections of a pool: what its cores show each other, and where a connection that becomes free is
//! needed most.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use crossbeam::utils::CachePadded;

use super::{
    accounts::Budget,
    core_share::{CoreShare, Want},
    limit::{Blocked, Party, Refusal},
};
use crate::{ids::WorkerId, time::Micros};

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

impl Budget {
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

    fn shares_beside(&self, worker: WorkerId) -> impl Iterator<Item = (WorkerId, &CoreShare)> {
        let numbered = (0..).map(WorkerId).zip(&self.core_shares);
        let others = numbered.filter(move |(other, _)| *other != worker);
        others.map(|(other, core_share)| (other, &**core_share))
    }
}
