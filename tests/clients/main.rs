//! Real drivers in their ordinary use, in front of a pool of three connections in transaction mode, among many
//! clients that interfere. The programs beside this file check what they get and end with status 0 or 1; what
//! they need is installed once, below `target/`. Never judges what a driver does, only whether it is content.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod pipelines;
mod programs;
mod psql;
