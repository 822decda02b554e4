//! How one task of the control core tells another one to look: rung any number of times, heard once.

use std::{cell::Cell, future::poll_fn, task::Poll};

use crate::net::task::WakerCell;

/// One task waits, others ring.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: WakerCell,
}

impl Bell {
    /// The one that waits, or will wait, goes on.
    pub(super) fn ring(&self) {
        self.rung.set(true);
        self.waiting.wake();
    }

    /// Ends when it was rung since the last time.
    pub(super) async fn heard(&self) {
        poll_fn(|context| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            self.waiting.register(context);
            Poll::Pending
        })
        .await;
    }
}
