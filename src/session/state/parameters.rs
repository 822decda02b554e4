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

pub(crate) use crate::cluster::messages::Belief;
use crate::{
    limits::PARAMETER_SETS_MAX,
    sql::{effects, encoding},
};

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Set {
    /// Names (lower case) and values, in order of names.
    pairs: Vec<(Box<str>, Box<[u8]>)>,
    // Every request asks for these.
    /// As [`Parameters::hide_ascii`] says.
    hides_ascii: bool,
    /// As [`Parameters::create_temporary`] says.
    creates_temporary: bool,
    /// As [`Parameters::may_end_idle`] says.
    ends_idle: bool,
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

    /// These settings; the last of equal names counts.
    pub(crate) fn of<'a>(&self, pairs: impl Iterator<Item = (String, &'a [u8])>) -> Parameters {
        let mut set = Set::default();
        pairs.for_each(|(name, value)| set.put(&name, value));
        self.intern(set)
    }

    /// Settings of `base` that may change what a text means.
    pub(crate) fn meaning(&self, base: &Parameters) -> Parameters {
        let telling = base
            .iter()
            .filter(|(name, _)| !effects::is_harmless(name.as_bytes()));
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
        match name.as_str() {
            "client_encoding" => self.hides_ascii = encoding::hides_ascii(value),
            "search_path" => self.creates_temporary = names_temporary_schema(value),
            "idle_session_timeout" => self.ends_idle = true,
            _ => {}
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

    /// True when what is created without a schema is temporary, and even the question which schema that is makes it.
    #[inline]
    pub(crate) fn create_temporary(&self) -> bool {
        self.0.creates_temporary
    }

    /// True when they say who the session is.
    pub(crate) fn has_identity(&self) -> bool {
        IDENTITY.iter().any(|name| self.get(name).is_some())
    }

    /// The statement that brings a connection from these settings to `target`, within somebody's transaction.
    pub(crate) fn step(&self, target: &Self) -> Vec<u8> {
        let mut text = Text::default();
        text.add_transition(self, target, Belief::Exact);
        text.bytes
    }

    /// The statement of [`Parameters::step`] in a list, which is empty when nothing is to be done.
    pub(crate) fn steps(&self, target: &Self) -> Vec<Vec<u8>> {
        let step = self.step(target);
        Vec::from_iter((!step.is_empty()).then_some(step))
    }

    /// The text that brings a connection, of which this is believed, to `target`: in a Query of its own, outside a
    /// transaction. When any of it fails the server ends the connection, so that nothing that was sent behind it is
    /// executed under settings that are not its own. `forgets`: what sequences have given is to be forgotten.
    pub(crate) fn transition(&self, target: &Self, belief: Belief, forgets: bool) -> Vec<u8> {
        let mut text = Text::default();
        text.add_guard();
        if belief == Belief::Incomplete {
            text.add_ending_identities(self, target, belief);
            text.add_statement("RESET ALL");
            // That was one of them.
            text.add_guard();
        }
        if forgets {
            text.add_statement("DISCARD SEQUENCES");
        }
        text.add_transition(self, target, belief);
        text.bytes
    }

    /// True when the way from these settings to `target` is one that no server refuses: then nobody needs to wait for
    /// its end. `known`: names that are known from experience.
    pub(crate) fn is_surely_given(
        &self,
        target: &Self,
        belief: Belief,
        known: impl Fn(&str) -> bool,
    ) -> bool {
        let changes = |one: &Self, other: &Self| {
            let differs = |(name, value): &(&str, &[u8])| {
                belief != Belief::Exact || other.get(name) != Some(value)
            };
            let unsure = |(name, _): (&str, _)| !SURE.contains(&name) && !known(name);
            one.iter().filter(differs).any(unsure)
        };
        !self.is_hasty() && !changes(self, target) && !changes(target, self)
    }

    /// Names that a way from these settings to `target` touches, but for those that depend on more than the user.
    pub(crate) fn touched<'a>(&'a self, target: &'a Self) -> impl Iterator<Item = &'a str> {
        let names = self.iter().chain(target.iter()).map(|(name, _)| name);
        names.filter(|name| !SURE.contains(name) && !UNSURE.contains(name))
    }

    /// True under a limit that could hit what pgring itself asks.
    fn is_hasty(&self) -> bool {
        ["statement_timeout", "transaction_timeout"]
            .iter()
            .any(|name| self.get(name).is_some_and(is_hasty))
    }

    /// True when the server may end such a connection while nobody uses it.
    #[inline]
    pub(crate) fn may_end_idle(&self) -> bool {
        self.0.ends_idle
    }
}

/// True for a text that may name the schema of temporary objects.
pub(crate) fn names_temporary_schema(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"pg_temp").is_some()
}

/// A text of ours that is being written.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// There is a SELECT that goes on.
    is_begun: bool,
}

impl Text {
    /// The errors of this transaction end the connection. (PostgreSQL manual, "exit_on_error".)
    fn add_guard(&mut self) {
        self.add("exit_on_error", Some(b"on"), "true");
    }

    /// One setting; without a value it is reset. (PostgreSQL manual: `set_config` with NULL is RESET.)
    fn add(&mut self, name: &str, value: Option<&[u8]>, is_local: &str) {
        let text = &mut self.bytes;
        let separator: &[u8] = match self.is_begun {
            true => b", ",
            false if text.is_empty() => b"SELECT ",
            false => b";SELECT ",
        };
        self.is_begun = true;
        text.extend_from_slice(separator);
        text.extend_from_slice(b"pg_catalog.set_config(");
        put_literal(name.as_bytes(), text);
        text.push(b',');
        match value {
            Some(value) => put_literal(value, text),
            None => text.extend_from_slice(b"NULL"),
        }
        text.push(b',');
        text.extend_from_slice(is_local.as_bytes());
        text.push(b')');
    }

    /// Another statement, behind which a SELECT begins anew.
    fn add_statement(&mut self, statement: &str) {
        self.is_begun = false;
        self.bytes.push(b';');
        self.bytes.extend_from_slice(statement.as_bytes());
    }

    /// Resets the session's user and role; this goes first, because they decide what may be set.
    fn add_ending_identities(&mut self, from: &Parameters, target: &Parameters, belief: Belief) {
        let ends = |name: &&str| {
            let is_known = belief == Belief::Exact;
            !is_known || from.get(name).is_some() && from.get(name) != target.get(name)
        };
        for name in IDENTITY.into_iter().rev().filter(ends) {
            self.add(name, None, "false");
        }
    }

    /// Adds all that brings a connection to `target`: its user and role come last, and limits of time before these.
    fn add_transition(&mut self, from: &Parameters, target: &Parameters, belief: Belief) {
        let is_kept =
            |name: &str, value: &[u8]| belief == Belief::Exact && from.get(name) == Some(value);
        if belief != Belief::Incomplete {
            self.add_ending_identities(from, target, belief);
            let gone = from.iter().map(|(name, _)| name);
            for name in gone.filter(|name| !is_identity(name) && target.get(name).is_none()) {
                self.add(name, None, "false");
            }
        }
        for stage in [0, 1] {
            let of_stage = |(name, value): &(&str, &[u8])| {
                stage == u8::from(name.ends_with("timeout"))
                    && !is_identity(name)
                    && !is_kept(name, value)
            };
            for (name, value) in target.iter().filter(of_stage) {
                self.add(name, Some(value), "false");
            }
        }
        for name in IDENTITY {
            if let Some(value) = target.get(name).filter(|value| !is_kept(name, value)) {
                self.add(name, Some(value), "false");
            }
        }
    }
}

/// Settings that every server lets every user have with a value that they have had.
const SURE: [&str; 29] = [
    "application_name",
    "bytea_output",
    "check_function_bodies",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "enable_hashjoin",
    "enable_indexscan",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "maintenance_work_mem",
    "plan_cache_mode",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "timezone",
    "transaction_timeout",
    "work_mem",
];

/// Settings of which a server that has taken them once may refuse them another time: who one is, and what depends on what
/// the connection was used for.
const UNSURE: [&str; 5] = [
    "session_authorization",
    "role",
    "temp_buffers",
    "default_tablespace",
    "temp_tablespaces",
];

/// Limits shorter than this may hit what pgring itself asks, on a busy machine.
const HASTY_MS: u64 = 10_000;

/// True for a limit of time that is short, or that cannot be read. (PostgreSQL manual, "Parameter Names and Values":
/// milliseconds, unless another unit is named.)
fn is_hasty(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let Ok(number) = text[..text.len() - unit.len()].parse::<u64>() else {
        return true;
    };
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return true,
    };
    number != 0 && number.saturating_mul(factor) < HASTY_MS
}

/// The settings that are a session's user and role, in the order in which they must be set.
const IDENTITY: [&str; 2] = ["session_authorization", "role"];

fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&name)
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
        let text = String::from_utf8(from.step(&to)).unwrap();
        let expected = "SELECT pg_catalog.set_config(E'b.c',NULL,false), \
             pg_catalog.set_config(E'a',E'it\\x27s \\x5c \\xc3\\xa9',false), \
             pg_catalog.set_config(E'd',E'',false)";
        assert_eq!(text, expected);
        assert!(to.step(&to).is_empty());
        let text = String::from_utf8(from.transition(&to, Belief::Exact, false)).unwrap();
        let guard = "SELECT pg_catalog.set_config(E'exit_on_error',E'on',true), ";
        assert_eq!(text, expected.replace("SELECT ", guard));
    }

    #[test]
    fn what_is_not_known_is_reset_and_given_anew() {
        let interner = Interner::default();
        let from = set(&interner, &[("role", "boss"), ("a", "1")]);
        let to = set(&interner, &[("a", "1"), ("z_timeout", "3"), ("zz", "2")]);
        let text = |belief| String::from_utf8(from.transition(&to, belief, true)).unwrap();
        let all =
            "pg_catalog.set_config(E'a',E'1',false), pg_catalog.set_config(E'zz',E'2',false), \
             pg_catalog.set_config(E'z\\x5ftimeout',E'3',false)"
                .replace("\\x5f", "_");
        let guard = "SELECT pg_catalog.set_config(E'exit_on_error',E'on',true), ";
        let nobody = "pg_catalog.set_config(E'role',NULL,false), \
             pg_catalog.set_config(E'session_authorization',NULL,false)";
        let begin = guard.trim_end_matches(", ");
        assert_eq!(
            text(Belief::Names),
            format!("{begin};DISCARD SEQUENCES;SELECT {nobody}, {all}")
        );
        assert_eq!(
            text(Belief::Incomplete),
            format!("{guard}{nobody};RESET ALL;{begin};DISCARD SEQUENCES;SELECT {all}")
        );
    }

    #[test]
    fn what_may_be_refused_is_waited_for() {
        let interner = Interner::default();
        let empty = interner.empty();
        let of = |pairs| set(&interner, pairs);
        let surely = |from: &Parameters, to: &Parameters| {
            from.is_surely_given(to, Belief::Exact, |name| name == "my.own")
        };
        let plain = of(&[("work_mem", "4MB"), ("statement_timeout", "30s")]);
        let own = of(&[("my.own", "1")]);
        for sure in [&plain, &own] {
            assert!(surely(&empty, sure) && surely(sure, &empty));
        }
        for odd in [
            of(&[("log_min_duration_statement", "1")]),
            of(&[("role", "boss")]),
            of(&[("temp_buffers", "100")]),
            of(&[("my.other", "1")]),
        ] {
            assert!(!surely(&empty, &odd) && !surely(&odd, &empty));
        }
        let hasty = of(&[("statement_timeout", "5ms")]);
        assert!(surely(&empty, &hasty) && !surely(&hasty, &empty));
        assert!(
            ["5ms", "9s", "9999", "wrong", "0.1h", "-1", ""]
                .map(str::as_bytes)
                .map(is_hasty)
                .iter()
                .all(|is| *is)
        );
        assert!(
            !["0", "30s", "10000", "1 h", "2min", "1d"]
                .map(str::as_bytes)
                .map(is_hasty)
                .iter()
                .any(|is| *is)
        );
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
