//! What a client's names for prepared statements mean, exact under pipelining. Pure.
//!
//! A change counts for what follows it at once, and for good when the server has answered the message it came
//! with; when that message is refused or skipped the change never was. Each change carries the ledger's ticket of
//! its message.

use std::{collections::VecDeque, rc::Rc};

use hashbrown::HashMap;

use super::shapes::Shapes;
use crate::{
    protocol::tag::backend,
    worker::statements::{
        Statement,
        prepared::{NOBODYS, PREFIX, Prepared, ServerName, TAKEN},
        write_head,
    },
};

/// What a message does to the names.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A Parse: the name (empty: the unnamed statement) means this.
    Define(Box<[u8]>, Rc<Statement>),
    /// A Parse of ours: the connection has this statement.
    Prepare(Rc<Statement>),
    /// A Close: the name means nothing.
    Remove(Box<[u8]>),
    /// A Query: there is no unnamed statement any more. The connection's is off its books already.
    DropUnnamed,
}

/// A change whose message is not answered.
#[derive(Debug)]
struct Pending {
    ticket: u64,
    pipeline: u64,
    /// The name that it is about at the server; `None` for what pgring answers itself.
    at: Option<ServerName>,
    change: Change,
}

impl Pending {
    /// True when the server drops the unnamed statement even if it refuses the message.
    fn drops_unnamed(&self) -> bool {
        match &self.change {
            Change::Define(name, _) => name.is_empty(),
            Change::DropUnnamed => true,
            Change::Prepare(_) | Change::Remove(_) => false,
        }
    }
}

/// What a name means to the next message of a pipeline.
#[derive(Debug)]
pub(super) enum Meaning {
    /// This.
    Statement(Rc<Statement>),
    /// Nothing.
    Nothing,
    /// That depends on an answer that has not come.
    Unsure,
}

/// A client's names.
#[derive(Debug, Default)]
pub(super) struct Names {
    unnamed: Option<Rc<Statement>>,
    named: HashMap<Box<[u8]>, Rc<Statement>>,
    /// In the order of their messages.
    pending: VecDeque<Pending>,
    /// Bytes of names and statements, each statement counted for each of its names.
    bytes: usize,
    shapes: Shapes,
}

impl Names {
    /// What `name` means to a message of `pipeline`.
    pub(super) fn find(&self, name: &[u8], pipeline: u64) -> Meaning {
        let name = key(name);
        for pending in self.pending.iter().rev() {
            let meaning = match &pending.change {
                Change::Define(defined, statement) if **defined == *name => {
                    Meaning::Statement(Rc::clone(statement))
                }
                Change::Remove(removed) if **removed == *name => Meaning::Nothing,
                Change::DropUnnamed if name.is_empty() => Meaning::Nothing,
                _ => continue,
            };
            return if pending.pipeline == pipeline {
                meaning
            } else {
                Meaning::Unsure
            };
        }
        let settled = if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name)
        };
        settled.map_or(Meaning::Nothing, |statement| {
            Meaning::Statement(Rc::clone(statement))
        })
    }

    /// Notes what the message with this ticket does.
    pub(super) fn change(
        &mut self,
        ticket: u64,
        pipeline: u64,
        at: Option<ServerName>,
        change: Change,
    ) {
        if let Change::Define(name, statement) = &change
            && !name.is_empty()
            && statement.context().is_some()
        {
            self.shapes.define(statement);
        }
        self.pending.push_back(Pending {
            ticket,
            pipeline,
            at,
            change,
        });
    }

    /// All messages before `ticket` were answered.
    #[inline]
    pub(super) fn settle(&mut self, ticket: u64, server: Option<&mut Prepared>) {
        if self
            .pending
            .front()
            .is_some_and(|pending| pending.ticket < ticket)
        {
            self.settle_all(ticket, server);
        }
    }

    fn settle_all(&mut self, ticket: u64, mut server: Option<&mut Prepared>) {
        while let Some(pending) = self.pop_before(ticket) {
            if let (Some(name), Some(server)) = (&pending.at, server.as_deref_mut())
                && let Change::Define(_, statement) | Change::Prepare(statement) = &pending.change
            {
                statement.accept();
                server.confirm(statement, name);
            }
            self.apply(pending.change);
        }
    }

    /// All messages before `ticket` were skipped, but for `failed`, which was refused as the client sees it.
    pub(super) fn refute(&mut self, failed: u64, ticket: u64, mut server: Option<&mut Prepared>) {
        self.shapes.skip(ticket);
        while let Some(pending) = self.pop_before(ticket) {
            if pending.ticket == failed && pending.drops_unnamed() {
                // A Parse without a name drops what was there before it looks at the text.
                self.unnamed = None;
            }
            let (Some(name), Some(server)) = (&pending.at, server.as_deref_mut()) else {
                continue;
            };
            match &pending.change {
                Change::Define(_, statement) | Change::Prepare(statement) => {
                    server.refute(statement, name);
                }
                Change::DropUnnamed => server.doubt_unnamed(),
                Change::Remove(_) => {}
            }
        }
    }

    fn pop_before(&mut self, ticket: u64) -> Option<Pending> {
        let due = self.pending.front()?.ticket < ticket;
        due.then(|| self.pending.pop_front())?
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Define(name, statement) if name.is_empty() => self.unnamed = Some(statement),
            Change::Define(name, statement) => {
                let cost = cost(&name, &statement);
                if self.named.insert(name, statement).is_none() {
                    self.bytes += cost;
                }
            }
            Change::Prepare(_) => {}
            Change::DropUnnamed => self.unnamed = None,
            Change::Remove(name) if name.is_empty() => self.unnamed = None,
            Change::Remove(name) => self.remove(&name),
        }
    }

    /// The server has dropped what has this name, which is not the unnamed one's.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(statement) = self.named.remove(name) {
            self.bytes -= cost(name, &statement);
            self.shapes.remove(&statement);
        }
    }

    /// The server has dropped all that has a name.
    pub(super) fn remove_all(&mut self) {
        self.named = HashMap::new();
        self.shapes.remove_all();
        self.bytes = 0;
    }

    /// The same statement, as it is read under the settings of today.
    pub(super) fn replace(&mut self, name: &[u8], statement: &Rc<Statement>) {
        if name.is_empty() {
            self.unnamed = Some(Rc::clone(statement));
        } else if let Some(place) = self.named.get_mut(name) {
            // Its content is the same, and so are its bytes.
            self.shapes.replace(place, statement);
            *place = Rc::clone(statement);
        }
    }

    /// The server connection is gone, and with it every answer that was to come.
    pub(super) fn abandon(&mut self) {
        self.pending.clear();
        self.shapes.abandon();
    }

    /// The client's name for a statement, if it has one.
    pub(super) fn name_of(&self, statement: &Statement) -> Option<&[u8]> {
        let pending = self
            .pending
            .iter()
            .filter_map(|pending| match &pending.change {
                Change::Define(name, defined) => Some((name, defined)),
                _ => None,
            });
        let mut all = pending.chain(&self.named);
        let named = all.find(|(_, named)| named.id == statement.id);
        let unnamed = || {
            self.unnamed
                .as_ref()
                .filter(|unnamed| unnamed.id == statement.id)
        };
        named
            .map(|(name, _)| &**name)
            .or_else(|| unnamed().map(|_| &b""[..]))
    }

    /// What is known of the shapes of rows.
    pub(super) fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// The same, to be changed.
    pub(super) fn shapes_mut(&mut self) -> &mut Shapes {
        &mut self.shapes
    }

    /// Bytes of names and statements.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when no change waits for its answer.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// True when there is an unnamed statement, or may be.
    pub(super) fn may_have_unnamed(&self) -> bool {
        self.unnamed.is_some() || !self.pending.is_empty()
    }
}

/// An ErrorResponse with its names of ours replaced: its body in, a whole message out. `None` when it has none.
pub(super) fn rename<'a>(
    body: &[u8],
    client: impl Fn(&[u8]) -> Option<&'a [u8]>,
) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(body, PREFIX)?;
    let length = memchr::memchr2(b'"', 0, &body[start..])?;
    let ours = &body[start..start + length];
    let name = match ours.split_last()? {
        (&(NOBODYS | TAKEN), clients) => clients,
        _ => client(ours)?,
    };
    let mut out = Vec::new();
    let rest = &body[start + length..];
    let bytes = start + name.len() + rest.len();
    write_head(backend::ERROR_RESPONSE.0, &[], bytes, &mut out);
    out.extend_from_slice(&body[..start]);
    out.extend_from_slice(name);
    out.extend_from_slice(rest);
    Some(out)
}

/// The part of a name that PostgreSQL tells statements apart by (`NAMEDATALEN`).
pub(super) fn key(name: &[u8]) -> &[u8] {
    const NAME_BYTES_MAX: usize = 63;
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

/// What a name and its statement cost, in bytes.
pub(super) fn cost(name: &[u8], statement: &Statement) -> usize {
    name.len() + statement.content().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{parameters::Interner, statements::Store};

    const SENT: Option<ServerName> = Some(ServerName::UNNAMED);

    fn statement(text: &str) -> Rc<Statement> {
        let content = [text.as_bytes(), b"\0\0\0"].concat();
        Store::default().of(&content, Some(&Interner::default().empty()))
    }

    fn define(name: &str) -> Change {
        Change::Define(name.as_bytes().into(), statement(name))
    }

    fn read(names: &Names, name: &str, pipeline: u64) -> &'static str {
        match names.find(name.as_bytes(), pipeline) {
            Meaning::Statement(_) => "statement",
            Meaning::Nothing => "nothing",
            Meaning::Unsure => "unsure",
        }
    }

    #[test]
    fn a_name_means_something_to_its_own_pipeline_at_once() {
        let mut names = Names::default();
        names.change(0, 0, SENT, define("a"));
        assert_eq!(read(&names, "a", 0), "statement");
        assert_eq!(read(&names, "a", 1), "unsure");
        assert_eq!(read(&names, "b", 0), "nothing");
        names.settle(1, None);
        assert_eq!(read(&names, "a", 1), "statement");
        assert_eq!(names.bytes(), 1 + "a\0\0\0".len());
    }

    #[test]
    fn what_was_refused_never_was() {
        let mut names = Names::default();
        names.change(0, 0, SENT, define("kept"));
        names.settle(1, None);
        names.change(1, 0, None, Change::Remove(b"kept"[..].into()));
        names.change(2, 0, SENT, define("never"));
        assert_eq!(read(&names, "kept", 0), "nothing");
        names.refute(1, 3, None);
        assert_eq!(read(&names, "kept", 0), "statement");
        assert_eq!(read(&names, "never", 0), "nothing");
    }

    #[test]
    fn a_parse_without_a_name_drops_what_was_there_even_if_it_fails() {
        for (failed, left) in [(1, "nothing"), (2, "statement")] {
            let mut names = Names::default();
            names.change(0, 0, SENT, define(""));
            names.settle(1, None);
            names.change(failed, 0, SENT, define(""));
            names.refute(1, 3, None);
            assert_eq!(read(&names, "", 0), left, "refused, or skipped");
        }
    }

    #[test]
    fn a_query_drops_the_unnamed_statement() {
        let mut names = Names::default();
        names.change(0, 0, SENT, define(""));
        names.change(1, 1, SENT, Change::DropUnnamed);
        assert_eq!(read(&names, "", 1), "nothing");
        names.settle(1, None);
        assert_eq!(read(&names, "", 1), "nothing");
        names.settle(2, None);
        assert_eq!(read(&names, "", 2), "nothing");
    }

    #[test]
    fn all_names_go_with_deallocate_all() {
        let mut names = Names::default();
        for (ticket, name) in ["a", ""].iter().enumerate() {
            names.change(ticket as u64, 0, SENT, define(name));
        }
        names.settle(2, None);
        names.remove_all();
        assert_eq!(read(&names, "a", 0), "nothing");
        assert_eq!(read(&names, "", 0), "statement");
        assert_eq!(names.bytes(), 0);
    }

    #[test]
    fn the_server_learns_with_the_client() {
        let (mut names, mut server) = (Names::default(), Prepared::default());
        let one = statement("one");
        let name = server.prepare_named(&one, 0);
        names.change(0, 0, Some(name), Change::Prepare(Rc::clone(&one)));
        names.refute(0, 1, Some(&mut server));
        assert_eq!(server.len(), 0);
        let name = server.prepare_named(&one, 0);
        names.change(1, 0, Some(name), Change::Prepare(Rc::clone(&one)));
        names.settle(2, Some(&mut server));
        assert!(matches!(
            server.find(&one, 7),
            crate::worker::statements::prepared::Presence::Here(_)
        ));
    }
}
