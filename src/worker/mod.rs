//! A worker core: clients come in, sessions run, server connections are pooled.
pub(crate) mod classify;
pub(crate) mod session;
