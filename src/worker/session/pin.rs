//! Why a session keeps its server connection: state that lives there and that pgring does not carry. Pure.

use crate::worker::classify::SessionState;

/// Why a session keeps its server connection between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It prepared a named statement.
    PreparedStatement,
    /// It has prepared the unnamed statement and will use it in another pipeline.
    UnnamedStatement,
    /// It has a setting that pgring does not carry.
    Setting,
    /// It listens.
    Listen,
    /// It has a temporary object.
    TemporaryObject,
    /// It has a cursor WITH HOLD.
    HeldCursor,
    /// It loaded a library.
    Library,
    /// It may hold an advisory lock.
    AdvisoryLock,
}

impl Pin {
    /// As SHOW CLIENTS says it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::PreparedStatement => "prepared statement",
            Self::UnnamedStatement => "unnamed statement",
            Self::Setting => "setting",
            Self::Listen => "listen",
            Self::TemporaryObject => "temporary object",
            Self::HeldCursor => "cursor with hold",
            Self::Library => "library",
            Self::AdvisoryLock => "advisory lock",
        }
    }
}

impl From<SessionState> for Pin {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Setting => Self::Setting,
            SessionState::PreparedStatement => Self::PreparedStatement,
            SessionState::Listen => Self::Listen,
            SessionState::TemporaryObject => Self::TemporaryObject,
            SessionState::HeldCursor => Self::HeldCursor,
            SessionState::Library => Self::Library,
            SessionState::AdvisoryLock => Self::AdvisoryLock,
        }
    }
}
