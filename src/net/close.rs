//! Closing: the last bytes go out, the kernel gives everything back, then the slot is free.

use std::{rc::Rc, time::Duration};

use io_uring::{opcode, squeue::Flags, types::Fd};

use super::{
    core::Core,
    ring::operation::{Operation, user_data},
    socket::{Life, Sending, Socket},
    task,
    timer::Sleep,
};
use crate::{limits::LINGER_MS_MAX, time};

impl Core {
    /// The owner is gone. Bytes already queued are sent, for a bounded time.
    pub(super) fn close(self: &Rc<Self>, socket: &Rc<Socket>) {
        socket.inbound.chunks.borrow_mut().clear();
        socket.waker.clear();
        if socket.outbound.sending.get() == Sending::Idle {
            return self.close_now(socket);
        }
        socket.life.set(Life::Lingering);
        self.stop_receive(socket);
        if socket.outbound.sending.get() == Sending::Waiting {
            self.limit_linger(Rc::clone(socket));
        }
    }

    /// Gives a peer that does not read a bounded time to do so.
    pub(super) fn limit_linger(self: &Rc<Self>, socket: Rc<Socket>) {
        let core = Rc::clone(self);
        let deadline = time::now() + Duration::from_millis(LINGER_MS_MAX);
        let sleep = Sleep::new(Rc::clone(&self.timers), deadline);
        task::spawn(async move {
            sleep.await;
            if socket.life.get() == Life::Lingering {
                core.close_now(&socket);
            }
        });
    }

    /// Takes everything back from the kernel at once.
    pub(super) fn close_now(self: &Rc<Self>, socket: &Rc<Socket>) {
        socket.life.set(Life::Closing);
        self.stop_receive(socket);
        if socket.outbound.sending.get() == Sending::Waiting {
            self.cancel(user_data(Operation::Send, socket.id));
        }
        if socket.connecting.is_in_flight() {
            self.cancel(user_data(Operation::Connect, socket.id));
        }
        self.try_finish_close(socket);
    }

    /// Ends a closing socket once no operation of its own is left with the kernel.
    pub(super) fn try_finish_close(self: &Rc<Self>, socket: &Rc<Socket>) {
        if matches!(
            socket.outbound.sending.get(),
            Sending::Queued | Sending::Instant(_)
        ) {
            return;
        }
        match socket.life.get() {
            Life::Open | Life::Closed => {}
            Life::Lingering if socket.outbound.sending.get() == Sending::Waiting => {}
            Life::Lingering => self.close_now(socket),
            Life::Closing if socket.in_flight.get() > 0 => {}
            Life::Closing => self.finish_close(socket),
        }
    }

    fn finish_close(&self, socket: &Rc<Socket>) {
        socket.life.set(Life::Closed);
        socket.outbound.drop_unsent();
        let entry = opcode::Close::new(Fd(socket.descriptor))
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data((Operation::Ignored as u64) << 60);
        // SAFETY: the entry names no memory; the slot gives its descriptor up here, once.
        unsafe { self.push(&entry) }
        self.vacate(socket);
    }
}
