//! Schedules the connections, permits and waiting clients of one pool on one core. Pure: events in, effects out; the same
//! code runs in the simulation (`tests/simulation.rs`).
//!
//! Never opens, closes or moves anything itself, and knows neither sockets nor tasks.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    cluster::budget::{Blocked, Budget, Permit, Refusal, Sought, Want},
    ids::WorkerId,
    limits::{EVICTION_ORDER_US, HAND_OVER_ORDER_US, ORDER_PART_OF_WAIT},
    time::Micros,
};

/// Effects of a scheduler. None of these may come back to the scheduler before it returns.
pub(crate) trait Effects {
    /// A server connection.
    type Connection;
    /// A client that waits.
    type Waiter;

    /// Lends a connection to a client that has waited for it.
    fn serve(&self, waiter: Self::Waiter, connection: Self::Connection);
    /// Opens a connection; [`Scheduler::open_ended`] follows.
    fn open(&self, permit: Permit);
    /// False while connections cannot be opened; `opening` are on their way.
    fn may_open(&self, opening: u32) -> bool;
    /// Takes a connection to another core, for whom it is promised.
    fn hand_over(&self, connection: Self::Connection, target: WorkerId);
    /// A connection is about to be idle.
    fn rest(&self, connection: &Self::Connection);
    /// Closes a connection.
    fn close(&self, connection: Self::Connection);
    /// Now.
    fn now(&self) -> Micros;
}

/// The schedulers of one core, and the way to the other cores.
pub(crate) trait Schedulers {
    /// [`Scheduler::give_up`] of that pool; false as well when this core does not have it.
    fn give_up(&self, budget: &Arc<Budget>) -> bool;
    /// [`Scheduler::evict`] of that pool.
    fn evict(&self, victim: &Arc<Budget>) -> bool;
    /// Has another core seek. What gets lost on the way, [`Scheduler::look_around`] there makes up for.
    fn ask(&self, other: WorkerId, budget: &Arc<Budget>);
}

/// Looks through the process for connections, or the places of some, for a pool whose clients wait: gives what is on
/// core `at`; a core that has more goes on from there. When they have what they need, the next pool has its turn that
/// could not have those.
pub(crate) fn seek(at: WorkerId, budget: &Arc<Budget>, schedulers: &impl Schedulers) {
    if seek_for(at, budget, schedulers) && budget.is_crowded() {
        let next = budget.oldest_claim_of_others();
        next.into_iter()
            .for_each(|(_, next)| _ = seek_for(at, &next, schedulers));
    }
}

/// False when another core goes on.
fn seek_for(at: WorkerId, budget: &Arc<Budget>, schedulers: &impl Schedulers) -> bool {
    loop {
        let found = match budget.seek(at) {
            Sought::Give => schedulers.give_up(budget),
            Sought::Evict(victim) => schedulers.evict(&victim),
            Sought::Ask(other) => {
                schedulers.ask(other, budget);
                return false;
            }
            Sought::Nothing => false,
        };
        if !found {
            return true;
        }
    }
}

/// A connection that nobody uses, and since when.
struct Idle<C> {
    since: Micros,
    connection: C,
}

/// A client that waits, and since when.
struct Waiting<W> {
    since: Micros,
    waiter: W,
}

/// Destination of a connection that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// To the first who waits here.
    Serve,
    /// To another core.
    HandOver(WorkerId),
    /// There are too many, or its place is needed by another pool.
    Close,
    /// Nobody needs it now.
    Rest,
}

/// One pool on one core.
pub(crate) struct Scheduler<C, W> {
    worker: WorkerId,
    budget: Arc<Budget>,
    waiters: VecDeque<Waiting<W>>,
    /// The one at the end was used last, and is used next.
    idle: Vec<Idle<C>>,
    /// Connections on their way to be idle: being opened.
    opening: u32,
    /// Connections on their way to be idle: being checked or reset.
    tested: u32,
    reserve_after: Micros,
    /// Clients that wait, as the other cores have been shown last.
    want: Want,
    idle_since: Option<Micros>,
    blocked: Blocked,
    /// When other pools' claims are looked up again while clients wait here.
    next_look: Micros,
    /// Somebody waits for whom nobody has looked around yet.
    is_seeking: bool,
    /// The longest that somebody waited while a connection was idle on another core.
    idle_beside: Micros,
}

impl<C, W> Drop for Scheduler<C, W> {
    fn drop(&mut self) {
        self.show_nothing();
    }
}

impl<C, W> Scheduler<C, W> {
    pub(crate) fn new(worker: WorkerId, budget: Arc<Budget>) -> Self {
        Self {
            worker,
            budget,
            waiters: VecDeque::new(),
            idle: Vec::new(),
            opening: 0,
            tested: 0,
            reserve_after: Micros::MAX,
            want: Want::default(),
            idle_since: None,
            blocked: Blocked::default(),
            next_look: 0,
            is_seeking: false,
            idle_beside: 0,
        }
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// True once after somebody has come for whom the other connections of the process have to be looked through:
    /// [`seek`], when nothing of the scheduler is borrowed.
    pub(crate) fn is_seeking(&mut self) -> bool {
        std::mem::take(&mut self.is_seeking)
    }

    /// How long a client waits before it may have a connection of the reserve.
    pub(crate) fn set_reserve_after(&mut self, after: Duration) {
        self.reserve_after = after.as_micros() as Micros;
    }

    pub(crate) fn opening(&self) -> u32 {
        self.opening
    }

    pub(crate) fn tested(&self) -> u32 {
        self.tested
    }

    pub(crate) fn idle_count(&self) -> u32 {
        self.idle.len() as u32
    }

    pub(crate) fn idle(&self) -> impl Iterator<Item = &C> {
        self.idle.iter().map(|idle| &idle.connection)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiters.len() as u32
    }

    pub(crate) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.waiters.iter().map(|waiting| &waiting.waiter)
    }

    /// The first limit, shared with other pools, that keeps a connection from being opened here.
    pub(crate) fn blocked(&self) -> Option<Refusal> {
        self.blocked.first()
    }

    /// The longest that somebody waited here while a connection was idle on another core, or there while one was
    /// idle here. Never less than it was; a little more when what was on its way to somebody got lost.
    pub(crate) fn idle_beside(&self) -> Micros {
        self.idle_beside
    }

    /// The connection that was used last, unless somebody waits already.
    #[inline]
    pub(crate) fn take_idle(&mut self, effects: &impl Effects) -> Option<C> {
        if !self.waiters.is_empty() {
            return None;
        }
        self.pop_idle(effects)
    }

    #[inline]
    fn pop_idle(&mut self, effects: &impl Effects) -> Option<C> {
        let idle = self.idle.pop()?;
        if self.budget.is_wanted_beside(false) {
            let wanted = self.budget.oldest_want_beside(self.worker);
            self.note_idle_beside(effects, idle.since, wanted.map(|(_, since)| since));
        }
        self.show_idle();
        Some(idle.connection)
    }

    /// Somebody has waited since then, and a connection was idle somewhere since then, if both is so.
    #[cold]
    fn note_idle_beside(&mut self, effects: &impl Effects, since: Micros, other: Option<Micros>) {
        if let Some(other) = other {
            let both = effects.now().saturating_sub(since.max(other));
            self.idle_beside = self.idle_beside.max(both);
        }
    }

    /// The first in the queue is about to leave it.
    fn note_end_of_wait(&mut self, effects: &impl Effects) {
        let idle = self.budget.oldest_idle_beside(self.worker);
        if let Some(first) = self.waiters.front() {
            self.note_idle_beside(effects, first.since, idle);
        }
    }

    /// Puts a client at the end of the queue.
    pub(crate) fn join(&mut self, effects: &impl Effects<Connection = C>, waiter: W) {
        let since = effects.now();
        self.waiters.push_back(Waiting { since, waiter });
        self.settle(effects);
        self.is_seeking = true;
    }

    /// Takes clients out of the queue: those who do not want to wait any longer.
    pub(crate) fn leave(
        &mut self,
        effects: &impl Effects<Connection = C>,
        mut who: impl FnMut(&W) -> bool,
    ) -> Vec<W> {
        self.note_end_of_wait(effects);
        let mut left = Vec::new();
        let mut place = 0;
        while let Some(waiting) = self.waiters.get(place) {
            if who(&waiting.waiter) {
                left.extend(self.waiters.remove(place).map(|left| left.waiter));
            } else {
                place += 1;
            }
        }
        self.settle(effects);
        left
    }

    /// A connection is free: whoever needs it most has it next.
    pub(crate) fn place(
        &mut self,
        effects: &impl Effects<Connection = C, Waiter = W>,
        connection: C,
    ) {
        self.dispose(effects, connection, false);
    }

    /// A connection that was promised to this core has arrived from another one.
    pub(crate) fn adopt(
        &mut self,
        effects: &impl Effects<Connection = C, Waiter = W>,
        connection: C,
    ) {
        self.dispose(effects, connection, true);
    }

    /// An idle connection goes to the core that has waited for one longest. False when there is no such pair.
    pub(crate) fn give_up(&mut self, effects: &impl Effects<Connection = C, Waiter = W>) -> bool {
        let Some((target, _)) = self.budget.oldest_want_beside(self.worker) else {
            return false;
        };
        let Some(connection) = self.take_idle(effects) else {
            return false;
        };
        self.budget.promise(target);
        effects.hand_over(connection, target);
        true
    }

    /// Does what lost messages may have asked for.
    pub(crate) fn look_around(&mut self, effects: &impl Effects<Connection = C, Waiter = W>) {
        self.settle(effects);
        self.is_seeking = true;
        while self.budget.is_crowded() && self.evict(effects) {}
    }

    /// Closes the connection that has been idle for longest, if another pool can use its place; false if none can.
    pub(crate) fn evict(&mut self, effects: &impl Effects<Connection = C>) -> bool {
        if self.idle.is_empty() || self.budget.oldest_claim_of_others().is_none() {
            return false;
        }
        let oldest = self.idle.remove(0);
        self.show_idle();
        effects.close(oldest.connection);
        true
    }

    /// Takes out the idle connections that `is_due` says, to be closed.
    pub(crate) fn take_out(&mut self, mut is_due: impl FnMut(&C) -> bool) -> Vec<C> {
        let due = |idle: &mut Idle<C>| is_due(&idle.connection);
        let out: Vec<_> = self.idle.extract_if(.., due).collect();
        self.show_idle();
        out.into_iter().map(|idle| idle.connection).collect()
    }

    /// Closes idle connections while there are more than the limits allow, those of the reserve included: it is for
    /// those who wait.
    pub(crate) fn close_excess(&mut self, effects: &impl Effects<Connection = C>) {
        while (self.budget.is_over() || self.budget.is_on_reserve()) && !self.idle.is_empty() {
            let oldest = self.idle.remove(0);
            self.show_idle();
            effects.close(oldest.connection);
        }
    }

    /// Opens a connection that nobody waits for, when there is room.
    pub(crate) fn open_spare(&mut self, effects: &impl Effects) -> bool {
        let permit = match effects.may_open(self.opening) {
            true => self.budget.take(false).ok(),
            false => None,
        };
        let Some(permit) = permit else { return false };
        self.opening += 1;
        effects.open(permit);
        true
    }

    /// An attempt to open a connection has ended. What became of it follows: [`Scheduler::place`], or nothing and
    /// [`Scheduler::settle`].
    pub(crate) fn open_ended(&mut self) {
        self.opening -= 1;
    }

    /// A connection is being checked or reset, until [`Scheduler::test_ended`].
    pub(crate) fn test(&mut self) {
        self.tested += 1;
    }

    pub(crate) fn test_ended(&mut self) {
        self.tested -= 1;
    }

    /// A permit was taken for this core, or what it waits for has changed.
    pub(crate) fn hear(&mut self, effects: &impl Effects<Connection = C>) {
        self.settle(effects);
        self.is_seeking |= self.blocked.first().is_some();
    }

    /// Opens as many connections as the queue needs and the limits allow, shows the other cores who waits here, and
    /// gives back what it was granted too much.
    pub(crate) fn settle(&mut self, effects: &impl Effects<Connection = C>) {
        let missing = self.want.missing;
        self.show_want(effects);
        let mut is_more = self.want.missing > missing;
        let mut refused = None;
        while self.want.missing > 0 && refused.is_none() {
            let overdue = self.want.overdue;
            let granted = self.budget.collect(self.worker, overdue);
            match granted.map_or_else(|| self.budget.take(overdue), Ok) {
                Ok(permit) => {
                    self.opening += 1;
                    effects.open(permit);
                    self.show_want(effects);
                    is_more = true;
                }
                Err(refusal) => refused = Some(refusal),
            }
        }
        let blocked = match refused {
            None | Some(Refusal::Pool) => Blocked::default(),
            Some(_) => self.budget.full(),
        };
        self.is_seeking |= blocked.first().is_some() && (is_more || blocked != self.blocked);
        self.show_blocked(blocked);
        if self.want.missing == 0 {
            self.budget.decline(self.worker);
        }
    }

    fn dispose(
        &mut self,
        effects: &impl Effects<Connection = C, Waiter = W>,
        connection: C,
        arrived: bool,
    ) {
        match self.fate(effects, arrived) {
            Fate::Serve => {
                // What arrives from another core was idle no more while it was on its way.
                if !arrived {
                    self.note_end_of_wait(effects);
                }
                self.serve_first(effects, connection);
            }
            Fate::HandOver(target) => {
                self.budget.promise(target);
                effects.hand_over(connection, target);
            }
            Fate::Close => {
                effects.close(connection);
                self.settle(effects);
                // Whom it was brought for needs another one.
                self.is_seeking |= !self.waiters.is_empty();
            }
            Fate::Rest => self.rest(effects, connection),
        }
    }

    fn serve_first(&mut self, effects: &impl Effects<Connection = C, Waiter = W>, connection: C) {
        let first = self.waiters.pop_front();
        let first = first.expect("a connection has this fate when somebody waits");
        effects.serve(first.waiter, connection);
        self.settle(effects);
    }

    fn rest(&mut self, effects: &impl Effects<Connection = C, Waiter = W>, connection: C) {
        effects.rest(&connection);
        let since = effects.now();
        self.idle.push(Idle { since, connection });
        self.show_idle();
        // Whoever has begun to wait since then may have looked before this one was shown.
        if self.fate(effects, false) != Fate::Rest
            && let Some(connection) = self.pop_idle(effects)
        {
            self.dispose(effects, connection, false);
        }
    }

    #[inline]
    fn fate(&mut self, effects: &impl Effects, arrived: bool) -> Fate {
        if self.budget.is_over() {
            return Fate::Close;
        }
        let waits = self.waiters.front().map(|first| first.since);
        if arrived && waits.is_some() {
            return Fate::Serve;
        }
        if self.budget.is_wanted_beside(self.want.waiting > 0)
            && let Some(target) = self.whose_turn(effects, waits)
        {
            return Fate::HandOver(target);
        }
        if self.budget.is_crowded() && self.is_claimed(effects, waits) {
            return Fate::Close;
        }
        match waits {
            Some(_) => Fate::Serve,
            None if self.budget.is_on_reserve() => Fate::Close,
            None => Fate::Rest,
        }
    }

    /// The core that has waited for so much longer than the first one here that it is its turn. While clients wait
    /// here, one connection is on its way at a time: many at once would leave this core short, and come back.
    fn whose_turn(&self, effects: &impl Effects, waits: Option<Micros>) -> Option<WorkerId> {
        let (other, since) = self.budget.oldest_want_beside(self.worker)?;
        let Some(own) = waits else {
            return Some(other);
        };
        let is_turn = is_much_older(since, own, HAND_OVER_ORDER_US, effects.now());
        (is_turn && self.budget.coming(other) == 0).then_some(other)
    }

    /// Whether a pool that a shared limit holds up has waited for so much longer that a connection is closed for it.
    fn is_claimed(&mut self, effects: &impl Effects, waits: Option<Micros>) -> bool {
        let now = effects.now();
        let Some(own) = waits else {
            return self.budget.oldest_claim_of_others().is_some();
        };
        if now < self.next_look {
            return false;
        }
        self.next_look = now + EVICTION_ORDER_US / 16;
        let claim = self.budget.oldest_claim_of_others();
        claim.is_some_and(|(since, _)| is_much_older(since, own, EVICTION_ORDER_US, now))
    }

    fn show_want(&mut self, effects: &impl Effects) {
        let now = effects.now();
        let waiting = self.waiters.len() as u32;
        let missing = waiting.saturating_sub(self.opening + self.tested);
        let may_open = missing > 0 && effects.may_open(self.opening);
        let since = self.waiters.front().map_or(0, |first| first.since);
        let want = Want {
            waiting,
            missing: if may_open { missing } else { 0 },
            since,
            overdue: waiting > 0 && now.saturating_sub(since) >= self.reserve_after,
        };
        if want != self.want {
            self.budget.show_want(self.worker, self.want, want);
            self.want = want;
        }
    }

    #[inline]
    fn show_idle(&mut self) {
        let since = self.idle.first().map(|idle| idle.since);
        if since != self.idle_since {
            self.budget.show_idle(self.worker, since);
            self.idle_since = since;
        }
    }

    /// Leaves the budget as if there were no such core.
    fn show_nothing(&mut self) {
        let nothing = Want::default();
        self.budget.show_want(self.worker, self.want, nothing);
        self.want = nothing;
        self.show_blocked(Blocked::default());
        self.budget.show_idle(self.worker, None);
        self.idle_since = None;
        self.budget.decline(self.worker);
    }

    fn show_blocked(&mut self, blocked: Blocked) {
        if blocked != self.blocked {
            self.budget.show_blocked(self.blocked, blocked);
            self.blocked = blocked;
        }
    }
}

/// Whether who waits since `since` has waited longer than who waits since `own`, by more than `least` and a part of
/// the wait itself. (What is nearly as old stays where it is: moving a connection costs time.)
fn is_much_older(since: Micros, own: Micros, least: Micros, now: Micros) -> bool {
    since + least + now.saturating_sub(own) / ORDER_PART_OF_WAIT < own
}
