//! Tasks of a worker core: spawn, yield, wake, each counted.
//!
//! The reactor may only sleep in the kernel when no task is runnable. glommio does not tell, so every
//! wake-up on a worker core goes through this module, and the reactor yields until the count stays zero.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    task::{Context, Poll, Waker},
};

thread_local! {
    static RUNNABLE: Cell<u32> = const { Cell::new(0) };
}

/// Wakes a task of this core.
#[inline]
pub fn wake(waker: Waker) {
    RUNNABLE.set(RUNNABLE.get() + 1);
    waker.wake();
}

/// Starts a task on this core, at once up to where it first waits; it runs until it ends by itself.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    RUNNABLE.set(RUNNABLE.get() + 1);
    glommio::spawn_local(future).detach();
}

/// Lets every other runnable task of this core go first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        RUNNABLE.set(RUNNABLE.get() + 1);
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// True while some task was made runnable since the last call.
pub(super) fn take_runnable() -> bool {
    RUNNABLE.replace(0) != 0
}

/// True while some task is waiting for its turn.
pub(super) fn any_runnable() -> bool {
    RUNNABLE.get() != 0
}

/// A place for the waker of the one task that waits for something.
#[derive(Default)]
pub struct WakerCell(Cell<Option<Waker>>);

impl WakerCell {
    /// Remembers the task behind `context`, without a clone when it is the same task as before.
    #[inline]
    pub fn register(&self, context: &Context<'_>) {
        let kept = match self.0.take() {
            Some(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        self.0.set(Some(kept));
    }

    /// Wakes the task that registered, if any.
    #[inline]
    pub fn wake(&self) {
        if let Some(waker) = self.0.take() {
            RUNNABLE.set(RUNNABLE.get() + 1);
            waker.wake_by_ref();
            // Kept, so that the task need not clone it again to wait again.
            self.0.set(Some(waker));
        }
    }

    /// Forgets the task.
    pub fn clear(&self) {
        self.0.take();
    }
}
