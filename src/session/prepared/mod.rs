//! Prepared statements as one core knows them: what was parsed, and under which settings that may be shared.
//!
//! A statement of the store is the same for all sessions that prepare the same text, with the same parameter
//! types, under the same settings. What a server connection has prepared is in [`server`].

pub(crate) mod client;
pub(crate) mod copies;
pub(crate) mod describe;
pub(crate) mod extended;
pub(crate) mod names;
pub(crate) mod portals;
pub(crate) mod replan;
pub(crate) mod rerun;
pub(crate) mod row_shape;
pub mod server;
pub(crate) mod sql_commands;

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::state::parameters::Parameters;
use crate::{
    limits::{STATEMENTS_KEPT_BYTES_MAX, STATEMENTS_KEPT_MAX},
    protocol::tag::frontend,
    sql::effects::{self, Begin, Effects, StatementFlags},
};

/// One prepared statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Tells statements of one core apart.
    pub(crate) id: u64,
    /// Body of its Parse behind the statement's name: text, NUL, parameter types.
    content: Arc<[u8]>,
    /// Bytes of the text, its NUL not counted.
    text_bytes: usize,
    pub(crate) flags: StatementFlags,
    /// The options of the transaction block that it begins, if it begins one.
    pub(crate) begin: Option<Begin>,
    /// It means the same whatever there is in the database, and has neither rows nor parameters; or its rows are those of a
    /// cursor, which the server does not compare with what they were when it was parsed.
    is_plain: bool,
    /// It has literals, which the server reads under the settings at hand when it is parsed.
    has_literals: bool,
    /// The settings under which it was read; `None` when they are not known.
    under: Option<Parameters>,
    /// The settings under which it may be shared; `None` when it may not be.
    shared_under: Option<Parameters>,
    /// Whether it is a proven read, and by which facts.
    class: Cell<Option<(ClassKey, bool)>>,
    /// Effects that running it may leave behind, and by which facts.
    effects: Cell<Option<(ClassKey, Effects)>>,
}

/// Key of what a statement was judged by: the epoch of the snapshot, the address of the catalog's facts, the version
/// of the schema.
pub(crate) type ClassKey = (u64, u64, u64);

impl Statement {
    /// Its text, without NUL.
    pub(crate) fn text(&self) -> &[u8] {
        &self.content[..self.text_bytes]
    }

    /// Body of its Parse behind the statement's name.
    pub(crate) fn content(&self) -> &Arc<[u8]> {
        &self.content
    }

    /// The settings under which it was read, if they are known.
    pub(crate) fn under(&self) -> Option<&Parameters> {
        self.under.as_ref()
    }

    /// True when it means something else once it is parsed again under other settings.
    pub(crate) fn has_literals(&self) -> bool {
        self.has_literals
    }

    /// True when it means something else once it is parsed again at another time.
    pub(crate) fn has_moment(&self) -> bool {
        const MOMENTS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];
        self.has_literals && self.shared_under.is_none() && {
            let lower = self.text().to_ascii_lowercase();
            let has = |moment: &&[u8]| memchr::memmem::find(&lower, moment).is_some();
            MOMENTS.iter().any(has)
        }
    }

    /// The settings under which other sessions may use it, too.
    pub(crate) fn shared_under(&self) -> Option<&Parameters> {
        self.shared_under.as_ref()
    }

    /// True when no server need see its Parse: its grammar has been checked, and there is nothing else that could be
    /// wrong with it, whatever there is in the database.
    pub(crate) fn needs_no_server(&self) -> bool {
        self.flags.begins() && self.shared_under.is_some()
    }

    /// True when every server makes the same of it at any time, and there is nothing to be said of its rows.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether it is a proven read, if it was judged by these facts.
    #[inline]
    pub(crate) fn class(&self, key: ClassKey) -> Option<bool> {
        let (known, is_read) = self.class.get()?;
        (known == key).then_some(is_read)
    }

    /// It was judged.
    pub(crate) fn set_class(&self, key: ClassKey, is_read: bool) {
        self.class.set(Some((key, is_read)));
    }

    /// Effects that running it may leave behind; `judge` finds them, unless it was judged by these facts before.
    #[inline]
    pub(crate) fn effects(&self, key: ClassKey, judge: impl FnOnce() -> Effects) -> Effects {
        match self.effects.get() {
            Some((known, effects)) if known == key => effects,
            _ => {
                let effects = judge();
                self.effects.set(Some((key, effects)));
                effects
            }
        }
    }

    /// Writes a Parse of it under `name`, with these parameter types.
    pub(crate) fn write_parse(&self, name: &[u8], types: &[u8], out: &mut Vec<u8>) {
        let rest = self.text_bytes + 1 + types.len();
        write_head(frontend::PARSE.0, &[name], rest, out);
        out.extend_from_slice(self.text());
        out.push(0);
        out.extend_from_slice(types);
    }

    /// The parameter types that it was parsed with: their count and their OIDs, as they stand in the message.
    pub(crate) fn types(&self) -> &[u8] {
        self.content.get(self.text_bytes + 1..).unwrap_or_default()
    }
}

/// Writes the header of a message and the names its body begins with; `rest` bytes are to follow.
pub(crate) fn write_head(tag: u8, names: &[&[u8]], rest: usize, out: &mut Vec<u8>) {
    let names_bytes: usize = names.iter().map(|name| name.len() + 1).sum();
    let length = u32::try_from(4 + names_bytes + rest).expect(
        "it replaces a message whose length fits with a name that is no longer than a few bytes",
    );
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    for name in names {
        out.extend_from_slice(name);
        out.push(0);
    }
}

/// Length of the text with which `content`, the body of a Parse behind the statement's name, begins; `None` when no NUL
/// ends it.
pub(crate) fn text_bytes(content: &[u8]) -> Option<usize> {
    memchr::memchr(0, content)
}

/// True when there may be a literal of characters in a text: a quote, or a dollar that begins no parameter. Or NULL, of which
/// a setting says what it is to be equal to (`transform_null_equals`).
fn has_literals(text: &[u8]) -> bool {
    let is_null = |at: usize| {
        text[at..]
            .get(..4)
            .is_some_and(|it| it.eq_ignore_ascii_case(b"null"))
    };
    let quoted = memchr::memchr(b'\'', text).is_some()
        || memchr::memchr2_iter(b'n', b'N', text).any(is_null);
    let is_quote = |at: usize| !text.get(at + 1).is_some_and(u8::is_ascii_digit);
    quoted || memchr::memchr_iter(b'$', text).any(is_quote)
}

/// The statements of one core.
#[derive(Debug, Default)]
pub(crate) struct Store {
    table: RefCell<HashTable<Rc<Statement>>>,
    hasher: DefaultHashBuilder,
    next: Cell<u64>,
    /// So many at least are there before they are looked through for what nobody has: twice those that were left the
    /// last time, so that one client with very many does not make each new one expensive for all.
    full: Cell<usize>,
    /// Bytes of those that are there.
    bytes: Cell<usize>,
    /// So many bytes at least are there before they are looked through, likewise.
    full_bytes: Cell<usize>,
}

impl Store {
    /// The statement that a Parse with this content makes under these settings. `settings` is `None` when the
    /// settings at hand are the transaction's own.
    pub(crate) fn of(&self, content: &[u8], settings: Option<&Parameters>) -> Rc<Statement> {
        let Some(settings) = settings else {
            return Rc::new(self.make(content, None));
        };
        let hash = self.hash(content, settings);
        if let Some(known) = self.known(hash, content, settings) {
            return known;
        }
        let mut table = self.table.borrow_mut();
        let statement = Rc::new(self.make(content, Some(settings)));
        if statement.shared_under.is_some() {
            self.bytes.set(self.bytes.get() + content.len());
            let is_full = table.len() >= STATEMENTS_KEPT_MAX.max(self.full.get());
            if is_full || self.bytes.get() > STATEMENTS_KEPT_BYTES_MAX.max(self.full_bytes.get()) {
                table.retain(|statement| Rc::strong_count(statement) > 1);
                let bytes: usize = table.iter().map(|statement| statement.content.len()).sum();
                self.bytes.set(bytes + content.len());
                self.full.set(2 * table.len());
                self.full_bytes.set(2 * bytes);
            }
            table.insert_unique(hash, Rc::clone(&statement), |statement| {
                self.hash_of(statement)
            });
        }
        statement
    }

    /// That statement, if somebody has it.
    pub(crate) fn find(&self, content: &[u8], settings: &Parameters) -> Option<Rc<Statement>> {
        self.known(self.hash(content, settings), content, settings)
    }

    fn known(&self, hash: u64, content: &[u8], settings: &Parameters) -> Option<Rc<Statement>> {
        let table = self.table.borrow();
        let same = |statement: &Rc<Statement>| {
            statement.shared_under.as_ref() == Some(settings) && *statement.content == *content
        };
        table.find(hash, same).map(Rc::clone)
    }

    fn make(&self, content: &[u8], settings: Option<&Parameters>) -> Statement {
        let text_bytes = text_bytes(content).unwrap_or(content.len());
        let text = &content[..text_bytes];
        // Bytes of its characters may look like ASCII.
        let hides = settings.is_none_or(Parameters::hide_ascii) && !text.is_ascii();
        let flags = match hides {
            true => effects::flags_of_beginning(b""),
            false => effects::flags_of(text),
        };
        let ends = || effects::plain_ending(&content[..text_bytes]).is_some();
        Statement {
            id: self.number(),
            content: content.into(),
            text_bytes,
            flags,
            begin: flags.begins().then(|| effects::begin(text)).flatten(),
            is_plain: flags.begins()
                || flags.is_empty()
                || flags.fetches()
                || !flags.is_shareable() && ends(),
            has_literals: has_literals(&content[..text_bytes]),
            under: settings.cloned(),
            shared_under: settings
                .filter(|_| flags.is_shareable() || flags.begins())
                .cloned(),
            class: Cell::new(None),
            effects: Cell::new(None),
        }
    }

    /// A number that nothing else of this core has had.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    fn hash_of(&self, statement: &Statement) -> u64 {
        match &statement.shared_under {
            Some(settings) => self.hash(&statement.content, settings),
            None => 0,
        }
    }

    fn hash(&self, content: &[u8], settings: &Parameters) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write(content);
        settings.hash(&mut state);
        state.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::state::parameters::Interner;

    fn content(text: &str) -> Vec<u8> {
        [text.as_bytes(), b"\0\0\0"].concat()
    }

    #[test]
    fn the_same_text_under_the_same_settings_is_one_statement() {
        let (store, interner) = (Store::default(), Interner::default());
        let plain = interner.empty();
        let tokyo = interner.of([("timezone".to_owned(), &b"Asia/Tokyo"[..])].into_iter());
        let text = content("SELECT 1");
        let first = store.of(&text, Some(&plain));
        assert!(Rc::ptr_eq(&first, &store.of(&text, Some(&plain))));
        assert!(!Rc::ptr_eq(&first, &store.of(&text, Some(&tokyo))));
        assert!(!Rc::ptr_eq(&first, &store.of(&text, None)));
        let typed = [b"SELECT 1".as_slice(), b"\0\0\x01\0\0\0\x17"].concat();
        assert!(!Rc::ptr_eq(&first, &store.of(&typed, Some(&plain))));
    }

    #[test]
    fn what_the_server_reads_once_is_never_shared() {
        let (store, interner) = (Store::default(), Interner::default());
        let plain = interner.empty();
        for text in ["SELECT 'today'::date", "LISTEN a", "SET work_mem = 1"] {
            let text = content(text);
            let statement = store.of(&text, Some(&plain));
            assert!(statement.shared_under().is_none());
            assert!(!Rc::ptr_eq(&statement, &store.of(&text, Some(&plain))));
        }
    }

    #[test]
    fn those_that_nobody_uses_are_forgotten() {
        let (store, interner) = (Store::default(), Interner::default());
        let plain = interner.empty();
        for number in 0..3 * STATEMENTS_KEPT_MAX {
            store.of(&content(&format!("SELECT {number}")), Some(&plain));
        }
        assert!(store.table.borrow().len() <= STATEMENTS_KEPT_MAX);
    }

    #[test]
    fn so_are_those_with_many_bytes() {
        let (store, interner) = (Store::default(), Interner::default());
        let plain = interner.empty();
        let long = "x".repeat(1 << 20);
        for number in 0..64 {
            store.of(
                &content(&format!("SELECT {number} AS {long}")),
                Some(&plain),
            );
            let kept: usize = store.table.borrow().iter().map(|it| it.content.len()).sum();
            assert!(kept <= STATEMENTS_KEPT_BYTES_MAX + (2 << 20), "{kept}");
        }
    }

    #[test]
    fn those_in_use_are_not_looked_through_for_each_new_one() {
        let (store, interner) = (Store::default(), Interner::default());
        let plain = interner.empty();
        let make = |number: usize| store.of(&content(&format!("SELECT {number}")), Some(&plain));
        let used: Vec<_> = (0..STATEMENTS_KEPT_MAX).map(make).collect();
        let len = || store.table.borrow().len();
        for number in STATEMENTS_KEPT_MAX..2 * STATEMENTS_KEPT_MAX {
            make(number);
            assert_eq!(len(), number + 1, "nothing was looked for");
        }
        make(0);
        make(usize::MAX);
        assert_eq!(len(), used.len() + 1);
        // When they are used no more, no more are kept than at first.
        drop(used);
        (0..3 * STATEMENTS_KEPT_MAX).for_each(|number| drop(make(number)));
        assert!(len() <= STATEMENTS_KEPT_MAX, "{}", len());
    }

    #[test]
    fn a_parse_is_written_as_the_protocol_has_it() {
        let (store, interner) = (Store::default(), Interner::default());
        let statement = store.of(&content("SELECT 1"), Some(&interner.empty()));
        let mut out = Vec::new();
        statement.write_parse(b"s", statement.types(), &mut out);
        assert_eq!(out, b"P\0\0\0\x11s\0SELECT 1\0\0\0");
        out.clear();
        statement.write_parse(b"s", b"\0\x01\0\0\0\x17", &mut out);
        assert_eq!(out, b"P\0\0\0\x15s\0SELECT 1\0\0\x01\0\0\0\x17");
    }
}
