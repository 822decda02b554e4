//! A thread that runs PBKDF2, so that no core with clients on it does, and the control core waits for none.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    io,
    rc::Rc,
    sync::Arc,
    task::Poll,
    thread,
};

use crossbeam::channel::{Sender, bounded};

use crate::{
    auth::{SaltedKeys, derive_with_pbkdf2},
    cluster::{
        messages::{Ticket, ToControl, ToWorker},
        shared::Shared,
    },
    ids::WorkerId,
    limits::MAILBOX_MESSAGES_MAX,
    net::task::WakerCell,
};

/// The thread's inbox.
#[derive(Clone)]
pub(super) struct KeyMaker(Sender<Order>);

struct Order {
    /// Who asks; `None` is the control core.
    worker: Option<WorkerId>,
    ticket: Ticket,
    password: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl KeyMaker {
    /// Starts the thread; it ends with the last sender.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (sender, orders) = bounded::<Order>(MAILBOX_MESSAGES_MAX);
        thread::Builder::new().name("keys".into()).spawn(move || {
            for order in orders {
                let keys =
                    derive_with_pbkdf2(order.password.as_bytes(), &order.salt, order.iterations);
                let (ticket, keys) = (order.ticket, Arc::new(keys));
                // Who asked gives up by itself when the answer is lost.
                let _delivered = match order.worker {
                    Some(worker) => shared.tell(worker, ToWorker::Keys(ticket, keys)),
                    None => shared.control.put(ToControl::Keys(ticket, keys)).is_ok(),
                };
            }
        })?;
        Ok(Self(sender))
    }

    /// Has keys derived; the answer goes to the mailbox of who asks. False when too many wait already.
    pub(super) fn make(
        &self,
        worker: Option<WorkerId>,
        ticket: Ticket,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) -> bool {
        let order = Order {
            worker,
            ticket,
            password,
            salt,
            iterations,
        };
        let taken = self.0.try_send(order).is_ok();
        if !taken {
            tracing::error!("too many logins wait for SCRAM keys; one will time out");
        }
        taken
    }
}

/// The control core's own questions to that thread.
pub(super) struct Deriver {
    keys: KeyMaker,
    shared: Arc<Shared>,
    waiting: RefCell<HashMap<Ticket, Rc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    keys: Cell<Option<Arc<SaltedKeys>>>,
    waker: WakerCell,
}

impl Deriver {
    pub(super) fn new(keys: KeyMaker, shared: Arc<Shared>) -> Self {
        Self {
            keys,
            shared,
            waiting: RefCell::default(),
        }
    }

    /// The keys, when they are there; a caller that gives up has asked in vain.
    pub(super) async fn derive(
        &self,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Option<Arc<SaltedKeys>> {
        let ticket = self.shared.ticket();
        let slot = Rc::new(Slot::default());
        self.waiting.borrow_mut().insert(ticket, Rc::clone(&slot));
        let _gone = Forget(self, ticket);
        if !self.keys.make(None, ticket, password, salt, iterations) {
            return None;
        }
        let keys = poll_fn(|context| match slot.keys.take() {
            Some(keys) => Poll::Ready(keys),
            None => {
                slot.waker.register(context);
                Poll::Pending
            }
        });
        Some(keys.await)
    }

    /// The thread has answered.
    pub(super) fn answered(&self, ticket: Ticket, keys: Arc<SaltedKeys>) {
        if let Some(slot) = self.waiting.borrow().get(&ticket) {
            slot.keys.set(Some(keys));
            slot.waker.wake();
        }
    }
}

/// Takes a question back when nobody waits for its answer any more.
struct Forget<'d>(&'d Deriver, Ticket);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().remove(&self.1);
    }
}
