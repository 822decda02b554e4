//! Numbers for Parse messages, in the order in which all cores send them. No clock: what counts is what came first.

use std::sync::atomic::{AtomicU64, Ordering};

/// When a Parse was sent, or something happened, among all the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// Before every other.
    pub const FIRST: Self = Self(0);
    /// After every other.
    pub const LAST: Self = Self(u64::MAX);

    /// One for something that only its own core sees: it equals no other, and says nothing of the order.
    pub fn apart(number: u64) -> Self {
        Self(number | 1 << 63)
    }
}

/// Gives them out.
#[derive(Debug, Default)]
pub struct Stamps(AtomicU64);

impl Stamps {
    /// Later than all that were given out before, on whatever core.
    #[inline]
    pub fn next(&self) -> Stamp {
        // A load might be of a value that another core has just replaced; this cannot.
        Stamp(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }
}
