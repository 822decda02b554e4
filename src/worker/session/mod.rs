//! One client's session: the pure rules, and the task that applies them to two streams.

mod clock;
pub mod conversation;
mod downstream;
mod ledger;
mod limbo;
mod overtime;
pub mod pin;
pub(crate) mod serve;
mod upstream;

#[cfg(test)]
mod tests;
