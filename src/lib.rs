//! pgring: a PostgreSQL proxy on a thread-per-core io_uring engine.
//!
//! The folders below read as the path of a query; `ARCHITECTURE.md` is the map.

pub mod ids;
pub mod limits;
pub mod random;
pub mod time;

pub mod protocol;

pub mod cluster;

pub mod net;

pub mod worker;

pub mod control;

pub mod cli;
