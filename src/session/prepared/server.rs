//! The prepared statements of one server connection, their names there, and those of them that are to be closed. Pure.
//!
//! Names are numbers that are never used twice, so that a late answer or a late Close cannot mean another
//! statement than it did when it was sent.

use std::{rc::Rc, sync::Arc};

use hashbrown::HashMap;

use super::Statement;
use crate::{
    cluster::{
        messages::{HandedStatement, Shape},
        stamps::Stamp,
    },
    limits::PREPARED_BYTES_MAX,
    protocol::{Writer, frontend::Target},
};

/// Beginning of the names that pgring gives to statements at a server.
pub(crate) const PREFIX: &[u8] = b"pgring_";

/// Byte that is put behind a client's name that looks like one of ours, so that nothing is found under it.
pub(crate) const NOBODYS: u8 = b'?';

/// Byte that is put behind such a name when the client defines it again, so that the server finds the client's.
pub(crate) const TAKEN: u8 = b'!';

/// Longest name of ours, in bytes.
const NAME_BYTES_MAX: usize = PREFIX.len() + 16;

/// A name of ours at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerName {
    bytes: [u8; NAME_BYTES_MAX],
    length: u8,
}

impl ServerName {
    /// The unnamed statement.
    pub(crate) const UNNAMED: Self = Self {
        bytes: [0; NAME_BYTES_MAX],
        length: 0,
    };

    /// The name with this number: the prefix and hexadecimal digits.
    pub(crate) fn of(number: u64) -> Self {
        let mut name = Self::UNNAMED;
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        let shifts = (0..digits).rev().map(|digit| 4 * digit);
        let digit = |shift| b"0123456789abcdef"[(number >> shift & 15) as usize];
        let bytes = PREFIX.iter().copied().chain(shifts.map(digit));
        for (place, byte) in name.bytes.iter_mut().zip(bytes) {
            *place = byte;
            name.length += 1;
        }
        name
    }

    /// As it stands in a message.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Which pipeline of a session is not answered yet; `None`: answered.
type Unanswered = Option<u64>;

/// A statement as the server has parsed it once.
#[derive(Debug)]
struct Copy {
    statement: Rc<Statement>,
    /// Its Parse.
    stamp: Stamp,
    /// When the server has described it.
    shape: Option<Shape>,
    unanswered: Unanswered,
}

impl Copy {
    fn new(statement: &Rc<Statement>, stamp: Stamp, pipeline: u64) -> Self {
        Self {
            statement: Rc::clone(statement),
            stamp,
            shape: None,
            unanswered: Some(pipeline),
        }
    }

    fn bytes(&self) -> usize {
        self.statement.content().len()
    }

    fn presence(&self, name: ServerName, pipeline: u64) -> Presence {
        if self.unanswered.is_some_and(|other| other != pipeline) {
            return Presence::Unsure;
        }
        Presence::Here(Found {
            name,
            stamp: self.stamp,
            shape: self.shape,
        })
    }
}

/// A statement under one of our names.
#[derive(Debug)]
struct Known {
    copy: Copy,
    number: u64,
    /// The name with this number.
    name: ServerName,
    /// When it was last used, by the connection's own count.
    used: u64,
}

/// The unnamed statement of the connection.
#[derive(Debug, Default)]
enum Slot {
    /// There is none.
    #[default]
    Empty,
    /// This one.
    Holds(Copy),
    /// Nobody knows.
    Unknown,
}

/// A statement that a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: ServerName,
    /// Its Parse there.
    pub(crate) stamp: Stamp,
    /// When the server has described it.
    pub(crate) shape: Option<Shape>,
}

/// Where a connection has a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Here.
    Here(Found),
    /// Nowhere.
    Absent,
    /// It was prepared by a pipeline whose answer has not come.
    Unsure,
}

/// The prepared statements of one server connection.
#[derive(Debug, Default)]
pub struct Prepared {
    known: HashMap<u64, Known>,
    /// Bytes of those.
    bytes: usize,
    slot: Slot,
    /// The last number that was given to a name.
    last: u64,
    clock: u64,
    /// Numbers of statements that the server may have and nobody uses.
    closing: Vec<u64>,
    /// The client's own names that are in use here: the connection must be reset before another session has it.
    stains: Vec<Box<[u8]>>,
}

impl Prepared {
    /// Where `statement` is under a name of ours, for use in `pipeline`.
    pub(crate) fn named(&mut self, statement: &Statement, pipeline: u64) -> Presence {
        let Some(known) = self.known.get_mut(&statement.id) else {
            return Presence::Absent;
        };
        let presence = known.copy.presence(known.name, pipeline);
        if matches!(presence, Presence::Here(_)) {
            self.clock += 1;
            known.used = self.clock;
        }
        presence
    }

    /// Whether `statement` is the connection's unnamed one, for use in `pipeline`.
    pub(crate) fn unnamed(&self, statement: &Statement, pipeline: u64) -> Presence {
        match &self.slot {
            Slot::Holds(held) if held.statement.id == statement.id => {
                held.presence(ServerName::UNNAMED, pipeline)
            }
            _ => Presence::Absent,
        }
    }

    /// A Parse of `statement` is sent under the name that is answered. What the connection had of it goes.
    pub(crate) fn prepare_named(
        &mut self,
        statement: &Rc<Statement>,
        stamp: Stamp,
        pipeline: u64,
    ) -> ServerName {
        let name = self.next_name();
        self.clock += 1;
        let known = Known {
            copy: Copy::new(statement, stamp, pipeline),
            number: self.last,
            name,
            used: self.clock,
        };
        self.bytes += statement.content().len();
        if let Some(old) = self.known.insert(statement.id, known) {
            self.closing.push(old.number);
            self.count_bytes();
        }
        name
    }

    /// A name that was never used, and is no client's own.
    fn next_name(&mut self) -> ServerName {
        loop {
            self.last += 1;
            let name = ServerName::of(self.last);
            if !self.is_stained_by(name.bytes()) {
                return name;
            }
        }
    }

    /// A Parse of `statement` without a name is sent.
    pub(crate) fn prepare_unnamed(
        &mut self,
        statement: &Rc<Statement>,
        stamp: Stamp,
        pipeline: u64,
    ) {
        self.slot = Slot::Holds(Copy::new(statement, stamp, pipeline));
    }

    /// The server has prepared it under this name.
    pub(crate) fn confirm(&mut self, statement: &Statement, name: &ServerName) {
        if *name == ServerName::UNNAMED {
            if let Slot::Holds(held) = &mut self.slot
                && held.statement.id == statement.id
            {
                held.unanswered = None;
            }
        } else if let Some(known) = self.known.get_mut(&statement.id)
            && known.name == *name
        {
            known.copy.unanswered = None;
        }
    }

    /// The server has refused or skipped its Parse under this name.
    pub(crate) fn refute(&mut self, statement: &Statement, name: &ServerName) {
        if *name == ServerName::UNNAMED {
            if matches!(&self.slot, Slot::Holds(held) if held.statement.id == statement.id) {
                self.slot = Slot::Unknown;
            }
            return;
        }
        let is_it = |known: &Known| known.name == *name;
        if self.known.get(&statement.id).is_some_and(is_it) {
            self.known.remove(&statement.id);
            self.count_bytes();
        }
    }

    /// No statement of the connection can be relied on any more: those with names are to be closed, and nobody knows
    /// the unnamed one.
    pub(crate) fn doubt_named(&mut self) {
        let numbers = self.known.drain().map(|(_, known)| known.number);
        self.closing.extend(numbers);
        self.bytes = 0;
        self.slot = Slot::Unknown;
    }

    /// The message that is sent next destroys the unnamed statement.
    pub(crate) fn drop_unnamed(&mut self) {
        self.slot = Slot::Empty;
    }

    /// True when the connection surely has no unnamed statement.
    pub(crate) fn has_no_unnamed(&self) -> bool {
        matches!(self.slot, Slot::Empty)
    }

    /// The server has dropped all that had a name.
    pub(crate) fn drop_named(&mut self) {
        self.known.clear();
        self.bytes = 0;
        self.closing.clear();
        self.stains.clear();
    }

    /// The server has described what the Parse with this stamp made of `statement`.
    pub(crate) fn described(&mut self, statement: &Statement, stamp: Stamp, shape: Shape) {
        let named = self
            .known
            .get_mut(&statement.id)
            .map(|known| &mut known.copy);
        let slot = match &mut self.slot {
            Slot::Holds(held) => Some(held),
            Slot::Empty | Slot::Unknown => None,
        };
        for copy in named.into_iter().chain(slot) {
            if copy.stamp == stamp {
                copy.shape = Some(shape);
            }
        }
    }

    /// Nobody knows any more which unnamed statement the connection has, if any.
    pub(crate) fn doubt_unnamed(&mut self) {
        self.slot = Slot::Unknown;
    }

    /// All of it is gone: the connection was reset.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.bytes = 0;
        self.closing.clear();
        self.slot = Slot::Empty;
        self.stains.clear();
    }

    /// Notes that the connection has something under a client's own name; false when that was noted already.
    pub(crate) fn stain(&mut self, name: &[u8]) -> bool {
        let new = !self.is_stained_by(name);
        if new {
            self.stains.push(name.into());
        }
        new
    }

    /// A client is going to use this name of its own: what the connection has of ours there goes off the books. True
    /// when the server must close it.
    #[cold]
    pub(crate) fn set_aside(&mut self, name: &[u8]) -> bool {
        if self.is_stained_by(name) {
            return false;
        }
        let (known, closing) = (self.known.len(), self.closing.len());
        self.known.retain(|_, known| known.name.bytes() != name);
        self.closing
            .retain(|&number| ServerName::of(number).bytes() != name);
        self.count_bytes();
        known > self.known.len() || closing > self.closing.len()
    }

    /// The statement under this name of a client is gone.
    pub(crate) fn unstain(&mut self, name: &[u8]) {
        self.stains.retain(|stain| **stain != *name);
    }

    /// True when the connection has something under this name of a client.
    pub(crate) fn is_stained_by(&self, name: &[u8]) -> bool {
        self.stains.iter().any(|stain| **stain == *name)
    }

    /// True when the connection must be reset before another session may use it.
    #[inline]
    pub(crate) fn is_stained(&self) -> bool {
        !self.stains.is_empty()
    }

    /// Takes those that were not used for longest off the books until `limit` are left, and not too many bytes, and writes
    /// a Close for each that is of no use. Answers how many CloseComplete will come.
    pub(crate) fn tidy(&mut self, limit: usize, out: &mut Vec<u8>) -> usize {
        if self.has_too_many(limit) {
            self.evict(limit);
        }
        let count = self.closing.len();
        for number in self.closing.drain(..) {
            write_close(ServerName::of(number).bytes(), out);
        }
        count
    }

    /// True when there is something for [`Prepared::tidy`] to do.
    #[inline]
    pub(crate) fn needs_tidying(&self, limit: usize) -> bool {
        self.has_too_many(limit) || !self.closing.is_empty()
    }

    #[inline]
    fn has_too_many(&self, limit: usize) -> bool {
        self.known.len() > limit || self.bytes > PREPARED_BYTES_MAX
    }

    /// A few more than needed go, so that the next ones find room.
    #[cold]
    fn evict(&mut self, limit: usize) {
        let (count, bytes) = (limit - limit / 8, PREPARED_BYTES_MAX / 8 * 7);
        let uses = self.known.values();
        let mut uses: Vec<_> = uses.map(|it| (it.used, it.copy.bytes())).collect();
        uses.sort_unstable_by(|one, other| other.cmp(one));
        let mut left = bytes;
        let fits = |(_, bytes): &&(u64, usize)| {
            let fits = left >= *bytes;
            left = left.saturating_sub(*bytes);
            fits
        };
        // The one that was used last stays, however large it is: somebody is about to use it.
        let kept = uses.iter().take(count).take_while(fits).last();
        let kept = kept.or(uses.first());
        let oldest_kept = kept.map_or(u64::MAX, |(used, _)| *used);
        let old = |_: &u64, known: &mut Known| {
            known.used < oldest_kept && known.copy.unanswered.is_none()
        };
        let gone = self.known.extract_if(old).map(|(_, known)| known.number);
        self.closing.extend(gone);
        self.count_bytes();
    }

    /// After something was taken away.
    #[cold]
    fn count_bytes(&mut self) {
        self.bytes = self.known.values().map(|known| known.copy.bytes()).sum();
    }

    /// The statement that has this number here.
    pub(crate) fn by_name(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        let mut known = self.known.values();
        let known = known.find(|known| known.name.bytes() == name)?;
        Some(&known.copy.statement)
    }

    /// Numbers of what nobody uses and the server may have.
    pub(crate) fn unused(&self) -> &[u64] {
        &self.closing
    }

    /// The last number that was given to a name.
    pub(crate) fn last_number(&self) -> u64 {
        self.last
    }

    /// Numbers and statements of all that is surely prepared.
    pub(crate) fn inventory(&self) -> impl Iterator<Item = (u64, &Rc<Statement>)> {
        let sure = |known: &&Known| known.copy.unanswered.is_none();
        let list = self.known.values().filter(sure);
        list.map(|known| (known.number, &known.copy.statement))
    }

    /// All that is surely prepared and may be shared, for another core.
    pub(crate) fn pack(&self) -> impl Iterator<Item = HandedStatement> {
        let sure = |known: &&Known| known.copy.unanswered.is_none();
        self.known.values().filter(sure).filter_map(|known| {
            let statement = &known.copy.statement;
            Some(HandedStatement {
                number: known.number,
                content: Arc::clone(statement.content()),
                context: statement.shared_under()?.to_pairs(),
                stamp: known.copy.stamp,
                shape: known.copy.shape,
            })
        })
    }

    /// Puts together on the other core what [`Prepared::pack`] has given. `last`: the last number that was given to a
    /// name; `closing`: numbers of statements that the server may have and nobody uses.
    pub(crate) fn unpack(
        last: u64,
        list: impl Iterator<Item = (Rc<Statement>, HandedStatement)>,
        closing: Vec<u64>,
    ) -> Self {
        let mut prepared = Self {
            last,
            closing,
            slot: Slot::Unknown,
            ..Self::default()
        };
        for (statement, handed) in list {
            let known = Known {
                number: handed.number,
                name: ServerName::of(handed.number),
                used: 0,
                copy: Copy {
                    stamp: handed.stamp,
                    shape: handed.shape,
                    unanswered: None,
                    statement,
                },
            };
            let double = prepared.known.insert(known.copy.statement.id, known);
            prepared.closing.extend(double.map(|double| double.number));
        }
        prepared.count_bytes();
        prepared
    }

    /// How many statements have a name here.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Writes a Close of the statement `name`, which was read from a message.
pub(crate) fn write_close(name: &[u8], out: &mut Vec<u8>) {
    Writer::new(out)
        .close_object(Target::Statement, name)
        .expect("what ended at a NUL has none");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::stamps::Stamps,
        session::{prepared::Store, state::parameters::Interner},
    };

    /// A connection, and the numbers of its Parse messages.
    #[derive(Default)]
    struct Connection {
        prepared: Prepared,
        stamps: Stamps,
    }

    impl Connection {
        fn parse(&mut self, statement: &Rc<Statement>, pipeline: u64) -> ServerName {
            let stamp = self.stamps.next();
            self.prepared.prepare_named(statement, stamp, pipeline)
        }

        fn parse_unnamed(&mut self, statement: &Rc<Statement>, pipeline: u64) {
            let stamp = self.stamps.next();
            self.prepared.prepare_unnamed(statement, stamp, pipeline);
        }
    }

    fn statements(count: usize) -> Vec<Rc<Statement>> {
        let (store, settings) = (Store::default(), Interner::default().empty());
        let content = |number| [format!("SELECT {number}").as_bytes(), b"\0\0\0"].concat();
        (0..count)
            .map(|number| store.of(&content(number), Some(&settings)))
            .collect()
    }

    fn name_of(presence: Presence) -> Option<ServerName> {
        match presence {
            Presence::Here(found) => Some(found.name),
            Presence::Absent | Presence::Unsure => None,
        }
    }

    #[test]
    fn names_are_the_prefix_and_a_number() {
        let name = |number| String::from_utf8(ServerName::of(number).bytes().to_vec()).unwrap();
        assert_eq!(name(0), "pgring_0");
        assert_eq!(name(0x1f), "pgring_1f");
        assert_eq!(name(u64::MAX), "pgring_ffffffffffffffff");
        assert!(ServerName::UNNAMED.bytes().is_empty());
    }

    #[test]
    fn what_is_unanswered_can_be_relied_on_in_its_own_pipeline_alone() {
        let (one, mut at) = (&statements(1)[0], Connection::default());
        assert_eq!(at.prepared.named(one, 1), Presence::Absent);
        let name = at.parse(one, 1);
        assert_eq!(name_of(at.prepared.named(one, 1)), Some(name));
        assert_eq!(at.prepared.named(one, 2), Presence::Unsure);
        at.prepared.confirm(one, &name);
        assert_eq!(name_of(at.prepared.named(one, 2)), Some(name));
    }

    #[test]
    fn a_later_parse_takes_the_place_of_an_earlier_one() {
        let (one, mut at) = (&statements(1)[0], Connection::default());
        let first = at.parse(one, 1);
        let second = at.parse(one, 1);
        at.prepared.confirm(one, &first);
        assert_eq!(at.prepared.named(one, 2), Presence::Unsure, "not that one");
        at.prepared.confirm(one, &second);
        assert_eq!(name_of(at.prepared.named(one, 2)), Some(second));
        assert_eq!(at.prepared.unused(), [1]);
    }

    #[test]
    fn a_description_is_of_one_parse() {
        let (one, mut at) = (&statements(1)[0], Connection::default());
        let (old, new) = (at.stamps.next(), at.stamps.next());
        let shape = Shape {
            rows: 1,
            parameters: 2,
        };
        at.prepared.prepare_named(one, new, 1);
        let shape_of = |prepared: &mut Prepared| match prepared.named(one, 1) {
            Presence::Here(found) => found.shape,
            Presence::Absent | Presence::Unsure => None,
        };
        at.prepared.described(one, old, shape);
        assert_eq!(shape_of(&mut at.prepared), None);
        at.prepared.described(one, new, shape);
        assert_eq!(shape_of(&mut at.prepared), Some(shape));
    }

    #[test]
    fn what_was_refused_is_not_there() {
        let (one, mut at) = (&statements(1)[0], Connection::default());
        let name = at.parse(one, 1);
        at.parse_unnamed(one, 1);
        at.prepared.confirm(one, &ServerName::UNNAMED);
        assert_eq!(
            at.prepared.named(one, 2),
            Presence::Unsure,
            "the other one was confirmed"
        );
        at.prepared.drop_unnamed();
        at.prepared.refute(one, &name);
        assert_eq!(at.prepared.named(one, 1), Presence::Absent);
        at.parse_unnamed(one, 2);
        let unnamed = Some(ServerName::UNNAMED);
        assert_eq!(name_of(at.prepared.unnamed(one, 2)), unnamed);
        at.prepared.refute(one, &ServerName::UNNAMED);
        assert_eq!(at.prepared.unnamed(one, 2), Presence::Absent);
        assert!(
            !at.prepared.has_no_unnamed(),
            "the one before may still be there"
        );
    }

    #[test]
    fn those_not_used_for_longest_are_closed() {
        let (all, mut at) = (statements(5), Connection::default());
        for statement in &all {
            let name = at.parse(statement, 1);
            at.prepared.confirm(statement, &name);
        }
        let is_here = |presence| name_of(presence).is_some();
        assert!(is_here(at.prepared.named(&all[0], 2)));
        let mut out = Vec::new();
        assert!(at.prepared.needs_tidying(4));
        assert_eq!(at.prepared.tidy(4, &mut out), 1);
        assert_eq!(out, b"C\0\0\0\x0eSpgring_2\0");
        assert_eq!(at.prepared.named(&all[1], 2), Presence::Absent);
        assert!(is_here(at.prepared.named(&all[0], 2)));
        assert!(!at.prepared.needs_tidying(4));
    }

    #[test]
    fn one_that_is_larger_than_all_may_be_stays_while_it_is_used() {
        let (store, settings) = (Store::default(), Interner::default().empty());
        let text = format!("SELECT '{}'", "x".repeat(PREPARED_BYTES_MAX + 1));
        let large = store.of(&[text.as_bytes(), b"\0\0\0"].concat(), Some(&settings));
        let small = |text: &[u8]| store.of(&[text, b"\0\0\0"].concat(), Some(&settings));
        let all = [small(b"SELECT 1"), small(b"SELECT 2")];
        let mut at = Connection::default();
        for statement in [&all[0], &large] {
            let name = at.parse(statement, 1);
            at.prepared.confirm(statement, &name);
        }
        let mut out = Vec::new();
        assert_eq!(at.prepared.tidy(10, &mut out), 1);
        assert_eq!(at.prepared.named(&all[0], 2), Presence::Absent);
        assert!(name_of(at.prepared.named(&large, 2)).is_some());
        let name = at.parse(&all[1], 2);
        at.prepared.confirm(&all[1], &name);
        assert_eq!(at.prepared.tidy(10, &mut out), 1);
        assert_eq!(at.prepared.named(&large, 3), Presence::Absent);
    }

    #[test]
    fn all_that_is_sure_survives_the_journey() {
        let (all, mut at) = (statements(3), Connection::default());
        let shape = Shape {
            rows: 1,
            parameters: 2,
        };
        for statement in &all[..2] {
            let name = at.parse(statement, 1);
            at.prepared.confirm(statement, &name);
            if let Presence::Here(found) = at.prepared.named(statement, 1) {
                at.prepared.described(statement, found.stamp, shape);
            }
        }
        let before = at.prepared.named(&all[1], 9);
        at.parse(&all[2], 2);
        let find = |handed: HandedStatement| {
            let same = |statement: &&Rc<Statement>| *statement.content() == handed.content;
            (Rc::clone(all.iter().find(same).unwrap()), handed)
        };
        let list: Vec<_> = at.prepared.pack().map(find).collect();
        let last = at.prepared.last_number();
        let mut there = Prepared::unpack(last, list.into_iter(), vec![]);
        assert_eq!(there.named(&all[1], 9), before);
        assert_eq!(there.named(&all[2], 9), Presence::Absent);
        let name = there.prepare_named(&all[2], Stamp::LAST, 9);
        assert_eq!(name, ServerName::of(4));
    }
}
