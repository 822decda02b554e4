//! Connecting to a server, by TCP or Unix socket.

use std::{
    future::poll_fn, io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, rc::Rc, task::Poll,
};

use io_uring::opcode;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};

use super::{
    core::{Core, Reactor},
    ring::operation::{Operation, user_data},
    socket::{Side, Socket, error_of},
    stream::Stream,
};

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Address {
    fn open(&self) -> io::Result<(OwnedFd, SockAddr)> {
        let (socket, address) = match self {
            Self::Tcp(address) => {
                let socket = RawSocket::new(
                    Domain::for_address(*address),
                    Type::STREAM,
                    Some(Protocol::TCP),
                )?;
                socket.set_tcp_nodelay(true)?;
                socket.set_keepalive(true)?;
                (socket, (*address).into())
            }
            Self::Unix(path) => (
                RawSocket::new(Domain::UNIX, Type::STREAM, None)?,
                SockAddr::unix(path)?,
            ),
        };
        Ok((socket.into(), address))
    }
}

impl Reactor {
    /// Connects. Dropping the future gives up; the kernel's own time-out is long, so set a deadline.
    pub async fn connect(&self, address: &Address) -> io::Result<Stream> {
        let (descriptor, address) = address.open()?;
        let stream = self.adopt_unconnected(descriptor);
        let socket = stream.socket();
        self.core.start_connect(socket, address);
        poll_fn(|context| match socket.connecting.result.take() {
            Some(0) => Poll::Ready(Ok(())),
            Some(errno) => Poll::Ready(Err(error_of(errno))),
            None => {
                socket.waker.register(context);
                Poll::Pending
            }
        })
        .await?;
        self.core.arm_receive(socket);
        Ok(stream)
    }

    fn adopt_unconnected(&self, descriptor: OwnedFd) -> Stream {
        Stream::unarmed(
            Rc::clone(&self.core),
            self.core.adopt(descriptor, Side::Server),
        )
    }
}

impl Core {
    fn start_connect(&self, socket: &Rc<Socket>, address: SockAddr) {
        let address = socket
            .connecting
            .address
            .borrow_mut()
            .insert(Box::new(address))
            .as_ref() as *const SockAddr;
        let (target, flags) = socket.target();
        socket.enter();
        // SAFETY: the address is boxed in the socket until the completion takes it out.
        let entry =
            unsafe { opcode::Connect::new(target, (*address).as_ptr().cast(), (*address).len()) }
                .build()
                .flags(flags)
                .user_data(user_data(Operation::Connect, socket.id));
        // SAFETY: as above.
        unsafe { self.push(&entry) }
    }

    /// The connect is over.
    pub(super) fn connected(&self, socket: &Rc<Socket>, result: i32) {
        socket.leave();
        socket.connecting.address.take();
        socket.connecting.result.set(Some(-result));
        socket.notify();
    }
}
