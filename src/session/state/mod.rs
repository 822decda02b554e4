//! Session state at a server connection: what statements may have left there, how the server is asked for it, and how
//! it is given back. Pure.

pub(crate) mod left_behind;
pub(crate) mod parameters;
pub(crate) mod pending_state;
pub mod pin;
pub(crate) mod reset;
pub(crate) mod restore;
pub(crate) mod session_state;
pub(crate) mod state_query;
