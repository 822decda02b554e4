//! Overrides of the classifier by the configuration: functions that are taken for readers or writers, patterns of texts
//! that go to the primary. Never looks at a statement's grammar.

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

/// Bytes of `schema.name` that a pattern is matched with; names longer than the server's are in no list.
const CALLED_BYTES_MAX: usize = 2 * 63 + 1;

/// A name or pattern that cannot be used.
#[derive(Debug, Error)]
pub enum OverrideError {
    /// Neither a name, nor `schema.name`, nor a pattern between slashes.
    #[error(
        "{text:?} in {list} is no function: write `name`, `schema.name`, or a regular expression between slashes, \
         as in `/get_.*/`"
    )]
    Name {
        /// The setting it stands in.
        list: &'static str,
        /// As it is written.
        text: String,
    },
    /// A regular expression that is none.
    #[error("{text:?} in {list} is no regular expression: {source}")]
    Pattern {
        /// The setting it stands in.
        list: &'static str,
        /// As it is written.
        text: String,
        /// The fault in it.
        source: regex::Error,
    },
}

/// The three lists.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    readers: Functions,
    writers: Functions,
    primary: Vec<Regex>,
}

impl Overrides {
    /// `read_functions` and `write_functions` are lists of `name`, `schema.name` and `/pattern/`; case does not
    /// matter, and patterns match the whole of `name` or `schema.name`. A pattern of `primary_patterns` matches
    /// anywhere in a text, whatever the case; its `.` matches line breaks too.
    pub fn new<S: AsRef<str>>(
        read_functions: &[S],
        write_functions: &[S],
        primary_patterns: &[S],
    ) -> Result<Self, OverrideError> {
        let primary = primary_patterns
            .iter()
            .map(|text| text_pattern(text.as_ref()));
        Ok(Self {
            readers: Functions::new("read_functions", read_functions)?,
            writers: Functions::new("write_functions", write_functions)?,
            primary: primary.collect::<Result<_, _>>()?,
        })
    }

    /// True when a call is to be taken for a read: `name` is listed, or `schema.name` and the call says so.
    #[inline]
    pub fn reads(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        !self.readers.is_empty() && self.readers.has(schema, name, false)
    }

    /// True when a call is to be taken for a write; of a call without a schema that may be a function of any.
    #[inline]
    pub fn writes(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        !self.writers.is_empty() && self.writers.has(schema, name, true)
    }

    /// The first of `primary_patterns` that the text matches, counted from 0.
    #[inline]
    pub fn primary_pattern(&self, text: &[u8]) -> Option<usize> {
        self.primary
            .iter()
            .position(|pattern| pattern.is_match(text))
    }
}

/// A list of functions.
#[derive(Clone, Debug, Default)]
struct Functions {
    /// Schema, if any, and name, in small letters.
    names: Vec<(Option<String>, String)>,
    patterns: Vec<Regex>,
}

impl Functions {
    fn new<S: AsRef<str>>(list: &'static str, entries: &[S]) -> Result<Self, OverrideError> {
        let mut functions = Self::default();
        for entry in entries.iter().map(AsRef::as_ref) {
            let inner = entry
                .strip_prefix('/')
                .and_then(|rest| rest.strip_suffix('/'));
            match inner {
                Some(pattern) => functions.patterns.push(name_pattern(list, pattern)?),
                None => functions.names.push(name(list, entry)?),
            }
        }
        Ok(functions)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.patterns.is_empty()
    }

    /// `generous`: a call without a schema may be of any.
    fn has(&self, schema: Option<&[u8]>, name: &[u8], generous: bool) -> bool {
        let is_meant = |listed: &Option<String>| match (listed, schema) {
            (None, _) => true,
            (Some(listed), Some(schema)) => schema.eq_ignore_ascii_case(listed.as_bytes()),
            (Some(_), None) => generous,
        };
        let mut names = self.names.iter();
        names.any(|(of, known)| name.eq_ignore_ascii_case(known.as_bytes()) && is_meant(of))
            || self
                .patterns
                .iter()
                .any(|pattern| matches(pattern, schema, name))
    }
}

/// Matches `name` and `schema.name`.
fn matches(pattern: &Regex, schema: Option<&[u8]>, name: &[u8]) -> bool {
    if pattern.is_match(name) {
        return true;
    }
    let Some(schema) = schema else {
        return false;
    };
    let mut called = [0; CALLED_BYTES_MAX];
    let length = schema.len() + 1 + name.len();
    let Some(whole) = called.get_mut(..length) else {
        return false;
    };
    whole[..schema.len()].copy_from_slice(schema);
    whole[schema.len()] = b'.';
    whole[schema.len() + 1..].copy_from_slice(name);
    pattern.is_match(whole)
}

fn name(list: &'static str, text: &str) -> Result<(Option<String>, String), OverrideError> {
    let parts: Vec<_> = text.split('.').map(str::to_ascii_lowercase).collect();
    let is_name = |part: &String| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_alphanumeric() || "_$".contains(letter))
    };
    match parts.as_slice() {
        [name] if is_name(name) => Ok((None, name.clone())),
        [schema, name] if is_name(schema) && is_name(name) => {
            Ok((Some(schema.clone()), name.clone()))
        }
        _ => Err(OverrideError::Name {
            list,
            text: text.to_owned(),
        }),
    }
}

fn name_pattern(list: &'static str, pattern: &str) -> Result<Regex, OverrideError> {
    let refused = |source| OverrideError::Pattern {
        list,
        text: pattern.to_owned(),
        source,
    };
    // Checked alone first: `a)|(b` is a pattern only between our parentheses.
    Regex::new(pattern).map_err(refused)?;
    let whole = format!("^(?:{pattern})$");
    RegexBuilder::new(&whole)
        .case_insensitive(true)
        .build()
        .map_err(refused)
}

fn text_pattern(pattern: &str) -> Result<Regex, OverrideError> {
    let list = "primary_patterns";
    let refused = |source| OverrideError::Pattern {
        list,
        text: pattern.to_owned(),
        source,
    };
    let mut builder = RegexBuilder::new(pattern);
    builder
        .case_insensitive(true)
        .dot_matches_new_line(true)
        .build()
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(readers: &[&str], writers: &[&str], patterns: &[&str]) -> Overrides {
        Overrides::new(readers, writers, patterns).unwrap()
    }

    #[test]
    fn names_are_found_whatever_their_case() {
        let lists = overrides(&["f", "App.G", "/get_.*/", r"/app\.set_.*/"], &[], &[]);
        let schema = Some(&b"APP"[..]);
        for (of, name, expected) in [
            (None, "F", true),
            (schema, "f", true),
            (schema, "g", true),
            (None, "g", false),
            (Some(&b"other"[..]), "g", false),
            (None, "GET_it", true),
            (None, "forget_it", false),
            (schema, "set_it", true),
            (None, "set_it", false),
            (None, "h", false),
        ] {
            assert_eq!(lists.reads(of, name.as_bytes()), expected, "{of:?} {name}");
        }
        let long = "x".repeat(1_000);
        assert!(!lists.reads(schema, long.as_bytes()));
    }

    #[test]
    fn a_writer_may_be_called_without_its_schema() {
        let lists = overrides(&[], &["app.f"], &[]);
        assert!(lists.writes(None, b"f") && lists.writes(Some(b"app"), b"f"));
        assert!(!lists.writes(Some(b"other"), b"f") && !lists.writes(None, b"g"));
    }

    #[test]
    fn patterns_of_texts_match_anywhere() {
        let lists = overrides(&[], &[], &["^/\\* batch", "from x.*for report"]);
        assert_eq!(lists.primary_pattern(b"/* BATCH */ SELECT 1"), Some(0));
        assert_eq!(
            lists.primary_pattern(b"SELECT 1 FROM x\n-- for report"),
            Some(1)
        );
        assert_eq!(lists.primary_pattern(b"SELECT 1"), None);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let refused = |readers: &[&str], patterns: &[&str]| {
            Overrides::new(readers, &[], patterns)
                .unwrap_err()
                .to_string()
        };
        for name in ["", "a.b.c", "f(int)", ".f", "/f"] {
            assert!(refused(&[name], &[]).contains("read_functions"), "{name}");
        }
        assert!(refused(&["/a)|(b/"], &[]).contains("no regular expression"));
        assert!(refused(&[], &["("]).contains("primary_patterns"));
    }
}
