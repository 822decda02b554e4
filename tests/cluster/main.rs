//! Real PostgreSQL behind the real pgring: what people use, what breaks, and what must come back.
//! Never a mock; what a test needs of the machine beyond that is in `support`.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod balance;
mod buffers;
mod cancel_storm;
mod catalogs;
mod chaos;
mod consistency;
mod copy;
mod crash;
mod crowd;
mod ctl;
mod ddl;
mod encodings;
mod failover;
mod footprints;
mod idle;
mod lab;
mod lag;
mod last_words;
mod leak;
mod limits;
mod load;
mod login;
mod needs;
mod oracle;
mod pgbench;
mod pins;
mod positions;
mod psql;
mod retry;
mod roles;
mod routing;
mod sequences;
mod settings;
mod shows;
mod storms;
mod switchover;
mod tenants;
mod timeouts;
mod transactions;
mod traps;
mod upheavals;
mod vacated;

use support::{replicated, session, splitting, stage};
