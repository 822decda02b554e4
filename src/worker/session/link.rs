//! A session's link: the server connection in use, how far its bytes were judged, and the purpose for which it was taken;
//! and the connections that a session keeps at rest between its transactions. Never decides what becomes of a message.

use std::sync::Arc;

use crate::{
    cluster::{node::Live, settings::Consistency},
    ids::NodeId,
    net::Chunk,
    protocol::buffer::Cutter,
    session::transaction::block::Begun,
    worker::pool::{backend::Backend, lease::Lease},
};

/// One server connection in use by a session.
pub(super) struct Link {
    pub(super) lease: Lease,
    /// Bytes that have arrived and nobody has judged; empty between two events.
    pub(super) arrived: Chunk,
    /// Where the server's messages end.
    pub(super) cutter: Cutter,
    /// The message that streams from the server goes to the client.
    pub(super) forwards: bool,
    /// The client has got something of the answer.
    pub(super) is_heard: bool,
    /// The command answered last was a COMMIT, whose transaction is counted.
    pub(super) has_committed: bool,
    /// Its node is a primary whose place another one is to take: no transaction begins there any more.
    pub(super) is_leaving: bool,
    /// pgring has cancelled a request there for its length, and that may still be on its way.
    pub(super) is_cancelling: bool,
    /// Whether the pipeline at hand can be sent again to another node.
    pub(super) repeat: Repeat,
    pub(super) purpose: Purpose,
    /// The node counts this request as under way.
    counted: Option<UnderWay>,
}

/// Whether the pipeline at hand can be sent again: nothing of it was executed that matters.
#[derive(Debug, Default)]
pub(super) enum Repeat {
    /// It cannot.
    #[default]
    Never,
    /// It is a read, and kept with the connection. The block begins anew before it is repeated, if there is one.
    Kept(Option<Begun>),
}

/// The use of a server connection, as far as it has to be followed.
#[derive(Debug)]
pub(super) enum Purpose {
    /// One node does everything, or nothing depends on the node.
    Anything,
    /// Requests for the primary.
    Primary(AtPrimary),
    /// Proven reads, at a standby.
    Standby(OnStandby),
}

/// Use of a connection to the primary, as far as others must not miss the commits there.
#[derive(Debug)]
pub(super) struct AtPrimary {
    /// Whose reads must not miss what is committed there: nobody's, the session's own, everybody's.
    pub(super) consistency: Consistency,
    /// Something that is not a proven read went there since its position was last asked for.
    pub(super) wrote: bool,
    /// The primary was asked for its position since something went there, whether or not it could tell.
    pub(super) asked: bool,
    /// A commit of which the client may know is under way, and the process knows of that.
    pub(super) announced: bool,
}

/// Use of a connection to a standby.
#[derive(Debug)]
pub(super) struct OnStandby {
    /// The block that began there, and may have to go on at the primary.
    pub(super) block: Option<StandbyBlock>,
    /// Each statement must see what anybody has committed before.
    pub(super) is_global: bool,
    /// How often a read had to wait for the standby.
    pub(super) waits: u32,
}

/// A transaction block on a standby.
#[derive(Debug)]
pub(super) struct StandbyBlock {
    pub(super) begun: Begun,
    /// All its statements must see the same snapshot.
    pub(super) keeps_snapshot: bool,
    /// It can write, and will have to go on at the primary: nothing of it may be left open on the standby.
    pub(super) may_write: bool,
}

impl Link {
    /// A connection taken for a purpose that is not known yet.
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            lease,
            arrived: Chunk::default(),
            cutter: Cutter::default(),
            forwards: false,
            is_heard: false,
            has_committed: false,
            is_leaving: false,
            is_cancelling: false,
            repeat: Repeat::Never,
            purpose: Purpose::Anything,
            counted: None,
        }
    }

    #[inline]
    pub(super) fn backend(&self) -> &Backend {
        self.lease.backend()
    }

    #[inline]
    pub(super) fn backend_mut(&mut self) -> &mut Backend {
        self.lease.backend_mut()
    }

    /// Node to which the connection leads.
    #[inline]
    pub(super) fn node(&self) -> NodeId {
        self.backend().info.node
    }

    /// The node counts a request as under way, for as long as the link lasts.
    pub(super) fn count(&mut self, node: Option<&Arc<Live>>) {
        self.counted = node.map(UnderWay::at);
    }

    /// True when the request may be sent to another node: nothing of it was executed that matters, and nobody has
    /// heard of it.
    #[inline]
    pub(super) fn is_repeatable(&self) -> bool {
        matches!(self.repeat, Repeat::Kept(_)) && !self.is_heard
    }

    /// True while a message is half way through to the client.
    #[inline]
    pub(super) fn is_mid_message(&self) -> bool {
        self.cutter.is_passing() && self.forwards
    }

    /// True when it is not the primary: requests that are not proven reads must not go there.
    #[inline]
    pub(super) fn is_on_standby(&self) -> bool {
        matches!(self.purpose, Purpose::Standby(_))
    }

    /// The block that began on a standby.
    pub(super) fn standby_block(&self) -> Option<&StandbyBlock> {
        match &self.purpose {
            Purpose::Standby(standby) => standby.block.as_ref(),
            Purpose::Anything | Purpose::Primary(_) => None,
        }
    }

    /// A statement of the block that began on a standby has taken a snapshot: SET TRANSACTION is too late.
    #[inline]
    pub(super) fn note_read(&mut self) {
        if let Purpose::Standby(OnStandby {
            block: Some(block), ..
        }) = &mut self.purpose
        {
            block.begun.has_read = true;
        }
    }

    /// The session's doings at the primary, where they have to be followed.
    #[inline]
    pub(super) fn at_primary(&mut self) -> Option<&mut AtPrimary> {
        match &mut self.purpose {
            Purpose::Primary(primary) => Some(primary),
            Purpose::Anything | Purpose::Standby(_) => None,
        }
    }

    /// True when pipelines have to be looked at before they go there.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        match &self.purpose {
            _ if self.is_leaving => true,
            Purpose::Anything => false,
            Purpose::Primary(primary) => !primary.wrote && primary.is_watched(),
            Purpose::Standby(_) => true,
        }
    }
}

impl AtPrimary {
    /// True when a session, or everybody, must not miss what is committed.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.consistency != Consistency::Eventual
    }

    /// True when the client is about to hear of what everybody must not miss, and nobody was told.
    #[inline]
    pub(super) fn is_to_announce(&self) -> bool {
        self.consistency == Consistency::Global && self.wrote && !self.announced
    }
}

/// A request that its node counts as under way, until this is dropped.
#[derive(Debug)]
struct UnderWay(Arc<Live>);

impl UnderWay {
    /// Counts one.
    fn at(node: &Arc<Live>) -> Self {
        node.count(true);
        Self(Arc::clone(node))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.count(false);
    }
}

/// Server connections that nobody else may have, none of them at work.
#[derive(Default)]
pub(super) struct Kept {
    /// The session keeps what it has used.
    is_on: bool,
    leases: Vec<Lease>,
}

impl Kept {
    /// For a session that begins now.
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            leases: Vec::new(),
        }
    }

    /// True when the session keeps its server connections.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// True when there is one to this node.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.leases
            .iter()
            .any(|lease| lease.backend().info.node == node)
    }

    /// Keeps a connection.
    pub(super) fn put(&mut self, lease: Lease) {
        lease.backend().stream.park(true);
        self.leases.push(lease);
    }

    /// The connection to a node, if it still lives. One that died meanwhile is closed.
    pub(super) fn take(&mut self, node: NodeId) -> Option<Lease> {
        let is_there = |lease: &Lease| lease.backend().info.node == node;
        let place = self.leases.iter().position(is_there)?;
        let lease = self.leases.swap_remove(place);
        lease.backend().stream.park(false);
        let is_alive = !lease.backend().stream.has_news();
        is_alive.then_some(lease)
    }

    /// All of them.
    pub(super) fn take_all(&mut self) -> Vec<Lease> {
        let leases = std::mem::take(&mut self.leases);
        for lease in &leases {
            lease.backend().stream.park(false);
        }
        leases
    }
}
