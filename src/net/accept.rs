//! Accepting: one multishot accept per listening socket and core.

use std::{
    future::poll_fn,
    io,
    os::fd::{FromRawFd, OwnedFd},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use io_uring::{opcode, types::Fd};

use super::{
    core::{Core, Reactor},
    detached::Detached,
    listen::{Acceptor, Listener},
    ring::uring::Completion,
    socket::{Side, error_of},
    stream::Stream,
    timer::Sleep,
};
use crate::{limits::ACCEPT_REST_MS, time};

/// Accepts clients of one listening socket on this core. Dropping it stops accepting.
pub struct Incoming {
    core: Rc<Core>,
    acceptor: Rc<Acceptor>,
}

impl Reactor {
    /// Starts to accept from `listener` on this core.
    pub fn accept_from(&self, listener: &Listener) -> Incoming {
        let mut acceptors = self.core.acceptors.borrow_mut();
        let acceptor = Rc::new(Acceptor::new(listener.clone(), acceptors.len()));
        acceptors.push(Rc::clone(&acceptor));
        drop(acceptors);
        self.core.arm_accept(&acceptor);
        Incoming {
            core: Rc::clone(&self.core),
            acceptor,
        }
    }

    /// Makes a stream of a connection that was accepted here or comes from another core.
    pub fn adopt(&self, detached: Detached, side: Side) -> Stream {
        let descriptor = detached.into_descriptor();
        Stream::new(Rc::clone(&self.core), self.core.adopt(descriptor, side))
    }
}

impl Incoming {
    /// The next client; `None` once stopped. An error (out of descriptors or memory) comes after a rest, so
    /// that a caller that logs and calls again does not spin.
    pub async fn next(&self) -> Option<io::Result<Detached>> {
        let accepted = poll_fn(|context| {
            if self.acceptor.stopped.get() {
                return Poll::Ready(None);
            }
            let accepted = self.acceptor.accepted.borrow_mut().pop_front();
            if accepted.is_none() {
                self.acceptor.waker.register(context);
                return Poll::Pending;
            }
            Poll::Ready(accepted)
        })
        .await?;
        let Err(errno) = accepted else {
            return Some(accepted.map_err(error_of));
        };
        let rest = time::now() + Duration::from_millis(ACCEPT_REST_MS);
        Sleep::new(Rc::clone(&self.core.timers), rest).await;
        self.core.arm_accept(&self.acceptor);
        Some(Err(error_of(errno)))
    }

    /// Accepts nobody any more, and closes the listening socket.
    pub fn stop(&self) {
        if self.acceptor.stopped.replace(true) {
            return;
        }
        self.acceptor.accepted.borrow_mut().clear();
        self.acceptor.waker.wake();
        if self.acceptor.armed.get() {
            self.core.cancel(self.acceptor.user_data());
        }
        self.acceptor.close_if_done();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Core {
    fn arm_accept(&self, acceptor: &Rc<Acceptor>) {
        if acceptor.armed.get() || acceptor.stopped.get() {
            return;
        }
        acceptor.armed.set(true);
        let entry = opcode::AcceptMulti::new(Fd(acceptor.descriptor()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(acceptor.user_data());
        // SAFETY: the entry names no memory, and the acceptor keeps the descriptor open while it is armed.
        unsafe { self.push(&entry) }
    }

    /// A client came, or accepting ended.
    pub(super) fn accepted(&self, completion: Completion) {
        let number = (completion.user_data & u64::from(u32::MAX)) as usize;
        let acceptor = Rc::clone(&self.acceptors.borrow()[number]);
        if !completion.more() {
            acceptor.armed.set(false);
        }
        match completion.result {
            descriptor if descriptor >= 0 => {
                // SAFETY: the kernel just made this descriptor for us.
                let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
                if !acceptor.stopped.get() {
                    acceptor
                        .accepted
                        .borrow_mut()
                        .push_back(Ok(Detached::new(descriptor)));
                }
                self.arm_accept(&acceptor);
            }
            result if is_peers_fault(-result) => self.arm_accept(&acceptor),
            result => acceptor.accepted.borrow_mut().push_back(Err(-result)),
        }
        acceptor.close_if_done();
        acceptor.waker.wake();
    }
}

/// Errors of accept that concern one client that is gone already.
fn is_peers_fault(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO | libc::ECANCELED
    )
}
