//! The node of a session's requests: which node takes each, and what its reads must not miss.

use std::rc::Rc;

use super::{placement::Isolation, task::Session};
use crate::{
    cluster::{
        node::Lsn,
        settings::{Balance, Consistency, Pattern, ReadOnlyTransactions, Routing},
        snapshot::Snapshot,
    },
    ids::NodeId,
    session::{
        request::{Asked, Request},
        transaction::block::Begun,
    },
    sql::{class::Class, hint::Hint},
    worker::{
        pool::lease::Lease,
        route::{self, Wish},
    },
};

impl Session {
    /// The request at hand, before any of it goes to a node.
    pub(super) fn request(&mut self) -> Request {
        if self.placement.take_insistence() {
            return Request::Write;
        }
        self.pools.keep_up(&self.worker);
        let may_be_read = self.worker.with_snapshot(|snapshot| {
            snapshot.splits() && self.is_free_to_move(&snapshot.settings.routing)
        });
        if !may_be_read {
            return Request::Write;
        }
        let block = self.conversation.deferred_block();
        self.request_at(0, block.is_some(), block.is_some_and(Begun::may_write))
    }

    /// The request that begins at `at` in the client's bytes. `in_block`: it belongs to a transaction block;
    /// `may_write`: and that is not READ ONLY.
    pub(super) fn request_at(&self, at: usize, in_block: bool, may_write: bool) -> Request {
        let bytes = self.intake.pending.get(at..).unwrap_or_default();
        self.conversation
            .read_request(bytes, in_block, may_write, |asked| self.is_read(asked))
    }

    /// Whether a statement is a proven read.
    fn is_read(&self, asked: &Asked<'_>) -> bool {
        let classifier = &self.pools.classifier;
        let (shared, now) = (&self.worker.shared, self.worker.reactor.now());
        match asked {
            Asked::Text(text) => classifier.is_read(shared, now, text),
            Asked::Statement(it) => classifier.is_read_statement(shared, now, it),
            Asked::Parse(text, content) => {
                let settings = &self.parameters.meaning;
                match self.worker.statements.find(content, settings) {
                    Some(it) => classifier.is_read_statement(shared, now, &it),
                    None => classifier.is_read(shared, now, text),
                }
            }
        }
    }

    /// False when not even a read of this session may go to a standby.
    pub(super) fn is_free_to_move(&self, routing: &Routing) -> bool {
        let standard = self.has_standard_isolation();
        if self.parameters.current.hide_ascii() {
            return false;
        }
        match self.conversation.deferred_block() {
            // No standby has the isolation level SERIALIZABLE.
            None => standard != Isolation::Serializable,
            Some(begin) => self.may_begin_elsewhere(begin, routing, standard),
        }
    }

    /// Whether a block may begin on a standby.
    fn may_begin_elsewhere(&self, block: &Begun, routing: &Routing, standard: Isolation) -> bool {
        let Some(begin) = block.options() else {
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
    pub(super) fn has_standard_isolation(&self) -> Isolation {
        match self.parameters.current.get("default_transaction_isolation") {
            Some(b"read committed") => Isolation::ReadCommitted,
            Some(b"repeatable read") => Isolation::RepeatableRead,
            Some(_) => Isolation::Serializable,
            None if self.pools.classifier.is_read_committed() => Isolation::ReadCommitted,
            None => Isolation::Unknown,
        }
    }

    /// The class of a text, and why, in words.
    pub(super) fn explain_class(&self, text: &[u8]) -> (Class, String) {
        let (shared, now) = (&self.worker.shared, self.worker.reactor.now());
        let (class, reason) = self.pools.classifier.explain(shared, now, text);
        (class, reason.to_string())
    }

    /// The node to which the session's reads went last.
    pub(super) fn reads_go_to(&self) -> Option<NodeId> {
        self.placement.favourite
    }

    /// The node for that; `None` while there is none.
    pub(super) fn place(&mut self, request: &Request, avoid: u64) -> Option<NodeId> {
        if !request.is_read() {
            return self.worker.with_snapshot(|snapshot| snapshot.primary);
        }
        let worker = Rc::clone(&self.worker);
        let pending = std::mem::take(&mut self.intake.pending);
        let hint = request.hint(&pending);
        let node = worker.with_snapshot(|snapshot| self.place_read(snapshot, hint, avoid));
        self.intake.pending = pending;
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

    /// Position of the log that a read's node must have replayed; `None` when nobody knows but the primary.
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
    pub(super) fn is_proved_for(&self, lease: &Lease, request: &Request) -> bool {
        !request.is_read() || self.is_proved(lease)
    }

    pub(super) fn is_proved(&self, lease: &Lease) -> bool {
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
                let matches = |pattern: &Option<Pattern>, text: &[u8]| {
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
}
