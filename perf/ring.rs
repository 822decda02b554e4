//! Owns one io_uring and its provided receive buffers, in the shape that the load generator, the mock server and the
//! floor share: one thread, multishot accept and receive, sends by pointer. It never looks at the bytes that it moves.
#![allow(
    unsafe_code,
    reason = "shared memory with the kernel; every block states its contract"
)]

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::{
    alloc::Layout,
    io,
    net::SocketAddrV4,
    os::fd::RawFd,
    sync::atomic::{AtomicU16, Ordering},
};

/// The one group of provided buffers that a ring here has.
const BUFFER_GROUP: u16 = 1;
/// Page size: both the buffer ring and the buffers start on a page.
const PAGE_BYTES: usize = 4096;
/// Entries of the submission queue; a full queue is submitted and refilled.
const SUBMISSION_ENTRIES: u32 = 4096;
/// Entries of the completion queue: more than all operations of 10,000 connections can post at once.
const COMPLETION_ENTRIES: u32 = 32768;

/// One completion, copied out of the kernel's queue.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    /// User data that the operation was submitted with.
    pub(crate) user_data: u64,
    /// Bytes, a descriptor, or a negative errno.
    pub(crate) result: i32,
    flags: u32,
}

impl Event {
    /// The provided buffer that this completion hands over, if it hands over one.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether a multishot operation goes on after this completion.
    pub(crate) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }
}

/// A ring with its provided buffers.
pub(crate) struct Ring {
    uring: IoUring,
    entries: *mut types::BufRingEntry,
    base: *mut u8,
    tail: u16,
    count: u16,
    bytes: usize,
}

impl Ring {
    /// Builds a ring with `count` (a power of two) receive buffers of `bytes` each; all of them live as long as the process.
    pub(crate) fn new(count: u16, bytes: usize) -> io::Result<Ring> {
        assert!(count.is_power_of_two(), "the kernel masks buffer ids");
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        uring.submitter().register_ring_fd()?;
        let entries = pages(count as usize * size_of::<types::BufRingEntry>()).cast();
        let base = pages(count as usize * bytes);
        // SAFETY: `entries` is page-aligned, zeroed, large enough for `count` entries and never freed.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                entries as u64,
                count,
                BUFFER_GROUP,
                0,
            )?
        };
        let mut ring = Ring {
            uring,
            entries,
            base,
            tail: 0,
            count,
            bytes,
        };
        (0..count).for_each(|id| ring.give_back(id));
        Ok(ring)
    }

    /// Where a received buffer starts; valid until it is given back.
    pub(crate) fn buffer_start(&self, id: u16) -> *const u8 {
        debug_assert!(id < self.count);
        self.base.wrapping_add(id as usize * self.bytes)
    }

    /// The received bytes of a buffer that the kernel has handed over.
    pub(crate) fn received(&self, id: u16, length: usize) -> &[u8] {
        assert!(
            id < self.count && length <= self.bytes,
            "the kernel stays inside its buffer"
        );
        // SAFETY: the range lies inside the allocation (checked above); the kernel does not write a buffer between its
        // completion and `give_back`, which needs `&mut self` and so cannot happen while this borrow lives.
        unsafe { std::slice::from_raw_parts(self.buffer_start(id), length) }
    }

    /// Returns a buffer to the kernel.
    pub(crate) fn give_back(&mut self, id: u16) {
        let at = (self.tail & (self.count - 1)) as usize;
        let start = self.buffer_start(id) as u64;
        // SAFETY: `at` is below `count`, so the entry lies inside the ring allocated in `new`; the kernel reads it only
        // after the tail passes it, which happens last and with release order.
        unsafe {
            let entry = &mut *self.entries.add(at);
            entry.set_addr(start);
            entry.set_len(self.bytes as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// Accepts on `listener` until told otherwise.
    pub(crate) fn accept(&mut self, listener: RawFd, user_data: u64) {
        self.push(
            opcode::AcceptMulti::new(types::Fd(listener))
                .build()
                .user_data(user_data),
        );
    }

    /// Receives on `socket` into provided buffers until an error, the end of the stream or an empty buffer ring.
    pub(crate) fn receive(&mut self, socket: RawFd, user_data: u64) {
        self.push(
            opcode::RecvMulti::new(types::Fd(socket), BUFFER_GROUP)
                .build()
                .user_data(user_data),
        );
    }

    /// Connects `socket` to `target`, which outlives every operation by being static.
    pub(crate) fn connect(&mut self, socket: RawFd, target: &'static Target, user_data: u64) {
        let length = size_of::<libc::sockaddr_in>() as u32;
        let address = (&raw const target.0).cast();
        self.push(
            opcode::Connect::new(types::Fd(socket), address, length)
                .build()
                .user_data(user_data),
        );
    }

    /// Posts a completion after `period`, once.
    pub(crate) fn timeout(&mut self, period: &'static types::Timespec, user_data: u64) {
        self.push(opcode::Timeout::new(period).build().user_data(user_data));
    }

    /// Posts a completion when standard input can be read, which at its end it can.
    pub(crate) fn end_of_input(&mut self, user_data: u64) {
        let readable = (libc::POLLIN | libc::POLLHUP) as u32;
        self.push(
            opcode::PollAdd::new(types::Fd(libc::STDIN_FILENO), readable)
                .build()
                .user_data(user_data),
        );
    }

    /// Sends `length` bytes from `start`; the kernel repeats short sends itself and reports less only with an error.
    ///
    /// # Safety
    /// The bytes stay valid and unchanged until the operation's completion has been seen.
    pub(crate) unsafe fn send(
        &mut self,
        socket: RawFd,
        start: *const u8,
        length: usize,
        user_data: u64,
    ) {
        self.push(send_entry(socket, start, length, user_data));
    }

    /// Sends static bytes; a completion comes only when the send fails.
    pub(crate) fn send_static(&mut self, socket: RawFd, bytes: &'static [u8], user_data: u64) {
        let entry = send_entry(socket, bytes.as_ptr(), bytes.len(), user_data);
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Submits everything and waits for at least one completion; appends all that are there to `events`.
    pub(crate) fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        while let Err(error) = self.uring.submit_and_wait(1) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let completed = self.uring.completion();
        events.extend(completed.map(|c| Event {
            user_data: c.user_data(),
            result: c.result(),
            flags: c.flags(),
        }));
        Ok(())
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: what the entry points to outlives the operation: static data, provided buffers of this ring, or
            // bytes the caller of `send` vouches for.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.uring
                .submit()
                .expect("submitting a full queue makes room in it");
        }
    }
}

fn send_entry(socket: RawFd, start: *const u8, length: usize, user_data: u64) -> squeue::Entry {
    opcode::Send::new(types::Fd(socket), start, length as u32)
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
        .user_data(user_data)
}

fn pages(bytes: usize) -> *mut u8 {
    let layout =
        Layout::from_size_align(bytes, PAGE_BYTES).expect("a few megabytes fit the address space");
    // SAFETY: the layout has a size above zero.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!start.is_null(), "out of memory for receive buffers");
    start
}

/// An address in the form the kernel reads.
pub(crate) struct Target(libc::sockaddr_in);

impl Target {
    /// The address for the rest of the process's life.
    pub(crate) fn leaked(address: SocketAddrV4) -> &'static Target {
        Box::leak(Box::new(Target(libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(*address.ip()).to_be(),
            },
            sin_zero: [0; 8],
        })))
    }
}
