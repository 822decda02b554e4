//! Which statement each portal of a session executes, as far as its client's messages tell. Pure.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::worker::statements::Statement;

/// The portals of one session.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Option<Rc<Statement>>,
    named: HashMap<Box<[u8]>, Rc<Statement>>,
}

impl Portals {
    /// A Bind.
    #[inline]
    pub(super) fn bind(&mut self, portal: &[u8], statement: Option<Rc<Statement>>) {
        if portal.is_empty() {
            self.unnamed = statement;
        } else if let Some(statement) = statement {
            self.named.insert(portal.into(), statement);
        } else {
            self.named.remove(portal);
        }
    }

    /// What an Execute executes.
    #[inline]
    pub(super) fn statement(&self, portal: &[u8]) -> Option<&Rc<Statement>> {
        if portal.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(portal)
        }
    }

    /// True when one has a name: it lasts until it is closed, or its transaction ends.
    pub(super) fn has_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// The transaction has ended: portals end with it.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.unnamed = None;
        if !self.named.is_empty() {
            self.named = HashMap::new();
        }
    }
}
