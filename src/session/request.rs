//! A client's request, read before the first of its messages goes anywhere, because everything up to its Sync is one
//! transaction and has to go to one node. Pure.
//!
//! It is a read when each statement that it parses, binds, describes or executes is a proven read, and its end is there
//! to be seen. What cannot be told is not a read.

use std::{ops::Range, rc::Rc};

use super::show::Show;
use super::{
    conversation::Conversation,
    prepared::{Statement, names::Meaning},
};
use crate::{
    protocol::{
        Header,
        frontend::{Execute, Parse, Query, StatementUse, named_portal},
        tag::frontend,
    },
    sql::{
        effects,
        hint::{self, Hint},
    },
};

/// One pipeline up to its Sync, or one Query, as far as it matters where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It may write, or nobody can tell: the primary takes it.
    Write,
    /// Any node takes it whose answer would be the same.
    Read {
        /// Bytes of all its messages.
        bytes: usize,
        /// Place of its first text in them, where its first message has one.
        text: Range<usize>,
    },
}

impl Request {
    /// True when all that it runs are proven reads.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. })
    }

    /// Its messages, where `pending` begins with them and they may run elsewhere as well.
    pub(crate) fn messages<'a>(&self, pending: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Write => None,
            Self::Read { bytes, .. } => pending.get(..*bytes),
        }
    }

    /// The hint in its first text, where `pending` begins with its messages.
    pub(crate) fn hint<'a>(&self, pending: &'a [u8]) -> Option<Hint<'a>> {
        match self {
            Self::Write => None,
            Self::Read { text, .. } => pending.get(text.clone()).and_then(hint::hint),
        }
    }
}

/// A statement whose class is in question.
pub(crate) enum Asked<'a> {
    /// That of a Query.
    Text(&'a [u8]),
    /// That of a Parse, with what stands behind the name there: it may be known.
    Parse(&'a [u8], &'a [u8]),
    /// One that was parsed earlier.
    Statement(&'a Rc<Statement>),
}

impl Asked<'_> {
    fn text(&self) -> &[u8] {
        match self {
            Self::Text(text) | Self::Parse(text, _) => text,
            Self::Statement(statement) => statement.text(),
        }
    }
}

/// Names that one pipeline may define before it is too much to follow.
const NAMES_MAX: usize = 8;

/// Names that the pipeline itself has defined.
#[derive(Default)]
struct Defined<'a> {
    names: [&'a [u8]; NAMES_MAX],
    count: usize,
}

impl<'a> Defined<'a> {
    /// False when there are too many.
    fn add(&mut self, name: &'a [u8]) -> bool {
        let place = self.names.get_mut(self.count);
        self.count += 1;
        place.map(|place| *place = name).is_some()
    }

    fn has(&self, name: &[u8]) -> bool {
        self.names
            .iter()
            .take(self.count)
            .any(|known| *known == name)
    }
}

/// Goes through one pipeline.
struct Look<'a, F> {
    rules: &'a Conversation,
    /// Whether a statement is a proven read.
    is_read: F,
    /// Statements that end a transaction are of no account.
    may_end: bool,
    /// Portals that may outlast the pipeline must not be where the block cannot stay.
    may_write: bool,
    statements: Defined<'a>,
    portals: Defined<'a>,
}

/// Finding about one message of a pipeline.
enum Says {
    /// It goes on.
    Harmless,
    /// It ends.
    End,
    /// It may write.
    Write,
}

impl Conversation {
    /// The request at the start of `bytes`. `in_block`: it belongs to a transaction block that it may end; `may_write`: and
    /// that is not READ ONLY.
    pub(crate) fn read_request(
        &self,
        bytes: &[u8],
        in_block: bool,
        may_write: bool,
        is_read: impl Fn(&Asked<'_>) -> bool,
    ) -> Request {
        let mut look = Look {
            rules: self,
            is_read,
            may_end: in_block,
            may_write,
            statements: Defined::default(),
            portals: Defined::default(),
        };
        look.through(bytes).unwrap_or(Request::Write)
    }
}

impl<'a, F: Fn(&Asked<'_>) -> bool> Look<'a, F> {
    /// The request that begins there. `None` when its end is not there, or what cannot be read.
    fn through(&mut self, bytes: &'a [u8]) -> Option<Request> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..)?;
            let header = Header::read(rest).ok()??;
            let body = rest.get(Header::BYTES..header.frame_bytes())?;
            at += header.frame_bytes();
            match self.message(header, body)? {
                Says::Harmless => {}
                Says::Write => return Some(Request::Write),
                Says::End => {
                    let text = first_text(bytes).unwrap_or_default();
                    return Some(Request::Read { bytes: at, text });
                }
            }
        }
    }

    /// `None` for what cannot be read.
    fn message(&mut self, header: Header, body: &'a [u8]) -> Option<Says> {
        let says = match header.tag {
            frontend::QUERY => {
                let text = Query::read(body).whole().ok()?;
                return Some(match self.passes(&Asked::Text(text)) {
                    true => Says::End,
                    false => Says::Write,
                });
            }
            frontend::SYNC => return Some(Says::End),
            frontend::PARSE => self.parse(body)?,
            frontend::BIND => {
                let naming = StatementUse::read(frontend::BIND, body)?;
                let lasts = self.may_write && !naming.before.is_empty();
                !lasts && self.portals.add(naming.before) && self.uses(naming.name)
            }
            frontend::DESCRIBE => match StatementUse::read(frontend::DESCRIBE, body) {
                Some(naming) => self.uses(naming.name),
                None => self.executes(named_portal(body)?),
            },
            frontend::EXECUTE => {
                let execute = Execute::read(body).ok()?;
                // Rows may be left in the portal.
                let is_limited = execute.max_rows != 0;
                !(self.may_write && is_limited) && self.executes(execute.portal)
            }
            frontend::CLOSE => true,
            _ => false,
        };
        Some(if says { Says::Harmless } else { Says::Write })
    }

    fn parse(&mut self, body: &'a [u8]) -> Option<bool> {
        let parse = Parse::read(body).ok()?;
        let text = parse.text().ok()?;
        Some(self.statements.add(parse.name) && self.passes(&Asked::Parse(text, parse.content)))
    }

    /// A statement by its name.
    fn uses(&self, name: &[u8]) -> bool {
        if self.statements.has(name) {
            return true;
        }
        match self
            .rules
            .statements
            .names
            .find(name, self.rules.ledger.client.pipeline())
        {
            Meaning::Statement(definition) => self.passes(&Asked::Statement(&definition.statement)),
            Meaning::Nothing => self.rules.asks(name).is_some(),
            Meaning::Unsure => false,
        }
    }

    /// A portal by its name.
    fn executes(&self, portal: &[u8]) -> bool {
        if self.portals.has(portal) {
            return true;
        }
        match self.rules.statements.portals.statement(portal) {
            Some(statement) => self.passes(&Asked::Statement(statement)),
            // Where a portal of this block has more rows, it is that one or none.
            None => self.rules.ledger.is_suspended(),
        }
    }

    fn passes(&self, asked: &Asked<'_>) -> bool {
        (self.is_read)(asked)
            || self.may_end && effects::plain_ending(asked.text()).is_some()
            || !matches!(asked, Asked::Statement(_)) && is_question(asked.text())
    }
}

/// Place of the text of the first message, when that is a Query or a Parse.
fn first_text(bytes: &[u8]) -> Option<Range<usize>> {
    let header = Header::read(bytes).ok()??;
    let body = bytes.get(Header::BYTES..header.frame_bytes())?;
    let text = match header.tag {
        frontend::QUERY => Query::read(body).whole().ok()?,
        frontend::PARSE => Parse::read(body).ok()?.text().ok()?,
        _ => return None,
    };
    let start = text.as_ptr().addr() - bytes.as_ptr().addr();
    Some(start..start + text.len())
}

/// True for what pgring itself answers: it needs no node.
fn is_question(text: &[u8]) -> bool {
    Show::may_be(text) && Show::read(text).is_some()
}
