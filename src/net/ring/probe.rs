//! Needs that pgring has of the kernel: asked for at start, each lack named with its cure.

use std::{
    io::{self, Read},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::OnceLock,
};

use io_uring::{IoUring, Probe, opcode, types::Fixed};

use super::uring::Ring;

/// A need that this machine does not meet.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// io_uring is forbidden.
    #[error(
        "io_uring is not allowed here: {0}. Cure: sysctl kernel.io_uring_disabled=0, or take \
         io_uring_setup, io_uring_enter and io_uring_register out of the seccomp profile"
    )]
    Forbidden(io::Error),
    /// Not enough lockable memory.
    #[error(
        "io_uring needs more locked memory: {0}. Cure: raise `ulimit -l` (LimitMEMLOCK=) to at least 1 MiB a worker"
    )]
    LockedMemory(io::Error),
    /// The kernel is too old for the ring's flags.
    #[error("this kernel's io_uring is too old: {0}. Cure: Linux 6.1 or newer")]
    OldKernel(io::Error),
    /// One operation is absent.
    #[error(
        "io_uring here has no {0}. Cure: Linux 6.1 or newer, without a profile that removes operations"
    )]
    MissingOperation(&'static str),
    /// Receive buffers were refused.
    #[error(
        "io_uring refused the receive buffers: {0}. Cure: Linux 6.1 or newer; `ulimit -l` of at least 1 MiB a worker"
    )]
    Buffers(io::Error),
}

pub(crate) fn ring_refused(error: io::Error) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ProbeError::Forbidden(error),
        Some(libc::ENOMEM) => ProbeError::LockedMemory(error),
        _ => ProbeError::OldKernel(error),
    }
}

pub(crate) fn buffers_refused(error: io::Error) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => ProbeError::LockedMemory(error),
        _ => ProbeError::Buffers(error),
    }
}

/// Asks for every operation that `net/` uses.
pub(crate) fn operations(ring: &Ring) -> Result<(), ProbeError> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(ProbeError::OldKernel)?;
    let needed = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::RecvMulti::CODE, "recv"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "sendmsg"),
        (opcode::Connect::CODE, "connect"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Close::CODE, "close"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::FilesUpdate::CODE, "files_update"),
        // Came with Linux 6.1, as did deferred task work; 6.0 brought multishot receive.
        (opcode::SendZc::CODE, "features of Linux 6.1"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(ProbeError::MissingOperation(name)),
        None => Ok(()),
    }
}

pub(crate) fn table_refused(error: io::Error) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => ProbeError::LockedMemory(error),
        _ => ProbeError::OldKernel(error),
    }
}

/// True when the kernel closes a descriptor as soon as it leaves a ring's table. Before Linux 6.13 it first waits for
/// every operation that was begun earlier on any descriptor of the table, so that a closed socket stays open for as long
/// as another client says nothing. Asked once in the process.
pub(crate) fn table_lets_go() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| closes_beside_an_older_operation().unwrap_or(false))
}

fn closes_beside_an_older_operation() -> io::Result<bool> {
    let mut ring = IoUring::new(8)?;
    let (silent, _keeps_it_open) = UnixStream::pair()?;
    let (closed, mut peer) = UnixStream::pair()?;
    let table = [silent.as_raw_fd(), closed.as_raw_fd()];
    ring.submitter().register_files(&table)?;
    let poll = opcode::PollAdd::new(Fixed(0), libc::POLLIN as u32).build();
    // SAFETY: the entry names no memory.
    unsafe { ring.submission().push(&poll) }.map_err(io::Error::other)?;
    ring.submit()?;
    ring.submitter().register_files_update(1, &[-1])?;
    drop(closed);
    peer.set_nonblocking(true)?;
    match peer.read(&mut [0]) {
        Ok(count) => Ok(count == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
