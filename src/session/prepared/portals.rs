//! Which statement each portal of a session executes, as far as its client's messages tell. Pure.

use std::rc::Rc;

use hashbrown::HashMap;

use super::Statement;
use crate::cluster::stamps::Stamp;

/// The portals of one session.
#[derive(Debug, Default)]
pub(crate) struct Portals {
    unnamed: Option<Bound>,
    /// The unnamed one at the server is pgring's own, and none for the client.
    is_ours: bool,
    named: HashMap<Box<[u8]>, Bound>,
    /// Bytes of their names.
    bytes: usize,
}

/// Statement that a portal executes.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) statement: Rc<Statement>,
    /// The Parse of the unnamed statement, when it was that.
    pub(crate) unnamed: Option<Stamp>,
}

impl Portals {
    /// A Bind.
    #[inline]
    pub(crate) fn bind(&mut self, portal: &[u8], bound: Option<Bound>) {
        if portal.is_empty() {
            self.unnamed = bound;
            self.is_ours = false;
        } else if let Some(bound) = bound {
            let is_new = self.named.insert(portal.into(), bound).is_none();
            self.bytes += if is_new { portal.len() } else { 0 };
        } else if self.named.remove(portal).is_some() {
            self.bytes -= portal.len();
        }
    }

    /// pgring has bound a statement of its own to the unnamed portal at the server.
    pub(crate) fn bind_ours(&mut self) {
        self.is_ours = self.unnamed.is_none();
    }

    /// Once: true when the server would find something of pgring's own in this portal, where the client has bound nothing.
    #[inline]
    pub(crate) fn take_ours(&mut self, portal: &[u8]) -> bool {
        portal.is_empty() && std::mem::take(&mut self.is_ours)
    }

    /// Statement that an Execute of this portal runs.
    #[inline]
    pub(crate) fn statement(&self, portal: &[u8]) -> Option<&Rc<Statement>> {
        self.bound(portal).map(|bound| &bound.statement)
    }

    /// Statement that an Execute of this portal runs, and the Parse that made it, if it was the unnamed one.
    #[inline]
    pub(crate) fn bound(&self, portal: &[u8]) -> Option<&Bound> {
        if portal.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(portal)
        }
    }

    /// Bytes of names.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when one has a name: it lasts until it is closed, or its transaction ends.
    pub(crate) fn has_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// The transaction has ended: portals end with it.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.is_ours = false;
        if !self.named.is_empty() {
            self.named = HashMap::new();
            self.bytes = 0;
        }
    }
}
