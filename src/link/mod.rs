//! What both planes say to servers: whole messages over a stream, and logging in. Owns no connection, and knows
//! neither pools nor sessions.

pub(crate) mod login;
pub(crate) mod wire;
