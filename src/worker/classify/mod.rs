//! What a text of statements may do, as far as pooling must know. Pure; allocates nothing but names.
//!
//! `token.rs` cuts the text exactly as the server does, `statement.rs` says what one statement may do, and
//! `scan.rs` hurries through the common ones, and
//! this file joins the statements of a text, under both readings where the text has two. Never runs SQL, and
//! never knows the session's settings.

mod block;
mod call;
mod class;
mod facts;
mod hint;
mod leap;
mod literal;
mod query;
mod read_only;
mod scan;
mod settings;
mod shape;
mod sources;
mod statement;
mod transaction;
mod uses;
mod vacates;

pub(crate) use settings::is_harmless;
pub(crate) use shape::{may_modify, reads_nothing};
pub(crate) use transaction::{chains, ending};
pub(crate) use vacates::vacates;
pub use {
    class::{Class, Knowledge, Reason, class, explain},
    facts::{Facts, Left},
    hint::{Hint, hint},
    transaction::{Begin, Ending, Level, begin, plain_ending},
    uses::{Use, uses},
};

use crate::sql::{token, word};
use token::{Kind, Reading, Token, Tokens};
use word::{ABORT, BEGIN, ROLLBACK, START};

/// The facts about a whole text, without the zero byte that ends it.
///
/// What `'...'` with a backslash is depends on the session; the answer then holds for both cases.
pub fn facts(text: &[u8]) -> Facts {
    let mut tokens = Tokens::new(text, Reading::Standard);
    let facts = read(text, &mut tokens, statement::read);
    if !tokens.is_doubtful() {
        return facts;
    }
    let mut tokens = Tokens::new(text, Reading::Backslash);
    facts.union(read(text, &mut tokens, statement::read))
}

/// The facts about a text of which only the beginning is there: whatever the rest may do, it may do. With an
/// empty beginning, this is what must be feared of a text that cannot be read at all.
pub fn facts_of_beginning(text: &[u8]) -> Facts {
    facts(text).union(Facts::UNSEEN)
}

/// Joins what `read_one` says of each statement.
#[inline]
fn read<'a>(
    text: &'a [u8],
    tokens: &mut Tokens<'a>,
    read_one: impl Fn(Token<'a>, &mut Tokens<'a>) -> Facts,
) -> Facts {
    let mut facts = Facts::NONE;
    let mut statements = 0_usize;
    while let Some(first) = tokens.next() {
        if first.kind == Kind::Semicolon {
            continue;
        }
        statements += 1;
        facts = facts.and(read_one(first, tokens));
        if statements == 1 {
            facts = facts.and(of_transaction(word::folded(Some(first)), text));
        }
    }
    match statements {
        0 => Facts::EMPTY.and(Facts::SINGLE),
        1 if !facts.has(Facts::MANY) => facts.and(Facts::SINGLE),
        _ => facts.without(Facts::SHAREABLE.and(Facts::MANY)),
    }
}

/// What the text is, as one whole statement that begins or ends a transaction.
#[inline]
fn of_transaction(first: word::Folded, text: &[u8]) -> Facts {
    match first {
        BEGIN | START if begin(text).is_some() => Facts::BEGINS,
        ROLLBACK | ABORT if plain_ending(text).is_some() => Facts::ROLLS_BACK,
        _ => Facts::NONE,
    }
}

/// True when nothing but space, comments and semicolons follows the first statement.
pub(crate) fn is_single(text: &[u8]) -> bool {
    facts(text).is_single()
}

/// True when there is no statement in `text` at all.
pub(crate) fn is_empty(text: &[u8]) -> bool {
    facts(text).is_empty()
}

#[cfg(test)]
mod tests;
