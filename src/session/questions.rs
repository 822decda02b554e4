//! Questions to pgring itself that a client has prepared, bound and asked by protocol. Pure.

use super::show::Show;
use crate::limits::QUESTIONS_MAX;

/// A message that is for pgring.
#[derive(Debug)]
pub(crate) enum Question {
    Query(Show),
    /// The statement's name, and what it asks.
    Parse(Box<[u8]>, Show),
    /// The portal's name, and what it asks.
    Bind(Box<[u8]>, Show),
    DescribeStatement(Show),
    DescribePortal(Show),
    Execute(Show),
    CloseStatement(Box<[u8]>),
    ClosePortal(Box<[u8]>),
}

/// Questions by their names.
pub(crate) type Named = Vec<(Box<[u8]>, Show)>;

/// Questions that a client has prepared and bound, and the one that it asks now.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) statements: Named,
    /// Portals of the open pipeline.
    pub(crate) portals: Named,
    /// To be answered now.
    pub(crate) next: Option<Question>,
}

impl Questions {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.portals.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.statements.len() + self.portals.len() >= QUESTIONS_MAX
    }

    /// The question that is to be answered now.
    pub(crate) fn take(&mut self) -> Option<Question> {
        self.next.take()
    }

    pub(crate) fn prepare(&mut self, name: Box<[u8]>, show: Show) {
        put(&mut self.statements, name, show);
    }

    pub(crate) fn bind(&mut self, portal: Box<[u8]>, show: Show) {
        put(&mut self.portals, portal, show);
    }

    pub(crate) fn close_statement(&mut self, name: &[u8]) {
        self.statements.retain(|(known, _)| **known != *name);
    }

    pub(crate) fn close_portal(&mut self, name: &[u8]) {
        self.portals.retain(|(known, _)| **known != *name);
    }
}

fn put(named: &mut Named, name: Box<[u8]>, show: Show) {
    named.retain(|(known, _)| *known != name);
    named.push((name, show));
}

pub(crate) fn get(named: &Named, name: &[u8]) -> Option<Show> {
    let mut found = named.iter().filter(|(known, _)| **known == *name);
    found.next().map(|(_, show)| show.clone())
}
