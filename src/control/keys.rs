//! A thread that runs PBKDF2, so that no core with clients on it does.

use std::{io, sync::Arc, thread};

use crossbeam::channel::{Sender, bounded};

use crate::{
    auth::derive_with_pbkdf2,
    cluster::{
        messages::{Ticket, ToWorker},
        switchboard::Switchboard,
    },
    ids::WorkerId,
    limits::MAILBOX_MESSAGES_MAX,
};

/// The thread's inbox.
pub(super) struct KeyMaker(Sender<Order>);

struct Order {
    worker: WorkerId,
    ticket: Ticket,
    password: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl KeyMaker {
    /// Starts the thread; it ends with the last sender.
    pub(super) fn start(switchboard: Arc<Switchboard>) -> io::Result<Self> {
        let (sender, orders) = bounded::<Order>(MAILBOX_MESSAGES_MAX);
        thread::Builder::new().name("keys".into()).spawn(move || {
            for order in orders {
                let keys =
                    derive_with_pbkdf2(order.password.as_bytes(), &order.salt, order.iterations);
                switchboard.tell(order.worker, ToWorker::Keys(order.ticket, Arc::new(keys)));
            }
        })?;
        Ok(Self(sender))
    }

    /// Has keys derived; the answer goes to the worker's mailbox.
    pub(super) fn make(
        &self,
        worker: WorkerId,
        ticket: Ticket,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) {
        if self
            .0
            .try_send(Order {
                worker,
                ticket,
                password,
                salt,
                iterations,
            })
            .is_err()
        {
            tracing::error!("too many logins wait for SCRAM keys; one will time out");
        }
    }
}
