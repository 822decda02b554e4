//! The shape of a statement's rows, as the client was told and as each server connection has it. Pure.
//!
//! A server refuses a statement whose rows have got another shape since it was prepared, so that no client reads rows
//! that are not what it was told. A connection that prepares it later knows nothing of that: there pgring compares.
//! (PostgreSQL: "cached plan must not change result type".)

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use hashbrown::HashMap;

use super::{conversation::Conversation, desk::Desk, owed::Owed};
use crate::{
    protocol::{Tag, Writer, backend::RowDescription, frontend::Target, tag::backend},
    worker::statements::{
        Statement,
        prepared::{Prepared, ServerName},
    },
};

/// What is known of shapes in one session.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// For each statement with a name: what the client was told last, if it was.
    told: HashMap<u64, Option<u64>>,
    /// Descriptions to come: ticket, statement, and whether the client hears them.
    asked: VecDeque<(u64, Rc<Statement>, bool)>,
}

impl Shapes {
    /// The client has given a statement a name.
    pub(super) fn define(&mut self, statement: &Statement) {
        self.told.insert(statement.id, None);
    }

    /// The client has taken the name of a statement away.
    pub(super) fn remove(&mut self, statement: &Statement) {
        self.told.remove(&statement.id);
    }

    /// The client has no names any more.
    pub(super) fn remove_all(&mut self) {
        self.told = HashMap::new();
    }

    /// What was told of one statement holds for the other.
    pub(super) fn replace(&mut self, old: &Statement, new: &Statement) {
        if let Some(told) = self.told.remove(&old.id) {
            self.told.insert(new.id, told);
        }
    }

    /// No answer will come.
    pub(super) fn abandon(&mut self) {
        self.asked.clear();
    }

    /// Nothing before `ticket` will be described any more.
    pub(super) fn skip(&mut self, ticket: u64) {
        self.asked.retain(|(asked, ..)| *asked >= ticket);
    }

    fn told(&self, statement: &Statement) -> Option<u64> {
        *self.told.get(&statement.id)?
    }
}

/// Whether a statement may be bound.
pub(super) enum Fit {
    /// Its rows are as the client was told.
    Yes,
    /// They are not.
    No,
    /// The server has been asked.
    Unknown,
}

impl Conversation {
    /// Compares what the client was told of a statement with what the connection has under `name`.
    #[inline]
    pub(super) fn fits(
        &mut self,
        statement: &Rc<Statement>,
        name: ServerName,
        desk: &mut Desk<'_>,
    ) -> Fit {
        let Some(told) = self.names.shapes().told(statement) else {
            return Fit::Yes;
        };
        let mut asked = self.names.shapes().asked.iter();
        if asked.any(|(_, other, is_clients)| *is_clients && other.id == statement.id) {
            // The client is about to be told anew.
            return Fit::Yes;
        }
        let server = desk.server.as_deref_mut().expect("a server is at hand");
        match server.shape(statement) {
            Some(shape) if shape == told => Fit::Yes,
            Some(_) => Fit::No,
            None => {
                self.ask_shape(statement, name, desk.ahead);
                Fit::Unknown
            }
        }
    }

    #[cold]
    fn ask_shape(&mut self, statement: &Rc<Statement>, name: ServerName, ahead: &mut Vec<u8>) {
        let ticket = self.ledger.ticket();
        let asked = &mut self.names.shapes_mut().asked;
        if asked.iter().any(|(_, other, _)| other.id == statement.id) {
            return;
        }
        asked.push_back((ticket, Rc::clone(statement), false));
        Writer::new(ahead)
            .describe(Target::Statement, name.bytes())
            .expect("a name of ours is short and has no NUL");
        self.ledger.owe(Owed::OwnDescribe);
    }

    /// A Describe of the client's is sent: what it is told counts from then on.
    #[inline]
    pub(super) fn describes(&mut self, statement: &Rc<Statement>, server: &Prepared) {
        let ticket = self.ledger.ticket();
        let shapes = self.names.shapes_mut();
        let Some(told) = shapes.told.get(&statement.id) else {
            return;
        };
        if told.is_none() || server.shape(statement) != *told {
            shapes.asked.push_back((ticket, Rc::clone(statement), true));
        }
    }

    /// True while a description is to come that must be read.
    #[inline]
    pub(crate) fn awaits_shape(&self) -> bool {
        !self.names.shapes().asked.is_empty()
    }

    /// A description has come.
    #[inline]
    pub(super) fn note_shape(&mut self, tag: Tag, body: &[u8], server: &mut Prepared) {
        let answered = self.ledger.settled();
        let shapes = self.names.shapes_mut();
        if shapes
            .asked
            .front()
            .is_none_or(|(ticket, ..)| *ticket != answered)
        {
            return;
        }
        let Some((_, statement, is_clients)) = shapes.asked.pop_front() else {
            return;
        };
        let shape = shape_of(tag, body);
        if let Some(shape) = shape {
            server.set_shape(&statement, shape);
        }
        if (is_clients || shape.is_none())
            && let Some(told) = shapes.told.get_mut(&statement.id)
        {
            // One that cannot be read is not compared.
            *told = shape;
        }
    }
}

/// What tells the shapes of rows apart; formats are the portal's. `None` when it cannot be read.
fn shape_of(tag: Tag, body: &[u8]) -> Option<u64> {
    let mut state = DefaultHasher::new();
    if tag == backend::ROW_DESCRIPTION {
        for field in RowDescription::read(body).ok()? {
            (field.name, field.type_oid, field.type_modifier).hash(&mut state);
        }
    }
    Some(state.finish())
}
