//! What the server says of the rows and parameters of prepared statements: to whom, of which Parse of them, and
//! whether it is the same on two connections. Pure.
//!
//! A server fixes both when a statement is parsed, and refuses to execute it once its rows would be others, so that no
//! client reads rows that are not what it was told. A connection that parses it later knows nothing of that: there
//! pgring compares. (PostgreSQL: "cached plan must not change result type".)

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::{
    Statement,
    server::{Prepared, ServerName},
};
use super::{
    extended::Naming,
    names::{self, Definition},
    sql_commands::Shown,
};
use crate::session::{
    context::Context, conversation::Conversation, ledger::owed::Owed,
    transaction::failed_block::is_request,
};
use crate::{
    cluster::{messages::Shape, stamps::Stamp},
    protocol::{
        Header, Tag, Writer,
        backend::RowDescription,
        frontend::Target,
        tag::{backend, frontend},
    },
};

/// What a server has said of a statement since its client has defined it.
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

/// What a description to come is of.
#[derive(Debug)]
enum Of {
    /// Of a copy of this statement, made by the Parse with this stamp.
    Copy(Rc<Statement>, Stamp),
    /// Of a portal.
    Portal,
    /// Of what the server has under this name of the client's own.
    Shown(Box<[u8]>),
}

/// A description to come.
#[derive(Debug)]
struct Asked {
    /// The ledger's number of the Describe.
    ticket: u64,
    of: Of,
    /// The name whose statement it tells of, and the Parse that defined it.
    tells: Option<(Box<[u8]>, Stamp)>,
}

/// A statement that its client has just parsed.
#[derive(Debug)]
struct Parsed {
    /// The ledger's number of the Parse.
    ticket: u64,
    name: Box<[u8]>,
    at: ServerName,
    statement: Rc<Statement>,
    own: Stamp,
}

/// What is under way about shapes in one session.
#[derive(Debug, Default)]
pub(crate) struct RowShapes {
    asked: VecDeque<Asked>,
    /// What the next one has said of parameters; empty when it has said nothing.
    parameters: Vec<u8>,
    /// Its description has not been asked for.
    parsed: Option<Parsed>,
    /// The Parse that was sent for the message that waits, after another copy did not fit.
    pub(crate) renewed: Stamp,
    /// What the server was shown under the client's own names.
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

impl Conversation {
    /// The client's Parse is sent: what it made is to be described, by whomever.
    #[inline]
    pub(crate) fn note_parsed(&mut self, name: &[u8], definition: &Definition, at: ServerName) {
        if definition.statement.is_plain() {
            return;
        }
        let ticket = self.ledger.ticket();
        self.names.row_shapes_mut().parsed = Some(Parsed {
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
        if self.names.row_shapes().parsed.is_none() {
            return;
        }
        let may_follow = is_request(header.tag) || header.tag == frontend::FLUSH;
        if may_follow && let Some(parsed) = self.names.row_shapes_mut().parsed.take() {
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
        let ticket = self.ledger.ticket();
        let asked = Asked { ticket, of, tells };
        self.names.row_shapes_mut().asked.push_back(asked);
        Writer::new(ahead)
            .describe(Target::Statement, at)
            .expect("what was read from a message, or is ours, has no NUL");
        self.ledger.owe(Owed::OwnDescribe);
    }

    /// A Describe of a statement is about to be sent for the client.
    pub(crate) fn describes(&mut self, name: &[u8], definition: &Definition, stamp: Stamp) {
        if definition.told.is_none() && !self.names.row_shapes().is_telling(definition.own) {
            let ticket = self.ledger.ticket();
            let statement = Rc::clone(&definition.statement);
            self.names.row_shapes_mut().asked.push_back(Asked {
                ticket,
                of: Of::Copy(statement, stamp),
                tells: Some((names::key(name).into(), definition.own)),
            });
        }
    }

    /// A Describe of a portal of the unnamed statement that was defined by the Parse `own`: the client hears what its
    /// rows are.
    #[inline]
    pub(crate) fn describes_portal(&mut self, own: Stamp) {
        if self.names.row_shapes().is_telling(own) || self.names.is_told_unnamed(own) {
            return;
        }
        let ticket = self.ledger.ticket();
        self.names.row_shapes_mut().asked.push_back(Asked {
            ticket,
            of: Of::Portal,
            tells: Some((Box::default(), own)),
        });
    }

    /// True while a description is to come that must be read.
    #[inline]
    pub(crate) fn awaits_shape(&self) -> bool {
        !self.names.row_shapes().asked.is_empty()
    }

    /// A part of a description has come.
    #[inline]
    pub(crate) fn note_shape(&mut self, tag: Tag, body: &[u8], server: &mut Prepared) {
        let answered = self.ledger.settled();
        let row_shapes = self.names.row_shapes_mut();
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
            self.names.row_shapes_mut().parameters = types;
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
            self.names.tell(&name, own, told, types);
        }
    }
}

impl Parsed {
    /// True when this message leaves the client and pgring without knowledge of the statement, which may be used later.
    fn is_unknown_behind(&self, tag: Tag, body: &[u8]) -> bool {
        let names_it = || {
            let named = Naming::read(tag, body);
            named.is_some_and(|naming| names::key(naming.name) == &*self.name)
        };
        match tag {
            frontend::DESCRIBE => !names_it(),
            _ if !self.name.is_empty() => true,
            // It is of this pipeline, or ends here.
            frontend::BIND | frontend::CLOSE => !names_it(),
            frontend::PARSE => body.first() != Some(&0),
            frontend::QUERY => false,
            _ => true,
        }
    }
}

/// What tells the shapes of rows apart; formats are the portal's.
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

/// The same in every core of the process.
fn hash_of(bytes: &[u8]) -> u64 {
    let mut state = DefaultHasher::new();
    bytes.hash(&mut state);
    state.finish()
}
