//! The stay of a session at a server connection: whether its next pipeline may go there, what the connection was taken
//! for, and how far the primary had written when it was left.

use super::{
    link::{AtPrimary, Link, OnStandby, Purpose, Repeat, StandbyBlock},
    placement::Isolation,
    task::Session,
};
use crate::{
    cluster::{
        node::{Lsn, Role, Status},
        settings::{Consistency, Strategy},
        snapshot::Snapshot,
    },
    limits::{POSITION_WAIT_MS, POSITION_WAIT_MS_MAX, RECORDED_BYTES_MAX},
    protocol::backend::TransactionStatus,
    session::{refusal::Why, request::Request, transaction::block::Begun},
    worker::route,
};

/// Decision about a pipeline while a server connection is at hand.
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
    /// A connection was found for the pipeline at hand.
    #[inline]
    pub(super) fn begin_purpose(&self, link: &mut Link, request: &Request) {
        if self.worker.with_snapshot(Snapshot::splits) {
            self.begin_judged_purpose(link, request);
        }
    }

    /// Notes the purpose of the connection where it matters to which node it leads.
    fn begin_judged_purpose(&self, link: &mut Link, request: &Request) {
        let node = link.node();
        let block = self.conversation.deferred_block();
        // What a block does is seen as it goes on, unless its BEGIN and more are one pipeline.
        let is_seen = block.is_some() && self.begins_pipeline(0);
        let wrote = self.may_write_at_primary(request) && !is_seen;
        self.worker.with_snapshot(|snapshot| {
            let routing = &snapshot.settings.routing;
            let state = snapshot.state(node);
            let counts = routing.strategy == Strategy::LeastConnections;
            link.count(state.filter(|_| counts).map(|state| &state.live));
            link.purpose = match state.is_some_and(|state| state.role == Role::Standby) {
                true => Purpose::Standby(OnStandby {
                    block: block.map(|begun| self.standby_block(begun)),
                    is_global: routing.consistency == Consistency::Global,
                    waits: 0,
                }),
                false => Purpose::Primary(AtPrimary {
                    consistency: routing.consistency,
                    wrote,
                    asked: false,
                    announced: false,
                }),
            };
        });
        // The first read of a block that the client has begun and no server has seen is repeated with its block.
        if keep_read(link, request.messages(&self.intake.pending)) {
            link.repeat = Repeat::Kept(block.cloned());
        }
    }

    fn standby_block(&self, begun: &Begun) -> StandbyBlock {
        StandbyBlock {
            begun: begun.clone(),
            keeps_snapshot: self.keeps_snapshot(begun),
            may_write: begun.may_write(),
        }
    }

    /// True for what may write once the primary runs it.
    fn may_write_at_primary(&self, request: &Request) -> bool {
        !request.is_read() || self.pools.classifier.any_may_write()
    }

    /// True when all statements of a block that begins so must see the same snapshot.
    fn keeps_snapshot(&self, begun: &Begun) -> bool {
        begun.options().is_some_and(|begin| {
            let isolation = Isolation::of(begin.level, self.has_standard_isolation());
            isolation != Isolation::ReadCommitted
        })
    }

    /// A pipeline begins at `at` while a connection is at hand: may it go there?
    pub(super) fn stay(&mut self, at: usize) -> Stay {
        let Some(link) = &mut self.link else {
            return Stay::Yes;
        };
        if self.conversation.block.is_moving() {
            // The standby is asked to end the block, or has ended it: nothing more of it goes there.
            return Stay::Wait;
        }
        let is_idle = self.conversation.status() == TransactionStatus::Idle;
        if link.is_leaving && is_idle && self.conversation.pinned().is_none() {
            // What is under way ends, the connection is given back, and this waits for the new primary.
            return Stay::Wait;
        }
        if self.conversation.is_unasked() && link.is_repeatable() {
            // It is what the connection was taken for.
            return Stay::Yes;
        }
        link.repeat = Repeat::Never;
        let status = self.conversation.status();
        if status == TransactionStatus::Failed {
            return Stay::Yes;
        }
        let in_block = status != TransactionStatus::Idle;
        let may_write = link.standby_block().is_some_and(|block| block.may_write);
        let on_standby = link.is_on_standby();
        let request = &self.request_at(at, in_block, may_write);
        match on_standby {
            true => self.stay_on_standby(request, in_block),
            false => self.stay_at_primary(at, request, in_block),
        }
    }

    fn stay_at_primary(&mut self, at: usize, request: &Request, in_block: bool) -> Stay {
        let wrote = self.may_write_at_primary(request);
        let may_go_elsewhere = !in_block && self.conversation.may_go_elsewhere();
        let Some(link) = &mut self.link else {
            return Stay::Yes;
        };
        if let Some(primary) = link.at_primary() {
            primary.wrote |= wrote;
        }
        // Should the connection be lost, a read that follows something else there goes to another one.
        let read = self.intake.pending.get(at..).unwrap_or_default();
        if may_go_elsewhere && keep_read(link, request.messages(read)) {
            link.repeat = Repeat::Kept(None);
            link.is_heard = false;
        }
        Stay::Yes
    }

    fn stay_on_standby(&mut self, request: &Request, in_block: bool) -> Stay {
        if self.conversation.pinned().is_some() {
            // It cannot leave: what a standby cannot do, the standby refuses. A state query may yet say that it can.
            return match self.conversation.own_requests_are_done() {
                true => Stay::Yes,
                false => Stay::Wait,
            };
        }
        match request.is_read() {
            true if self.may_read_on(in_block) => Stay::Yes,
            true if in_block && self.conversation.has_open_portal() => self.catch_up(),
            _ if in_block && self.conversation.is_at_rest() => self.leave_or_refuse(),
            _ => Stay::Wait,
        }
    }

    /// True when the standby at hand is right for a read that follows others.
    fn may_read_on(&self, in_block: bool) -> bool {
        let Some(link) = &self.link else { return false };
        if !in_block {
            return self.is_still_fit(link);
        }
        // Each statement has a snapshot of its own, and must see what others have committed meanwhile.
        let keeps_snapshot = link
            .standby_block()
            .is_some_and(|block| block.keeps_snapshot);
        let looks_anew = matches!(&link.purpose, Purpose::Standby(standby) if standby.is_global);
        keeps_snapshot || !looks_anew || self.is_proved(&link.lease)
    }

    /// A block with an open portal cannot go on elsewhere: its read waits for the standby, for a bounded time.
    #[cold]
    fn catch_up(&mut self) -> Stay {
        let Some(Purpose::Standby(standby)) = self.link.as_mut().map(|link| &mut link.purpose)
        else {
            return Stay::Yes;
        };
        standby.waits += 1;
        match u64::from(standby.waits) * POSITION_WAIT_MS < POSITION_WAIT_MS_MAX {
            true => Stay::Behind,
            false => Stay::Refuse(Why::Portal),
        }
    }

    /// A block on a standby needs the primary.
    fn leave_or_refuse(&self) -> Stay {
        let block = self.link.as_ref().and_then(Link::standby_block);
        if block.is_some_and(|block| block.keeps_snapshot) {
            Stay::Refuse(Why::Snapshot)
        } else if self.conversation.has_open_portal() {
            Stay::Refuse(Why::Portal)
        } else {
            Stay::Leave
        }
    }

    /// True when the standby at hand would be right for a new read, too.
    fn is_still_fit(&self, link: &Link) -> bool {
        let takes_reads = self.worker.with_snapshot(|snapshot| {
            let after = self.must_have_seen(snapshot);
            after.is_some_and(|after| route::objection(snapshot, link.node(), after).is_none())
        });
        takes_reads && self.is_proved(&link.lease)
    }

    /// Why nobody may wait any longer for the node at hand, which does not answer; `None` when it is used, or may yet
    /// end what was begun: a node that an operator has cut off, a lost primary while there is another, and one that was made
    /// a standby.
    #[cold]
    pub(super) fn stranded(&self) -> Option<String> {
        let link = self.link.as_ref()?;
        let node = link.node();
        self.worker.with_snapshot(|snapshot| {
            let state = snapshot.state(node)?;
            let is_other = snapshot.primary.is_some_and(|primary| primary != node);
            let is_demoted = state.role == Role::Standby && !link.is_on_standby() && is_other;
            let is_over = match state.status {
                Status::Waiting | Status::Up if is_demoted => {
                    let name = &snapshot.node(node).name;
                    return Some(format!("node {name} is not the primary any more"));
                }
                Status::Waiting | Status::Up => false,
                Status::Unused => state.is_cut,
                Status::Quarantine => true,
                Status::Down => is_other || link.is_repeatable(),
            };
            let (name, status) = (&snapshot.node(node).name, state.status.name());
            is_over.then(|| format!("node {name} is {status}: {}", state.reason))
        })
    }

    /// True when the primary is to be asked how far it has written.
    #[inline]
    pub(super) fn owes_position(&self) -> bool {
        let Some(Purpose::Primary(primary)) = self.link.as_ref().map(|link| &link.purpose) else {
            return false;
        };
        let commits = primary.wrote || self.placement.is_position_unknown() && !primary.asked;
        commits
            && primary.is_watched()
            && (!self.intake.is_over || primary.announced)
            && self.conversation.is_clean()
    }

    /// The primary has told how far it has written; `None` when it could not.
    #[cold]
    pub(super) fn position_told(&mut self, lsn: Option<Lsn>) {
        self.placement.note_position(lsn, self.worker.micros());
        let primary = self.link.as_mut().and_then(Link::at_primary);
        let was_announced = primary.is_some_and(|it| std::mem::take(&mut it.announced));
        match lsn {
            _ if !was_announced => {}
            Some(lsn) => self.worker.shared.commits.found(lsn),
            None => self.worker.lost_commit(),
        }
    }

    /// The client is about to hear something that may be a commit.
    #[inline]
    pub(super) fn announce_commit(&mut self) {
        let primary = self.link.as_mut().and_then(Link::at_primary);
        if let Some(primary) = primary.filter(|primary| primary.is_to_announce())
            && self.conversation.may_commit()
        {
            primary.announced = true;
            self.worker.shared.commits.begin();
        }
    }

    /// The connection is given up before its position was known.
    pub(super) fn end_purpose(&mut self, link: &mut Link) {
        let (wrote, announced) = match &link.purpose {
            Purpose::Anything => (true, false),
            Purpose::Primary(primary) => (primary.wrote, primary.announced),
            Purpose::Standby(_) => (false, false),
        };
        if wrote {
            self.placement.expect_position(self.worker.micros());
        }
        if announced {
            self.worker.lost_commit();
        }
    }
}

/// Keeps a read, should it have to be sent again. False when there is none, or it is too long.
fn keep_read(link: &mut Link, read: Option<&[u8]>) -> bool {
    let Some(read) = read.filter(|read| read.len() <= RECORDED_BYTES_MAX) else {
        return false;
    };
    let kept = &mut link.backend_mut().read;
    kept.clear();
    kept.extend_from_slice(read);
    true
}
