//! Receiving: one multishot operation per socket, buffers picked by the kernel.

use std::rc::Rc;

use io_uring::opcode;

use super::{
    core::Core,
    ring::{
        buffers::Chunk,
        operation::{Operation, user_data},
        uring::Completion,
    },
    socket::{Life, Receiving, Socket},
};
use crate::limits::INBOUND_BUFFERS_MAX;

impl Core {
    /// Arms the receive of `socket` unless it is armed, over, or not wanted.
    pub(super) fn arm_receive(&self, socket: &Rc<Socket>) {
        let idle = socket.inbound.receiving.get() == Receiving::Idle;
        let wanted = !socket.inbound.paused.get()
            && socket.life.get() == Life::Open
            && socket.end.get().is_none();
        if !idle || !wanted || socket.inbound.chunks.borrow().len() >= INBOUND_BUFFERS_MAX {
            return;
        }
        let (target, flags) = socket.target();
        let entry = opcode::RecvMulti::new(target, socket.buffers.group())
            .build()
            .flags(flags)
            .user_data(user_data(Operation::Receive, socket.id));
        socket.inbound.receiving.set(Receiving::Armed);
        socket.enter();
        // SAFETY: the buffers that the kernel may pick belong to the group, which the socket keeps alive.
        unsafe { self.push(&entry) }
    }

    /// Asks the kernel to stop receiving for `socket`.
    pub(super) fn stop_receive(&self, socket: &Socket) {
        if socket.inbound.receiving.get() == Receiving::Starved {
            self.starved
                .borrow_mut()
                .retain(|starved| starved.id != socket.id);
            socket.inbound.receiving.set(Receiving::Idle);
        }
        if socket.inbound.receiving.get() != Receiving::Armed {
            return;
        }
        socket.inbound.receiving.set(Receiving::Stopping);
        self.cancel(user_data(Operation::Receive, socket.id));
    }

    /// Asks the kernel to give up one operation; its own completion still comes.
    pub(super) fn cancel(&self, target: u64) {
        let entry = opcode::AsyncCancel::new(target).build();
        // SAFETY: the entry names no memory; its completion carries user data 0, which is ignored.
        unsafe { self.push(&entry) }
    }

    /// A receive brought bytes, the end, or a reason to stop.
    pub(super) fn received(self: &Rc<Self>, socket: &Rc<Socket>, completion: Completion) {
        if !completion.more() {
            socket.leave();
            socket.inbound.receiving.set(Receiving::Idle);
        }
        match completion.result {
            bytes if bytes > 0 => self.received_bytes(socket, completion),
            result => {
                if let Some(buffer) = completion.buffer() {
                    socket.buffers.return_unused(buffer);
                }
                self.receive_ended(socket, -result);
            }
        }
        self.arm_receive(socket);
    }

    fn received_bytes(&self, socket: &Rc<Socket>, completion: Completion) {
        let buffer = completion
            .buffer()
            .expect("a receive with bytes names its buffer");
        let mut chunk = socket.buffers.receive(buffer, completion.result as usize);
        if socket.life.get() != Life::Open {
            return;
        }
        if !socket.inbound.awaited.get() {
            chunk.detach();
        }
        let mut inbound = socket.inbound.chunks.borrow_mut();
        inbound.push_back(chunk);
        if inbound.len() == 2 {
            self.unread.borrow_mut().push(Rc::clone(socket));
        }
        if inbound.len() >= INBOUND_BUFFERS_MAX {
            drop(inbound);
            self.stop_receive(socket);
        }
        socket.notify();
    }

    /// `errno` 0 is the peer's end of stream.
    fn receive_ended(&self, socket: &Rc<Socket>, errno: i32) {
        match errno {
            0 => {
                socket.end.set(socket.end.get().or(Some(Ok(()))));
                socket.notify();
            }
            libc::ENOBUFS => {
                socket.inbound.receiving.set(Receiving::Starved);
                self.starved.borrow_mut().push(Rc::clone(socket));
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            errno => socket.fail(errno),
        }
        if socket.inbound.paused.get() {
            // An owner may wait for this, to detach.
            socket.notify();
        }
    }

    /// Copies to the heap what owners have left unread although they had their turn, so that it keeps no receive buffer.
    pub(super) fn settle_unread(&self) {
        if self.unread.borrow().is_empty() {
            return;
        }
        for socket in self.unread.borrow_mut().drain(..) {
            let mut inbound = socket.inbound.chunks.borrow_mut();
            inbound.iter_mut().for_each(Chunk::detach);
        }
    }

    /// Arms again what found no buffer, no more sockets than there are buffers now.
    pub(super) fn feed_starved(&self) {
        let mut starved = self.starved.borrow_mut();
        if starved.is_empty() {
            return;
        }
        self.client_buffers.widen();
        self.server_buffers.widen();
        let mut room = [self.client_buffers.free(), self.server_buffers.free()];
        let fed: Vec<_> = starved
            .extract_if(.., |socket| {
                let room = &mut room[usize::from(socket.buffers.group())];
                let feed = *room > 0;
                *room -= usize::from(feed);
                feed
            })
            .collect();
        drop(starved);
        for socket in fed {
            socket.inbound.receiving.set(Receiving::Idle);
            self.arm_receive(&socket);
        }
    }
}
