//! Permits: of a pool for one server connection, of a database and a user for one client.

use std::sync::Arc;

use super::{
    accounts::Budget,
    limit::{Party, Refusal},
};
use crate::ids::WorkerId;

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

impl Budget {
    /// Takes a permit when every limit has room for one more.
    pub fn take(self: &Arc<Self>, overdue: bool) -> Result<Permit, Refusal> {
        if let Some(refusal) = self.refusal(overdue) {
            return Err(refusal);
        }
        let _accounts = self.accounts.open();
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
}

/// A client that its database and its user count, until this is dropped.
#[derive(Debug)]
pub struct ClientPermit(pub(super) [Arc<Party>; 2]);

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.0
            .iter()
            .for_each(|party| party.clients.give_back(false));
    }
}
