//! Literals whose value the server may take from the moment or the session in which it parses them: 'now' as a
//! timestamp, 'pg_temp.t' as a table. Never converts one.

use memchr::{memchr, memchr2_iter};

use crate::sql::token::{Kind, Token};

/// Escapes of one letter that make no letter.
const HARMLESS_ESCAPES: &[u8] = b"nrtbfv\\'\"%_";

/// True when the literal has one value for ever, whatever its type.
pub(super) fn is_constant(literal: Token<'_>) -> bool {
    let text = literal.text;
    match literal.kind {
        Kind::BitLiteral => true,
        Kind::UnicodeLiteral => false,
        Kind::DollarLiteral => !has_word_of_the_moment(text),
        _ => is_readable(text) && !has_word_of_the_moment(text),
    }
}

/// True when the bytes are what the server sees of it: no letter is written as an escape, and none on another line.
fn is_readable(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        match rest.get(at + 1) {
            Some(escape) if HARMLESS_ESCAPES.contains(escape) => {}
            _ => return false,
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    !is_continued(text)
}

/// True when it is made of parts on several lines.
fn is_continued(text: &[u8]) -> bool {
    let broken = |byte: &u8| matches!(byte, b'\n' | b'\r');
    // Between two parts there is a quote, a line break and a quote.
    text.iter().any(broken) && text.iter().filter(|byte| **byte == b'\'').count() > 2
}

/// True when it contains now, today, tomorrow, yesterday or the schema of temporary objects.
fn has_word_of_the_moment(text: &[u8]) -> bool {
    let two_before = |at: usize| at.wrapping_sub(2);
    memchr2_iter(b'w', b'W', text).any(|at| ends_word_of_the_moment(text, at.wrapping_sub(1)))
        || memchr2_iter(b'y', b'Y', text).any(|at| ends_word_of_the_moment(text, two_before(at)))
        || memchr2_iter(b'p', b'P', text).any(|at| ends_word_of_the_moment(text, at))
}

/// True when the last letters of such a word are at `at`: `ow` or `day`; or the first of the schema's name.
pub(super) fn ends_word_of_the_moment(text: &[u8], at: usize) -> bool {
    let has = |word: &[u8], offset: usize| {
        at.checked_sub(offset)
            .and_then(|start| text.get(start..start + word.len()))
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    match text.get(at).map(u8::to_ascii_lowercase) {
        Some(b'o') => has(b"now", 1) || has(b"tomorrow", 6),
        Some(b'd') => has(b"today", 2) || has(b"yesterday", 6),
        Some(b'p') => {
            let before = text.get(at.wrapping_sub(1)).copied().unwrap_or_default();
            !before.is_ascii_alphabetic() && has(b"pg_temp", 0)
        }
        _ => false,
    }
}
