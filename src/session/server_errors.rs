//! A server's errors and notices, as far as they decide what becomes of its connection or of a read. Pure.

use crate::protocol::{ErrorReport, Severity, SqlState, backend::ErrorFields};

/// True when the server closes the connection after this error.
pub(crate) fn is_fatal(body: &[u8]) -> bool {
    let severity = ErrorFields::read(body)
        .ok()
        .and_then(|fields| fields.severity());
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// Message with which the server ends the connection, as an error of a session that goes on.
pub(crate) fn last_words(body: &[u8]) -> ErrorReport {
    let Ok(fields) = ErrorFields::read(body) else {
        return ErrorReport::error(
            SqlState::CONNECTION_FAILURE,
            "the server ended the connection",
        );
    };
    fields.to_report(Severity::Error, SqlState::CONNECTION_FAILURE)
}

/// True when the server ends the session for its own time limits, which it has told it to keep.
pub(crate) fn has_expired(body: &[u8]) -> bool {
    matches!(
        ErrorFields::sqlstate_in(body),
        Some(
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                | SqlState::TRANSACTION_TIMEOUT
                | SqlState::IDLE_SESSION_TIMEOUT
        )
    )
}

/// True for errors of which the primary is free: what a standby cannot do, or had to give up because of what it
/// replayed. (PostgreSQL manual, "Hot Standby".)
pub(crate) fn is_for_primary(body: &[u8]) -> bool {
    let Ok(fields) = ErrorFields::read(body) else {
        return false;
    };
    let recovery = || memchr::memmem::find(body, b"recovery").is_some();
    match fields.sqlstate() {
        Some(SqlState::READ_ONLY_TRANSACTION) => true,
        Some(
            SqlState::FEATURE_NOT_SUPPORTED
            | SqlState::SERIALIZATION_FAILURE
            | SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        ) => recovery(),
        _ => false,
    }
}

/// True for the notice with which a backend takes its leave when its server is shut down immediately, or crashes.
pub(crate) fn is_farewell(body: &[u8]) -> bool {
    let sqlstate = ErrorFields::sqlstate_in(body);
    matches!(
        sqlstate,
        Some(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN)
    )
}

/// Text of an error.
pub(crate) fn error_message(body: &[u8]) -> String {
    let fields = ErrorFields::read(body).ok();
    let message = fields.map(|fields| String::from_utf8_lossy(fields.message()).into_owned());
    message.unwrap_or_default()
}
