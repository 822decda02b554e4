//! Why a session keeps its server connection: state that lives there and that pgring does not carry. Pure.

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
}

impl Pin {
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
        }
    }
}
