//! Keys that clients are given for cancel requests (BackendKeyData): a process id, which says on which core its client is,
//! and a secret. Pure.

use subtle::ConstantTimeEq;

use crate::ids::WorkerId;

/// BackendKeyData of one client.
pub(crate) struct BackendKey {
    pub(crate) process_id: i32,
    /// 4 bytes, or 32 in protocol 3.2.
    pub(crate) secret: Vec<u8>,
}

impl BackendKey {
    /// True when a cancel request with these is its client's. Takes as long for a wrong secret as for the right one.
    pub(super) fn is(&self, process_id: i32, secret: &[u8]) -> bool {
        self.process_id == process_id && bool::from(self.secret.ct_eq(secret))
    }
}

/// Bits of a process id that tell the clients of a worker apart.
const NUMBER_BITS: u32 = 20;

/// The number of a worker, in a process id: there are at most 1024 (`[runtime] workers`).
const WORKERS_MASK: u16 = 0x3ff;

/// The process id of the client with this number on its worker. It says who the worker is, so that any core finds the
/// client, and is above all that an operating system gives a process (2^22 at most on Linux): a driver that ends "its own"
/// backend must not meet another client's.
pub(crate) fn process_id(worker: WorkerId, number: u32) -> i32 {
    let number = number & ((1 << NUMBER_BITS) - 1);
    1 << 30 | i32::from(worker.0 & WORKERS_MASK) << NUMBER_BITS | number.cast_signed()
}

/// The core whose client was given this process id, if any was.
pub(super) fn owner(process_id: i32) -> WorkerId {
    WorkerId((process_id >> NUMBER_BITS) as u16 & WORKERS_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_names_its_owner() {
        let mut all = std::collections::HashSet::new();
        for (worker, number) in [
            (0, 0),
            (3, 17),
            (1023, (1 << NUMBER_BITS) - 1),
            (1, u32::MAX),
        ] {
            let id = process_id(WorkerId(worker), number);
            assert_eq!(owner(id), WorkerId(worker));
            assert!(id > 1 << 22, "no process of an operating system has it");
            assert!(all.insert(id));
        }
    }
}
