//! All that the reactor and its streams share on one core: the ring, the table of sockets, and who waits for
//! the turn to do something. Never sleeps, and never says what a completion means.

use std::{
    cell::{Cell, RefCell},
    os::fd::{IntoRawFd, OwnedFd, RawFd},
    rc::Rc,
    time::Instant,
};

use io_uring::squeue;

use super::{
    listen::Acceptor,
    ring::{
        buffers::Buffers,
        gather::Gather,
        operation::{GENERATION_MASK, Operation},
        uring::Ring,
        wake::WakeHandle,
    },
    socket::{Side, Socket},
    task::WakerCell,
    timer::Timers,
};
use crate::{ids::ConnectionId, limits::GATHERED_SENDS_MAX, time};

/// Takes a descriptor out of the ring's table.
static NO_DESCRIPTOR: RawFd = -1;

/// One place in the table of sockets.
#[derive(Default)]
struct Slot {
    generation: u32,
    socket: Option<Rc<Socket>>,
}

/// Table of a core's sockets, by slot.
struct Table {
    slots: RefCell<Vec<Slot>>,
    vacant: RefCell<Vec<u32>>,
    /// Slots that the ring can know descriptors by.
    registered_max: u32,
    /// Sockets being made known to the ring in this turn.
    registering: RefCell<Vec<Rc<Socket>>>,
}

/// Latch that other threads set and one task of this core waits for, as a PostgreSQL backend waits for its own.
pub(super) struct Latch {
    pub(super) handle: WakeHandle,
    pub(super) is_set: Cell<bool>,
    pub(super) waker: WakerCell,
}

/// First attempts of this turn to send.
pub(super) struct Sends {
    pub(super) gather: Gather,
    /// Sockets whose first attempt is decided when the kernel returns.
    pub(super) instant: Vec<Rc<Socket>>,
    /// Somebody waits for one of those decisions, which raise no completion: do not sleep on them.
    pub(super) are_awaited: bool,
}

impl Sends {
    fn new() -> Self {
        Self {
            gather: Gather::new(),
            instant: Vec::with_capacity(GATHERED_SENDS_MAX),
            are_awaited: false,
        }
    }
}

/// All that the reactor and its streams share on one core.
pub(super) struct Core {
    /// First, so that it is gone before the buffers that the kernel picks from.
    pub(super) ring: RefCell<Ring>,
    table: Table,
    pub(super) client_buffers: Rc<Buffers>,
    pub(super) server_buffers: Rc<Buffers>,
    pub(super) timers: Rc<Timers>,
    pub(super) acceptors: RefCell<Vec<Rc<Acceptor>>>,
    /// Sockets with something to send at the end of this turn.
    pub(super) queued: RefCell<Vec<Rc<Socket>>>,
    pub(super) sends: RefCell<Sends>,
    /// Sockets that found no receive buffer.
    pub(super) starved: RefCell<Vec<Rc<Socket>>>,
    /// Sockets with several pieces that their owners have not seen.
    pub(super) unread: RefCell<Vec<Rc<Socket>>>,
    /// The task that looks after parked streams.
    pub(super) keeper: Rc<WakerCell>,
    pub(super) latch: Latch,
    pub(super) now: Cell<Instant>,
}

/// Handle of one core's reactor. Cheap to clone; stays on its core.
#[derive(Clone)]
pub struct Reactor {
    pub(super) core: Rc<Core>,
}

impl Core {
    pub(super) fn new(
        ring: Ring,
        registered_max: u32,
        client_buffers: Rc<Buffers>,
        server_buffers: Rc<Buffers>,
        wake: WakeHandle,
    ) -> Self {
        Self {
            ring: RefCell::new(ring),
            table: Table {
                slots: RefCell::default(),
                vacant: RefCell::default(),
                registered_max,
                registering: RefCell::default(),
            },
            client_buffers,
            server_buffers,
            timers: Rc::default(),
            acceptors: RefCell::default(),
            queued: RefCell::default(),
            sends: RefCell::new(Sends::new()),
            starved: RefCell::default(),
            unread: RefCell::default(),
            keeper: Rc::default(),
            latch: Latch {
                handle: wake,
                is_set: Cell::new(false),
                waker: WakerCell::default(),
            },
            now: Cell::new(time::now()),
        }
    }

    /// Sockets in the table, those being closed included.
    pub(super) fn sockets(&self) -> usize {
        self.table.slots.borrow().len() - self.table.vacant.borrow().len()
    }

    /// Notes that the kernel has taken all that was queued.
    pub(super) fn submitted(&self) {
        self.table.registering.borrow_mut().clear();
    }

    /// The socket an operation was for. A slot stays taken while any of its operations is with the kernel,
    /// so another generation here means that two sockets were confused: better no worker than that.
    pub(super) fn socket_of(&self, user_data: u64) -> Rc<Socket> {
        let slot = (user_data & u64::from(u32::MAX)) as usize;
        let generation = (user_data >> 32) as u32 & GENERATION_MASK;
        let slots = self.table.slots.borrow();
        let socket = slots.get(slot).and_then(|slot| slot.socket.as_ref());
        let socket = socket.filter(|socket| socket.id.generation & GENERATION_MASK == generation);
        Rc::clone(socket.expect("a slot outlives its operations"))
    }

    /// Gives a descriptor a slot of its own.
    pub(super) fn adopt(&self, descriptor: OwnedFd, side: Side) -> Rc<Socket> {
        let slot = self.table.vacant.borrow_mut().pop();
        let mut slots = self.table.slots.borrow_mut();
        let slot = slot.unwrap_or_else(|| {
            slots.push(Slot::default());
            (slots.len() - 1) as u32
        });
        let place = &mut slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        let buffers = match side {
            Side::Client => &self.client_buffers,
            Side::Server => &self.server_buffers,
        };
        let id = ConnectionId {
            slot,
            generation: place.generation,
        };
        let is_registered = slot < self.table.registered_max;
        let socket = Socket::new(
            id,
            descriptor.into_raw_fd(),
            is_registered,
            Rc::clone(buffers),
            Rc::clone(&self.keeper),
        );
        place.socket = Some(Rc::clone(&socket));
        if is_registered {
            self.register(slot, &socket.descriptor);
            self.table.registering.borrow_mut().push(Rc::clone(&socket));
        }
        socket
    }

    /// Makes the ring know `descriptor` (-1: nothing) by the number of a slot. Operations queued later see it.
    ///
    /// The descriptor must stay where it is until the end of the turn.
    fn register(&self, slot: u32, descriptor: &RawFd) {
        let entry = io_uring::opcode::FilesUpdate::new(descriptor, 1)
            .offset(slot as i32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data((Operation::Registered as u64) << 60);
        // SAFETY: the kernel reads the number while it takes the entry; `registering` keeps it until then,
        // or it is a constant.
        unsafe { self.push(&entry) }
    }

    /// Makes a slot free for the next socket.
    pub(super) fn vacate(&self, socket: &Socket) {
        assert_eq!(
            socket.in_flight.get(),
            0,
            "a slot is vacated after its last completion"
        );
        if socket.is_registered {
            self.register(socket.id.slot, &NO_DESCRIPTOR);
        }
        self.table.slots.borrow_mut()[socket.id.slot as usize].socket = None;
        self.table.vacant.borrow_mut().push(socket.id.slot);
    }

    /// Queues an operation of `socket`. Inlined, so that an entry is written where the kernel reads it.
    ///
    /// # Safety
    /// As [`Ring::push`].
    #[inline(always)]
    pub(super) unsafe fn push(&self, entry: &squeue::Entry) {
        // SAFETY: passed on to the caller.
        unsafe { self.ring.borrow_mut().push(entry) }
    }
}
