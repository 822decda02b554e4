//! Shapes of prepared statements, which are their rows and parameters as a server describes them: of which Parse they
//! are, to whom they were told, and whether they are equal on two connections. Pure.
//!
//! A server fixes both when a statement is parsed, and refuses to execute it once its rows would be others, so that no
//! client reads rows that are not what it was told. A connection that parses it later knows nothing of that: there
//! pgring compares. (PostgreSQL: "cached plan must not change result type".)

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::{Statement, server::ServerName};
use crate::cluster::{messages::Shape, stamps::Stamp};

/// Hashes of a statement's rows and parameters, as a server has described them since its client defined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rows: u64,
    /// `None` when only a portal was described.
    pub(crate) parameters: Option<u64>,
}

impl Told {
    /// True when what is executed is as the client knows it.
    pub(crate) fn fits(self, shape: Shape) -> bool {
        let same = |parameters| parameters == shape.parameters;
        self.rows == shape.rows && self.parameters.is_none_or(same)
    }

    /// True for what returns no rows, and has these parameters.
    pub(crate) fn is_only(self, types: &[u8]) -> bool {
        self.rows == hash_of(&[]) && self.parameters == Some(hash_of(types))
    }
}

impl From<Shape> for Told {
    fn from(shape: Shape) -> Self {
        Self {
            rows: shape.rows,
            parameters: Some(shape.parameters),
        }
    }
}

/// Subject of a description to come.
#[derive(Debug)]
pub(crate) enum Of {
    /// Of a copy of this statement, made by the Parse with this stamp.
    Copy(Rc<Statement>, Stamp),
    /// Of a portal.
    Portal,
    /// Of what the server has under this name of the client's own.
    Shown(Box<[u8]>),
}

/// A description to come.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The ledger's number of the Describe.
    pub(crate) ticket: u64,
    pub(crate) of: Of,
    /// The name whose statement it tells of, and the Parse that defined it.
    pub(crate) tells: Option<(Box<[u8]>, Stamp)>,
}

/// A statement that its client has just parsed.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The ledger's number of the Parse.
    pub(crate) ticket: u64,
    pub(crate) name: Box<[u8]>,
    pub(crate) at: ServerName,
    pub(crate) statement: Rc<Statement>,
    pub(crate) own: Stamp,
}

/// Descriptions of statements that are under way in one session.
#[derive(Debug, Default)]
pub(crate) struct RowShapes {
    pub(crate) asked: VecDeque<Asked>,
    /// Body of the ParameterDescription that has come of the first of `asked`; empty when none has.
    pub(crate) parameters: Vec<u8>,
    /// Its description has not been asked for.
    pub(crate) parsed: Option<Parsed>,
    /// The Parse that was sent for the message that waits, after another copy did not fit.
    pub(crate) renewed: Stamp,
    /// Statements that the server has under the client's own names.
    pub(crate) shown: Vec<Shown>,
}

impl RowShapes {
    /// No answer will come.
    pub(crate) fn abandon(&mut self) {
        *self = Self::default();
    }

    /// Nothing before `ticket` will be described any more.
    pub(crate) fn skip(&mut self, ticket: u64) {
        self.asked.retain(|asked| asked.ticket >= ticket);
        self.parameters.clear();
        self.parsed.take_if(|parsed| parsed.ticket < ticket);
        self.shown.clear();
        self.renewed = Stamp::FIRST;
    }

    /// True while the description of the Parse with this stamp is to come.
    pub(crate) fn is_asked(&self, stamp: Stamp) -> bool {
        let is_it = |asked: &Asked| matches!(&asked.of, Of::Copy(_, other) if *other == stamp);
        self.asked.iter().any(is_it)
    }

    /// True while what the server has under the client's own name is to be described.
    pub(crate) fn is_asked_shown(&self, name: &[u8]) -> bool {
        let is_it = |asked: &Asked| matches!(&asked.of, Of::Shown(other) if **other == *name);
        self.asked.iter().any(is_it)
    }

    /// True while what will be told of a name is to come.
    pub(crate) fn is_telling(&self, own: Stamp) -> bool {
        let tells = |asked: &Asked| asked.tells.as_ref().is_some_and(|(_, other)| *other == own);
        self.asked.iter().any(tells)
    }
}

/// Statement of the protocol that was parsed at the server under the client's own name.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) name: Vec<u8>,
    /// In this pipeline.
    pub(crate) pipeline: u64,
    /// Its shape there, once the server has described it.
    pub(crate) shape: Option<Shape>,
}

/// Hash of a description, equal in every core of the process.
pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    let mut state = DefaultHasher::new();
    bytes.hash(&mut state);
    state.finish()
}
