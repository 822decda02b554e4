//! What the server connection at hand was taken for, and what has become of that so far. Pure.

use std::{rc::Rc, sync::Arc};

use crate::{cluster::node::Live, session::prepared::Statement};

/// What the server connection at hand was taken for.
#[derive(Debug, Default)]
pub(super) struct Purpose {
    /// It is not the primary: what is not a proven read must not go there.
    pub(super) on_standby: bool,
    /// What went there is one pipeline, a read, and kept: it can be sent again to another node.
    pub(super) can_repeat: bool,
    /// The block that begins anew before what is repeated.
    pub(super) repeats_in: Option<Rc<Statement>>,
    /// The client has got something of the answer.
    pub(super) heard: bool,
    /// Its session, or everybody, must not miss what it commits.
    pub(super) is_watched: bool,
    /// Everybody.
    pub(super) is_global: bool,
    /// Something that is not a proven read went to the primary since its position was last asked for.
    pub(super) wrote: bool,
    /// The primary was asked for its position since something went there, whether or not it could tell.
    pub(super) asked: bool,
    /// How often a read of its had to wait for the standby.
    pub(super) waits: u32,
    /// A commit of which the client may know is under way, and the process knows of that.
    pub(super) announced: bool,
    /// The block that began on a standby, for the case that it has to go on at the primary.
    pub(super) block: Option<Rc<Statement>>,
    /// Something in that block has taken a snapshot: what must come before the first one is too late.
    pub(super) has_read: bool,
    /// Everything in that block must see the same snapshot.
    pub(super) keeps_snapshot: bool,
    /// That block can write, and will have to go on at the primary: nothing of it may be left open on the standby.
    pub(super) may_write: bool,
    /// The node counts this request as under way.
    pub(super) _counted: Option<UnderWay>,
}

impl Purpose {
    /// True when the request may be sent to another node: nothing of it was executed that matters, and nobody has
    /// heard of it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.can_repeat && !self.heard
    }
}

/// A request that its node counts as under way, until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Live>);

impl UnderWay {
    /// Counts one.
    pub(super) fn at(node: &Arc<Live>) -> Self {
        node.count(true);
        Self(Arc::clone(node))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.count(false);
    }
}
