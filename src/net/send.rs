//! Sending: straight from the buffers in which bytes arrived, gathered, decided in the same system call.
//!
//! A first attempt never waits for room (`MSG_DONTWAIT`), so the kernel holds no receive buffer across
//! turns: it either sends all of it while submitting, and then reports nothing, or it reports what was
//! left. What is left moves to the heap and waits there.

use std::rc::Rc;

use io_uring::{
    opcode,
    squeue::{self, Flags},
};

use super::{
    core::Core,
    ring::{
        buffers::Chunk,
        gather::Content,
        operation::{Operation, user_data},
    },
    socket::{Life, Sending, Socket},
};

/// Send all of it or say how much, and never raise SIGPIPE.
const ALL: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

impl Core {
    /// Queues `chunk` behind what `socket` has still to send.
    #[inline]
    pub(super) fn queue_send(&self, socket: &Rc<Socket>, chunk: Chunk) {
        if chunk.is_empty() || matches!(socket.end.get(), Some(Err(_))) {
            return;
        }
        socket
            .outbound
            .bytes
            .set(socket.outbound.bytes.get() + chunk.len());
        let mut outbound = socket.outbound.chunks.borrow_mut();
        outbound.push_back(chunk);
        match socket.outbound.sending.get() {
            Sending::Idle => {
                socket.outbound.sending.set(Sending::Queued);
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
            if socket.outbound.chunks.borrow().is_empty() {
                socket.outbound.sending.set(Sending::Idle);
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
        let mut sends = self.sends.borrow_mut();
        let (content, pieces) = sends.gather.collect(&socket.outbound.chunks.borrow());
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
        socket.outbound.sending.set(Sending::Instant(pieces));
        sends.are_awaited |= self.is_awaited(&socket, pieces);
        sends.instant.push(socket);
    }

    /// True when something happens once these pieces are out: more pieces, a waiting owner, a close, or
    /// the use of a receive buffer that another socket lacks.
    fn is_awaited(&self, socket: &Socket, pieces: u16) -> bool {
        usize::from(pieces) < socket.outbound.chunks.borrow().len()
            || socket.outbound.drain_wanted.get()
            || socket.life.get() != Life::Open
            || !self.starved.borrow().is_empty()
    }

    /// Second attempt: the first piece, owned, waits in the kernel for room.
    fn start_waiting(self: &Rc<Self>, socket: &Rc<Socket>) {
        if socket.life.get() == Life::Lingering {
            self.limit_linger(Rc::clone(socket));
        }
        let outbound = socket.outbound.chunks.borrow();
        let (target, target_flags) = socket.target();
        let entry = opcode::Send::new(target, outbound[0].as_ptr(), outbound[0].len() as u32)
            .flags(ALL)
            .build()
            .flags(target_flags)
            .user_data(user_data(Operation::Send, socket.id));
        socket.outbound.sending.set(Sending::Waiting);
        socket.enter();
        // SAFETY: the piece is heap memory that stays the first of `outbound` until its completion; only
        // `sent` and the end of the slot take it off, and a slot ends after its last completion.
        unsafe { self.push(&entry) }
    }

    /// A send reported: the rest of an instant one, or the outcome of a waiting one.
    pub(super) fn sent(self: &Rc<Self>, socket: &Rc<Socket>, result: i32) {
        if matches!(socket.outbound.sending.get(), Sending::Instant(_)) {
            socket.outbound.shortfall.set(Some(result));
            return;
        }
        socket.leave();
        self.send_progress(socket, result);
    }

    /// Decides every first attempt of the turn: silence means that all of it was sent.
    pub(super) fn finish_instant_sends(self: &Rc<Self>) {
        let mut sends = self.sends.borrow_mut();
        if sends.instant.is_empty() {
            return;
        }
        sends.gather.clear();
        sends.are_awaited = false;
        let mut instant = std::mem::take(&mut sends.instant);
        drop(sends);
        for socket in instant.drain(..) {
            self.finish_instant(&socket);
        }
        self.sends.borrow_mut().instant = instant;
    }

    fn finish_instant(self: &Rc<Self>, socket: &Rc<Socket>) {
        let Sending::Instant(pieces) = socket.outbound.sending.get() else {
            return;
        };
        match socket.outbound.shortfall.take() {
            None => {
                socket.outbound.finish_pieces(pieces);
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
            _ => socket.outbound.finish_bytes(result as usize),
        }
        if socket.outbound.chunks.borrow().is_empty() {
            return self.send_next(socket);
        }
        if socket.life.get() == Life::Closing {
            return self.send_failed(socket, libc::ECANCELED);
        }
        socket.outbound.detach();
        self.start_waiting(socket);
        socket.notify();
    }

    fn send_failed(self: &Rc<Self>, socket: &Rc<Socket>, errno: i32) {
        socket.outbound.sending.set(Sending::Idle);
        socket.fail(errno);
        self.try_finish_close(socket);
    }

    /// Goes on once the pieces of an attempt are out: the next ones in the next turn, or the end.
    fn send_next(self: &Rc<Self>, socket: &Rc<Socket>) {
        if socket.outbound.chunks.borrow().is_empty() {
            socket.outbound.sending.set(Sending::Idle);
            self.try_finish_close(socket);
        } else {
            socket.outbound.sending.set(Sending::Queued);
            self.queued.borrow_mut().push(Rc::clone(socket));
        }
        if socket.outbound.drain_wanted.take() {
            socket.notify();
        }
    }
}
