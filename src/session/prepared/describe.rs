//! Descriptions of prepared statements: when pgring asks for them, and what it learns from those that the client asked for.
//! Pure.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::{
    Statement,
    server::{Prepared, ServerName},
};
use super::{
    names::{self, Definition},
    row_shape::{Asked, Of, Parsed, Told, hash_of},
};
use crate::session::{context::Context, conversation::Conversation, ledger::owed::Owed};
use crate::{
    cluster::{messages::Shape, stamps::Stamp},
    protocol::{
        Header, Tag, Writer,
        backend::RowDescription,
        frontend::{Parse, StatementUse, Target, is_request},
        tag::{backend, frontend},
    },
};

impl Conversation {
    /// The client's Parse is sent: what it made is to be described, by whomever.
    #[inline]
    pub(crate) fn note_parsed(&mut self, name: &[u8], definition: &Definition, at: ServerName) {
        if definition.statement.is_plain() {
            return;
        }
        let ticket = self.ledger.client.ticket();
        self.statements.names.row_shapes_mut().parsed = Some(Parsed {
            ticket,
            name: names::key(name).into(),
            at,
            statement: Rc::clone(&definition.statement),
            own: definition.own,
        });
    }

    /// Another message follows the client's Parse: what the client does not ask, pgring does.
    #[inline]
    pub(crate) fn describe_parsed(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) {
        if self.statements.names.row_shapes().parsed.is_none() {
            return;
        }
        let may_follow = is_request(header.tag) || header.tag == frontend::FLUSH;
        if may_follow && let Some(parsed) = self.statements.names.row_shapes_mut().parsed.take() {
            let is_over = self.ledger.is_deaf() || !parsed.is_unknown_behind(header.tag, body);
            if !is_over {
                let tells = Some((parsed.name, parsed.own));
                let of = Of::Copy(parsed.statement, parsed.own);
                self.have_described(of, tells, parsed.at.bytes(), context.ahead);
            }
        }
    }

    /// Asks for the shape of a copy.
    pub(crate) fn ask_shape(
        &mut self,
        statement: &Rc<Statement>,
        stamp: Stamp,
        at: ServerName,
        tells: Option<(Box<[u8]>, Stamp)>,
        ahead: &mut Vec<u8>,
    ) {
        let of = Of::Copy(Rc::clone(statement), stamp);
        self.have_described(of, tells, at.bytes(), ahead);
    }

    /// Asks for the shape of what the server has under the client's own name.
    pub(crate) fn ask_shown(&mut self, name: &[u8], ahead: &mut Vec<u8>) {
        self.have_described(Of::Shown(name.into()), None, name, ahead);
    }

    #[cold]
    fn have_described(
        &mut self,
        of: Of,
        tells: Option<(Box<[u8]>, Stamp)>,
        at: &[u8],
        ahead: &mut Vec<u8>,
    ) {
        self.expect_description(of, tells);
        Writer::new(ahead)
            .describe(Target::Statement, at)
            .expect("what was read from a message, or is ours, has no NUL");
        self.ledger.owe(Owed::OwnDescribe);
    }

    /// A Describe of a statement is about to be sent for the client.
    pub(crate) fn describes(&mut self, name: &[u8], definition: &Definition, stamp: Stamp) {
        if definition.told.is_none()
            && !self
                .statements
                .names
                .row_shapes()
                .is_telling(definition.own)
        {
            let of = Of::Copy(Rc::clone(&definition.statement), stamp);
            self.expect_description(of, Some((names::key(name).into(), definition.own)));
        }
    }

    /// A Describe of a portal of the unnamed statement that was defined by the Parse `own`: the client hears what its
    /// rows are.
    #[inline]
    pub(crate) fn describes_portal(&mut self, own: Stamp) {
        if self.statements.names.row_shapes().is_telling(own)
            || self.statements.names.is_told_unnamed(own)
        {
            return;
        }
        self.expect_description(Of::Portal, Some((Box::default(), own)));
    }

    /// The answer to the next message, a Describe, tells of this.
    fn expect_description(&mut self, of: Of, tells: Option<(Box<[u8]>, Stamp)>) {
        let ticket = self.ledger.client.ticket();
        let row_shapes = self.statements.names.row_shapes_mut();
        row_shapes.asked.push_back(Asked { ticket, of, tells });
    }

    /// True while a description is to come that must be read.
    #[inline]
    pub(crate) fn awaits_shape(&self) -> bool {
        !self.statements.names.row_shapes().asked.is_empty()
    }

    /// A part of a description has come.
    #[inline]
    pub(crate) fn note_shape(&mut self, tag: Tag, body: &[u8], server: &mut Prepared) {
        let answered = self.ledger.client.settled();
        let row_shapes = self.statements.names.row_shapes_mut();
        let is_next = |asked: &Asked| asked.ticket == answered;
        if !row_shapes.asked.front().is_some_and(is_next) {
            return;
        }
        if tag == backend::PARAMETER_DESCRIPTION {
            row_shapes.parameters.clear();
            row_shapes.parameters.extend_from_slice(body);
        } else if let Some(asked) = row_shapes.asked.pop_front() {
            let mut types = std::mem::take(&mut row_shapes.parameters);
            self.note_description(asked, rows_of(tag, body), &types, server);
            types.clear();
            self.statements.names.row_shapes_mut().parameters = types;
        }
    }

    fn note_description(&mut self, asked: Asked, rows: u64, types: &[u8], server: &mut Prepared) {
        let shape = Shape {
            rows,
            parameters: hash_of(types),
        };
        let (told, types) = match &asked.of {
            Of::Portal => {
                let parameters = None;
                (Told { rows, parameters }, None)
            }
            Of::Copy(statement, stamp) => {
                server.described(statement, *stamp, shape);
                (shape.into(), Some(types))
            }
            Of::Shown(name) => return self.note_shown(name, shape),
        };
        if let Some((name, own)) = asked.tells {
            self.statements.names.tell(&name, own, told, types);
        }
    }
}

impl Parsed {
    /// True when this message leaves the client and pgring without knowledge of the statement, which may be used later.
    fn is_unknown_behind(&self, tag: Tag, body: &[u8]) -> bool {
        let names_it = || {
            let named = StatementUse::read(tag, body);
            named.is_some_and(|naming| names::key(naming.name) == &*self.name)
        };
        match tag {
            frontend::DESCRIBE => !names_it(),
            _ if !self.name.is_empty() => true,
            // It is of this pipeline, or ends here.
            frontend::BIND | frontend::CLOSE => !names_it(),
            frontend::PARSE => Parse::read(body).is_ok_and(|parse| !parse.name.is_empty()),
            frontend::QUERY => false,
            _ => true,
        }
    }
}

/// Hash of the names and types of a row's columns; 0 when there are more than PostgreSQL sends. Formats are the
/// portal's.
fn rows_of(tag: Tag, body: &[u8]) -> u64 {
    if tag != backend::ROW_DESCRIPTION {
        return hash_of(&[]);
    }
    match RowDescription::read(body) {
        Ok(fields) => {
            let mut state = DefaultHasher::new();
            for field in fields {
                (field.name, field.type_oid, field.type_modifier).hash(&mut state);
            }
            state.finish()
        }
        // Longer than any that PostgreSQL sends.
        Err(_) => 0,
    }
}
