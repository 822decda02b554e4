//! Memory of a session between its requests for placing them, and isolation levels, as far as they matter for where a
//! transaction runs. Pure.

use crate::{
    cluster::{node::Lsn, snapshot::Snapshot},
    ids::{Epoch, NodeId},
    random::Seeded,
    sql::effects::Level,
    time::Micros,
};

/// Memory of a session between its requests, for placing them.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) random: Seeded,
    /// Where its reads went last.
    pub(super) favourite: Option<NodeId>,
    /// Which preference holds for it, and under which snapshot that was looked up.
    pub(super) preference: Option<(Epoch, Option<usize>)>,
    /// How far the log was written after its newest commit.
    newest: Lsn,
    /// It has committed since, and nobody knows how far: since when that is so, in microseconds of the process's clock.
    unknown_since: Option<Micros>,
    /// The next request goes to the primary, whatever it is.
    only_primary: bool,
    /// A server has vanished under the request that is under way.
    saw_crash: bool,
}

impl Placement {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Seeded::new(seed),
            favourite: None,
            preference: None,
            newest: 0,
            unknown_since: None,
            only_primary: false,
            saw_crash: false,
        }
    }

    /// The client has another name: another preference may hold.
    pub(super) fn forget_preference(&mut self) {
        self.preference = None;
    }

    /// True when a server has vanished under this request before.
    pub(super) fn has_seen_crash(&mut self) -> bool {
        std::mem::replace(&mut self.saw_crash, true)
    }

    /// A request was answered.
    pub(super) fn forget_crash(&mut self) {
        self.saw_crash = false;
    }

    /// The primary is being asked how far it has written; until it answers nobody knows.
    pub(super) fn expect_position(&mut self, now: Micros) {
        self.unknown_since = Some(now);
    }

    /// The primary has told how far it has written; `None` when it could not.
    pub(super) fn note_position(&mut self, lsn: Option<Lsn>, now: Micros) {
        self.unknown_since = lsn.is_none().then_some(now);
        self.newest = lsn.unwrap_or(0).max(self.newest);
    }

    /// True when the session has committed, and nobody knows how far the log was written then.
    #[inline]
    pub(super) fn is_position_unknown(&self) -> bool {
        self.unknown_since.is_some()
    }

    /// Position of the log after the session's newest commit, or later; `None` when nobody knows. What the primary itself
    /// has told the control core since is no less.
    pub(super) fn position(&self, snapshot: &Snapshot) -> Option<Lsn> {
        let Some(since) = self.unknown_since else {
            return Some(self.newest);
        };
        let live = &snapshot.state(snapshot.primary?)?.live;
        live.holds_since(since).then(|| live.lsn().max(self.newest))
    }

    /// True when the next request goes to the primary, whatever it is.
    pub(super) fn insists_on_primary(&self) -> bool {
        self.only_primary
    }

    /// Once: the next request goes to the primary, whatever it is.
    pub(super) fn take_insistence(&mut self) -> bool {
        std::mem::take(&mut self.only_primary)
    }

    /// The next request goes to the primary.
    pub(super) fn insist_on_primary(&mut self) {
        self.only_primary = true;
    }
}

/// An isolation level, as far as it matters where a transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
    Unknown,
}

impl Isolation {
    /// That of a block, by what its BEGIN says and what holds without that.
    pub(super) fn of(level: Option<Level>, standard: Self) -> Self {
        match level {
            Some(Level::ReadCommitted) => Self::ReadCommitted,
            Some(Level::RepeatableRead) => Self::RepeatableRead,
            Some(Level::Serializable) => Self::Serializable,
            None => standard,
        }
    }
}
