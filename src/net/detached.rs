//! A connection between two cores. Owns its descriptor; no ring knows it.

use std::{io, os::fd::OwnedFd};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// A connection that no core has an operation on: just accepted, or on its way from one core to another. All that a stream
/// needs to go on there goes with it.
#[derive(Debug)]
pub struct Detached {
    descriptor: OwnedFd,
}

impl Detached {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }

    /// Account at the other end of a Unix socket, as the kernel noted it when that connected.
    pub fn peer(&self) -> io::Result<Peer> {
        let found = getsockopt(&self.descriptor, PeerCredentials)?;
        Ok(Peer {
            process_id: found.pid(),
            uid: found.uid(),
        })
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }
}

/// A process at the other end of a Unix socket. (Manual page `unix(7)`, SO_PEERCRED.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub process_id: i32,
    /// The user it runs as.
    pub uid: u32,
}

impl Peer {
    /// True for root, and for the account that this process runs as.
    pub fn is_root_or_ours(&self) -> bool {
        self.uid == 0 || self.uid == nix::unistd::geteuid().as_raw()
    }
}
