//! A thread that runs PBKDF2, so that no core with clients on it does, and the control core waits for none.

use std::{io, rc::Rc, sync::Arc, thread};

use crossbeam::channel::{Sender, bounded};

use crate::{
    auth::{SaltedKeys, derive_with_pbkdf2},
    cluster::{
        messages::{KeyOrder, Reply},
        replies::Replies,
        shared::Shared,
    },
    limits::MAILBOX_MESSAGES_MAX,
};

/// The thread's inbox.
#[derive(Clone)]
pub(super) struct KeyMaker(Sender<KeyOrder>);

impl KeyMaker {
    /// Starts the thread; it ends with the last sender.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (sender, orders) = bounded::<KeyOrder>(MAILBOX_MESSAGES_MAX);
        thread::Builder::new().name("keys".into()).spawn(move || {
            for order in orders {
                let keys =
                    derive_with_pbkdf2(order.password.as_bytes(), &order.salt, order.iterations);
                // A task that asked gives up by itself when the reply is lost.
                let _delivered = shared.reply(order.reply_to, Reply::Keys(Arc::new(keys)));
            }
        })?;
        Ok(Self(sender))
    }

    /// Has keys derived; they go to the mailbox of the core that asks. False when too many wait already.
    pub(super) fn make(&self, order: KeyOrder) -> bool {
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
    replies: Rc<Replies>,
}

impl Deriver {
    pub(super) fn new(keys: KeyMaker, shared: Arc<Shared>, replies: Rc<Replies>) -> Self {
        Self {
            keys,
            shared,
            replies,
        }
    }

    /// The keys, when they are there; a caller that gives up has asked in vain.
    pub(super) async fn derive(
        &self,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Option<Arc<SaltedKeys>> {
        let send = |order| self.keys.make(order);
        self.replies
            .keys(&self.shared, (password, salt, iterations), send)
            .await
    }
}
