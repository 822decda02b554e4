//! Talking to servers, as both planes do it: whole messages over a stream, and logging in. Owns no connection, and knows
//! neither pools nor sessions.

pub(crate) mod login;
pub(crate) mod wire;
