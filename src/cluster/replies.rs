//! Questions of one core to others, and to the thread that derives SCRAM keys: a ticket for each, the replies as they
//! come, a bounded time. The same for workers and the control core. Knows nothing of what a question means.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hashbrown::HashMap;

use super::{
    messages::{CoreId, KeyOrder, Order, Reply, ReplyTo, Ticket, ToControl, ToWorker},
    report::{Report, ReportKind},
    shared::Shared,
};
use crate::{
    auth::SaltedKeys,
    limits::REPORT_SECONDS_MAX,
    net::{Reactor, task::WakerCell},
    time,
};

/// Replies that the tasks of one core await.
pub struct Replies {
    core: CoreId,
    awaited: RefCell<HashMap<Ticket, Rc<Awaited>>>,
}

/// Replies to one question.
struct Awaited {
    replies: RefCell<Vec<Reply>>,
    missing: Cell<usize>,
    waker: WakerCell,
}

/// A question whose replies are awaited; one that is dropped is not asked any more, and late replies are lost.
pub struct Inquiry<'r> {
    asked_by: &'r Replies,
    ticket: Ticket,
    awaited: Rc<Awaited>,
}

impl Replies {
    /// For the tasks of this core.
    pub fn new(core: CoreId) -> Self {
        Self {
            core,
            awaited: RefCell::default(),
        }
    }

    /// Begins a question of this number to which so many replies will come.
    pub fn inquire(&self, ticket: Ticket, replies: usize) -> Inquiry<'_> {
        let awaited = Rc::new(Awaited {
            replies: RefCell::default(),
            missing: Cell::new(replies),
            waker: WakerCell::default(),
        });
        let before = self
            .awaited
            .borrow_mut()
            .insert(ticket, Rc::clone(&awaited));
        assert!(before.is_none(), "a ticket is given once");
        Inquiry {
            asked_by: self,
            ticket,
            awaited,
        }
    }

    /// A reply came by mail.
    pub fn arrived(&self, ticket: Ticket, reply: Reply) {
        if let Some(awaited) = self.awaited.borrow().get(&ticket) {
            awaited.arrived(reply);
        }
    }

    /// Has SCRAM keys derived and waits for them, however long they take. `send` takes the order to the thread that derives
    /// them; it answers false when that has too much to do, and there are no keys then.
    pub async fn keys(
        &self,
        shared: &Shared,
        (password, salt, iterations): (String, Vec<u8>, u32),
        send: impl FnOnce(KeyOrder) -> bool,
    ) -> Option<Arc<SaltedKeys>> {
        let inquiry = self.inquire(shared.ticket(), 1);
        let order = KeyOrder {
            reply_to: inquiry.reply_to(),
            password,
            salt,
            iterations,
        };
        if !send(order) {
            return None;
        }
        match inquiry.all().await.pop() {
            Some(Reply::Keys(keys)) => Some(keys),
            _ => None,
        }
    }

    /// Gives an operator's order to the control core, and waits until it is taken: an error, in words, when it is not.
    pub async fn order(
        &self,
        shared: &Shared,
        reactor: &Reactor,
        order: Order,
    ) -> Result<(), String> {
        let inquiry = self.inquire(shared.ticket(), 1);
        let message = ToControl::Order(order, inquiry.reply_to());
        let limit = Duration::from_secs(REPORT_SECONDS_MAX);
        if shared.control.put(message).is_ok()
            && let Some(Reply::Ordered(taken)) = inquiry.within(reactor, limit).await.pop()
        {
            return taken;
        }
        Err("the control core is too busy to take the order".to_owned())
    }

    /// Asks every worker for a report, and waits [`REPORT_SECONDS_MAX`] seconds for them at most: a core that has not
    /// told by then is left out. `own`: the report of the worker that asks, which comes first; `None` for the control core.
    pub async fn reports(
        &self,
        shared: &Shared,
        reactor: &Reactor,
        kind: ReportKind,
        own: Option<Report>,
    ) -> Vec<Report> {
        let inquiry = self.inquire(shared.ticket(), shared.workers.len());
        let to = inquiry.reply_to();
        let itself = match to.core {
            CoreId::Worker(worker) => Some(worker),
            CoreId::Control => None,
        };
        debug_assert_eq!(own.is_some(), itself.is_some(), "a worker reports, too");
        if let Some(own) = own {
            inquiry.awaited.arrived(Reply::Report(own));
        }
        shared.tell_all(itself, || ToWorker::Ask(to, kind));
        let limit = Duration::from_secs(REPORT_SECONDS_MAX);
        let replies = inquiry.within(reactor, limit).await;
        let report = |reply| match reply {
            Reply::Report(report) => Some(report),
            _ => None,
        };
        replies.into_iter().filter_map(report).collect()
    }
}

impl Awaited {
    fn arrived(&self, reply: Reply) {
        self.replies.borrow_mut().push(reply);
        self.missing.set(self.missing.get().saturating_sub(1));
        self.waker.wake();
    }
}

impl Inquiry<'_> {
    /// Where its replies shall go.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo {
            core: self.asked_by.core,
            ticket: self.ticket,
        }
    }

    /// All replies, however long they take.
    pub async fn all(&self) -> Vec<Reply> {
        poll_fn(|context| {
            if self.awaited.missing.get() == 0 {
                return Poll::Ready(self.awaited.replies.take());
            }
            self.awaited.waker.register(context);
            Poll::Pending
        })
        .await
    }

    /// The replies that come in this time.
    pub async fn within(&self, reactor: &Reactor, limit: Duration) -> Vec<Reply> {
        let all = reactor.deadline(time::now() + limit, self.all()).await;
        all.unwrap_or_else(|_| self.awaited.replies.take())
    }
}

impl Drop for Inquiry<'_> {
    fn drop(&mut self) {
        self.asked_by.awaited.borrow_mut().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{cluster::report::CancelReport, ids::WorkerId};

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn report(worker: u16) -> Reply {
        Reply::Report(Report::Cancels(WorkerId(worker), CancelReport::default()))
    }

    #[test]
    fn a_question_ends_with_its_last_reply_and_keeps_their_order() {
        let replies = Replies::new(CoreId::Control);
        let (first, second) = (replies.inquire(Ticket(1), 2), replies.inquire(Ticket(2), 1));
        assert_eq!(first.reply_to().ticket, Ticket(1));
        replies.arrived(Ticket(1), report(7));
        replies.arrived(Ticket(2), Reply::Cancelled);
        assert!(poll(first.all()).is_pending());
        assert!(matches!(poll(second.all()), Poll::Ready(all) if all.len() == 1));
        replies.arrived(Ticket(1), report(3));
        let Poll::Ready(all) = poll(first.all()) else {
            panic!("both have replied");
        };
        let worker = |reply: &Reply| match reply {
            Reply::Report(Report::Cancels(worker, _)) => worker.0,
            _ => panic!("reports were asked for"),
        };
        assert_eq!(all.iter().map(worker).collect::<Vec<_>>(), [7, 3]);
    }

    #[test]
    fn a_reply_to_a_question_that_was_given_up_is_lost() {
        let replies = Replies::new(CoreId::Worker(WorkerId(0)));
        drop(replies.inquire(Ticket(1), 1));
        replies.arrived(Ticket(1), Reply::Cancelled);
        assert!(replies.awaited.borrow().is_empty());
    }
}
