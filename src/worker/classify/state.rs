//! The kind of session state that a text leaves behind, for the reason that SHOW CLIENTS tells. Leaves out
//! settings that pgring carries anyway, and what only may leave something behind.

use super::{
    statement::{self, Name, name_of, unquoted},
    token::{Kind, Reading, Token, Tokens},
    word::{HOLD, LISTEN, LOAD, PREPARE, SESSION, SET, TEMP, TEMPORARY, fold, folded},
};

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
const REPORTED: [&str; 8] = [
    "APPLICATION_NAME",
    "CLIENT_ENCODING",
    "DATESTYLE",
    "DEFAULT_TRANSACTION_READ_ONLY",
    "INTERVALSTYLE",
    "NAMES",
    "STANDARD_CONFORMING_STRINGS",
    "TIMEZONE",
];

/// The session state that some statement of `text` leaves behind.
pub(crate) fn session_state(text: &[u8]) -> Option<SessionState> {
    let mut tokens = Tokens::new(text, Reading::Standard);
    while let Some(first) = tokens.next() {
        let rest = tokens;
        let gains =
            first.kind != Kind::Semicolon && statement::read(first, &mut tokens).gains_state();
        if let Some(state) = gains.then(|| state_of(first, rest)).flatten() {
            return Some(state);
        }
    }
    None
}

fn state_of(first: Token<'_>, mut rest: Tokens<'_>) -> Option<SessionState> {
    match folded(Some(first)) {
        SET => return state_of_set(rest),
        PREPARE => return Some(SessionState::PreparedStatement),
        LISTEN => return Some(SessionState::Listen),
        LOAD => return Some(SessionState::Library),
        _ => {}
    }
    rest.by_ref()
        .take_while(|token| token.kind != Kind::Semicolon)
        .find_map(state_of_name)
}

fn state_of_name(token: Token<'_>) -> Option<SessionState> {
    let name = match token.kind {
        Kind::Word | Kind::Quoted => unquoted(token),
        _ => return None,
    };
    match fold(name) {
        TEMP | TEMPORARY => return Some(SessionState::TemporaryObject),
        HOLD => return Some(SessionState::HeldCursor),
        _ => {}
    }
    match name_of(name)? {
        Name::SetConfig => Some(SessionState::Setting),
        Name::AdvisoryLock => Some(SessionState::AdvisoryLock),
        Name::AdvisoryUnlock => None,
        Name::TemporarySchema => Some(SessionState::TemporaryObject),
    }
}

fn state_of_set(mut rest: Tokens<'_>) -> Option<SessionState> {
    let mut name = rest.next()?;
    if folded(Some(name)) == SESSION {
        name = rest.next()?;
    }
    let is = |token: Token<'_>, known: &str| token.text.eq_ignore_ascii_case(known.as_bytes());
    let carried = REPORTED.iter().any(|known| is(name, known))
        || is(name, "TIME") && rest.next().is_some_and(|zone| is(zone, "ZONE"));
    (!carried).then_some(SessionState::Setting)
}
