//! Real PostgreSQL servers in a temporary folder, for `pgring lab` and for the tests.
//!
//! Owns finding the installed programs, building a primary and standbys, and leaving nothing behind.
//! Never touches a cluster it did not build.

mod account;
mod cluster;
mod error;
mod install;
mod port;
mod process;
mod server;
mod workplace;

pub use account::Account;
pub use cluster::{Cluster, Options};
pub use error::Error;
pub use install::{Installation, VERSION_MIN};
pub use port::free_port;
pub(crate) use process::signal_group;
pub use process::{Ended, Mark, PATIENCE, Process, Signal, signal};
pub use server::{Postgres, Stop};
pub use workplace::Workplace;
