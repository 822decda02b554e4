//! The PostgreSQL wire protocol, versions 3.0 and 3.2, both directions: bytes to views and values to bytes.
//! Never does I/O, never copies a body it only looks at, never believes a length or a count of the peer.

#![deny(clippy::indexing_slicing)]

pub mod buffer;
pub mod frame;
pub mod reader;
pub mod tag;

pub mod startup;
pub mod version;

pub mod frontend;

pub mod backend;

mod write_backend;
mod write_frontend;
pub mod writer;

pub mod error;
pub mod sqlstate;

pub use error::{ErrorReport, ProtocolError, Severity};
pub use frame::{Frame, Frames, Header};
pub use reader::Reader;
pub use sqlstate::SqlState;
pub use tag::Tag;
pub use writer::Writer;

#[cfg(test)]
mod tests;
