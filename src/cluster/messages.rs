//! What cores tell each other.

use std::{os::fd::OwnedFd, sync::Arc};

use super::{
    budget::PoolKey,
    report::{Report, ReportKind},
};
use crate::{auth::SaltedKeys, ids::WorkerId};

/// A question's number, so that its answer finds who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// To a worker core.
#[derive(Debug)]
pub enum ToWorker {
    /// A client wants the query of one of this core's clients stopped.
    Cancel {
        /// The process id that client was given.
        process_id: i32,
        /// The key that client was given.
        key: Vec<u8>,
    },
    /// Answer to [`ToControl::Derive`].
    Keys(Ticket, Arc<SaltedKeys>),
    /// Another core has clients waiting for this pool: close an idle connection of it.
    GiveUp(PoolKey),
    /// A permit of this pool came back.
    PermitFree(PoolKey),
    /// Another core wants to know what this one does.
    Ask(Ticket, WorkerId, ReportKind),
    /// Answer to `Ask`.
    Told(Ticket, Report),
    /// Serve this client, accepted elsewhere.
    Adopt(OwnedFd),
    /// Settings changed.
    Reload,
    /// No new clients; end sessions as their transactions end.
    Drain,
    /// End now.
    Stop,
}

/// To the control core.
#[derive(Debug)]
pub enum ToControl {
    /// Run PBKDF2, which takes milliseconds, away from the workers.
    Derive {
        /// Who asks.
        worker: WorkerId,
        /// What the answer shall carry.
        ticket: Ticket,
        /// The password.
        password: String,
        /// The server's salt.
        salt: Vec<u8>,
        /// The server's count of rounds.
        iterations: u32,
    },
    /// A worker accepts clients.
    Ready(WorkerId),
    /// A worker that drains has no client left.
    Drained(WorkerId),
    /// A worker has ended, by order or not.
    Ended(WorkerId),
    /// A signal of the operating system.
    Signal(i32),
}
