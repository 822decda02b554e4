//! Bounded queues between cores: any thread puts, one core takes. Never blocks.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam::queue::ArrayQueue;

/// A core's incoming messages.
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    overflowed: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl<T> Mailbox<T> {
    /// Holds up to `capacity` messages; `wake` makes the owner look.
    pub fn new(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            overflowed: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    /// Puts a message and wakes the owner; gives it back when the box is full.
    pub fn put(&self, message: T) -> Result<(), T> {
        let put = self.queue.push(message);
        if put.is_err() {
            self.overflowed.store(true, Ordering::Release);
        }
        (self.wake)();
        put
    }

    /// Takes the oldest message.
    pub fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// True when a message found no room since this was last asked.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed) && self.overflowed.swap(false, Ordering::AcqRel)
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Mailbox({} of {})",
            self.queue.len(),
            self.queue.capacity()
        )
    }
}
