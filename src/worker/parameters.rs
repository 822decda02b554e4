//! The settings a session runs with beyond its pool's own, and the statement that brings a server connection to them.
//!
//! Sets are interned per core: equal sets are the same allocation, so that "does this connection already
//! have the session's settings" is one comparison of pointers.

use std::{
    cell::RefCell,
    hash::{Hash, Hasher},
    rc::Rc,
};

use hashbrown::HashSet;

use crate::limits::PARAMETER_SETS_MAX;

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Set {
    /// Names (lower case) and values, in order of names.
    pairs: Vec<(Box<str>, Box<[u8]>)>,
    /// What [`Parameters::hide_ascii`] says: every request asks.
    hides_ascii: bool,
}

/// An interned set of settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters(Rc<Set>);

impl PartialEq for Parameters {
    /// Interned, so equal content is equal address.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Parameters {}

impl Hash for Parameters {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.0).hash(state);
    }
}

/// The sets of one core.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    sets: RefCell<HashSet<Rc<Set>>>,
}

impl Interner {
    fn intern(&self, set: Set) -> Parameters {
        let mut sets = self.sets.borrow_mut();
        if sets.len() >= PARAMETER_SETS_MAX {
            sets.retain(|set| Rc::strong_count(set) > 1);
        }
        if let Some(known) = sets.get(&set) {
            return Parameters(Rc::clone(known));
        }
        let set = Rc::new(set);
        sets.insert(Rc::clone(&set));
        Parameters(set)
    }

    /// No settings at all.
    pub(crate) fn empty(&self) -> Parameters {
        self.intern(Set::default())
    }

    /// Settings of which nobody knows all: all are reset before others can be given.
    pub(crate) fn unknown(&self) -> Parameters {
        self.of([(UNKNOWN.to_owned(), &b""[..])].into_iter())
    }

    /// These settings; the last of equal names counts.
    pub(crate) fn of<'a>(&self, pairs: impl Iterator<Item = (String, &'a [u8])>) -> Parameters {
        let mut set = Set::default();
        pairs.for_each(|(name, value)| set.put(&name, value));
        self.intern(set)
    }

    /// Those of `base` that may change what a text means.
    pub(crate) fn meaning(&self, base: &Parameters) -> Parameters {
        let telling = base.iter().filter(|(name, _)| !HARMLESS.contains(name));
        self.of(telling.map(|(name, value)| (name.to_owned(), value)))
    }

    /// `base`, and of `more` what it does not have.
    pub(crate) fn joined(&self, base: &Parameters, more: &Parameters) -> Parameters {
        let missing = more.iter().filter(|(name, _)| base.get(name).is_none());
        let pairs = base.iter().chain(missing);
        self.of(pairs.map(|(name, value)| (name.to_owned(), value)))
    }
}

impl Set {
    /// Where a setting is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.pairs
            .binary_search_by(|(known, _)| (**known).cmp(name))
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        let name = name.to_ascii_lowercase();
        if name == "client_encoding" {
            self.hides_ascii = hides_ascii(value);
        }
        match self.place(&name) {
            Ok(place) => self.pairs[place].1 = value.into(),
            Err(place) => self.pairs.insert(place, (name.into(), value.into())),
        }
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        let place = self.place(name).ok()?;
        Some(&self.pairs[place].1)
    }
}

impl Parameters {
    /// The value of one setting (its name in lower case).
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name)
    }

    /// Names (lower case) and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// All of it, for another core.
    pub(crate) fn to_pairs(&self) -> Vec<(String, Box<[u8]>)> {
        self.iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.pairs.is_empty()
    }

    /// True under a client encoding in which a text cannot be read without knowing it.
    #[inline]
    pub(crate) fn hide_ascii(&self) -> bool {
        self.0.hides_ascii
    }

    /// True when they say who the session is.
    pub(crate) fn has_identity(&self) -> bool {
        IDENTITY.iter().any(|name| self.get(name).is_some())
    }

    /// The same as [`Parameters::transition`], one statement at a time.
    pub(crate) fn steps(&self, target: &Self) -> Vec<Vec<u8>> {
        let text = self.transition(target);
        let steps = text.split(|byte| *byte == b';');
        steps
            .filter(|step| !step.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// The statement that brings a connection from these settings to `target`. Who the session is comes last, and
    /// goes first, because it decides what may be set.
    pub(crate) fn transition(&self, target: &Self) -> Vec<u8> {
        if self.get(UNKNOWN).is_some() {
            return [RESET_ALL, &Self::default().transition(target)].concat();
        }
        let mut text = Vec::new();
        let ends = |name: &&str| self.get(name).is_some() && self.get(name) != target.get(name);
        let identity = IDENTITY.into_iter().rev().filter(ends);
        let gone = self.iter().map(|(name, _)| name);
        let gone = gone.filter(|name| !is_identity(name) && target.get(name).is_none());
        for name in identity.chain(gone) {
            text.extend_from_slice(b"RESET ");
            text.extend_from_slice(quoted_name(name).as_bytes());
            text.push(b';');
        }
        let ordinary = target.iter().filter(|(name, _)| !is_identity(name));
        let identity = IDENTITY
            .into_iter()
            .filter_map(|name| Some((name, target.get(name)?)));
        let changed = ordinary
            .chain(identity)
            .filter(|(name, value)| self.get(name) != Some(value));
        for (number, (name, value)) in changed.enumerate() {
            text.extend_from_slice(if number == 0 { b"SELECT " } else { b", " });
            text.extend_from_slice(b"pg_catalog.set_config(");
            put_literal(name.as_bytes(), &mut text);
            text.push(b',');
            put_literal(value, &mut text);
            text.extend_from_slice(b",false)");
        }
        text
    }
}

/// What is there in place of settings that nobody knows. No setting has such a name.
const UNKNOWN: &str = "?";

/// Everything that a session can set, and what sequences have given to it.
const RESET_ALL: &[u8] = b"RESET session_authorization;RESET role;RESET ALL;DISCARD SEQUENCES;";

/// Who a session is: in the order in which it becomes so.
const IDENTITY: [&str; 2] = ["session_authorization", "role"];

fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&name)
}

/// Settings under which every text means the same.
const HARMLESS: [&str; 6] = [
    "application_name",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
];

/// True for client encodings in which a byte of ASCII may be part of another character, so that a text cannot be
/// read without knowing them. (PostgreSQL manual, "Character Set Support": those that are for clients only.)
fn hides_ascii(encoding: &[u8]) -> bool {
    const SUCH: [&[u8]; 7] = [
        b"sjis", b"big5", b"gbk", b"gb18030", b"uhc", b"johab", b"shift",
    ];
    const OTHERS: [&[u8]; 9] = [
        b"mskanji",
        b"win932",
        b"windows932",
        b"win949",
        b"windows949",
        b"win950",
        b"windows950",
        b"win936",
        b"windows936",
    ];
    /// Longer than any name of an encoding.
    const ENCODING_BYTES_MAX: usize = 32;
    let letters = encoding.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let name: Vec<u8> = letters.map(u8::to_ascii_lowercase).collect();
    let has = |such: &&[u8]| memchr::memmem::find(&name, such).is_some();
    name.len() > ENCODING_BYTES_MAX || SUCH.iter().any(has) || OTHERS.contains(&&*name)
}

/// `a.b` as `"a"."b"`.
fn quoted_name(name: &str) -> String {
    let parts: Vec<_> = name
        .split('.')
        .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
        .collect();
    parts.join(".")
}

/// An escape string in ASCII alone, which means the same under every client encoding.
pub(crate) fn put_literal(value: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(b"E'");
    for byte in value {
        if byte.is_ascii_alphanumeric() || b" _.,:/+-$".contains(byte) {
            text.push(*byte);
        } else {
            text.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    text.push(b'\'');
}

/// True for what the server reports and nobody can set.
pub(crate) fn is_settable(name: &[u8]) -> bool {
    const FIXED: [&[u8]; 6] = [
        b"server_version",
        b"server_encoding",
        b"is_superuser",
        b"session_authorization",
        b"integer_datetimes",
        b"in_hot_standby",
    ];
    !FIXED.iter().any(|fixed| name.eq_ignore_ascii_case(fixed))
}

/// The settings in a startup packet's `options`: `-c name=value` and `--name=value`, with backslash escapes
/// (PostgreSQL manual, "libpq: options"). `None` when it holds anything else.
pub(crate) fn read_options(options: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut words = split_options(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix(b"-c".as_slice()) {
            Some(b"") => words.next()?,
            Some(rest) => rest.to_vec(),
            None => word.strip_prefix(b"--".as_slice())?.to_vec(),
        };
        let equals = memchr::memchr(b'=', &setting)?;
        let name = std::str::from_utf8(&setting[..equals])
            .ok()?
            .trim()
            .replace('-', "_");
        settings.push((name, setting[equals + 1..].to_vec()));
    }
    Some(settings)
}

fn split_options(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![];
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = options.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            byte => word.get_or_insert_default().push(*byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(interner: &Interner, pairs: &[(&str, &str)]) -> Parameters {
        interner.of(pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes())))
    }

    #[test]
    fn equal_sets_are_one() {
        let interner = Interner::default();
        let one = set(&interner, &[("TimeZone", "UTC"), ("a", "1")]);
        let other = set(&interner, &[("a", "1"), ("timezone", "UTC")]);
        assert!(one == other);
        assert!(one != interner.empty());
        assert_eq!(one.get("timezone"), Some(&b"UTC"[..]));
    }

    #[test]
    fn a_transition_sets_resets_and_escapes() {
        let interner = Interner::default();
        let from = set(&interner, &[("a", "1"), ("b.c", "2"), ("same", "x")]);
        let to = set(
            &interner,
            &[("a", "it's \\ \u{e9}"), ("same", "x"), ("d", "")],
        );
        let text = String::from_utf8(from.transition(&to)).unwrap();
        assert_eq!(
            text,
            "RESET \"b\".\"c\";SELECT pg_catalog.set_config(E'a',E'it\\x27s \\x5c \\xc3\\xa9',false), \
             pg_catalog.set_config(E'd',E'',false)"
        );
        assert!(to.transition(&to).is_empty());
    }

    #[test]
    fn reads_options_as_libpq_writes_them() {
        let read = |text: &str| read_options(text.as_bytes());
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(
            read("-c geqo=off --work-mem=4MB -csearch_path=a,\\ b"),
            Some(vec![
                pair("geqo", "off"),
                pair("work_mem", "4MB"),
                pair("search_path", "a, b")
            ])
        );
        assert_eq!(read("-d 5"), None);
        assert_eq!(read("-c"), None);
    }

    #[test]
    fn unused_sets_are_forgotten() {
        let interner = Interner::default();
        for number in 0..3 * PARAMETER_SETS_MAX {
            set(&interner, &[("n", &number.to_string())]);
        }
        assert!(interner.sets.borrow().len() <= PARAMETER_SETS_MAX);
    }
}
