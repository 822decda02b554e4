//! All that the cores of one process share: mailboxes, budgets, the snapshot's readers, a few counts.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use std::time::Instant;

use super::{
    balance::Loads,
    budget::Budgets,
    commits::Commits,
    messages::{CoreId, Reply, ReplyTo, Ticket, ToControl, ToWorker},
    publish::Readers,
    stamps::Stamps,
};
use crate::{
    auth::MockSecret, ids::WorkerId, mailbox::Mailbox, protocol::startup::ProtocolVersion,
};

/// Shared by every core, made once at start.
#[derive(Debug)]
pub struct Shared {
    /// One for each worker.
    pub workers: Arc<[Mailbox<ToWorker>]>,
    /// The control core's.
    pub control: Mailbox<ToControl>,
    /// Limits and permits of all pools.
    pub budgets: Budgets,
    /// Snapshots.
    pub readers: Readers,
    /// Makes logins of users that do not exist look like any other.
    pub mock_secret: MockSecret,
    /// Clients in the whole process.
    pub clients: AtomicU32,
    /// Clients of each worker.
    pub loads: Loads,
    /// Numbers for questions.
    pub tickets: AtomicU64,
    /// The newest commit.
    pub commits: Commits,
    /// Version of the schema: another one after each change that pgring saw.
    pub schema: AtomicU64,
    /// Numbers for Parse messages.
    pub stamps: Stamps,
    /// The major version of the servers, as the last one said at a login; 0: none has yet.
    pub server_major: AtomicU32,
}

impl Shared {
    /// A server says at a login of which version it is, e.g. `15.3 (Debian 15.3-1)`.
    pub fn note_server_version(&self, version: &[u8]) {
        let digits = version.iter().take_while(|byte| byte.is_ascii_digit());
        let major = digits.fold(0_u32, |major, digit| {
            major
                .saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'))
        });
        self.server_major.store(major, Ordering::Relaxed);
    }

    /// The newest version of the protocol that is spoken with clients: that of the servers. (PostgreSQL 18 brought 3.2.)
    pub fn newest_protocol(&self) -> ProtocolVersion {
        match self.server_major.load(Ordering::Relaxed) {
            1..18 => ProtocolVersion::V3_0,
            _ => ProtocolVersion::V3_2,
        }
    }

    /// Budgets that tell the owners of these mailboxes what is granted to them.
    pub fn budgets(workers: Arc<[Mailbox<ToWorker>]>, start: Instant) -> Budgets {
        Budgets::new(workers.len() as u16, start, move |worker, budget| {
            // A core whose mailbox is full looks around when it has emptied it.
            let _ = workers[usize::from(worker.0)].put(ToWorker::Granted(budget));
        })
    }

    /// A number that no question of this process has had.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// The version of the schema as far as pgring can tell.
    #[inline]
    pub fn schema_version(&self) -> u64 {
        self.schema.load(Ordering::Acquire)
    }

    /// A session has changed the schema, for everybody to see.
    pub fn schema_changed(&self) {
        self.schema.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells one worker; false when its mailbox is full.
    pub fn tell(&self, worker: WorkerId, message: ToWorker) -> bool {
        self.put(worker, message).is_ok()
    }

    /// Tells one worker; gives the message back when its mailbox is full, or there is no such worker.
    pub fn put(&self, worker: WorkerId, message: ToWorker) -> Result<(), ToWorker> {
        match self.workers.get(usize::from(worker.0)) {
            Some(mailbox) => mailbox.put(message),
            None => Err(message),
        }
    }

    /// Sends a reply to the core that asked; one that finds no room is lost, and who asked waits in vain.
    pub fn reply(&self, to: ReplyTo, reply: Reply) -> bool {
        let ticket = to.ticket;
        match to.core {
            CoreId::Worker(worker) => self.tell(worker, ToWorker::Reply(ticket, reply)),
            CoreId::Control => self.control.put(ToControl::Reply(ticket, reply)).is_ok(),
        }
    }

    /// Tells every worker but `except`; false when a mailbox was full.
    pub fn tell_all(&self, except: Option<WorkerId>, message: impl Fn() -> ToWorker) -> bool {
        let mut all = true;
        for number in 0..self.workers.len() {
            let worker = WorkerId(number as u16);
            if Some(worker) != except {
                all &= self.tell(worker, message());
            }
        }
        all
    }
}
