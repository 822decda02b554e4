//! Sending: straight from the buffers in which bytes arrived, gathered, decided in the same system call.
//!
//! A first attempt never waits for room (`MSG_DONTWAIT`), so the kernel holds no receive buffer across
//! turns: it either sends all of it while submitting, and then reports nothing, or it reports what was
//! left. What is left moves to the heap and waits there.

use std::{collections::VecDeque, rc::Rc};

use io_uring::{
    opcode,
    squeue::{self, Flags},
};

use super::{
    reactor::Core,
    ring::{
        buffers::Chunk,
        operation::{Operation, user_data},
    },
    socket::{Life, Sending, Socket},
};
use crate::limits::{GATHERED_SENDS_MAX, SEND_PIECES_MAX, UNITED_BYTES, UNITED_SEND_BYTES_MAX};

/// Send all of it or say how much, and never raise SIGPIPE.
const ALL: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// What the sends of one turn consist of; its addresses are stable until the turn ends.
pub(super) struct Gather {
    /// Small pieces, copied to lie one behind the other: that costs less than a list that the kernel must copy.
    united: Vec<u8>,
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
    /// Sockets whose first attempt is decided when the kernel returns.
    instant: Vec<Rc<Socket>>,
    /// Somebody waits for one of those decisions, which raise no completion: do not sleep on them.
    awaited: bool,
}

/// What one send sends.
enum Content {
    /// So many bytes from there.
    Bytes(*const u8, u32),
    /// Pieces that lie here and there.
    List(*const libc::msghdr),
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.as_ptr(), bytes.len() as u32)
    }
}

impl Gather {
    pub(super) fn new() -> Self {
        Self {
            united: Vec::with_capacity(UNITED_BYTES),
            pieces: Vec::with_capacity(GATHERED_SENDS_MAX * SEND_PIECES_MAX),
            headers: Vec::with_capacity(GATHERED_SENDS_MAX),
            instant: Vec::with_capacity(GATHERED_SENDS_MAX),
            awaited: false,
        }
    }

    /// True when this turn's sends must be decided before the core sleeps.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// What the first attempt of `socket` sends, and how many of its pieces that is.
    fn collect(&mut self, socket: &Socket) -> (Content, u16) {
        let outbound = socket.outbound.borrow();
        if outbound.len() > 1 {
            if let Some(united) = self.unite(&outbound) {
                return (Content::of(united), outbound.len() as u16);
            }
            if let Some((header, pieces)) = self.add(outbound.iter()) {
                return (Content::List(header), pieces);
            }
        }
        (Content::of(&outbound[0]), 1)
    }

    /// All of `outbound` in one place; `None` when that is more than a few bytes, or this turn's place is full.
    fn unite(&mut self, outbound: &VecDeque<Chunk>) -> Option<&[u8]> {
        let room = self.united.capacity() - self.united.len();
        let bytes: usize = outbound.iter().map(|chunk| chunk.len()).sum();
        if bytes > room.min(UNITED_SEND_BYTES_MAX) {
            return None;
        }
        let start = self.united.len();
        for chunk in outbound {
            self.united.extend_from_slice(chunk);
        }
        Some(&self.united[start..])
    }

    /// One header over the first pieces of `outbound`; `None` when this turn's lists are full.
    fn add<'a>(
        &mut self,
        outbound: impl Iterator<Item = &'a Chunk>,
    ) -> Option<(*const libc::msghdr, u16)> {
        if self.headers.len() == self.headers.capacity() {
            return None;
        }
        let start = self.pieces.len();
        self.pieces
            .extend(outbound.take(SEND_PIECES_MAX).map(|chunk| libc::iovec {
                iov_base: chunk.as_ptr().cast_mut().cast(),
                iov_len: chunk.len(),
            }));
        let count = self.pieces.len() - start;
        // SAFETY: all-zero bytes are a valid empty header.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = self.pieces[start..].as_mut_ptr();
        header.msg_iovlen = count;
        self.headers.push(header);
        Some((self.headers.last()?, count as u16))
    }
}

impl Core {
    /// Queues `chunk` behind what `socket` has still to send.
    #[inline]
    pub(super) fn queue_send(&self, socket: &Rc<Socket>, chunk: Chunk) {
        if chunk.is_empty() || matches!(socket.end.get(), Some(Err(_))) {
            return;
        }
        socket
            .outbound_bytes
            .set(socket.outbound_bytes.get() + chunk.len());
        let mut outbound = socket.outbound.borrow_mut();
        outbound.push_back(chunk);
        match socket.sending.get() {
            Sending::Idle => {
                socket.sending.set(Sending::Queued);
                self.queued.borrow_mut().push(Rc::clone(socket));
            }
            Sending::Waiting => outbound.back_mut().into_iter().for_each(Chunk::detach),
            Sending::Queued | Sending::Instant(_) => {}
        }
    }

    /// Starts the sends of this turn.
    pub(super) fn start_sends(self: &Rc<Self>) {
        let mut queued = std::mem::take(&mut *self.queued.borrow_mut());
        for socket in queued.drain(..) {
            if socket.outbound.borrow().is_empty() {
                socket.sending.set(Sending::Idle);
                self.try_finish_close(&socket);
            } else {
                self.start_instant(socket);
            }
        }
        *self.queued.borrow_mut() = queued;
    }

    /// First attempt: all pieces at once, without waiting.
    fn start_instant(&self, socket: Rc<Socket>) {
        const INSTANT: i32 = ALL | libc::MSG_DONTWAIT;
        let mut gather = self.gather.borrow_mut();
        let (content, pieces) = gather.collect(&socket);
        let (target, target_flags) = socket.target();
        let push = |entry: squeue::Entry| {
            let entry = entry
                .flags(target_flags | Flags::SKIP_SUCCESS)
                .user_data(user_data(Operation::Send, socket.id));
            // SAFETY: the pieces stay in `outbound`, copies and lists in `gather`, until `finish_instant_sends`,
            // which runs after the kernel has taken and decided the entry.
            unsafe { self.push(&entry) }
        };
        match content {
            Content::Bytes(start, bytes) => {
                push(
                    opcode::Send::new(target, start, bytes)
                        .flags(INSTANT)
                        .build(),
                );
            }
            Content::List(header) => {
                let entry = opcode::SendMsg::new(target, header);
                push(entry.flags(INSTANT as u32).build());
            }
        }
        socket.sending.set(Sending::Instant(pieces));
        gather.awaited |= self.is_awaited(&socket, pieces);
        gather.instant.push(socket);
    }

    /// True when something happens once these pieces are out: more pieces, a waiting owner, a close, or
    /// the use of a receive buffer that another socket lacks.
    fn is_awaited(&self, socket: &Socket, pieces: u16) -> bool {
        usize::from(pieces) < socket.outbound.borrow().len()
            || socket.drain_wanted.get()
            || socket.life.get() != Life::Open
            || !self.starved.borrow().is_empty()
    }

    /// Second attempt: the first piece, owned, waits in the kernel for room.
    fn start_waiting(self: &Rc<Self>, socket: &Rc<Socket>) {
        if socket.life.get() == Life::Lingering {
            self.limit_linger(Rc::clone(socket));
        }
        let outbound = socket.outbound.borrow();
        let (target, target_flags) = socket.target();
        let entry = opcode::Send::new(target, outbound[0].as_ptr(), outbound[0].len() as u32)
            .flags(ALL)
            .build()
            .flags(target_flags)
            .user_data(user_data(Operation::Send, socket.id));
        socket.sending.set(Sending::Waiting);
        socket.enter();
        // SAFETY: the piece is heap memory that stays the first of `outbound` until its completion; only
        // `sent` and the end of the slot take it off, and a slot ends after its last completion.
        unsafe { self.push(&entry) }
    }

    /// A send reported: the rest of an instant one, or the outcome of a waiting one.
    pub(super) fn sent(self: &Rc<Self>, socket: &Rc<Socket>, result: i32) {
        if matches!(socket.sending.get(), Sending::Instant(_)) {
            socket.shortfall.set(Some(result));
            return;
        }
        socket.leave();
        self.send_progress(socket, result);
    }

    /// Decides every first attempt of the turn: silence means that all of it was sent.
    pub(super) fn finish_instant_sends(self: &Rc<Self>) {
        let mut gather = self.gather.borrow_mut();
        if gather.instant.is_empty() {
            return;
        }
        gather.united.clear();
        gather.headers.clear();
        gather.pieces.clear();
        gather.awaited = false;
        let mut instant = std::mem::take(&mut gather.instant);
        drop(gather);
        for socket in instant.drain(..) {
            self.finish_instant(&socket);
        }
        self.gather.borrow_mut().instant = instant;
    }

    fn finish_instant(self: &Rc<Self>, socket: &Rc<Socket>) {
        let Sending::Instant(pieces) = socket.sending.get() else {
            return;
        };
        match socket.shortfall.take() {
            None => {
                socket.finish_pieces(pieces);
                self.send_next(socket);
            }
            Some(result) => self.send_progress(socket, result),
        }
    }

    /// After an attempt that did not send all: go on from the heap, or give up.
    fn send_progress(self: &Rc<Self>, socket: &Rc<Socket>, result: i32) {
        match -result {
            libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM => {}
            errno if errno > 0 => return self.send_failed(socket, errno),
            _ => socket.finish_bytes(result as usize),
        }
        if socket.outbound.borrow().is_empty() {
            return self.send_next(socket);
        }
        if socket.life.get() == Life::Closing {
            return self.send_failed(socket, libc::ECANCELED);
        }
        socket.detach_outbound();
        self.start_waiting(socket);
        socket.notify();
    }

    fn send_failed(self: &Rc<Self>, socket: &Rc<Socket>, errno: i32) {
        socket.sending.set(Sending::Idle);
        socket.fail(errno);
        self.try_finish_close(socket);
    }

    /// What comes after the pieces of an attempt are out.
    fn send_next(self: &Rc<Self>, socket: &Rc<Socket>) {
        if socket.outbound.borrow().is_empty() {
            socket.sending.set(Sending::Idle);
            self.try_finish_close(socket);
        } else {
            socket.sending.set(Sending::Queued);
            self.queued.borrow_mut().push(Rc::clone(socket));
        }
        if socket.drain_wanted.take() {
            socket.notify();
        }
    }
}
