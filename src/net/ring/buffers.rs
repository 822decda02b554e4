//! Receive buffers lent to the kernel, and the views of what it put into them.
//!
//! A [`Chunk`] is a counted view into one lent buffer (or into heap memory, once it had to outlive it).
//! The buffer goes back when its last view is dropped. Nothing here does a system call after set-up.

use std::{
    alloc::Layout,
    cell::{Cell, RefCell},
    fmt, io,
    ops::Deref,
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use bytes::Bytes;
use io_uring::types::BufRingEntry;

use super::uring::Ring;

/// Buffers in the kernel's hands at first; few, so that they stay in the processor's cache.
const WINDOW_BUFFERS_MIN: u16 = 64;

/// Bytes between two buffers. Messages are short and stand at the beginning of a buffer: at a distance of whole pages the
/// beginnings of all buffers would share a few sets of the processor's cache, and displace each other.
const STAGGER_BYTES: usize = 64;

/// One group of equal buffers that the kernel picks from.
pub(crate) struct Buffers {
    group: u16,
    buffer_bytes: usize,
    count: u16,
    memory: Region,
    entries: Region,
    tail: Cell<u16>,
    /// Buffers that the kernel may pick from.
    offered: Cell<u16>,
    /// How many the kernel is offered; grows when it runs dry.
    window: Cell<u16>,
    /// Buffers that nobody holds, last returned on top.
    spare: RefCell<Vec<u16>>,
    /// Views of each buffer.
    views: Box<[Cell<u16>]>,
}

const PAGE_BYTES: usize = 4 << 10;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory that is freed with its owner.
struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

impl Region {
    /// Zeroed memory, in huge pages where the kernel has some: a core with many sockets writes to and reads from all of its
    /// buffers, and of small pages the processor would have to look up one for each message.
    fn new(bytes: usize) -> Self {
        let alignment = match bytes < HUGE_PAGE_BYTES {
            true => PAGE_BYTES,
            false => HUGE_PAGE_BYTES,
        };
        let layout = Layout::from_size_align(bytes, alignment)
            .expect("a buffer region is smaller than the address space");
        // SAFETY: the layout has a size above zero, checked by the callers' counts.
        let start = unsafe { std::alloc::alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: the memory is ours, `bytes` long; it is written before anybody reads it. A kernel that has no huge pages
        // refuses the advice, and nothing is lost.
        unsafe {
            if alignment == HUGE_PAGE_BYTES {
                libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
            }
            start.as_ptr().write_bytes(0, bytes);
        }
        Self { start, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Buffers {
    /// Registers `total_bytes` of buffers (a power of two of them, at least 16) as `group`.
    pub(crate) fn register(
        ring: &Ring,
        group: u16,
        buffer_bytes: usize,
        total_bytes: usize,
    ) -> io::Result<Rc<Self>> {
        let count = (total_bytes / buffer_bytes).clamp(16, 1 << 15);
        let count = (1_u16 << count.ilog2()).max(16);
        let buffers = Self {
            group,
            buffer_bytes,
            count,
            memory: Region::new(usize::from(count) * (buffer_bytes + STAGGER_BYTES)),
            entries: Region::new(usize::from(count) * size_of::<BufRingEntry>()),
            tail: Cell::new(0),
            offered: Cell::new(0),
            window: Cell::new(WINDOW_BUFFERS_MIN.min(count)),
            spare: RefCell::new((0..count).rev().collect()),
            views: (0..count).map(|_| Cell::new(0)).collect(),
        };
        let address = buffers.entries.start.as_ptr() as u64;
        // SAFETY: the entries live as long as `Buffers`, which every receiving socket keeps alive and the
        // reactor drops only after its ring.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, count, group, 0)?
        };
        buffers.offer();
        Ok(Rc::new(buffers))
    }

    /// Number of the group, for receive operations.
    pub(crate) fn group(&self) -> u16 {
        self.group
    }

    /// Buffers held by nobody: offered to the kernel or spare.
    pub(crate) fn free(&self) -> usize {
        usize::from(self.offered.get()) + self.spare.borrow().len()
    }

    /// All buffers of the group.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Lets the kernel pick from `window` buffers again. Called once a turn, before submitting.
    pub(crate) fn offer(&self) {
        if self.offered.get() >= self.window.get() {
            return;
        }
        let mut spare = self.spare.borrow_mut();
        while self.offered.get() < self.window.get() {
            let Some(buffer) = spare.pop() else { break };
            self.write_entry(buffer);
            self.offered.set(self.offered.get() + 1);
        }
        self.publish_tail();
    }

    /// The kernel found no buffer: offer more from now on.
    pub(crate) fn widen(&self) {
        self.window
            .set(self.window.get().saturating_mul(2).min(self.count));
        self.offer();
    }

    /// Takes over what the kernel put into `buffer`.
    pub(crate) fn receive(self: &Rc<Self>, buffer: u16, bytes: usize) -> Chunk {
        assert!(
            bytes <= self.buffer_bytes,
            "the kernel wrote past a buffer's end"
        );
        self.offered.set(self.offered.get() - 1);
        self.views[usize::from(buffer)].set(1);
        let lent = Lent {
            buffers: Rc::clone(self),
            buffer,
        };
        Chunk {
            start: 0,
            end: bytes as u32,
            data: Data::Lent(lent),
        }
    }

    /// A receive ended without using the buffer it had picked.
    pub(crate) fn return_unused(&self, buffer: u16) {
        self.offered.set(self.offered.get() - 1);
        self.spare.borrow_mut().push(buffer);
    }

    fn write_entry(&self, buffer: u16) {
        let place = usize::from(self.tail.get() & (self.count - 1));
        let address = self.address(buffer) as u64;
        // SAFETY: `place` is below `count`, and the kernel reads an entry only once the tail passes it.
        let entry = unsafe {
            &mut *self
                .entries
                .start
                .as_ptr()
                .cast::<BufRingEntry>()
                .add(place)
        };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail.set(self.tail.get().wrapping_add(1));
    }

    fn publish_tail(&self) {
        // SAFETY: the tail overlays the first entry's reserved field, inside our region; the kernel reads it
        // with acquire semantics.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.start.as_ptr().cast::<BufRingEntry>());
            (*tail.cast::<AtomicU16>()).store(self.tail.get(), Ordering::Release);
        }
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        // SAFETY: `buffer` is below `count`, so the offset stays inside the region.
        unsafe {
            self.memory
                .start
                .as_ptr()
                .add(usize::from(buffer) * (self.buffer_bytes + STAGGER_BYTES))
        }
    }
}

/// One counted view of a lent buffer.
struct Lent {
    buffers: Rc<Buffers>,
    buffer: u16,
}

impl Lent {
    fn views(&self) -> &Cell<u16> {
        &self.buffers.views[usize::from(self.buffer)]
    }
}

impl Clone for Lent {
    fn clone(&self) -> Self {
        let views = self.views();
        views.set(
            views
                .get()
                .checked_add(1)
                .expect("a buffer of a few KiB has fewer than 65,536 views"),
        );
        Self {
            buffers: Rc::clone(&self.buffers),
            buffer: self.buffer,
        }
    }
}

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        let views = self.views().get() - 1;
        self.views().set(views);
        if views == 0 {
            self.buffers.spare.borrow_mut().push(self.buffer);
        }
    }
}

#[derive(Clone)]
enum Data {
    Lent(Lent),
    Owned(Bytes),
}

/// Bytes on their way from one socket to another.
///
/// Cheap to clone and to split: the bytes stay where they were received.
#[derive(Clone)]
pub struct Chunk {
    data: Data,
    start: u32,
    end: u32,
}

impl Chunk {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// True when no byte is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Cuts the first `count` bytes off into a view of their own.
    pub fn split_to(&mut self, count: usize) -> Self {
        assert!(count <= self.len(), "a chunk is cut inside its bytes");
        if count == self.len() {
            return std::mem::take(self);
        }
        let mut head = self.clone();
        head.end = head.start + count as u32;
        self.start = head.end;
        head
    }

    /// Drops the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "a chunk is cut inside its bytes");
        self.start += count as u32;
    }

    /// True when it keeps a receive buffer from the kernel.
    pub fn is_lent(&self) -> bool {
        matches!(self.data, Data::Lent(_))
    }

    /// Moves the bytes to the heap and gives the receive buffer back.
    pub fn detach(&mut self) {
        if self.is_lent() {
            *self = Self::from(Bytes::copy_from_slice(self));
        }
    }
}

impl Default for Chunk {
    /// No bytes.
    fn default() -> Self {
        Self {
            data: Data::Owned(Bytes::new()),
            start: 0,
            end: 0,
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        let end =
            u32::try_from(bytes.len()).expect("pieces that we write ourselves are below 4 GiB");
        Self {
            data: Data::Owned(bytes),
            start: 0,
            end,
        }
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<&'static [u8]> for Chunk {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from(Bytes::from_static(bytes))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.data {
            Data::Lent(lent) => {
                let start = lent.buffers.address(lent.buffer);
                // SAFETY: the kernel wrote `end` bytes before it gave the buffer back, nobody writes while a
                // view exists, and the view keeps the region alive.
                unsafe { std::slice::from_raw_parts(start.add(self.start as usize), self.len()) }
            }
            Data::Owned(bytes) => &bytes[self.start as usize..self.end as usize],
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Chunk({} bytes, {})",
            self.len(),
            if self.is_lent() { "lent" } else { "owned" }
        )
    }
}
