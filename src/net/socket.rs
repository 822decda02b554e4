//! One socket's state on its core: what was received, what waits to be sent, what the kernel still holds.
//!
//! Shared by the reactor (completions) and the one [`Stream`](super::Stream) that owns it. No system call here.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::RawFd,
    rc::Rc,
};

use io_uring::{squeue::Flags, types::Fd};

use super::{
    ring::buffers::{Buffers, Chunk},
    task::WakerCell,
};
use crate::ids::ConnectionId;

/// Peer at the other end; decides the size of receive buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client: short statements.
    Client,
    /// A server: results.
    Server,
}

/// State of a socket's receive operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// No operation is with the kernel.
    Idle,
    /// A multishot receive is armed.
    Armed,
    /// It was asked to stop and has not yet.
    Stopping,
    /// Waits for a free buffer.
    Starved,
}

/// State of a socket's send operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Nothing is queued.
    Idle,
    /// Something is queued; it goes out at the end of this turn.
    Queued,
    /// This many pieces are in a send that is decided before the next turn.
    Instant(u16),
    /// The first piece, owned, is in a send that waits for room.
    Waiting,
}

/// Life of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Owned by a stream.
    Open,
    /// Its stream is gone; the last bytes are on their way.
    Lingering,
    /// Being taken back from the kernel.
    Closing,
    /// Given back; the slot is free.
    Closed,
}

/// Bytes that come in.
pub(super) struct Inbound {
    /// Pieces that the owner has not taken, in the order in which they came.
    pub(super) chunks: RefCell<VecDeque<Chunk>>,
    pub(super) receiving: Cell<Receiving>,
    /// The owner does not want more for now.
    pub(super) paused: Cell<bool>,
    /// The owner waits for bytes. What comes at another time is moved to the heap, so that no receive buffer waits for
    /// somebody who may not look for long.
    pub(super) awaited: Cell<bool>,
}

/// Bytes that go out.
pub(super) struct Outbound {
    /// Pieces that the peer's kernel has not taken, the next one first.
    pub(super) chunks: RefCell<VecDeque<Chunk>>,
    /// Bytes in them.
    pub(super) bytes: Cell<usize>,
    pub(super) sending: Cell<Sending>,
    /// Result of an instant send that the kernel did not finish.
    pub(super) shortfall: Cell<Option<i32>>,
    /// The owner waits for the queue to shrink.
    pub(super) drain_wanted: Cell<bool>,
}

/// Connecting to a server.
#[derive(Default)]
pub(super) struct Connecting {
    /// Address that the kernel reads, as long as the operation is with it.
    pub(super) address: RefCell<Option<Box<socket2::SockAddr>>>,
    /// Error number of the outcome, 0 when it succeeded.
    pub(super) result: Cell<Option<i32>>,
}

/// One socket.
pub(super) struct Socket {
    pub(super) id: ConnectionId,
    pub(super) descriptor: RawFd,
    /// The ring knows the descriptor by the slot's number.
    pub(super) is_registered: bool,
    pub(super) buffers: Rc<Buffers>,
    pub(super) life: Cell<Life>,
    /// Task that waits for bytes, room or the end.
    pub(super) waker: WakerCell,
    /// Nobody owns it for now: the core's keeper of parked streams hears what happens.
    pub(super) parked: Cell<bool>,
    pub(super) keeper: Rc<WakerCell>,
    pub(super) inbound: Inbound,
    /// How receiving ended: `Ok` at the peer's end of stream.
    pub(super) end: Cell<Option<Result<(), i32>>>,
    pub(super) outbound: Outbound,
    pub(super) connecting: Connecting,
    /// Operations that are with the kernel and report by themselves.
    pub(super) in_flight: Cell<u16>,
}

impl Outbound {
    /// Forgets all that was not sent, but for the piece that the kernel is reading.
    pub(super) fn drop_unsent(&self) {
        let held = usize::from(self.sending.get() == Sending::Waiting);
        self.chunks.borrow_mut().truncate(held);
        self.bytes.set(0);
    }

    /// Takes `pieces` finished pieces off the queue.
    pub(super) fn finish_pieces(&self, pieces: u16) {
        let mut chunks = self.chunks.borrow_mut();
        for _ in 0..pieces {
            if let Some(piece) = chunks.pop_front() {
                self.bytes.set(self.bytes.get().saturating_sub(piece.len()));
            }
        }
    }

    /// Takes `bytes` sent bytes off the queue.
    pub(super) fn finish_bytes(&self, mut bytes: usize) {
        let mut chunks = self.chunks.borrow_mut();
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        while let Some(front) = chunks.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            chunks.pop_front();
        }
    }

    /// Gives every receive buffer in the queue back by copying what it holds.
    pub(super) fn detach(&self) {
        self.chunks.borrow_mut().iter_mut().for_each(Chunk::detach);
    }
}

impl Connecting {
    /// True while a connect is with the kernel.
    pub(super) fn is_in_flight(&self) -> bool {
        self.address.borrow().is_some()
    }
}

impl Socket {
    pub(super) fn new(
        id: ConnectionId,
        descriptor: RawFd,
        is_registered: bool,
        buffers: Rc<Buffers>,
        keeper: Rc<WakerCell>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            descriptor,
            is_registered,
            buffers,
            life: Cell::new(Life::Open),
            waker: WakerCell::default(),
            parked: Cell::new(false),
            keeper,
            inbound: Inbound {
                chunks: RefCell::default(),
                receiving: Cell::new(Receiving::Idle),
                paused: Cell::new(false),
                awaited: Cell::new(true),
            },
            end: Cell::new(None),
            outbound: Outbound {
                chunks: RefCell::default(),
                bytes: Cell::new(0),
                sending: Cell::new(Sending::Idle),
                shortfall: Cell::new(None),
                drain_wanted: Cell::new(false),
            },
            connecting: Connecting::default(),
            in_flight: Cell::new(0),
        })
    }

    /// How operations name this socket: by its registered slot, which spares the kernel a reference count
    /// per operation, else by its descriptor.
    #[inline]
    pub(super) fn target(&self) -> (Fd, Flags) {
        if self.is_registered {
            (Fd(self.id.slot as RawFd), Flags::FIXED_FILE)
        } else {
            (Fd(self.descriptor), Flags::empty())
        }
    }

    /// Something happened that the owner wants to know.
    #[inline]
    pub(super) fn notify(&self) {
        if self.parked.get() {
            self.keeper.wake();
        } else {
            self.waker.wake();
        }
    }

    /// Notes that an operation went to the kernel.
    pub(super) fn enter(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Notes that an operation came back.
    pub(super) fn leave(&self) {
        let left = self.in_flight.get().checked_sub(1);
        self.in_flight
            .set(left.expect("each completion belongs to one operation"));
    }

    /// Ends both directions for the owner: nothing more comes, nothing more goes.
    pub(super) fn fail(&self, errno: i32) {
        if self.end.get().is_none() {
            self.end.set(Some(Err(errno)));
        }
        self.outbound.drop_unsent();
        self.notify();
    }
}

/// The error of an operation's negative result.
pub(super) fn error_of(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
