//! A client cannot tell that its server connection is shared: conversations are held with PostgreSQL directly
//! and through a pool of three connections that many other clients press upon; the transcripts are the same,
//! message by message. One file per theme; `proof` compares, `property` does it with random settings.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod conversation;
mod proof;
mod transcript;

mod bad_input;
mod copying;
mod login;
mod news;
mod pins;
mod players;
mod prepared;
mod property;
mod schema;
mod settings;
mod statements;
mod transactions;
mod various;
mod worlds;
