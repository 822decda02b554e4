//! Where a session's requests go: what each needs, which node takes it, and what its reads must not miss.

use std::rc::Rc;

use super::{
    purpose::{Purpose, UnderWay},
    task::Session,
};
use crate::session::{
    lookahead::{Asked, Need},
    prepared::extended::split_parse,
    refusal::Why,
};
use crate::sql::hint;
use crate::{
    cluster::{
        budget::Micros,
        node::{Lsn, Role, Status},
        settings::{Balance, Consistency, ReadOnlyTransactions, Routing, Strategy},
        snapshot::Snapshot,
    },
    ids::{Epoch, NodeId},
    limits::{POSITION_WAIT_MS, POSITION_WAIT_MS_MAX, RECORDED_BYTES_MAX},
    protocol::{Header, backend::TransactionStatus, tag::frontend},
    random::Seeded,
    session::prepared::{Statement, text_bytes},
    sql::{
        class::Class,
        effects::{self, Level},
        hint::Hint,
    },
    worker::{
        pool::Lease,
        route::{self, Wish},
    },
};

/// What a session remembers between its requests for placing them.
#[derive(Debug)]
pub(super) struct Placement {
    random: Seeded,
    /// Where its reads went last.
    favourite: Option<NodeId>,
    /// Which preference holds for it, and under which snapshot that was looked up.
    preference: Option<(Epoch, Option<usize>)>,
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

    /// How far the log was written after its newest commit, or later; `None` when nobody knows. What the primary itself has
    /// told the control core since is no less.
    fn position(&self, snapshot: &Snapshot) -> Option<Lsn> {
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

    /// The next request goes to the primary.
    pub(super) fn insist_on_primary(&mut self) {
        self.only_primary = true;
    }
}

/// What becomes of a pipeline while a server connection is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It goes there.
    Yes,
    /// It must not: it waits until the connection is given back.
    Wait,
    /// It must not yet: the standby has to catch up.
    Behind,
    /// It must not, and neither may the block go on there.
    Leave,
    /// It must not, and the block cannot go on elsewhere.
    Refuse(Why),
}

impl Session {
    /// What the pipeline at hand needs, before any of it goes to a node.
    pub(super) fn need(&mut self) -> Need {
        if std::mem::take(&mut self.placement.only_primary) {
            return Need::Primary;
        }
        self.pools.keep_up(&self.worker);
        let may_be_read = self.worker.with_snapshot(|snapshot| {
            snapshot.splits() && self.is_free_to_move(&snapshot.settings.routing)
        });
        if !may_be_read {
            return Need::Primary;
        }
        let block = self.conversation.deferred_block();
        self.need_of(0, block.is_some(), block.is_some_and(may_write))
    }

    /// The same for what follows `at` in the client's bytes.
    fn need_of(&self, at: usize, in_block: bool, may_write: bool) -> Need {
        let bytes = self.pending.get(at..).unwrap_or_default();
        self.conversation
            .need(bytes, in_block, may_write, |asked| self.is_read(&asked))
    }

    /// Whether a statement is a proven read.
    fn is_read(&self, asked: &Asked<'_>) -> bool {
        let (judge, worker) = (&self.pools.classifier, &self.worker);
        match asked {
            Asked::Text(text) => judge.is_read(worker, text),
            Asked::Statement(it) => judge.is_read_statement(worker, it),
        }
    }

    /// False when not even a read of this session may go to a standby.
    pub(super) fn is_free_to_move(&self, routing: &Routing) -> bool {
        let standard = self.has_standard_isolation();
        if self.parameters.hide_ascii() {
            return false;
        }
        match self.conversation.deferred_block() {
            // No standby has the isolation level SERIALIZABLE.
            None => standard != Isolation::Serializable,
            Some(begin) => self.may_begin_elsewhere(begin.text(), routing, standard),
        }
    }

    /// Whether a block may begin on a standby.
    fn may_begin_elsewhere(&self, begin: &[u8], routing: &Routing, standard: Isolation) -> bool {
        let Some(begin) = effects::begin(begin) else {
            return false;
        };
        let isolation = Isolation::of(begin.level, standard);
        let declared = begin.read_only == Some(true);
        match isolation {
            Isolation::ReadCommitted if declared => {
                routing.read_only_transactions != ReadOnlyTransactions::Primary
            }
            Isolation::ReadCommitted => begin.read_only.is_none() && routing.leading_reads,
            Isolation::RepeatableRead => {
                declared && routing.read_only_transactions == ReadOnlyTransactions::All
            }
            Isolation::Serializable | Isolation::Unknown => false,
        }
    }

    /// The isolation level of a transaction that names none.
    fn has_standard_isolation(&self) -> Isolation {
        match self.parameters.get("default_transaction_isolation") {
            Some(b"read committed") => Isolation::ReadCommitted,
            Some(b"repeatable read") => Isolation::RepeatableRead,
            Some(_) => Isolation::Serializable,
            None if self.pools.classifier.is_read_committed() => Isolation::ReadCommitted,
            None => Isolation::Unknown,
        }
    }

    /// The class of a text, and why, in words.
    pub(super) fn explain_class(&self, text: &[u8]) -> (Class, String) {
        let (class, reason) = self.pools.classifier.explain(&self.worker, text);
        (class, reason.to_string())
    }

    /// The node to which the session's reads went last.
    pub(super) fn reads_go_to(&self) -> Option<NodeId> {
        self.placement.favourite
    }

    /// The node for that; `None` while there is none.
    pub(super) fn place(&mut self, need: Need, avoid: u64) -> Option<NodeId> {
        if need == Need::Primary {
            return self.worker.with_snapshot(|snapshot| snapshot.primary);
        }
        let worker = Rc::clone(&self.worker);
        let pending = std::mem::take(&mut self.pending);
        let hint = first_text(&pending).and_then(hint::hint);
        let node = worker.with_snapshot(|snapshot| self.place_read(snapshot, hint, avoid));
        self.pending = pending;
        node
    }

    pub(super) fn place_read(
        &mut self,
        snapshot: &Snapshot,
        hint: Option<Hint<'_>>,
        avoid: u64,
    ) -> Option<NodeId> {
        let routing = &snapshot.settings.routing;
        let after = self.must_have_seen(snapshot);
        let preference = self.preference(snapshot);
        let Some(after) = after else {
            return snapshot.primary;
        };
        let stays = routing.balance == Balance::Session;
        let wish = Wish {
            after,
            hint,
            avoid,
            preference: preference.and_then(|place| routing.preferences.get(place)),
            favourite: self.placement.favourite.filter(|_| stays),
            random: self.placement.random.next_u64(),
        };
        let node = route::place_read(snapshot, &wish)?;
        self.placement.favourite = Some(node);
        Some(node)
    }

    /// What a read's node must have replayed; `None` when nobody knows but the primary.
    pub(super) fn must_have_seen(&self, snapshot: &Snapshot) -> Option<Lsn> {
        let commits = match snapshot.settings.routing.consistency {
            Consistency::Eventual => 0,
            Consistency::Session => self.placement.position(snapshot)?,
            Consistency::Global => {
                let newest = self.worker.shared.commits.newest()?;
                newest.max(self.placement.position(snapshot)?)
            }
        };
        Some(commits.max(self.pools.classifier.position()))
    }

    /// False for a connection to a standby whose position was asked for before the connection was there, or is not
    /// far enough: a read must not go there.
    #[inline]
    pub(super) fn is_proved_for(&self, lease: &Lease, need: Need) -> bool {
        matches!(need, Need::Primary) || self.is_proved(lease)
    }

    fn is_proved(&self, lease: &Lease) -> bool {
        let backend = lease.backend();
        let opened = self.worker.shared.budgets.micros(backend.opened);
        self.worker.with_snapshot(|snapshot| {
            let node = backend.info.node;
            if snapshot.primary == Some(node) {
                return true;
            }
            match self.must_have_seen(snapshot) {
                None => false,
                Some(0) => true,
                Some(after) if backend.replayed >= after => true,
                Some(after) => snapshot.state(node).is_some_and(|state| {
                    state.live.holds_since(opened) && state.live.lsn() >= after
                }),
            }
        })
    }

    fn preference(&mut self, snapshot: &Snapshot) -> Option<usize> {
        let preferences = &snapshot.settings.routing.preferences;
        if preferences.is_empty() {
            return None;
        }
        match self.placement.preference {
            Some((epoch, found)) if epoch == snapshot.epoch => found,
            _ => {
                let name = self.info.application_name.borrow();
                let key = &self.info.key;
                let matches = |pattern: &Option<crate::cluster::settings::Pattern>, text: &[u8]| {
                    pattern.as_ref().is_none_or(|it| it.0.is_match(text))
                };
                let found = preferences.iter().position(|it| {
                    matches(&it.database, key.database.as_bytes())
                        && matches(&it.user, key.user.as_bytes())
                        && matches(&it.application_name, &name)
                });
                self.placement.preference = Some((snapshot.epoch, found));
                found
            }
        }
    }

    /// A connection was found for the pipeline at hand.
    #[inline]
    pub(super) fn begin_purpose(&mut self, lease: &mut Lease, need: Need) {
        if self.worker.with_snapshot(Snapshot::splits) {
            return self.begin_judged_purpose(lease, need);
        }
        // There is one node for all.
        self.purpose = Purpose {
            wrote: true,
            ..Purpose::default()
        };
    }

    /// The same where it matters which node the connection leads to.
    fn begin_judged_purpose(&mut self, lease: &mut Lease, need: Need) {
        let node = lease.backend().info.node;
        let block = self.conversation.deferred_block().cloned();
        // What a block does is seen as it goes on, unless its BEGIN and more are one pipeline.
        let is_seen = block.is_some() && self.begins_pipeline(0);
        let may_write_there = self.may_write_at_primary(need);
        let mut purpose = self.worker.with_snapshot(|snapshot| {
            let routing = &snapshot.settings.routing;
            let counts = routing.strategy == Strategy::LeastConnections;
            let state = snapshot.state(node);
            let is_standby = state.is_some_and(|state| state.role == Role::Standby);
            Purpose {
                on_standby: is_standby,
                is_watched: routing.consistency != Consistency::Eventual,
                is_global: routing.consistency == Consistency::Global,
                wrote: may_write_there && !is_standby && !is_seen,
                block: block.clone().filter(|_| is_standby),
                has_read: block.is_some() && self.conversation.has_read,
                _counted: state
                    .filter(|_| counts)
                    .map(|state| UnderWay::at(&state.live)),
                ..Purpose::default()
            }
        });
        if let Some(block) = &purpose.block {
            purpose.keeps_snapshot = self.keeps_snapshot(block.text());
            purpose.may_write = may_write(block);
        }
        self.purpose = purpose;
        // The first read of a block that the client has begun and no server has seen is repeated with its block.
        if (block.is_none() || is_seen) && keep_read(lease, &self.pending, need) {
            (self.purpose.can_repeat, self.purpose.repeats_in) = (true, block);
        }
    }

    /// True for what may write once the primary runs it.
    fn may_write_at_primary(&self, need: Need) -> bool {
        need == Need::Primary || self.pools.classifier.any_may_write()
    }

    /// Everything in a block that begins so must see the same snapshot.
    fn keeps_snapshot(&self, begin: &[u8]) -> bool {
        effects::begin(begin).is_some_and(|begin| {
            let isolation = Isolation::of(begin.level, self.has_standard_isolation());
            isolation != Isolation::ReadCommitted
        })
    }

    /// A pipeline begins at `at` while a connection is at hand: may it go there?
    pub(super) fn stay(&mut self, at: usize) -> Stay {
        let is_first = self.conversation.is_unasked() && !self.purpose.heard;
        if is_first && self.purpose.can_repeat {
            // It is what the connection was taken for.
            return Stay::Yes;
        }
        self.purpose.can_repeat = false;
        let in_block = self.conversation.status() != TransactionStatus::Idle;
        if self.conversation.status() == TransactionStatus::Failed {
            return Stay::Yes;
        }
        let need = self.need_of(at, in_block, self.purpose.may_write);
        if !self.purpose.on_standby {
            self.purpose.wrote |= self.may_write_at_primary(need);
            // Should the connection be lost, a read that follows something else there goes to another one.
            if !in_block
                && self.conversation.may_go_elsewhere()
                && let Some(lease) = &mut self.lease
                && keep_read(lease, self.pending.get(at..).unwrap_or_default(), need)
            {
                (self.purpose.can_repeat, self.purpose.heard) = (true, false);
                self.purpose.repeats_in = None;
            }
            return Stay::Yes;
        }
        if self.conversation.pinned().is_some() {
            // It cannot leave: what a standby cannot do, the standby refuses. A state query may yet say that it can.
            return match self.conversation.own_requests_are_done() {
                true => Stay::Yes,
                false => Stay::Wait,
            };
        }
        match need {
            Need::Read(_) if self.may_read_on(in_block) => Stay::Yes,
            Need::Read(_) if in_block && self.conversation.has_open_portal() => self.catch_up(),
            _ if in_block && self.conversation.is_at_rest() => self.leave_or_refuse(),
            _ => Stay::Wait,
        }
    }

    /// True when the standby at hand is right for a read that follows others.
    fn may_read_on(&self, in_block: bool) -> bool {
        if !in_block {
            return self.is_still_fit();
        }
        // Each statement has a snapshot of its own, and must see what others have committed meanwhile.
        let looks_anew = self.purpose.is_global && !self.purpose.keeps_snapshot;
        !looks_anew
            || self
                .lease
                .as_ref()
                .is_some_and(|lease| self.is_proved(lease))
    }

    /// A block with an open portal cannot go on elsewhere: its read waits for the standby, for a bounded time.
    #[cold]
    fn catch_up(&mut self) -> Stay {
        self.purpose.waits += 1;
        match u64::from(self.purpose.waits) * POSITION_WAIT_MS < POSITION_WAIT_MS_MAX {
            true => Stay::Behind,
            false => Stay::Refuse(Why::Portal),
        }
    }

    /// A block on a standby needs the primary.
    fn leave_or_refuse(&self) -> Stay {
        if self.purpose.keeps_snapshot {
            Stay::Refuse(Why::Snapshot)
        } else if self.conversation.has_open_portal() {
            Stay::Refuse(Why::Portal)
        } else {
            Stay::Leave
        }
    }

    /// True when the standby at hand would be right for a new read, too.
    fn is_still_fit(&self) -> bool {
        let Some(lease) = self.lease.as_ref() else {
            return false;
        };
        let node = lease.backend().info.node;
        let takes_reads = self.worker.with_snapshot(|snapshot| {
            let after = self.must_have_seen(snapshot);
            after.is_some_and(|after| route::objection(snapshot, node, after).is_none())
        });
        takes_reads && self.is_proved(lease)
    }

    /// Why nobody may wait any longer for the node at hand, which does not answer; `None` when it is used, or may yet
    /// end what was begun: a node that an operator has detached, a lost primary while there is another, and one that was made
    /// a standby.
    #[cold]
    pub(super) fn stranded(&self) -> Option<String> {
        let node = self.lease.as_ref()?.backend().info.node;
        self.worker.with_snapshot(|snapshot| {
            let state = snapshot.state(node)?;
            let is_other = snapshot.primary.is_some_and(|primary| primary != node);
            let is_demoted = state.role == Role::Standby && !self.purpose.on_standby && is_other;
            let is_over = match state.status {
                Status::Waiting | Status::Up if is_demoted => {
                    let name = &snapshot.node(node).name;
                    return Some(format!("node {name} is not the primary any more"));
                }
                Status::Waiting | Status::Up | Status::Unused => false,
                Status::Quarantine => true,
                Status::Down => is_other || self.purpose.is_repeatable(),
            };
            let (name, status) = (&snapshot.node(node).name, state.status.name());
            is_over.then(|| format!("node {name} is {status}: {}", state.reason))
        })
    }

    /// True when pipelines have to be looked at before they go to the connection at hand.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        self.purpose.on_standby || !self.purpose.wrote && self.purpose.is_watched
    }

    /// True when the primary is to be asked how far it has written.
    #[inline]
    pub(super) fn owes_position(&self) -> bool {
        let commits =
            self.purpose.wrote || self.placement.unknown_since.is_some() && !self.purpose.asked;
        commits
            && !self.purpose.on_standby
            && self.purpose.is_watched
            && (!self.leaving || self.purpose.announced)
            && self.conversation.is_clean()
    }

    /// The primary has told how far it has written; `None` when it could not.
    #[cold]
    pub(super) fn position_told(&mut self, lsn: Option<Lsn>) {
        let now = self.worker.micros();
        self.placement.unknown_since = lsn.is_none().then_some(now);
        self.placement.newest = lsn.unwrap_or(0).max(self.placement.newest);
        if !std::mem::take(&mut self.purpose.announced) {
            return;
        }
        match lsn {
            Some(lsn) => self.worker.shared.commits.found(lsn),
            None => self.worker.lost_commit(),
        }
    }

    /// The client is about to hear something that may be a commit.
    #[inline]
    pub(super) fn announce_commit(&mut self) {
        if self.purpose.is_global
            && self.purpose.wrote
            && !self.purpose.announced
            && self.conversation.may_commit()
        {
            self.purpose.announced = true;
            self.worker.shared.commits.begin();
        }
    }

    /// The connection is gone before its position was known.
    pub(super) fn end_purpose(&mut self) {
        if self.purpose.wrote {
            self.placement.expect_position(self.worker.micros());
        }
        if self.purpose.announced {
            self.worker.lost_commit();
        }
        self.purpose = Purpose::default();
    }
}

/// Keeps the read at the front of the client's bytes, should it have to be sent again. False when it is none, or too long.
fn keep_read(lease: &mut Lease, pending: &[u8], need: Need) -> bool {
    let read = match need {
        Need::Read(bytes) if bytes <= RECORDED_BYTES_MAX => pending.get(..bytes),
        _ => None,
    };
    let Some(read) = read else { return false };
    let kept = &mut lease.backend_mut().read;
    kept.clear();
    kept.extend_from_slice(read);
    true
}

/// True for a block that was not declared READ ONLY.
fn may_write(begin: &Rc<Statement>) -> bool {
    effects::begin(begin.text()).is_none_or(|begin| begin.read_only != Some(true))
}

/// The text of the first message, when that is a Query or a Parse.
fn first_text(bytes: &[u8]) -> Option<&[u8]> {
    let header = Header::read(bytes).ok()??;
    let body = bytes.get(Header::BYTES..header.frame_bytes())?;
    match header.tag {
        frontend::QUERY => body.strip_suffix(b"\0"),
        frontend::PARSE => {
            let (_, content) = split_parse(body)?;
            content.get(..text_bytes(content)?)
        }
        _ => None,
    }
}

/// An isolation level, as far as it matters where a transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
    Unknown,
}

impl Isolation {
    /// That of a block, by what its BEGIN says and what holds without that.
    fn of(level: Option<Level>, standard: Self) -> Self {
        match level {
            Some(Level::ReadCommitted) => Self::ReadCommitted,
            Some(Level::RepeatableRead) => Self::RepeatableRead,
            Some(Level::Serializable) => Self::Serializable,
            None => standard,
        }
    }
}
