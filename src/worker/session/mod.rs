//! One client's session as a task: it applies the rules of `session` to two streams, and finds the servers.

mod apply_settings;
mod checkout;
mod clock;
mod downstream;
mod placement;
mod purpose;
mod session_mode;
mod show;
pub(crate) mod task;
mod timeouts;
mod told;
mod upstream;
