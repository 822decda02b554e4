//! What a statement is, as far as pooling must know: its first words. Pure, allocates nothing.
//!
//! Errs on one side only: a text that commits is never missed, one that only looks as if it did may be
//! taken for it. Never decides what a statement does beyond ending a transaction.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

/// Session state that a statement leaves behind on its connection and that pgring does not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionState {
    /// SET of something the server does not report, SET ROLE, SET SESSION AUTHORIZATION, `set_config`.
    Setting,
    /// PREPARE.
    PreparedStatement,
    /// LISTEN.
    Listen,
    /// CREATE TEMPORARY, SELECT INTO TEMPORARY.
    TemporaryObject,
    /// DECLARE WITH HOLD.
    HeldCursor,
    /// LOAD.
    Library,
    /// `pg_advisory_lock` and its kin.
    AdvisoryLock,
}

/// Settings whose changes the server reports, so that pgring sees them and carries them
/// (PostgreSQL manual, "Asynchronous Operations").
const REPORTED: [&str; 7] = [
    "APPLICATION_NAME",
    "CLIENT_ENCODING",
    "DATESTYLE",
    "DEFAULT_TRANSACTION_READ_ONLY",
    "INTERVALSTYLE",
    "STANDARD_CONFORMING_STRINGS",
    "TIMEZONE",
];

static SET_CONFIG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("set_config"));
static ADVISORY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("pg_advisory_lock"));
static TRY_ADVISORY: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new("pg_try_advisory_lock"));

/// The session state that some statement of `text` leaves behind, if any is to be feared. Literals are not told
/// from code, so that it may see some where there is none.
pub(crate) fn session_state(text: &[u8]) -> Option<SessionState> {
    let mut rest = text;
    loop {
        let statement = skip_empty(rest);
        if let Some(state) = state_of(statement) {
            return Some(state);
        }
        match memchr::memchr(b';', statement) {
            Some(end) => rest = statement.get(end + 1..).unwrap_or_default(),
            None => return state_of_functions(text),
        }
    }
}

/// What one statement leaves behind, told by how it begins.
fn state_of(statement: &[u8]) -> Option<SessionState> {
    let (first, rest) = word(statement);
    match first.first()?.to_ascii_uppercase() {
        b'S' if is(first, "SET") => state_of_set(rest),
        b'P' if is(first, "PREPARE") && !is(word(rest).0, "TRANSACTION") => {
            Some(SessionState::PreparedStatement)
        }
        b'L' if is(first, "LISTEN") => Some(SessionState::Listen),
        b'L' if is(first, "LOAD") => Some(SessionState::Library),
        b'D' if is(first, "DECLARE") && has_word(rest, "HOLD") => Some(SessionState::HeldCursor),
        b'C' if is(first, "CREATE") && makes_temporary(rest) => Some(SessionState::TemporaryObject),
        _ => None,
    }
}

fn state_of_set(rest: &[u8]) -> Option<SessionState> {
    let (mut name, mut behind) = word(rest);
    if is(name, "SESSION") {
        (name, behind) = word(behind);
    }
    let passing = ["LOCAL", "TRANSACTION", "CONSTRAINTS", "NAMES"];
    let carried = passing.iter().chain(&REPORTED).any(|known| is(name, known))
        || is(name, "TIME") && is(word(behind).0, "ZONE");
    (!carried).then_some(SessionState::Setting)
}

/// What follows CREATE names a temporary object.
fn makes_temporary(rest: &[u8]) -> bool {
    let (mut next, mut behind) = word(rest);
    while ["OR", "REPLACE", "GLOBAL", "LOCAL", "RECURSIVE"]
        .iter()
        .any(|known| is(next, known))
    {
        (next, behind) = word(behind);
    }
    is(next, "TEMP") || is(next, "TEMPORARY")
}

/// True when `keyword` is among the words of this statement.
fn has_word(mut rest: &[u8], keyword: &str) -> bool {
    while !rest.is_empty() {
        let (next, behind) = word(rest);
        if is(next, keyword) {
            return true;
        }
        rest = if next.is_empty() {
            behind.get(1..).unwrap_or_default()
        } else {
            behind
        };
    }
    false
}

/// Functions that leave state behind wherever they are called.
fn state_of_functions(text: &[u8]) -> Option<SessionState> {
    // Each of their names has an underscore; a statement without one is done with.
    memchr::memchr(b'_', text)?;
    if SET_CONFIG.find(text).is_some() && !is_local_set_config(text) {
        return Some(SessionState::Setting);
    }
    let locks = ADVISORY.find(text).is_some() || TRY_ADVISORY.find(text).is_some();
    locks.then_some(SessionState::AdvisoryLock)
}

/// True when each `set_config` is, by all its looks, for the transaction alone: `set_config(..., true)`.
fn is_local_set_config(text: &[u8]) -> bool {
    let calls = SET_CONFIG.find_iter(text).count();
    let local = memmem::find_iter(text, b"true").count();
    local >= calls && memmem::find(text, b"false").is_none()
}

/// How a statement ends the transaction it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// COMMIT, END, PREPARE TRANSACTION.
    Commit,
    /// ROLLBACK or ABORT of the whole transaction.
    Rollback,
}

/// How the first statement of `text` ends its transaction, if it does.
pub(crate) fn ending(text: &[u8]) -> Option<Ending> {
    let (first, rest) = word(skip_empty(text));
    let second = || word(rest).0;
    if is(first, "COMMIT") || is(first, "END") {
        return (!is(second(), "PREPARED")).then_some(Ending::Commit);
    }
    if is(first, "PREPARE") {
        return is(second(), "TRANSACTION").then_some(Ending::Commit);
    }
    if is(first, "ABORT") {
        return Some(Ending::Rollback);
    }
    let whole = is(first, "ROLLBACK") && !is(second(), "PREPARED") && !is(after_work(rest).0, "TO");
    whole.then_some(Ending::Rollback)
}

/// True when the first statement of `text` ends a transaction and begins the next one: `... AND CHAIN`.
pub(crate) fn chains(text: &[u8]) -> bool {
    let (and, rest) = after_work(word(skip_empty(text)).1);
    is(and, "AND") && is(word(rest).0, "CHAIN")
}

/// The word that follows an optional WORK or TRANSACTION, and what follows it.
fn after_work(rest: &[u8]) -> (&[u8], &[u8]) {
    let (next, behind) = word(rest);
    if is(next, "WORK") || is(next, "TRANSACTION") {
        return word(behind);
    }
    (next, behind)
}

/// True when some statement of `text` may make a transaction permanent, be it one that was prepared.
/// A semicolon inside a literal counts as the end of a statement.
pub(crate) fn commits(text: &[u8]) -> bool {
    let first = word(text).0;
    if is(first, "COMMIT") || ending(text) == Some(Ending::Commit) {
        return true;
    }
    memchr::memchr_iter(b';', text).any(|end| {
        let next = text.get(end + 1..).unwrap_or_default();
        is(word(next).0, "COMMIT") || ending(next) == Some(Ending::Commit)
    })
}

/// True when nothing but space, comments and semicolons follows the first statement.
pub(crate) fn is_single(text: &[u8]) -> bool {
    let text = skip_empty(text);
    match memchr::memchr(b';', text) {
        Some(end) => is_empty(text.get(end..).unwrap_or_default()),
        None => true,
    }
}

/// True when there is no statement in `text` at all.
pub(crate) fn is_empty(text: &[u8]) -> bool {
    skip_empty(text).is_empty()
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// The first word of `text`, and what follows it. Bytes of other alphabets belong to words.
pub(crate) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = skip_space(text);
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    let end = text.iter().position(|byte| !belongs(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// `text` without leading empty statements.
fn skip_empty(mut text: &[u8]) -> &[u8] {
    loop {
        text = skip_space(text);
        match text.strip_prefix(b";") {
            Some(rest) => text = rest,
            None => return text,
        }
    }
}

/// `text` without leading white space and comments.
fn skip_space(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = text.strip_prefix(b"\x0b").unwrap_or(text);
        if text.starts_with(b"--") {
            let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
            text = &text[end..];
        } else if text.starts_with(b"/*") {
            text = skip_comment(text);
        } else {
            return text;
        }
    }
}

/// What follows a block comment; they nest. An endless one swallows everything.
fn skip_comment(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return &text[at..];
            }
        } else {
            let step = rest
                .iter()
                .skip(1)
                .position(|byte| matches!(byte, b'/' | b'*'));
            let Some(step) = step else { break };
            at += step + 1;
        }
    }
    &[]
}

#[cfg(test)]
mod tests;
