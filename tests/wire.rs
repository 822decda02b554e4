//! Conversations through the real program: scripted clients in front, a scripted server behind it, one file
//! per theme. Each test reads like a transcript; nothing here sleeps or measures time.

#![allow(
    clippy::unwrap_used,
    reason = "a broken test bench shall fail the test"
)]

mod support;

#[path = "wire/auth.rs"]
mod auth;
#[path = "wire/backpressure.rs"]
mod backpressure;
#[path = "wire/bad_input.rs"]
mod bad_input;
#[path = "wire/balance.rs"]
mod balance;
#[path = "wire/blocks.rs"]
mod blocks;
#[path = "wire/bystander.rs"]
mod bystander;
#[path = "wire/cancel.rs"]
mod cancel;
#[path = "wire/console.rs"]
mod console;
#[path = "wire/greeting.rs"]
mod greeting;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/nodes.rs"]
mod nodes;
#[path = "wire/pools.rs"]
mod pools;
#[path = "wire/positions.rs"]
mod positions;
#[path = "wire/server_death.rs"]
mod server_death;
#[path = "wire/settings.rs"]
mod settings;
#[path = "wire/signals.rs"]
mod signals;
#[path = "wire/sizes.rs"]
mod sizes;
#[path = "wire/splits.rs"]
mod splits;
#[path = "wire/statements.rs"]
mod statements;
#[path = "wire/timeouts.rs"]
mod timeouts;
