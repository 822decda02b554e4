//! Cancel requests for one client: the one that is under way, and those who wait for it. Sends nothing.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Instant,
};

use crate::session::work::Work;

/// One request to the server, shared by all who asked for it.
pub(super) struct Round {
    /// When the client sent what shall be cancelled; tells its requests apart.
    pub(super) request: Instant,
    /// It waits until the server has done what pgring itself asked.
    pub(super) held: Cell<bool>,
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// Clients that have asked for it.
    pub(super) askers: Cell<u32>,
}

/// Somebody who is counted while waiting.
pub(super) struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    pub(super) fn enter(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Round {
    pub(super) fn new(request: Instant) -> Rc<Self> {
        Rc::new(Self {
            request,
            held: Cell::new(false),
            over: Cell::new(false),
            waiting: RefCell::default(),
            askers: Cell::new(0),
        })
    }

    pub(super) fn end(&self) {
        self.over.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// A client has asked for it, and waits.
    pub(super) async fn has_effect(&self) {
        let _asker = Counted::enter(&self.askers);
        self.is_over().await;
    }

    pub(super) async fn is_over(&self) {
        poll_fn(|context| {
            if self.over.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Cancel requests for one client.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(super) work: Cell<Work>,
    pub(super) round: RefCell<Option<Rc<Round>>>,
    /// The client waits for a server connection and shall not any more.
    pub(super) dequeued: Cell<bool>,
    /// Count of those who ask for a later request of the client than the one that is being cancelled.
    pub(super) behind: Cell<u32>,
}

impl Inbox {
    /// The session begins to wait for a server connection.
    pub(crate) fn clear(&self) {
        self.dequeued.set(false);
    }

    /// True when the session shall not wait for a server connection any more.
    pub(crate) fn is_dequeued(&self) -> bool {
        self.dequeued.get()
    }

    /// The session has gone: nothing is left to cancel.
    pub(crate) fn close(&self) {
        self.work.set(Work::Nothing);
        if let Some(round) = self.round.take() {
            round.end();
        }
    }
}
