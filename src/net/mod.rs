//! The only door to sockets, timers and wake-ups on a worker core, and the only home of `unsafe`.
//!
//! One [`Reactor`] per worker: a glommio executor runs it as its main future, and all that a session
//! waits for (bytes, room, time, another core) reaches it as a wake-up from here.

#![expect(
    unsafe_code,
    reason = "the ring reads and writes memory that the borrow checker cannot follow"
)]

mod accept;
mod close;
mod connect;
mod core;
mod detached;
mod listen;
mod reactor;
mod receive;
mod ring;
mod send;
mod socket;
mod stream;
pub mod task;
mod timer;

pub use self::core::Reactor;
pub use accept::Incoming;
pub use connect::Address;
pub use detached::{Detached, Peer};
pub use listen::Listener;
pub use reactor::BufferSizes;
pub use ring::{
    buffers::Chunk, descriptors::raise_descriptor_limit, probe::ProbeError, wake::WakeHandle,
};
pub use socket::Side;
pub use stream::{Arrived, Received, Stream};
pub use timer::{Elapsed, Sleep};

#[cfg(test)]
mod tests;
