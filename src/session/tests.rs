//! The pure rules of a session, against transcripts and against a model of a server.

mod asking;
mod blocks;
mod connection_lost;
mod conversation;
mod failed_block;
mod ledger;
mod loss;
mod names;
mod postgres;
mod refusing;
mod server;
mod stale;
mod statements;
mod states;
mod talk;
