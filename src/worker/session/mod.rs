//! One client's session as a task: it applies the rules of `session` to two streams, and finds the servers.

mod apply_settings;
mod checkout;
mod clock;
mod downstream;
mod intake;
mod link;
mod parameters;
mod place;
mod placement;
mod session_mode;
mod show;
mod stay;
pub(crate) mod task;
mod timeouts;
mod upstream;
