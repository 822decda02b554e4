//! Deadlines of one core: tasks to wake at a time. The reactor sleeps no longer than to the first.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// When, and a number to tell equal times apart.
type Key = (Instant, u64);

/// All deadlines of one core.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<Key, Waker>>,
    next: Cell<u64>,
}

impl Timers {
    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<Instant> {
        self.waiting
            .borrow()
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Wakes every task whose deadline is not after `now`.
    pub(super) fn expire(&self, now: Instant) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(entry) = waiting.first_entry() else {
                return;
            };
            if entry.key().0 > now {
                return;
            }
            let waker = entry.remove();
            drop(waiting);
            waker.wake();
        }
    }

    fn insert(&self, deadline: Instant, waker: Waker) -> Key {
        let key = (deadline, self.next.get());
        self.next.set(key.1 + 1);
        self.waiting.borrow_mut().insert(key, waker);
        key
    }
}

/// Ends at its deadline. Dropping it takes the deadline back.
pub struct Sleep {
    timers: Rc<Timers>,
    deadline: Instant,
    key: Option<Key>,
}

impl Sleep {
    pub(super) fn new(timers: Rc<Timers>, deadline: Instant) -> Self {
        Self {
            timers,
            deadline,
            key: None,
        }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            self.timers.waiting.borrow_mut().remove(&key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(key) = self.key {
            return match self.timers.waiting.borrow_mut().get_mut(&key) {
                Some(waker) => {
                    waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            };
        }
        if self.deadline <= crate::time::now() {
            return Poll::Ready(());
        }
        let key = self.timers.insert(self.deadline, context.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed for it is over")]
pub struct Elapsed;

/// `future`, or [`Elapsed`] once `sleep` ends.
pub(super) async fn first<T>(sleep: Sleep, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut sleep = std::pin::pin!(sleep);
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}
