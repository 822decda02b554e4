//! The 64 bits that travel with an operation to the kernel and back: its kind, and the socket it is for.

use crate::ids::ConnectionId;

/// Bits of the generation that travel in the user data.
pub(crate) const GENERATION_MASK: u32 = (1 << 28) - 1;

/// Kind of an operation: the top four bits of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Operation {
    /// Nobody waits for it.
    Ignored = 0,
    Accept = 1,
    Receive = 2,
    Send = 3,
    Connect = 4,
    Wake = 5,
    Registered = 6,
}

impl Operation {
    pub(crate) fn of(user_data: u64) -> Self {
        match user_data >> 60 {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Connect,
            5 => Self::Wake,
            6 => Self::Registered,
            _ => Self::Ignored,
        }
    }
}

/// User data of an operation on a socket.
pub(crate) fn user_data(operation: Operation, id: ConnectionId) -> u64 {
    (operation as u64) << 60 | u64::from(id.generation & GENERATION_MASK) << 32 | u64::from(id.slot)
}
