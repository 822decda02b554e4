//! The outcome of judging a text: its class, and the reason that an operator is shown. Pure; never looks at a text.

use std::fmt;

use crate::{limits::ROUTED_TEXT_BYTES_MAX, sql::catalog::Taint};

/// The class of a text: whether a hot standby may run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It reads, and a hot standby can run it.
    Read,
    /// It may write, or may need the primary for another reason.
    Write,
}

/// Why a text is what it is. Names are as the text has them, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// Every statement is a read.
    Reads,
    /// There is no statement.
    Empty,
    /// Longer than what is looked at.
    TooLong,
    /// Not UTF-8, or with a zero byte.
    NotText,
    /// A quote or a comment has no end.
    Unended,
    /// Parentheses or brackets do not pair.
    Unpaired,
    /// A name that is not read: with a quote in it, or written in numbers.
    UnreadableName(&'a [u8]),
    /// Parentheses or common table expressions beyond what is counted.
    TooDeep,
    /// A statement that begins with this, which is none of those that read.
    Statement(&'a [u8]),
    /// INSERT, UPDATE, DELETE or MERGE within a query.
    Modifies(&'a [u8]),
    /// SELECT ... INTO.
    Into,
    /// SELECT ... FOR UPDATE or another lock.
    Locks,
    /// EXPLAIN of what is no query.
    Explains(&'a [u8]),
    /// COPY but to the client.
    Copies,
    /// A setting that each server has for itself.
    Setting(&'a [u8]),
    /// It calls this, or reads this, and nothing is known of the database yet.
    NoCatalog(&'a [u8]),
    /// A function that nobody knows.
    UnknownFunction(&'a [u8]),
    /// Some function of that name is volatile.
    VolatileFunction(&'a [u8]),
    /// A function that calls itself stable and needs the primary.
    PrimaryFunction(&'a [u8]),
    /// A column that may be the call of a volatile function.
    Projection(&'a [u8]),
    /// A relation that nobody knows.
    UnknownRelation(&'a [u8]),
    /// A relation that standbys cannot read; true when only because of what it reads in its turn.
    Relation(&'a [u8], Taint, bool),
    /// `write_functions` has it.
    WriteFunction(&'a [u8]),
    /// `primary_patterns` has it, at this place counted from 0.
    PrimaryPattern(usize),
    /// A comment asks for the primary.
    Hint,
}

impl Reason<'_> {
    /// The class it stands for.
    pub fn class(&self) -> Class {
        match self {
            Self::Reads | Self::Empty => Class::Read,
            _ => Class::Write,
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        match self {
            Self::Reads => write!(to, "every statement is a read"),
            Self::Empty => write!(to, "there is no statement"),
            Self::TooLong => write!(to, "longer than {ROUTED_TEXT_BYTES_MAX} bytes"),
            Self::NotText => write!(to, "not UTF-8, or with a zero byte in it"),
            Self::Unended => write!(to, "a quote or a comment has no end"),
            Self::Unpaired => write!(to, "parentheses or brackets do not pair"),
            Self::UnreadableName(name) => write!(to, "the name {} is not read", shown(name)),
            Self::TooDeep => write!(to, "too many parentheses or common table expressions"),
            Self::Statement(word) => write!(
                to,
                "a statement that begins with {} is no read",
                shown(word)
            ),
            Self::Modifies(word) => write!(to, "{} within a query", shown(word)),
            Self::Into => write!(to, "SELECT ... INTO"),
            Self::Locks => write!(to, "SELECT ... FOR UPDATE or another lock"),
            Self::Explains(word) => write!(
                to,
                "EXPLAIN of a statement that begins with {}",
                shown(word)
            ),
            Self::Copies => write!(to, "COPY, but not to the client"),
            Self::Setting(name) => write!(
                to,
                "{} asks for a setting that is each server's own",
                shown(name)
            ),
            Self::NoCatalog(name) => write!(
                to,
                "{} is named, and nothing is known of the database yet",
                shown(name)
            ),
            Self::UnknownFunction(name) => {
                write!(to, "calls {}, a function that is not known", shown(name))
            }
            Self::VolatileFunction(name) => {
                write!(to, "calls {}, a volatile function", shown(name))
            }
            Self::PrimaryFunction(name) => {
                write!(to, "calls {}, which needs the primary", shown(name))
            }
            Self::Projection(name) => {
                write!(to, "the column {} may be a volatile function", shown(name))
            }
            Self::UnknownRelation(name) => {
                write!(to, "reads {}, a relation that is not known", shown(name))
            }
            Self::Relation(name, taint, false) => {
                write!(to, "reads {}, which {taint}", shown(name))
            }
            Self::Relation(name, taint, true) => write!(
                to,
                "reads {}, and that something which {taint}",
                shown(name)
            ),
            Self::WriteFunction(name) => {
                write!(to, "calls {}, which write_functions has", shown(name))
            }
            Self::PrimaryPattern(number) => {
                write!(to, "primary_patterns has it, at place {}", number + 1)
            }
            Self::Hint => write!(to, "a comment asks for the primary"),
        }
    }
}
