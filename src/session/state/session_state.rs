//! The session state of one client at its server connection: what may be there, and what RESET goes back to. Pure.

use super::{pending_state::PendingState, restore::Restore};

/// The session state of one client.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    pub(crate) pending: PendingState,
    pub(crate) restore: Restore,
    /// The last bytes of a statement that is too long to be read as a whole.
    pub(crate) rest: Vec<u8>,
}
