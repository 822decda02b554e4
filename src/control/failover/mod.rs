//! The replacement of a primary that is lost. Pure: `control/watch/failover.rs` does what is planned here.

pub(super) mod conninfo;
pub(super) mod elect;
mod following;
mod opinions;
pub(super) mod phase;
pub(super) mod plan;
pub(super) mod rights;
pub(super) mod seen;
mod switchover;
pub(super) mod synchronous;
#[cfg(test)]
mod tests;
