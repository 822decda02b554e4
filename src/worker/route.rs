//! Which node takes a request. Pure: the snapshot and the request in, a target out.

use crate::{
    cluster::snapshot::Snapshot,
    ids::{Epoch, NodeId},
};

/// Where a request goes, and under which snapshot that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
}

/// Routes the next transaction of a session. Everything goes to the primary.
#[inline]
pub(crate) fn route(snapshot: &Snapshot) -> Target {
    Target {
        node: snapshot.primary.unwrap_or(NodeId(0)),
        epoch: snapshot.epoch,
    }
}
