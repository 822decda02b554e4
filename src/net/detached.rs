//! A connection between two cores. Owns its descriptor; no ring knows it.

use std::os::fd::OwnedFd;

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

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }
}
