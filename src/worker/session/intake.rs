//! A session's intake: bytes that its client sent and nobody has judged, and where its messages end.

use std::{cell::Cell, rc::Rc};

use crate::{
    limits::{HELD_BYTES_MAX, HELD_MESSAGE_BYTES_MAX, STATEMENT_BYTES_MAX},
    net::Chunk,
    protocol::buffer::Cutter,
    session::verdict::Verdict,
};

/// The client's side of a session.
pub(super) struct Intake {
    /// Bytes that the client sent and nobody has judged.
    pub(super) pending: Chunk,
    /// Where the client's messages end.
    pub(super) cutter: Cutter,
    /// The message that streams from the client goes to the server.
    pub(super) forwards: bool,
    /// The next message waits for answers of the server.
    pub(super) stalled: bool,
    /// The client will send no more.
    pub(super) is_over: bool,
    /// Bytes of these two, where that is much.
    charge: Charge,
}

/// Bytes that one session keeps of long messages, in the sum of its core.
struct Charge {
    bytes: usize,
    sum: Rc<Cell<usize>>,
}

impl Intake {
    /// `pending` came behind the startup packet; `held_bytes` is the sum of the session's core.
    pub(super) fn new(pending: Chunk, held_bytes: &Rc<Cell<usize>>) -> Self {
        Self {
            pending,
            cutter: Cutter::default(),
            forwards: false,
            stalled: false,
            is_over: false,
            charge: Charge {
                bytes: 0,
                sum: Rc::clone(held_bytes),
            },
        }
    }

    /// The beginning of a long message was judged, and the rest is to come. It is cut anew when it must be judged again.
    pub(super) fn begins(&mut self, verdict: Verdict) {
        if matches!(verdict, Verdict::NeedServer | Verdict::Wait) {
            self.cutter = Cutter::default();
        }
        self.forwards = matches!(verdict, Verdict::Forward | Verdict::Instead(_));
    }

    /// Bytes of a message that may be held until it is whole: as long as a statement may be, while the core has room for
    /// that.
    #[inline]
    pub(super) fn room(&self) -> usize {
        let Charge { bytes, sum } = &self.charge;
        let others = sum.get() - bytes;
        let left = HELD_BYTES_MAX.saturating_sub(others);
        left.clamp(HELD_MESSAGE_BYTES_MAX, STATEMENT_BYTES_MAX)
    }

    /// Charges what is kept now.
    #[inline]
    pub(super) fn settle_charge(&mut self) {
        let kept = self.cutter.held_bytes() + self.pending.len();
        let long = if kept > HELD_MESSAGE_BYTES_MAX {
            kept
        } else {
            0
        };
        if long != self.charge.bytes {
            self.charge.change(long);
        }
    }
}

impl Charge {
    fn change(&mut self, bytes: usize) {
        self.sum.set(self.sum.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.change(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(sum: &Rc<Cell<usize>>) -> Intake {
        Intake::new(Chunk::default(), sum)
    }

    fn keep(intake: &mut Intake, bytes: usize) {
        intake.pending = Chunk::from(vec![0; bytes]);
        intake.settle_charge();
    }

    #[test]
    fn a_core_keeps_no_more_of_long_messages_than_it_may() {
        let sum = Rc::default();
        let mut all: Vec<Intake> = (0..20).map(|_| intake(&sum)).collect();
        for intake in &mut all {
            let room = intake.room();
            keep(intake, room);
            assert!(sum.get() <= HELD_BYTES_MAX);
        }
        let (first, last) = (all[0].room(), all[19].room());
        assert_eq!((first, last), (STATEMENT_BYTES_MAX, HELD_MESSAGE_BYTES_MAX));
        drop(all);
        assert_eq!(sum.get(), 0);
    }

    #[test]
    fn what_has_gone_on_is_not_charged() {
        let sum = Rc::default();
        let mut intake = intake(&sum);
        keep(&mut intake, HELD_MESSAGE_BYTES_MAX);
        assert_eq!(sum.get(), 0);
        keep(&mut intake, HELD_MESSAGE_BYTES_MAX + 1);
        assert_eq!(sum.get(), HELD_MESSAGE_BYTES_MAX + 1);
        keep(&mut intake, 0);
        assert_eq!(sum.get(), 0);
    }
}
