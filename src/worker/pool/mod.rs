//! The server connections of one core: one pool for each database, user and node. It opens none without a permit of the
//! process-wide budget.
//!
//! The worker owns the types of the first group, which do not know it; the second group works with both.

pub(super) mod backend;
pub(super) mod common;
pub(super) mod node_pool;
mod read_classifier;
mod scheduler;
pub(super) mod set;
pub(super) mod waiter;

mod effects;
mod handover;
pub(super) mod lease;
mod login;
mod maintenance;
mod queue;
mod registry;

#[cfg(test)]
mod tests;
