//! One client's session: the pure rules, and the task that applies them to two streams.

mod alone;
mod block;
mod census;
mod clock;
mod commands;
pub mod conversation;
pub mod desk;
mod downstream;
mod extended;
mod heal;
mod hidden;
mod ledger;
mod limbo;
mod names;
mod overtime;
pub mod pin;
mod portals;
mod restore;
pub(crate) mod serve;
mod settling;
mod shapes;
mod traces;
mod upstream;

#[cfg(test)]
mod tests;
