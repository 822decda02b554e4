//! Listening: one multishot accept per listening socket and core.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use io_uring::{opcode, types::Fd};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::{
    reactor::{Core, Reactor},
    ring::{operation::Operation, uring::Completion},
    stream::{Detached, Side, Stream},
    task,
};
use crate::{limits::ACCEPT_REST_MS, time};

/// A listening socket, not yet watched by any core. Unix sockets are shared by all cores, TCP ones are not.
#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<Socket>,
}

/// How long a TCP peer may be silent before the kernel asks whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl Listener {
    /// Listens on a TCP address that other cores listen on as well (SO_REUSEPORT).
    pub fn tcp(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = tcp_socket(address)?;
        socket.set_reuse_port(true)?;
        // Accepted sockets inherit both.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        Self::listen(socket, &address.into(), backlog)
    }

    /// An error when another process listens on a TCP address, even if it lets others do so, too.
    pub fn check_free(address: SocketAddr) -> io::Result<()> {
        tcp_socket(address)?.bind(&address.into())
    }

    /// Listens on a Unix socket file; one that nobody answers on is replaced.
    pub fn unix(path: &Path, backlog: u32) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if path.exists() {
            if socket.connect(&address).is_ok() {
                return Err(io::Error::from(io::ErrorKind::AddrInUse));
            }
            std::fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        Self::listen(socket, &address, backlog)
    }

    fn listen(socket: Socket, address: &SockAddr, backlog: u32) -> io::Result<Self> {
        socket.bind(address)?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Self {
            socket: Arc::new(socket),
        })
    }

    /// The address it listens on; useful when the port was chosen by the kernel.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// A socket for a TCP address, which connections that have ended do not keep.
fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// One core's watch on a listening socket.
pub(super) struct Acceptor {
    /// `None` once stopped and the kernel has let go of it: who connects then is refused.
    listener: RefCell<Option<Listener>>,
    number: usize,
    armed: Cell<bool>,
    stopped: Cell<bool>,
    accepted: RefCell<VecDeque<Result<Detached, i32>>>,
    waker: task::WakerCell,
}

/// Accepts clients of one listening socket on this core. Dropping it stops accepting.
pub struct Incoming {
    core: Rc<Core>,
    acceptor: Rc<Acceptor>,
}

impl Reactor {
    /// Starts to accept from `listener` on this core.
    pub fn accept_from(&self, listener: &Listener) -> Incoming {
        let mut acceptors = self.core.acceptors.borrow_mut();
        let acceptor = Rc::new(Acceptor {
            listener: RefCell::new(Some(listener.clone())),
            number: acceptors.len(),
            armed: Cell::new(false),
            stopped: Cell::new(false),
            accepted: RefCell::default(),
            waker: task::WakerCell::default(),
        });
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
            return Some(accepted.map_err(super::socket::error_of));
        };
        let rest = time::now() + Duration::from_millis(ACCEPT_REST_MS);
        super::timer::Sleep::new(Rc::clone(&self.core.timers), rest).await;
        self.core.arm_accept(&self.acceptor);
        Some(Err(super::socket::error_of(errno)))
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

impl Acceptor {
    fn close_if_done(&self) {
        if self.stopped.get() && !self.armed.get() {
            self.listener.take();
        }
    }

    fn user_data(&self) -> u64 {
        (Operation::Accept as u64) << 60 | self.number as u64
    }
}

impl Core {
    fn arm_accept(&self, acceptor: &Rc<Acceptor>) {
        if acceptor.armed.get() || acceptor.stopped.get() {
            return;
        }
        let listener = acceptor.listener.borrow();
        let listener = listener.as_ref().expect("only a stopped one is closed");
        acceptor.armed.set(true);
        let entry = opcode::AcceptMulti::new(Fd(listener.socket.as_raw_fd()))
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
