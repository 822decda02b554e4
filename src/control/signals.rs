//! Signals of the operating system become messages.

use std::{io, sync::Arc, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::cluster::{messages::ToControl, shared::Shared};

/// Read the configuration again.
pub(super) const RELOAD: i32 = SIGHUP;

/// Drain, then stop.
pub(super) const TERMINATE: i32 = SIGTERM;

/// Starts a thread that waits for signals.
pub(super) fn watch(shared: Arc<Shared>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                let _ = shared.control.put(ToControl::Signal(signal));
            }
        })?;
    Ok(())
}
