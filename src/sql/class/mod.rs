//! Whether a text of statements is proved to be a read, which a hot standby may run. When unsure, it is a write. Allocates
//! nothing. Never chooses a node, and never knows the session: a session with temporary tables or with
//! `default_transaction_isolation` at `serializable` must not ask.

mod call;
pub(super) mod fast;
mod fast_blocks;
mod fast_sources;
mod kind;
mod knowledge;
pub mod overrides;
mod query;
mod read_only;
mod verdict;

pub(crate) use kind::{may_modify, reads_nothing, sets};

pub use knowledge::Knowledge;
pub use verdict::{Class, Reason};

use super::{
    hint,
    token::{Reading, Tokens},
};
use crate::limits::ROUTED_TEXT_BYTES_MAX;

/// The class of a text, without the zero byte that ends it, whatever `standard_conforming_strings` is.
///
/// The text must be in an encoding whose characters contain no bytes of ASCII; that of a client in SJIS, BIG5, GBK,
/// GB18030, UHC or JOHAB is not to be asked about.
#[inline]
pub fn class(text: &[u8], knowledge: &Knowledge<'_>) -> Class {
    if fast::is_read(text, knowledge) {
        return Class::Read;
    }
    match judge(text, knowledge) {
        Ok(_) => Class::Read,
        Err(_) => Class::Write,
    }
}

/// The class of a text with the reason for it, as an operator is shown it.
pub fn explain<'a>(text: &'a [u8], knowledge: &Knowledge<'_>) -> (Class, Reason<'a>) {
    let reason = match judge(text, knowledge) {
        Ok(0) => Reason::Empty,
        Ok(_) => Reason::Reads,
        Err(reason) => reason,
    };
    (reason.class(), reason)
}

/// How many statements there are, all of them reads.
fn judge<'a>(text: &'a [u8], knowledge: &Knowledge<'_>) -> Result<usize, Reason<'a>> {
    if text.len() > ROUTED_TEXT_BYTES_MAX {
        return Err(Reason::TooLong);
    }
    let seen = Seen::of(text);
    if seen.zero || seen.high && std::str::from_utf8(text).is_err() {
        return Err(Reason::NotText);
    }
    if let Some(number) = knowledge.overrides.primary_pattern(text) {
        return Err(Reason::PrimaryPattern(number));
    }
    if seen.comment && hint::wants_primary(text) {
        return Err(Reason::Hint);
    }
    let mut tokens = Tokens::new(text, Reading::Standard);
    let statements = read_only::judge(&mut tokens, knowledge)?;
    if tokens.is_doubtful() {
        read_only::judge(&mut Tokens::new(text, Reading::Backslash), knowledge)?;
    }
    Ok(statements)
}

/// Kinds of bytes that a text has.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    zero: bool,
    /// Some byte is not ASCII.
    high: bool,
    /// A slash with a star behind it.
    comment: bool,
}

impl Seen {
    /// Without branches, so that the compiler makes vectors of it.
    #[inline]
    fn of(text: &[u8]) -> Self {
        let (mut zero, mut high, mut comment) = (0, 0, 0);
        for byte in text {
            zero |= u8::from(*byte == 0);
            high |= byte;
        }
        for (byte, next) in text.iter().zip(text.get(1..).unwrap_or_default()) {
            comment |= u8::from(*byte == b'/') & u8::from(*next == b'*');
        }
        Self {
            zero: zero != 0,
            high: high >= 0x80,
            comment: comment != 0,
        }
    }
}
