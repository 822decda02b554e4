//! Wake-ups from other threads: an event descriptor that the ring watches.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Wakes one worker core from any thread. Cheap to clone; many calls before the core looks cost one write.
#[derive(Clone)]
pub struct WakeHandle(Arc<Event>);

struct Event {
    descriptor: OwnedFd,
    raised: AtomicBool,
}

impl WakeHandle {
    /// A handle of its own, not yet watched by any ring.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain system call, no memory involved.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self(Arc::new(Event {
            descriptor,
            raised: AtomicBool::new(false),
        })))
    }

    /// Makes the core run its mailbox tasks.
    pub fn wake(&self) {
        if self.0.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: writes eight bytes that live on this stack frame.
        let written = unsafe { libc::write(self.raw(), one.as_ptr().cast(), one.len()) };
        assert_eq!(
            written, 8,
            "an event descriptor takes a write unless its counter is full"
        );
    }

    /// Takes the event back; every `wake` after this one rings again.
    pub(crate) fn reset(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: reads at most eight bytes into this stack frame.
        unsafe { libc::read(self.raw(), count.as_mut_ptr().cast(), count.len()) };
        // A swap, so that what the last caller did before it woke us is seen by the tasks that run next.
        self.0.raised.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.descriptor.as_raw_fd()
    }
}

impl std::fmt::Debug for WakeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WakeHandle({})", self.raw())
    }
}
