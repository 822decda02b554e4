//! Owns the few socket calls that do not go through a ring: listen, create, shut down, close. It moves no bytes.
#![allow(
    unsafe_code,
    reason = "plain calls on descriptors; every block states its contract"
)]

use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{SocketAddr, SocketAddrV4, TcpListener},
    os::fd::{IntoRawFd, RawFd},
};

/// Connections the kernel keeps before they are accepted: above the largest burst of a scenario.
const BACKLOG: i32 = 4096;

/// A listening socket whose accepted sockets have TCP_NODELAY from birth.
pub(crate) fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::V4(address).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A blocking TCP socket, not yet connected; the caller closes it.
pub(crate) fn unconnected() -> io::Result<RawFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into_raw_fd())
}

/// A connected socket; the caller closes it.
pub(crate) fn connected(address: SocketAddrV4) -> io::Result<RawFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&SocketAddr::V4(address).into())?;
    Ok(socket.into_raw_fd())
}

/// Ends both directions, so that every operation on the socket completes.
pub(crate) fn shutdown(socket: RawFd) {
    // SAFETY: a call on a number; a wrong one is refused by the kernel.
    unsafe { libc::shutdown(socket, libc::SHUT_RDWR) };
}

/// Closes a descriptor that this process owns and no longer uses.
pub(crate) fn close(socket: RawFd) {
    // SAFETY: the callers own the descriptor and forget it here.
    unsafe { libc::close(socket) };
}
