//! Effects of a text of statements, as far as pooling must know. Pure; allocates nothing but names.
//!
//! `token.rs` cuts the text exactly as the server does, `statement.rs` says what one statement may do, and
//! `fast.rs` hurries through the common ones, and
//! this file joins the statements of a text, under both readings where the text has two. Never runs SQL, and
//! never knows the session's settings.

mod fast;
pub(super) mod flags;
mod literal;
mod set;
pub(super) mod settings;
pub(super) mod statement;
mod transaction;
mod uses;
mod vacates;

pub(crate) use settings::is_harmless;
pub(crate) use transaction::{chains, ending};
pub(crate) use vacates::vacates;
pub use {
    flags::{Left, StatementFlags},
    set::Effects,
    transaction::{Begin, Ending, Level, begin, plain_ending},
    uses::{Use, uses},
};

use fast::FastEffects;
use statement::Reader;

use super::{
    token::{Kind, Reading, Token, Tokens},
    word::{self, ABORT, BEGIN, FETCH, MOVE, ROLLBACK, START},
};

/// Flags of a whole text, without the zero byte that ends it.
///
/// The meaning of a backslash in `'...'` depends on the session; the answer then holds for both.
pub fn flags_of(text: &[u8]) -> StatementFlags {
    let mut tokens = Tokens::new(text, Reading::Standard);
    let flags = read(text, &mut tokens, read_statement);
    if !tokens.is_doubtful() {
        return flags;
    }
    let mut tokens = Tokens::new(text, Reading::Backslash);
    flags.union(read(text, &mut tokens, read_statement))
}

/// Flags of a text of which only the beginning is there: whatever the rest may do, it may do. With an
/// empty beginning, this is what must be feared of a text that cannot be read at all.
pub fn flags_of_beginning(text: &[u8]) -> StatementFlags {
    flags_of(text).union(StatementFlags::UNSEEN)
}

/// Joins what `read_one` says of each statement.
#[inline]
pub(super) fn read<'a>(
    text: &'a [u8],
    tokens: &mut Tokens<'a>,
    read_one: impl Fn(Token<'a>, &mut Tokens<'a>) -> StatementFlags,
) -> StatementFlags {
    let mut flags = StatementFlags::NONE;
    let mut statements = 0_usize;
    while let Some(first) = tokens.next() {
        if first.kind == Kind::Semicolon {
            continue;
        }
        statements += 1;
        flags = flags.and(read_one(first, tokens));
        if statements == 1 {
            flags = flags.and(of_transaction(word::folded(Some(first)), text));
        }
    }
    match statements {
        0 => StatementFlags::EMPTY.and(StatementFlags::SINGLE),
        1 if !flags.has(StatementFlags::MANY) => flags.and(StatementFlags::SINGLE),
        _ => flags.without(
            StatementFlags::SHAREABLE
                .and(StatementFlags::FETCHES)
                .and(StatementFlags::MANY),
        ),
    }
}

/// Flags of one statement up to its semicolon. `first` is its first token. One that begins as queries do goes the quick way.
#[inline]
pub(super) fn read_statement<'a>(first: Token<'a>, tokens: &mut Tokens<'a>) -> StatementFlags {
    let mut reader = Reader::new(first, *tokens);
    if reader.flags == StatementFlags::SHAREABLE {
        FastEffects::new(tokens, &mut reader).run();
    } else {
        reader.slowly(first, tokens);
    }
    reader.flags
}

/// Flags of the whole text, as one statement that begins or ends a transaction, or reads on.
#[inline]
fn of_transaction(first: word::Folded, text: &[u8]) -> StatementFlags {
    match first {
        BEGIN | START if begin(text).is_some() => StatementFlags::BEGINS,
        FETCH | MOVE => StatementFlags::FETCHES,
        ROLLBACK | ABORT if plain_ending(text).is_some() => StatementFlags::ROLLS_BACK,
        _ => StatementFlags::NONE,
    }
}

/// True when nothing but space, comments and semicolons follows the first statement.
pub(crate) fn is_single(text: &[u8]) -> bool {
    flags_of(text).is_single()
}

/// True when there is no statement in `text` at all.
pub(crate) fn is_empty(text: &[u8]) -> bool {
    flags_of(text).is_empty()
}
