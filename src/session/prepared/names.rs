//! A client's names for prepared statements and their meanings, exact under pipelining. Pure.
//!
//! A change counts for what follows it at once, and for good when the server has answered the message it came
//! with; when that message is refused or skipped the change never was. Each change carries the ledger's ticket of
//! its message.

use std::{collections::VecDeque, rc::Rc};

use hashbrown::HashMap;

use super::row_shape::{RowShapes, Told};
use super::{
    Statement,
    server::{NOBODYS, PREFIX, Prepared, ServerName, TAKEN},
    write_head,
};
use crate::{
    cluster::stamps::{Stamp, Stamps},
    protocol::tag::backend,
};

/// Definition of a name by a Parse of its client.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) statement: Rc<Statement>,
    /// That Parse. (For the unnamed statement also a later one of ours, when it was found to make the same.)
    pub(crate) own: Stamp,
    /// Copies with later stamps were surely parsed after the client's Parse was answered.
    pub(crate) since: Stamp,
    /// The client's Parse has not been answered.
    pub(crate) is_pending: bool,
    /// Its rows and parameters, as the server first described them to its client or to pgring.
    pub(crate) told: Option<Told>,
    /// The types of its parameters, where they are not those that the client gave.
    pub(crate) types: Option<Rc<[u8]>>,
}

impl Definition {
    /// By a Parse with this stamp.
    pub(crate) fn new(statement: &Rc<Statement>, own: Stamp) -> Self {
        let lasts = statement.is_plain();
        Self {
            statement: Rc::clone(statement),
            own,
            since: if lasts { Stamp::FIRST } else { Stamp::LAST },
            is_pending: true,
            told: None,
            types: None,
        }
    }

    /// True when it can be executed as what the Parse with this stamp has made. What was parsed before the client's
    /// Parse may have found other objects under the same names. Within its own pipeline, messages are read in their
    /// order, and later ones are those with later stamps.
    pub(crate) fn allows(&self, stamp: Stamp) -> bool {
        let after = if self.is_pending {
            self.own
        } else {
            self.since
        };
        stamp == self.own || stamp > after
    }

    /// The types of its parameters, as they stand in a message.
    pub(crate) fn types(&self) -> &[u8] {
        self.types.as_deref().unwrap_or(self.statement.types())
    }

    /// Writes a Parse that makes the same of it, as far as it depends on parameter types.
    pub(crate) fn write_parse(&self, name: &[u8], out: &mut Vec<u8>) {
        self.statement.write_parse(name, self.types(), out);
    }
}

/// Change of the names by one message.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A Parse: the name (empty: the unnamed statement) means this.
    Define(Box<[u8]>, Definition),
    /// A Parse of ours: the connection has this statement.
    Prepare(Rc<Statement>),
    /// A Close: the name means nothing.
    Remove(Box<[u8]>),
    /// A Query: there is no unnamed statement any more. The connection's is off its books already.
    DropUnnamed,
}

impl Change {
    /// Statement that the server has prepared once it has answered the message.
    fn prepares(&self) -> Option<&Statement> {
        match self {
            Self::Define(_, definition) => Some(&definition.statement),
            Self::Prepare(statement) => Some(statement),
            Self::Remove(_) | Self::DropUnnamed => None,
        }
    }

    /// Bytes that it keeps until it is answered.
    fn bytes(&self) -> usize {
        match self {
            Self::Define(name, definition) => cost(name, &definition.statement),
            Self::Prepare(statement) => statement.content().len(),
            Self::Remove(name) => name.len(),
            Self::DropUnnamed => 0,
        }
    }
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

/// Meaning of a name for the next message of a pipeline.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// This.
    Statement(Definition),
    /// Nothing.
    Nothing,
    /// That depends on an answer that has not come.
    Unsure,
}

/// A client's names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    unnamed: Option<Definition>,
    named: HashMap<Box<[u8]>, Definition>,
    /// In the order of their messages.
    pending: VecDeque<Pending>,
    /// Names whose Parse was answered since it was last asked what came before.
    unstamped: Vec<Box<[u8]>>,
    /// Bytes of names and statements, each statement counted for each of its names.
    bytes: usize,
    /// Bytes of the changes that are not answered yet.
    pending_bytes: usize,
    row_shapes: RowShapes,
}

impl Names {
    /// Meaning of `name` for the next message of `pipeline`.
    pub(crate) fn find(&self, name: &[u8], pipeline: u64) -> Meaning {
        let name = key(name);
        for pending in self.pending.iter().rev() {
            let meaning = match &pending.change {
                Change::Define(defined, definition) if **defined == *name => {
                    Meaning::Statement(definition.clone())
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
        settled.map_or(Meaning::Nothing, |definition| {
            Meaning::Statement(definition.clone())
        })
    }

    /// The definition of a name that its client's Parse with this stamp has made, if that still holds.
    pub(crate) fn defined(&mut self, name: &[u8], own: Stamp) -> Option<&mut Definition> {
        let settled = if name.is_empty() {
            self.unnamed.as_mut()
        } else {
            self.named.get_mut(key(name))
        };
        settled.filter(|definition| definition.own == own)
    }

    /// True unless the client's Parse with this stamp has made the unnamed statement that there is, and nothing was
    /// said of that.
    pub(crate) fn is_told_unnamed(&self, own: Stamp) -> bool {
        let pending = self.pending.iter().rev();
        let pending = pending.filter_map(|pending| match &pending.change {
            Change::Define(name, definition) if name.is_empty() => Some(definition),
            _ => None,
        });
        let mut all = pending.chain(&self.unnamed);
        let made = all.find(|definition| definition.own == own);
        made.is_none_or(|definition| definition.told.is_some())
    }

    /// All that was answered so far was answered before `stamps` gives out the next number.
    #[inline]
    pub(crate) fn stamp(&mut self, stamps: &Stamps) {
        if !self.unstamped.is_empty() {
            self.stamp_all(stamps.next());
        }
    }

    #[cold]
    fn stamp_all(&mut self, since: Stamp) {
        for name in self.unstamped.drain(..) {
            if let Some(definition) = self.named.get_mut(&name) {
                definition.since = since.min(definition.since);
            }
        }
    }

    /// Notes what the server said of a statement when its client defined it, or first asked.
    pub(crate) fn tell(&mut self, name: &[u8], own: Stamp, told: Told, types: Option<&[u8]>) {
        let Some(definition) = self.defined(name, own) else {
            return;
        };
        if definition.told.is_some() {
            return;
        }
        definition.told = Some(told);
        let types = types.filter(|types| *types != definition.statement.types());
        definition.types = types.map(Rc::from);
        let more = types.map_or(0, <[u8]>::len);
        self.bytes += if name.is_empty() { 0 } else { more };
    }

    /// Notes what the message with this ticket does.
    pub(crate) fn change(
        &mut self,
        ticket: u64,
        pipeline: u64,
        at: Option<ServerName>,
        change: Change,
    ) {
        self.pending_bytes += change.bytes();
        self.pending.push_back(Pending {
            ticket,
            pipeline,
            at,
            change,
        });
    }

    /// All messages before `ticket` were answered.
    #[inline]
    pub(crate) fn settle(&mut self, ticket: u64, server: Option<&mut Prepared>) {
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
                && let Some(statement) = pending.change.prepares()
            {
                server.confirm(statement, name);
            }
            self.apply(pending.change);
        }
    }

    /// All messages before `ticket` were skipped, but for `failed`, which was refused as the client sees it.
    pub(crate) fn refute(&mut self, failed: u64, ticket: u64, mut server: Option<&mut Prepared>) {
        self.row_shapes.skip(ticket);
        while let Some(pending) = self.pop_before(ticket) {
            if pending.ticket == failed && pending.drops_unnamed() {
                // A Parse without a name drops what was there before it looks at the text.
                self.unnamed = None;
            }
            let (Some(name), Some(server)) = (&pending.at, server.as_deref_mut()) else {
                continue;
            };
            match pending.change.prepares() {
                Some(statement) => server.refute(statement, name),
                None if pending.drops_unnamed() => server.doubt_unnamed(),
                None => {}
            }
        }
    }

    fn pop_before(&mut self, ticket: u64) -> Option<Pending> {
        let due = self.pending.front()?.ticket < ticket;
        let pending = due.then(|| self.pending.pop_front())??;
        self.pending_bytes -= pending.change.bytes();
        Some(pending)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Define(name, mut definition) => {
                definition.is_pending = false;
                self.define(name, definition);
            }
            Change::Prepare(_) => {}
            Change::DropUnnamed => self.unnamed = None,
            Change::Remove(name) if name.is_empty() => self.unnamed = None,
            Change::Remove(name) => self.remove(&name),
        }
    }

    fn define(&mut self, name: Box<[u8]>, definition: Definition) {
        if name.is_empty() {
            self.unnamed = Some(definition);
            return;
        }
        let cost = cost(&name, &definition.statement);
        self.unstamped.push(name.clone());
        if self.named.insert(name, definition).is_none() {
            self.bytes += cost;
        }
    }

    /// The server has dropped what has this name, which is not the unnamed one's.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        if let Some(definition) = self.named.remove(name) {
            let types = definition.types.map_or(0, |types| types.len());
            self.bytes -= cost(name, &definition.statement) + types;
        }
    }

    /// The server has dropped all that has a name.
    pub(crate) fn remove_all(&mut self) {
        self.named = HashMap::new();
        self.bytes = 0;
    }

    /// The server connection is gone, and with it every answer that was to come.
    pub(crate) fn abandon(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.row_shapes.abandon();
    }

    /// The client's name for a statement, if it has one.
    pub(crate) fn name_of(&self, statement: &Statement) -> Option<&[u8]> {
        let is_it = |definition: &Definition| definition.statement.id == statement.id;
        let pending = self
            .pending
            .iter()
            .filter_map(|pending| match &pending.change {
                Change::Define(name, definition) => Some((name, definition)),
                _ => None,
            });
        let mut all = pending.chain(&self.named);
        let named = all.find(|(_, named)| is_it(named));
        let unnamed = || self.unnamed.as_ref().is_some_and(is_it).then_some(&b""[..]);
        named.map(|(name, _)| &**name).or_else(unnamed)
    }

    /// Descriptions of statements that are under way.
    pub(crate) fn row_shapes(&self) -> &RowShapes {
        &self.row_shapes
    }

    /// Descriptions of statements that are under way, to be changed.
    pub(crate) fn row_shapes_mut(&mut self) -> &mut RowShapes {
        &mut self.row_shapes
    }

    /// Bytes of names and statements, those that the server has not answered yet among them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.pending_bytes
    }

    /// True when no change waits for its answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// True when there is an unnamed statement, or may be.
    pub(crate) fn may_have_unnamed(&self) -> bool {
        self.unnamed.is_some() || !self.pending.is_empty()
    }
}

/// An ErrorResponse with its names of ours replaced: its body in, a whole message out. `None` when it has none.
pub(crate) fn rename<'a>(
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
pub(crate) fn key(name: &[u8]) -> &[u8] {
    const NAME_BYTES_MAX: usize = 63;
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

/// Bytes that a name and its statement cost.
pub(crate) fn cost(name: &[u8], statement: &Statement) -> usize {
    name.len() + statement.content().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{
        prepared::{Store, server::Presence},
        state::parameters::Interner,
    };

    const SENT: Option<ServerName> = Some(ServerName::UNNAMED);

    fn statement(text: &str) -> Rc<Statement> {
        let content = [text.as_bytes(), b"\0\0\0"].concat();
        Store::default().of(&content, Some(&Interner::default().empty()))
    }

    fn define(name: &str) -> Change {
        let definition = Definition::new(&statement(name), Stamp::FIRST);
        Change::Define(name.as_bytes().into(), definition)
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
        let (one, stamps) = (statement("one"), Stamps::default());
        let name = server.prepare_named(&one, stamps.next(), 0);
        names.change(0, 0, Some(name), Change::Prepare(Rc::clone(&one)));
        names.refute(0, 1, Some(&mut server));
        assert_eq!(server.len(), 0);
        let name = server.prepare_named(&one, stamps.next(), 0);
        names.change(1, 0, Some(name), Change::Prepare(Rc::clone(&one)));
        names.settle(2, Some(&mut server));
        assert!(matches!(server.named(&one, 7), Presence::Here(_)));
    }

    #[test]
    fn a_copy_must_be_as_new_as_the_clients_parse() {
        let stamps = Stamps::default();
        let (before, own, meanwhile) = (stamps.next(), stamps.next(), stamps.next());
        let (answered, after) = (stamps.next(), stamps.next());
        let mut definition = Definition::new(&statement("SELECT 1"), own);
        let allowed = |definition: &Definition| {
            [before, own, meanwhile, after].map(|stamp| definition.allows(stamp))
        };
        assert_eq!(
            allowed(&definition),
            [false, true, true, true],
            "in its pipeline, on its connection"
        );
        definition.is_pending = false;
        assert_eq!(allowed(&definition), [false, true, false, false]);
        definition.since = answered;
        assert_eq!(allowed(&definition), [false, true, false, true]);
        let begin = Definition::new(&statement("BEGIN"), own);
        assert_eq!(allowed(&begin), [false, true, true, true]);
    }

    #[test]
    fn what_was_told_stays_with_its_name() {
        let told = |rows| Told {
            rows,
            parameters: None,
        };
        let mut names = Names::default();
        let stamps = Stamps::default();
        let one = statement("SELECT $1");
        for (ticket, name) in ["a", "b"].iter().enumerate() {
            let definition = Definition::new(&one, stamps.next());
            let change = Change::Define(name.as_bytes().into(), definition);
            names.change(ticket as u64, 0, SENT, change);
        }
        names.settle(2, None);
        let bytes = names.bytes();
        let own = |names: &Names, name: &str| match names.find(name.as_bytes(), 1) {
            Meaning::Statement(definition) => definition.own,
            Meaning::Nothing | Meaning::Unsure => Stamp::FIRST,
        };
        let told_of = |names: &Names, name: &str| match names.find(name.as_bytes(), 1) {
            Meaning::Statement(definition) => definition.told,
            Meaning::Nothing | Meaning::Unsure => None,
        };
        let (a, b) = (own(&names, "a"), own(&names, "b"));
        names.tell(b"a", a, told(1), Some(b"\0\x01\0\0\0\x17"));
        names.tell(b"b", a, told(3), None);
        assert_eq!(told_of(&names, "b"), None, "that was another Parse");
        names.tell(b"b", b, told(2), None);
        names.tell(b"a", a, told(4), None);
        assert_eq!(
            (told_of(&names, "a"), told_of(&names, "b")),
            (Some(told(1)), Some(told(2)))
        );
        assert_eq!(names.bytes(), bytes + 6, "its types count");
        names.remove(b"a");
        names.remove(b"b");
        assert_eq!(names.bytes(), 0);
    }
}
