//! A connected socket as its owner sees it: chunks in, chunks out, room, the end.

use std::{
    future::poll_fn,
    io,
    net::Shutdown,
    os::fd::BorrowedFd,
    rc::Rc,
    task::{Context, Poll},
};

use socket2::{SockAddr, SockRef};

use super::{
    core::Core,
    detached::Detached,
    ring::buffers::Chunk,
    socket::{Life, Receiving, Sending, Socket, error_of},
};
use crate::ids::ConnectionId;

/// Bytes that came in, or the end.
#[derive(Debug)]
pub enum Received {
    /// Bytes, in the order in which they were sent.
    Bytes(Chunk),
    /// The peer will send no more.
    End,
    /// The connection is broken, in both directions.
    Broken(io::Error),
}

/// Outcome of a receive whose bytes were put where the caller wanted them.
#[derive(Debug)]
pub enum Arrived {
    /// Bytes.
    Bytes,
    /// The peer will send no more.
    End,
    /// The connection is broken, in both directions.
    Broken(io::Error),
}

/// One end of a connection, owned by one task. Dropping it sends what is queued, for a bounded time, and closes.
pub struct Stream {
    core: Rc<Core>,
    socket: Rc<Socket>,
}

impl Stream {
    pub(super) fn new(core: Rc<Core>, socket: Rc<Socket>) -> Self {
        core.arm_receive(&socket);
        Self { core, socket }
    }

    pub(super) fn unarmed(core: Rc<Core>, socket: Rc<Socket>) -> Self {
        Self { core, socket }
    }

    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    /// Its identity on this core.
    pub fn id(&self) -> ConnectionId {
        self.socket.id
    }

    /// Addresses of the peer and of our end, as people write them; `unix` for a Unix socket.
    pub fn addresses(&self) -> (String, String) {
        // SAFETY: the slot keeps the descriptor open as long as the stream lives.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.socket.descriptor) };
        let socket = SockRef::from(&descriptor);
        let name = |address: io::Result<SockAddr>| {
            let address = address.ok().and_then(|address| address.as_socket());
            address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
        };
        (name(socket.peer_addr()), name(socket.local_addr()))
    }

    /// The next piece that came in goes to `place`, where none is.
    #[inline]
    pub fn poll_receive(&self, context: &Context<'_>, place: &mut Chunk) -> Poll<Arrived> {
        let mut inbound = self.socket.inbound.chunks.borrow_mut();
        if let Some(chunk) = inbound.pop_front() {
            let empty = inbound.is_empty();
            drop(inbound);
            *place = chunk;
            self.socket.inbound.awaited.set(false);
            if empty {
                self.core.arm_receive(&self.socket);
            }
            return Poll::Ready(Arrived::Bytes);
        }
        match self.socket.end.get() {
            Some(Ok(())) => Poll::Ready(Arrived::End),
            Some(Err(errno)) => Poll::Ready(Arrived::Broken(error_of(errno))),
            None => {
                self.socket.inbound.awaited.set(true);
                self.socket.waker.register(context);
                Poll::Pending
            }
        }
    }

    /// The next piece that comes in.
    pub async fn receive(&self) -> Received {
        let mut chunk = Chunk::default();
        match poll_fn(|context| self.poll_receive(context, &mut chunk)).await {
            Arrived::Bytes => Received::Bytes(chunk),
            Arrived::End => Received::End,
            Arrived::Broken(error) => Received::Broken(error),
        }
    }

    /// True when bytes or the end have arrived that nobody has taken.
    pub fn has_news(&self) -> bool {
        !self.socket.inbound.chunks.borrow().is_empty() || self.socket.end.get().is_some()
    }

    /// Puts bytes back in front, to be received next.
    pub fn unreceive(&self, mut chunk: Chunk) {
        chunk.detach();
        if !chunk.is_empty() {
            self.socket.inbound.chunks.borrow_mut().push_front(chunk);
        }
    }

    /// Stops taking bytes from the kernel; what has arrived can still be received.
    pub fn pause(&self) {
        self.socket.inbound.paused.set(true);
        self.core.stop_receive(&self.socket);
    }

    /// Takes bytes from the kernel again.
    pub fn resume(&self) {
        self.socket.inbound.paused.set(false);
        self.core.arm_receive(&self.socket);
    }

    /// Takes the connection away from this core, for another one. `None`, and it closes, when something has
    /// come in or is not sent, or it is broken.
    pub async fn detach(self) -> Option<Detached> {
        self.pause();
        // What the kernel receives until it has stopped would be lost to the other core.
        poll_fn(|context| match self.socket.inbound.receiving.get() {
            Receiving::Idle => Poll::Ready(()),
            _ => {
                self.socket.waker.register(context);
                Poll::Pending
            }
        })
        .await;
        if self.has_news() || self.unsent() > 0 {
            return None;
        }
        // SAFETY: the slot keeps the descriptor open as long as the stream lives.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.socket.descriptor) };
        descriptor.try_clone_to_owned().ok().map(Detached::new)
    }

    /// Tells the peer that nothing more comes; what it still sends can be received.
    pub fn finish_sending(&self) {
        // SAFETY: the slot keeps the descriptor open as long as the stream lives.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.socket.descriptor) };
        // A connection that is broken already needs no telling.
        let _ = SockRef::from(&descriptor).shutdown(Shutdown::Write);
    }

    /// While parked, what happens wakes the keeper of parked streams instead of the task that last waited.
    #[inline]
    pub fn park(&self, parked: bool) {
        self.socket.parked.set(parked);
    }

    /// Ready once the connection is broken; an end of stream is not a break.
    pub fn poll_broken(&self, context: &Context<'_>) -> Poll<()> {
        if matches!(self.socket.end.get(), Some(Err(_))) {
            return Poll::Ready(());
        }
        self.socket.waker.register(context);
        Poll::Pending
    }

    /// Ready once the peer will send no more, whatever it has sent before, or the connection is broken.
    pub fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        if self.socket.end.get().is_some() {
            return Poll::Ready(());
        }
        self.socket.waker.register(context);
        Poll::Pending
    }

    /// Sends `chunk` after all that was sent before. Never waits: see [`Stream::unsent`].
    #[inline]
    pub fn send(&self, chunk: Chunk) {
        self.core.queue_send(&self.socket, chunk);
    }

    /// Bytes that the peer's kernel has not taken.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.socket.outbound.bytes.get()
    }

    /// True when the peer takes bytes more slowly than they come.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.socket.outbound.sending.get() == Sending::Waiting
    }

    /// Ready once fewer than `bytes` are unsent, or the connection is broken.
    pub fn poll_drained(&self, context: &Context<'_>, bytes: usize) -> Poll<()> {
        if self.unsent() < bytes || matches!(self.socket.end.get(), Some(Err(_))) {
            return Poll::Ready(());
        }
        self.socket.outbound.drain_wanted.set(true);
        self.socket.waker.register(context);
        Poll::Pending
    }

    /// Waits until all is with the peer's kernel, or the connection is broken.
    pub async fn flushed(&self) {
        poll_fn(|context| self.poll_drained(context, 1)).await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        debug_assert_eq!(
            self.socket.life.get(),
            Life::Open,
            "a stream owns an open slot"
        );
        self.core.close(&self.socket);
    }
}
