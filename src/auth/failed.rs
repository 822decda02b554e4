//! The error of a client that did not prove its password. Never says which part of the proof was wrong.

use crate::protocol::{ErrorReport, SqlState};

/// Error for a client whose proof is wrong, or whose user does not exist: the same words in both cases.
#[must_use]
pub fn password_failed(user: &[u8]) -> ErrorReport {
    let user = String::from_utf8_lossy(user);
    let message = format!("password authentication failed for user \"{user}\"");
    ErrorReport::fatal(SqlState::INVALID_PASSWORD, message)
}
