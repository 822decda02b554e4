//! What one server connection has prepared, under which names, and what is to be closed there. Pure.
//!
//! Names are numbers that are never used twice, so that a late answer or a late Close cannot mean another
//! statement than it did when it was sent.

use std::rc::Rc;

use hashbrown::HashMap;

use super::Statement;
use crate::protocol::{Writer, frontend::Target};

/// What the names of our statements at a server begin with.
pub(crate) const PREFIX: &[u8] = b"pgring_";

/// What is put behind a client's name that looks like one of ours, so that nothing is found under it.
pub(crate) const NOBODYS: u8 = b'?';

/// What is put behind one, so that what is found under it is the client's.
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

/// A statement under one of our names.
#[derive(Debug)]
struct Known {
    statement: Rc<Statement>,
    number: u64,
    /// Shape of its rows, when the server has described it.
    shape: Option<u64>,
    /// When it was last used, by the connection's own count.
    used: u64,
    unanswered: Unanswered,
}

/// The unnamed statement of the connection.
#[derive(Debug, Default)]
enum Slot {
    /// There is none.
    #[default]
    Empty,
    /// This one.
    Holds(Rc<Statement>, Unanswered),
    /// Nobody knows.
    Unknown,
}

/// Where a connection has a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Under this name.
    Here(ServerName),
    /// Nowhere.
    Absent,
    /// It was prepared by a pipeline whose answer has not come.
    Unsure,
}

/// The prepared statements of one server connection.
#[derive(Debug, Default)]
pub struct Prepared {
    known: HashMap<u64, Known>,
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
        if known.unanswered.is_some_and(|other| other != pipeline) {
            return Presence::Unsure;
        }
        self.clock += 1;
        known.used = self.clock;
        Presence::Here(ServerName::of(known.number))
    }

    /// Whether `statement` is the connection's unnamed one, for use in `pipeline`.
    pub(crate) fn unnamed(&self, statement: &Statement, pipeline: u64) -> Presence {
        match &self.slot {
            Slot::Holds(held, unanswered) if held.id == statement.id => match unanswered {
                Some(other) if *other != pipeline => Presence::Unsure,
                _ => Presence::Here(ServerName::UNNAMED),
            },
            _ => Presence::Absent,
        }
    }

    /// Where `statement` is, under whatever name.
    pub(crate) fn find(&mut self, statement: &Statement, pipeline: u64) -> Presence {
        let named = self.named(statement, pipeline);
        if matches!(named, Presence::Here(_)) {
            return named;
        }
        match self.unnamed(statement, pipeline) {
            Presence::Absent => named,
            unnamed => unnamed,
        }
    }

    /// A Parse of `statement` is sent under the name that is answered.
    pub(crate) fn prepare_named(&mut self, statement: &Rc<Statement>, pipeline: u64) -> ServerName {
        self.last += 1;
        self.clock += 1;
        let known = Known {
            statement: Rc::clone(statement),
            number: self.last,
            shape: None,
            used: self.clock,
            unanswered: Some(pipeline),
        };
        if let Some(old) = self.known.insert(statement.id, known) {
            self.closing.push(old.number);
        }
        ServerName::of(self.last)
    }

    /// A Parse of `statement` without a name is sent.
    pub(crate) fn prepare_unnamed(&mut self, statement: &Rc<Statement>, pipeline: u64) {
        self.slot = Slot::Holds(Rc::clone(statement), Some(pipeline));
    }

    /// The server has prepared it under this name.
    pub(crate) fn confirm(&mut self, statement: &Statement, name: &ServerName) {
        if *name == ServerName::UNNAMED {
            if let Slot::Holds(held, unanswered) = &mut self.slot
                && held.id == statement.id
            {
                *unanswered = None;
            }
        } else if let Some(known) = self.known.get_mut(&statement.id)
            && ServerName::of(known.number) == *name
        {
            known.unanswered = None;
        }
    }

    /// The server has refused or skipped its Parse under this name.
    pub(crate) fn refute(&mut self, statement: &Statement, name: &ServerName) {
        if *name == ServerName::UNNAMED {
            if matches!(&self.slot, Slot::Holds(held, _) if held.id == statement.id) {
                self.slot = Slot::Unknown;
            }
            return;
        }
        let is_it = |known: &Known| ServerName::of(known.number) == *name;
        if self.known.get(&statement.id).is_some_and(is_it) {
            self.known.remove(&statement.id);
        }
    }

    /// What the server has prepared is of no use any more.
    pub(crate) fn doubt_named(&mut self) {
        let numbers = self.known.drain().map(|(_, known)| known.number);
        self.closing.extend(numbers);
        self.slot = Slot::Unknown;
    }

    /// What is sent next destroys the unnamed statement.
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
        self.closing.clear();
        self.stains.clear();
    }

    /// The shape of a statement's rows, when the server has told it.
    pub(crate) fn shape(&self, statement: &Statement) -> Option<u64> {
        self.known.get(&statement.id)?.shape
    }

    /// The server has described a statement.
    pub(crate) fn set_shape(&mut self, statement: &Statement, shape: u64) {
        if let Some(known) = self.known.get_mut(&statement.id) {
            known.shape = Some(shape);
        }
    }

    /// What becomes of the unnamed statement nobody knows.
    pub(crate) fn doubt_unnamed(&mut self) {
        self.slot = Slot::Unknown;
    }

    /// All of it is gone: the connection was reset.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
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

    /// What was under this name of a client is gone.
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

    /// Takes those that were not used for longest off the books until `limit` are left, and writes a Close for
    /// each that is of no use. Answers how many CloseComplete will come.
    pub(crate) fn tidy(&mut self, limit: usize, out: &mut Vec<u8>) -> usize {
        if self.known.len() > limit {
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
        self.known.len() > limit || !self.closing.is_empty()
    }

    /// A few more than needed go, so that the next ones find room.
    #[cold]
    fn evict(&mut self, limit: usize) {
        let keep = limit - limit / 8;
        let mut ages: Vec<_> = self.known.values().map(|known| known.used).collect();
        let surplus = ages.len() - keep;
        let (_, oldest_kept, _) = ages.select_nth_unstable(surplus);
        let oldest_kept = *oldest_kept;
        let old =
            |_: &u64, known: &mut Known| known.used < oldest_kept && known.unanswered.is_none();
        let gone = self.known.extract_if(old).map(|(_, known)| known.number);
        self.closing.extend(gone);
    }

    /// The statement that has this number here.
    pub(crate) fn by_name(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        let mut known = self.known.values();
        let known = known.find(|known| ServerName::of(known.number).bytes() == name)?;
        Some(&known.statement)
    }

    /// Numbers of what nobody uses and the server may have.
    pub(crate) fn unused(&self) -> &[u64] {
        &self.closing
    }

    /// All that is surely prepared, for another core: numbers and statements, and the last number given.
    pub(crate) fn inventory(&self) -> (u64, Vec<(u64, Rc<Statement>)>) {
        let sure = self
            .known
            .values()
            .filter(|known| known.unanswered.is_none());
        let list = sure.map(|known| (known.number, Rc::clone(&known.statement)));
        (self.last, list.collect())
    }

    /// The same on the other core.
    pub(crate) fn from_inventory(
        last: u64,
        list: impl Iterator<Item = (u64, Rc<Statement>)>,
        closing: Vec<u64>,
    ) -> Self {
        let mut prepared = Self {
            last,
            closing,
            slot: Slot::Unknown,
            ..Self::default()
        };
        for (number, statement) in list {
            let known = Known {
                number,
                shape: None,
                used: 0,
                unanswered: None,
                statement,
            };
            if let Some(double) = prepared.known.insert(known.statement.id, known) {
                prepared.closing.push(double.number);
            }
        }
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
    use crate::worker::{parameters::Interner, statements::Store};

    fn statements(count: usize) -> Vec<Rc<Statement>> {
        let (store, context) = (Store::default(), Interner::default().empty());
        let content = |number| [format!("SELECT {number}").as_bytes(), b"\0\0\0"].concat();
        (0..count)
            .map(|number| store.of(&content(number), Some(&context)))
            .collect()
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
        let (one, mut prepared) = (&statements(1)[0], Prepared::default());
        assert_eq!(prepared.find(one, 1), Presence::Absent);
        let name = prepared.prepare_named(one, 1);
        assert_eq!(prepared.find(one, 1), Presence::Here(name));
        assert_eq!(prepared.find(one, 2), Presence::Unsure);
        prepared.confirm(one, &name);
        assert_eq!(prepared.find(one, 2), Presence::Here(name));
    }

    #[test]
    fn a_pipeline_may_have_its_own_beside_one_that_is_not_answered() {
        let (one, mut prepared) = (&statements(1)[0], Prepared::default());
        let name = prepared.prepare_named(one, 1);
        prepared.prepare_unnamed(one, 2);
        assert_eq!(prepared.find(one, 1), Presence::Here(name));
        assert_eq!(prepared.find(one, 2), Presence::Here(ServerName::UNNAMED));
        assert_eq!(prepared.find(one, 3), Presence::Unsure);
    }

    #[test]
    fn what_was_refused_is_not_there() {
        let (one, mut prepared) = (&statements(1)[0], Prepared::default());
        let name = prepared.prepare_named(one, 1);
        prepared.prepare_unnamed(one, 1);
        prepared.confirm(one, &ServerName::UNNAMED);
        assert_eq!(
            prepared.named(one, 2),
            Presence::Unsure,
            "the other one was confirmed"
        );
        prepared.drop_unnamed();
        prepared.refute(one, &name);
        assert_eq!(prepared.find(one, 1), Presence::Absent);
        prepared.prepare_unnamed(one, 2);
        assert_eq!(prepared.find(one, 2), Presence::Here(ServerName::UNNAMED));
        prepared.refute(one, &ServerName::UNNAMED);
        assert_eq!(prepared.find(one, 2), Presence::Absent);
        assert!(
            !prepared.has_no_unnamed(),
            "the one before may still be there"
        );
    }

    #[test]
    fn those_not_used_for_longest_are_closed() {
        let (all, mut prepared) = (statements(5), Prepared::default());
        for statement in &all {
            let name = prepared.prepare_named(statement, 1);
            prepared.confirm(statement, &name);
        }
        assert!(matches!(prepared.find(&all[0], 2), Presence::Here(_)));
        let mut out = Vec::new();
        assert!(prepared.needs_tidying(4));
        assert_eq!(prepared.tidy(4, &mut out), 1);
        assert_eq!(out, b"C\0\0\0\x0eSpgring_2\0");
        assert_eq!(prepared.find(&all[1], 2), Presence::Absent);
        assert!(matches!(prepared.find(&all[0], 2), Presence::Here(_)));
        assert!(!prepared.needs_tidying(4));
    }

    #[test]
    fn the_inventory_survives_the_journey() {
        let (all, mut prepared) = (statements(3), Prepared::default());
        for statement in &all[..2] {
            let name = prepared.prepare_named(statement, 1);
            prepared.confirm(statement, &name);
        }
        prepared.prepare_named(&all[2], 2);
        let (last, list) = prepared.inventory();
        let mut there = Prepared::from_inventory(last, list.into_iter(), vec![]);
        assert_eq!(there.find(&all[1], 9), Presence::Here(ServerName::of(2)));
        assert_eq!(there.find(&all[2], 9), Presence::Absent);
        assert_eq!(there.prepare_named(&all[2], 9), ServerName::of(4));
    }
}
