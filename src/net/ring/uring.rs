//! One io_uring: entries in, completions out, one system call a turn. Knows no socket and no task.

use std::{io, time::Duration};

use io_uring::{
    IoUring, cqueue, squeue,
    types::{SubmitArgs, Timespec},
};

use super::descriptors::descriptor_limit;
use crate::limits::{RING_COMPLETIONS, RING_ENTRIES};

/// Completion of one operation. A negative `result` is an error number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    /// The provided buffer that was filled, if one was.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// True while a multishot operation stays armed.
    pub(crate) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }
}

/// How long one turn may sleep in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: tasks are runnable.
    No,
    /// Until something completes.
    Forever,
    /// Until something completes or this much time has passed.
    For(Duration),
}

/// The ring of one worker core.
pub(crate) struct Ring {
    ring: IoUring,
}

impl Ring {
    /// Makes a ring for the calling thread alone, with completions run only when it asks.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(RING_COMPLETIONS)
            .build(RING_ENTRIES)?;
        Ok(Self { ring })
    }

    /// The registration interface, for buffer rings and probes.
    pub(crate) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Makes a table in which the ring knows descriptors by numbers below `size`, or fewer where the limit of
    /// open descriptors is lower; answers how many.
    pub(crate) fn make_table(&self, size: u32) -> io::Result<u32> {
        let limit = descriptor_limit()?;
        let size = size.min(u32::try_from(limit).unwrap_or(u32::MAX));
        self.ring.submitter().register_files_sparse(size)?;
        Ok(size)
    }

    /// Queues an operation; submits what is queued when the queue is full.
    ///
    /// # Safety
    /// Memory that `entry` names must stay valid until its completion arrives (or, for an operation that
    /// cannot outlive its submission, until the next [`Ring::enter`] returns).
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller keeps the memory valid.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.make_room();
        }
    }

    #[cold]
    fn make_room(&self) {
        match self.ring.submit() {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => panic!("io_uring_enter refused to submit: {error}"),
        }
    }

    /// Submits all that is queued and sleeps as told. Interruptions and timeouts are a normal return.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let entered = match wait {
            Wait::No => {
                submitter.submit_with_args(0, &SubmitArgs::new().timespec(&Timespec::new()))
            }
            Wait::Forever => submitter.submit_and_wait(1),
            Wait::For(time) => {
                let time = Timespec::from(time);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// True when the kernel has taken every queued entry.
    pub(crate) fn is_submitted(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Moves every completion into `target`.
    pub(crate) fn drain(&mut self, target: &mut Vec<Completion>) {
        target.extend(self.ring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }
}

/// Interrupted, timed out, or the completion queue must be emptied first: the next turn goes on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)
    )
}
