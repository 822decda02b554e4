//! Why a session keeps its server connection: state that lives there and that pgring does not carry. Pure.
//! And what a client is told where that is not allowed.

use crate::{
    protocol::{ErrorReport, SqlState},
    sql::effects::Left,
};

/// Why a session keeps its server connection between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It prepared a statement by SQL.
    PreparedStatement,
    /// It prepared a statement that is too long to be kept, that has an odd name, or that means a moment.
    OddStatement,
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
    /// It has left what no reset takes off a connection.
    Lasting,
    /// It keeps what sequences have given to it.
    SequenceValue,
    /// The server answered what was not asked: nobody knows where the session stands.
    Unfollowed,
}

impl Pin {
    /// Each of them, at its own number.
    pub(crate) const ALL: [Self; 11] = [
        Self::PreparedStatement,
        Self::OddStatement,
        Self::Setting,
        Self::Listen,
        Self::TemporaryObject,
        Self::HeldCursor,
        Self::Library,
        Self::AdvisoryLock,
        Self::Lasting,
        Self::SequenceValue,
        Self::Unfollowed,
    ];

    /// As SHOW CLIENTS says it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::PreparedStatement => "prepared statement",
            Self::OddStatement => "odd statement",
            Self::Setting => "setting",
            Self::Listen => "listen",
            Self::TemporaryObject => "temporary object",
            Self::HeldCursor => "cursor with hold",
            Self::Library => "library",
            Self::AdvisoryLock => "advisory lock",
            Self::Lasting => "state that no reset removes",
            Self::SequenceValue => "sequence value",
            Self::Unfollowed => "conversation cannot be followed",
        }
    }
}

impl From<Left> for Pin {
    fn from(left: Left) -> Self {
        match left {
            Left::Listening => Self::Listen,
            Left::TemporaryObject => Self::TemporaryObject,
            Left::HeldCursor => Self::HeldCursor,
            Left::Library => Self::Library,
            Left::AdvisoryLock => Self::AdvisoryLock,
            Left::PreparedStatement => Self::PreparedStatement,
        }
    }
}

/// Error for a statement that is not executed because it would pin its session.
pub(crate) fn refusal(pin: Pin) -> ErrorReport {
    let message = format!(
        "this statement would tie its session to one server connection: {}",
        pin.reason()
    );
    ErrorReport::error(SqlState::FEATURE_NOT_SUPPORTED, message)
        .with_detail(DETAIL)
        .with_hint(advice(pin))
}

/// Error that ends a session which has got state that no text showed.
pub(crate) fn found(pin: Pin) -> ErrorReport {
    let message = format!(
        "terminating connection because of what its last transaction left at the server: {}",
        pin.reason()
    );
    ErrorReport::fatal(SqlState::FEATURE_NOT_SUPPORTED, message)
        .with_detail(DETAIL)
        .with_hint(advice(pin))
}

const DETAIL: &str = "Such state cannot follow the session to another connection, and pgring's setting pin is \
    \"refuse\" for this database and user.";

/// Hint that says how to do without.
fn advice(pin: Pin) -> &'static str {
    match pin {
        Pin::PreparedStatement => {
            "Prepare it by the protocol, as drivers do, or set mode = \"session\" or pin = \"allow\"."
        }
        Pin::TemporaryObject => {
            "Create it with ON COMMIT DROP, or set mode = \"session\" or pin = \"allow\"."
        }
        Pin::HeldCursor => {
            "Read the cursor within its transaction, or set mode = \"session\" or pin = \"allow\"."
        }
        Pin::AdvisoryLock => {
            "Use pg_advisory_xact_lock, or set mode = \"session\" or pin = \"allow\"."
        }
        Pin::OddStatement
        | Pin::Setting
        | Pin::Listen
        | Pin::Library
        | Pin::Lasting
        | Pin::SequenceValue
        | Pin::Unfollowed => "Set mode = \"session\" or pin = \"allow\" for this database or user.",
    }
}
