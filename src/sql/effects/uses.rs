//! The names in PREPARE, EXECUTE and DEALLOCATE, as the server stores them. Allocates; for rare statements only.

use super::statement::explained;
use crate::sql::{
    quoted::undoubled,
    token::{Kind, Reading, Token, Tokens, clipped, unquoted},
    word::{
        ALL, AS, CREATE, DEALLOCATE, DISCARD, EXECUTE, EXPLAIN, PREPARE, TRANSACTION, UESCAPE,
        folded,
    },
};

/// One use of a statement that SQL prepares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// PREPARE.
    Prepare(Vec<u8>),
    /// EXECUTE, EXPLAIN EXECUTE, CREATE TABLE AS EXECUTE.
    Execute(Vec<u8>),
    /// DEALLOCATE of one.
    Deallocate(Vec<u8>),
    /// DEALLOCATE ALL.
    DeallocateAll,
    /// DISCARD ALL.
    DiscardAll,
}

impl Use {
    /// The statement's name, as the server folds it; `None` for all of them.
    pub fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Prepare(name) | Self::Execute(name) | Self::Deallocate(name) => Some(name),
            Self::DeallocateAll | Self::DiscardAll => None,
        }
    }
}

/// The uses of prepared statements in `text`, in order. Backslashes in `'...'` are taken for themselves.
pub fn uses(text: &[u8]) -> Vec<Use> {
    let mut tokens = Tokens::new(text, Reading::Standard);
    let mut uses = Vec::new();
    while let Some(first) = tokens.next() {
        if first.kind != Kind::Semicolon {
            uses.extend(use_of(first, tokens));
            tokens.find(|token| token.kind == Kind::Semicolon);
        }
    }
    uses
}

fn use_of(first: Token<'_>, mut rest: Tokens<'_>) -> Option<Use> {
    match folded(Some(first)) {
        PREPARE => prepare(rest),
        EXECUTE => name(&mut rest).map(Use::Execute),
        DEALLOCATE => deallocate(rest),
        DISCARD if folded(rest.next()) == ALL => Some(Use::DiscardAll),
        EXPLAIN => {
            let mut inner = explained(rest);
            let first = inner.next()?;
            match folded(Some(first)) {
                EXECUTE | CREATE => use_of(first, inner),
                _ => None,
            }
        }
        CREATE => create_as(rest),
        _ => None,
    }
}

fn prepare(mut rest: Tokens<'_>) -> Option<Use> {
    let first = rest.clone().next();
    let name = name(&mut rest)?;
    let next = rest.next();
    let names_it = next.is_some_and(|next| next.kind == Kind::Open) || folded(next) == AS;
    (folded(first) != TRANSACTION || names_it).then_some(Use::Prepare(name))
}

/// DEALLOCATE [PREPARE] {ALL | name}. PREPARE is a name when nothing follows it.
fn deallocate(mut rest: Tokens<'_>) -> Option<Use> {
    let mut behind = rest;
    if folded(behind.next()) == PREPARE && name(&mut behind.clone()).is_some() {
        rest = behind;
    }
    if folded(rest.clone().next()) == ALL {
        return Some(Use::DeallocateAll);
    }
    name(&mut rest).map(Use::Deallocate)
}

/// CREATE TABLE ... AS EXECUTE.
fn create_as(mut rest: Tokens<'_>) -> Option<Use> {
    let mut previous = 0;
    while let Some(token) = rest.next().filter(|token| token.kind != Kind::Semicolon) {
        let word = folded(Some(token));
        if word == EXECUTE && previous == AS {
            return name(&mut rest).map(Use::Execute);
        }
        previous = word;
    }
    None
}

/// The identifier that is next, as the server stores it.
pub(super) fn name(rest: &mut Tokens<'_>) -> Option<Vec<u8>> {
    let token = rest.next()?;
    let mut name = match token.kind {
        Kind::Word => token.text.to_ascii_lowercase(),
        Kind::Quoted => undoubled(unquoted(token), b'"'),
        Kind::UnicodeQuoted => {
            let written = undoubled(unquoted(token), b'"');
            unescaped(&written, escape_character(rest)?)?
        }
        _ => return None,
    };
    name.truncate(clipped(&name).len());
    Some(name)
}

/// The character that begins an escape in the name just read; `UESCAPE 'x'` behind it is read too.
fn escape_character(rest: &mut Tokens<'_>) -> Option<char> {
    let mut behind = *rest;
    if folded(behind.next()) != UESCAPE {
        return Some('\\');
    }
    let literal = behind.next()?.text;
    *rest = behind;
    match literal {
        [b'\'', character, b'\''] => Some(char::from(*character)),
        _ => None,
    }
}

/// Undoes `\1234`, `\+123456` and a doubled escape character. `None` for what is an error, and for characters
/// written as two surrogates.
fn unescaped(written: &[u8], escape: char) -> Option<Vec<u8>> {
    let mut rest = std::str::from_utf8(written).ok()?;
    let mut name = String::with_capacity(rest.len());
    while let Some((before, behind)) = rest.split_once(escape) {
        name += before;
        let (character, behind) = match behind.strip_prefix(escape) {
            Some(behind) => (escape, behind),
            None => numbered(behind)?,
        };
        name.push(character);
        rest = behind;
    }
    name += rest;
    Some(name.into_bytes())
}

/// The character whose number `text` begins with, and what follows it.
fn numbered(text: &str) -> Option<(char, &str)> {
    let (digits, behind) = match text.strip_prefix('+') {
        Some(text) => text.split_at_checked(6)?,
        None => text.split_at_checked(4)?,
    };
    let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| all)?;
    Some((char::from_u32(number)?, behind))
}
