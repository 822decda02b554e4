//! One client's session: the pure rules, and the task that applies them to two streams.

mod acquire;
mod alone;
mod answers;
mod block;
mod census;
mod clock;
mod commands;
pub mod conversation;
mod copies;
pub mod desk;
mod downstream;
mod effects;
mod errand;
mod extended;
mod heal;
mod keep;
mod ledger;
mod limbo;
mod lookahead;
mod loss;
mod names;
mod overtime;
mod owed;
mod own;
pub mod pin;
mod placement;
mod portals;
mod questions;
mod refusing;
mod restore;
pub(crate) mod serve;
mod settling;
mod shapes;
mod show;
mod told;
mod traces;
mod upstream;
mod verdict;

#[cfg(test)]
mod tests;
