//! Statements that begin and end transactions, by PostgreSQL's grammar (manual, BEGIN, COMMIT, ROLLBACK).
//! Never says what is between them.

use crate::sql::{
    token::{Kind, Reading, Token, Tokens},
    word::{
        ABORT, AND, BEGIN, CHAIN, COMMIT, COMMITTED, DEFERRABLE, END, Folded, ISOLATION, LEVEL, NO,
        NOT, ONLY, PREPARE, PREPARED, READ, REPEATABLE, ROLLBACK, SERIALIZABLE, START, TO,
        TRANSACTION, UNCOMMITTED, WORK, WRITE, folded,
    },
};

/// A transaction block whose beginning can be answered without a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// As CommandComplete says it: `BEGIN` or `START TRANSACTION`.
    pub tag: &'static str,
    /// Whether it was declared READ ONLY (or READ WRITE).
    pub read_only: Option<bool>,
    /// Its isolation level, when it names one.
    pub level: Option<Level>,
}

/// An isolation level. (READ UNCOMMITTED is READ COMMITTED.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

/// One transaction mode of BEGIN or START TRANSACTION.
enum Mode {
    ReadOnly(bool),
    Level(Level),
    Other,
}

/// How a statement ends the transaction it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// COMMIT, END, PREPARE TRANSACTION.
    Commit,
    /// ROLLBACK or ABORT of the whole transaction.
    Rollback,
}

/// The block that `text`, as one whole statement, begins; `None` unless the server accepts it for sure.
pub fn begin(text: &[u8]) -> Option<Begin> {
    let mut words = Words::new(text);
    let tag = match words.next() {
        BEGIN => {
            words.skip_work();
            "BEGIN"
        }
        START if words.next() == TRANSACTION => "START TRANSACTION",
        _ => return None,
    };
    let (mut read_only, mut chosen) = (None, None);
    let mut expected = false;
    while expected || !words.is_over() {
        match mode(&mut words)? {
            Mode::ReadOnly(only) => read_only = Some(only),
            Mode::Level(level) => chosen = Some(level),
            Mode::Other => {}
        }
        expected = words.skip(Kind::Comma);
    }
    Some(Begin {
        tag,
        read_only,
        level: chosen,
    })
}

fn mode(words: &mut Words<'_>) -> Option<Mode> {
    match words.next() {
        ISOLATION if words.next() == LEVEL => level(words).map(Mode::Level),
        READ => match words.next() {
            ONLY => Some(Mode::ReadOnly(true)),
            WRITE => Some(Mode::ReadOnly(false)),
            _ => None,
        },
        DEFERRABLE => Some(Mode::Other),
        NOT if words.next() == DEFERRABLE => Some(Mode::Other),
        _ => None,
    }
}

fn level(words: &mut Words<'_>) -> Option<Level> {
    match words.next() {
        SERIALIZABLE => Some(Level::Serializable),
        REPEATABLE if words.next() == READ => Some(Level::RepeatableRead),
        READ if matches!(words.next(), COMMITTED | UNCOMMITTED) => Some(Level::ReadCommitted),
        _ => None,
    }
}

/// How `text`, as one whole statement, ends its transaction and begins no other; `None` unless the server
/// accepts it for sure.
pub fn plain_ending(text: &[u8]) -> Option<Ending> {
    let mut words = Words::new(text);
    let ending = match words.next() {
        COMMIT | END => Ending::Commit,
        ROLLBACK | ABORT => Ending::Rollback,
        _ => return None,
    };
    words.skip_work();
    let chained =
        !words.is_over() && [words.next(), words.next(), words.next()] != [AND, NO, CHAIN];
    (!chained && words.is_over()).then_some(ending)
}

/// How the first statement of `text` ends its transaction, if it does.
pub(crate) fn ending(text: &[u8]) -> Option<Ending> {
    let mut words = Words::new(text);
    let first = words.next();
    match first {
        COMMIT | END => (words.next() != PREPARED).then_some(Ending::Commit),
        PREPARE => (words.next() == TRANSACTION).then_some(Ending::Commit),
        ABORT => Some(Ending::Rollback),
        ROLLBACK => {
            words.skip_work();
            let part = matches!(words.next(), TO | PREPARED);
            (!part).then_some(Ending::Rollback)
        }
        _ => None,
    }
}

/// True when the first statement of `text` ends a transaction and begins the next one: `... AND CHAIN`.
pub(crate) fn chains(text: &[u8]) -> bool {
    let mut words = Words::new(text);
    words.next();
    words.skip_work();
    words.next() == AND && words.next() == CHAIN
}

/// The words of the first statement. Literals are of no interest, so that one reading is enough.
struct Words<'a>(Tokens<'a>);

impl<'a> Words<'a> {
    /// Skips empty statements.
    fn new(text: &'a [u8]) -> Self {
        let mut words = Self(Tokens::new(text, Reading::Standard));
        while words.skip(Kind::Semicolon) {}
        words
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.0.clone().next()
    }

    /// The next token, if it is a word; 0 for any other.
    fn next(&mut self) -> Folded {
        folded(self.0.next())
    }

    fn skip(&mut self, kind: Kind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == kind);
        if found {
            self.0.next();
        }
        found
    }

    fn skip_work(&mut self) {
        if matches!(folded(self.peek()), WORK | TRANSACTION) {
            self.0.next();
        }
    }

    /// True when nothing but semicolons is left.
    fn is_over(&self) -> bool {
        self.0.clone().all(|token| token.kind == Kind::Semicolon)
    }
}
