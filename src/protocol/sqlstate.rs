//! Five-character error codes: a checked value and the names this program uses.
//! Never decides which error happened.

use std::fmt;

/// An SQLSTATE: five digits or capital ASCII letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

macro_rules! sqlstates {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: SqlState = SqlState(*$code);)*

            /// Every named code, for tests.
            #[cfg(test)]
            pub(crate) const NAMED: &[SqlState] = &[$(SqlState::$name),*];
        }
    };
}

sqlstates! {
    /// Success.
    SUCCESSFUL_COMPLETION = b"00000";
    /// A warning of no particular kind.
    WARNING = b"01000";
    /// The peer broke the protocol.
    PROTOCOL_VIOLATION = b"08P01";
    /// A connection that was in use is lost.
    CONNECTION_FAILURE = b"08006";
    /// The connection was lost while COMMIT was in flight: nobody knows whether it happened.
    TRANSACTION_RESOLUTION_UNKNOWN = b"08007";
    /// No connection can be made.
    CANNOT_CONNECT = b"08001";
    /// The server refused the connection.
    CONNECTION_REJECTED = b"08004";
    /// Not supported.
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// Bytes that are not text in the encoding in use.
    CHARACTER_NOT_IN_REPERTOIRE = b"22021";
    /// A setting has a value it cannot have.
    INVALID_PARAMETER_VALUE = b"22023";
    /// Begin inside a transaction.
    ACTIVE_SQL_TRANSACTION = b"25001";
    /// No transaction is open.
    NO_ACTIVE_SQL_TRANSACTION = b"25P01";
    /// The transaction has failed; only its end is accepted.
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    /// The transaction was idle for too long.
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = b"25P03";
    /// The transaction took too long.
    TRANSACTION_TIMEOUT = b"25P04";
    /// No such prepared statement.
    INVALID_SQL_STATEMENT_NAME = b"26000";
    /// Not allowed to connect.
    INVALID_AUTHORIZATION_SPECIFICATION = b"28000";
    /// Wrong password.
    INVALID_PASSWORD = b"28P01";
    /// No such portal or cursor.
    INVALID_CURSOR_NAME = b"34000";
    /// No such database.
    INVALID_CATALOG_NAME = b"3D000";
    /// Not permitted.
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// Not SQL.
    SYNTAX_ERROR = b"42601";
    /// No such object, setting or command.
    UNDEFINED_OBJECT = b"42704";
    /// A prepared statement of that name exists.
    DUPLICATE_PREPARED_STATEMENT = b"42P05";
    /// Out of some resource.
    INSUFFICIENT_RESOURCES = b"53000";
    /// Out of memory.
    OUT_OF_MEMORY = b"53200";
    /// No connection is free.
    TOO_MANY_CONNECTIONS = b"53300";
    /// A configured bound is reached.
    CONFIGURATION_LIMIT_EXCEEDED = b"53400";
    /// Longer, deeper or more than this program can take.
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// Not in the right state for this.
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000";
    /// read_only_sql_transaction.
    READ_ONLY_TRANSACTION = b"25006";
    /// serialization_failure.
    SERIALIZATION_FAILURE = b"40001";
    /// The user asked to stop it.
    QUERY_CANCELED = b"57014";
    /// Shut down or ended by an administrator.
    ADMIN_SHUTDOWN = b"57P01";
    /// A neighbour crashed.
    CRASH_SHUTDOWN = b"57P02";
    /// No server can take this now.
    CANNOT_CONNECT_NOW = b"57P03";
    /// The session was idle for too long.
    IDLE_SESSION_TIMEOUT = b"57P05";
    /// The system failed us.
    IO_ERROR = b"58030";
    /// A fault of this program.
    INTERNAL_ERROR = b"XX000";
}

impl SqlState {
    /// Takes a code as a server sends it; `None` unless it is five digits or capital letters.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<SqlState> {
        let code: [u8; 5] = bytes.try_into().ok()?;
        let valid = code
            .iter()
            .all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        valid.then_some(SqlState(code))
    }

    /// The five characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a code holds only ASCII digits and letters")
    }

    /// The five characters as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 5] {
        &self.0
    }

    /// The first two characters, which name the family of the error.
    #[must_use]
    pub const fn class(&self) -> [u8; 2] {
        let [first, second, ..] = self.0;
        [first, second]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_codes_are_valid_and_distinct() {
        for (at, code) in SqlState::NAMED.iter().enumerate() {
            assert_eq!(SqlState::from_bytes(code.as_bytes()), Some(*code));
            assert!(
                SqlState::NAMED
                    .iter()
                    .skip(at + 1)
                    .all(|other| other != code),
                "{code}"
            );
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for bytes in [
            &b""[..],
            b"0800",
            b"080061",
            b"08p01",
            b"08 01",
            b"\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(SqlState::from_bytes(bytes), None);
        }
        assert_eq!(SqlState::PROTOCOL_VIOLATION.to_string(), "08P01");
        assert_eq!(SqlState::PROTOCOL_VIOLATION.class(), *b"08");
    }
}
