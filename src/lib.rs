//! pgring: a PostgreSQL proxy on a thread-per-core io_uring engine.
//!
//! The modules below read as the path of a query; `ARCHITECTURE.md` is the map.
//!
//! # The life of one query
//!
//! The kernel puts a client's bytes into a buffer that [`net`] has lent it, and the session's task wakes. The
//! bytes are cut into messages where they lie ([`protocol::buffer`]), and the session's rules say what becomes
//! of each ([`session::conversation`]): most go to a server, some are answered here. The first one
//! that needs a server takes an idle connection of this core's pool. The same bytes are sent from the same
//! buffer; the answer comes back the same way, watched for ReadyForQuery, errors and reported settings
//! alone. When nothing is owed any more and no transaction is open, the connection goes back to its pool;
//! when the bytes are sent, the buffer goes back to the kernel.
//!
//! # What holds everywhere
//!
//! - [`worker`] and [`control`] never name each other; they meet in [`cluster`] and [`mailbox`]. Imports point
//!   one way: ids, limits, time, random, mailbox <- protocol <- auth <- sql <- net <- cluster <- session <- admin
//!   <- link <- worker, control <- cli.
//! - `glommio` is named only in [`net`] and at the top of the two planes, `unsafe` only in [`net`].
//! - On the path of a query: no lock, no blocking call, no allocation once the core is warm, no collection
//!   that grows past a bound named in [`limits`] or in the configuration.
//! - A worker decides by one snapshot at a time, and a session's rules are pure: bytes in, verdicts out.
//! - No length or count of a peer is believed.
//! - When unsure: a statement may have committed, a connection is closed, a client is told.

pub mod ids;
pub mod limits;
pub mod mailbox;
pub mod random;
pub mod time;

pub mod protocol;

pub mod auth;

pub mod sql;

pub mod cluster;

pub mod session;

pub mod admin;

pub mod net;

mod link;

pub mod worker;

pub mod control;

pub mod cli;
