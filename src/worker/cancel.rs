//! Cancel requests: a key leads to the core and the session; only what that session holds is cancelled.

use std::{rc::Rc, time::Duration};

use subtle::ConstantTimeEq;

use super::{Worker, clients::ClientInfo, pool::Facts};
use crate::{
    cluster::messages::ToWorker,
    ids::{ConnectionId, WorkerId},
    limits::CANCEL_SECONDS_MAX,
    net::{Received, task},
    protocol::Writer,
    time,
};

/// Bits of a process id that name the slot; the rest names the worker.
const SLOT_BITS: u32 = 20;

/// The process id a client is given: it names the worker and the slot, so that any core finds its owner.
pub(super) fn process_id(worker: WorkerId, id: ConnectionId) -> i32 {
    let slot = id.slot & ((1 << SLOT_BITS) - 1);
    // One more, so that no client has process id 0.
    (i32::from(worker.0 & 0x7ff) << SLOT_BITS | slot.cast_signed()).wrapping_add(1)
}

fn owner(process_id: i32) -> (WorkerId, usize) {
    let number = process_id.wrapping_sub(1);
    (
        WorkerId((number >> SLOT_BITS & 0x7ff) as u16),
        (number & ((1 << SLOT_BITS) - 1)) as usize,
    )
}

/// A cancel request came in on this core.
pub(super) fn requested(worker: &Rc<Worker>, process_id: i32, key: Vec<u8>) {
    let (owner, _) = owner(process_id);
    if owner == worker.id {
        run(worker, process_id, &key);
    } else {
        worker
            .switchboard
            .tell(owner, ToWorker::Cancel { process_id, key });
    }
}

/// Cancels what the client of that key runs, if it runs anything.
pub(super) fn run(worker: &Rc<Worker>, process_id: i32, key: &[u8]) {
    let (_, slot) = owner(process_id);
    let Some(info) = worker.clients.at(slot) else {
        return;
    };
    if !is_owner(&info, process_id, key) {
        tracing::info!(process_id, "cancel request with a wrong key");
        return;
    }
    let Some(facts) = info.server.borrow().clone() else {
        return;
    };
    if facts.cancels.get() > 0 {
        return;
    }
    // The session does not let go of this connection for others while a cancel is on its way to it.
    facts.cancels.set(1);
    let worker = Rc::clone(worker);
    task::spawn(async move {
        let deadline = time::now() + Duration::from_secs(CANCEL_SECONDS_MAX);
        let _ = worker
            .reactor
            .deadline(deadline, deliver(&worker, &facts))
            .await;
        facts.cancels.set(0);
    });
}

fn is_owner(info: &ClientInfo, process_id: i32, key: &[u8]) -> bool {
    info.process_id == process_id && bool::from(info.cancel_key.ct_eq(key))
}

/// Sends the request and waits until the server has dealt with it, which it shows by closing.
async fn deliver(worker: &Worker, facts: &Facts) {
    let Ok(stream) = worker.reactor.connect(&facts.address).await else {
        return;
    };
    let mut out = Vec::new();
    if Writer::new(&mut out)
        .cancel_request(facts.process_id, &facts.cancel_key)
        .is_err()
    {
        return;
    }
    stream.send(out.into());
    while let Received::Bytes(_) = stream.receive().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_names_its_owner() {
        for (worker, slot) in [(0, 0), (3, 17), (2047, (1 << SLOT_BITS) - 1)] {
            let id = process_id(
                WorkerId(worker),
                ConnectionId {
                    slot,
                    generation: 9,
                },
            );
            assert_eq!(owner(id), (WorkerId(worker), slot as usize));
            assert_ne!(id, 0);
        }
    }
}
