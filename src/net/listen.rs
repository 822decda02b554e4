//! Listening sockets, and one core's watch on each. Takes nobody in.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::{detached::Detached, ring::operation::Operation, task::WakerCell};

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
    pub(super) armed: Cell<bool>,
    pub(super) stopped: Cell<bool>,
    pub(super) accepted: RefCell<VecDeque<Result<Detached, i32>>>,
    pub(super) waker: WakerCell,
}

impl Acceptor {
    /// Watches `listener` as the core's acceptor of this number.
    pub(super) fn new(listener: Listener, number: usize) -> Self {
        Self {
            listener: RefCell::new(Some(listener)),
            number,
            armed: Cell::new(false),
            stopped: Cell::new(false),
            accepted: RefCell::default(),
            waker: WakerCell::default(),
        }
    }

    /// Descriptor of the listening socket, which must not be stopped; open while armed.
    pub(super) fn descriptor(&self) -> RawFd {
        let listener = self.listener.borrow();
        let listener = listener.as_ref().expect("only a stopped one is closed");
        listener.socket.as_raw_fd()
    }

    /// Closes the listening socket once it is stopped and the kernel has let go of it.
    pub(super) fn close_if_done(&self) {
        if self.stopped.get() && !self.armed.get() {
            self.listener.take();
        }
    }

    /// User data of its operation.
    pub(super) fn user_data(&self) -> u64 {
        (Operation::Accept as u64) << 60 | self.number as u64
    }
}
