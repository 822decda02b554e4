//! How many server connections there may be in the whole process: of a pool, a database, a user, a node. Who may
//! open the next one, and where a connection that becomes free is needed most. No connection lives here.
//!
//! Permits change hands under one lock, when connections are opened and closed; a query never takes it.

mod accounts;
mod bounds;
mod budgets;
mod core_share;
mod demand;
mod limit;
mod permit;
#[cfg(test)]
mod tests;

pub use self::{
    accounts::Budget,
    bounds::{Bounds, PoolKey, Terms},
    budgets::Budgets,
    core_share::Want,
    demand::Sought,
    limit::{Blocked, Refusal},
    permit::{ClientPermit, Permit},
};
