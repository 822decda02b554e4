//! The decisions of pools, without sockets.

mod simulation;
mod world;
