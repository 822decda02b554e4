//! Errors that bytes of a peer can hold, and the report that a peer gets to read.
//! Never logs, never decides whether the connection ends.

use std::borrow::Cow;
use std::fmt;

use super::sqlstate::SqlState;
use super::tag::Tag;
use super::version::ProtocolVersion;

/// A peer broke the protocol. One variant per cause, with the figures a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A field reaches past the end of its message.
    #[error("message is cut short: a field needs {needed} bytes, {left} are left")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// Bytes are left after the last field.
    #[error("message holds {count} bytes after its last field")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A string does not end inside its message.
    #[error("a string does not end inside its message: no zero byte among the last {left} bytes")]
    MissingTerminator {
        /// Bytes searched.
        left: usize,
    },
    /// The length field does not even count itself.
    #[error(
        "message {tag} states a length of {length} bytes, below the 4 bytes of the length itself"
    )]
    LengthTooSmall {
        /// The message.
        tag: Tag,
        /// Length as on the wire.
        length: u32,
    },
    /// The length field is negative as the signed number it is.
    #[error("message {tag} states a negative length ({length})")]
    LengthNegative {
        /// The message.
        tag: Tag,
        /// Length as on the wire.
        length: i32,
    },
    /// The body is longer than this kind of message may be.
    #[error("message {tag} is too long: {length} bytes, the limit is {limit}")]
    TooLong {
        /// The message.
        tag: Tag,
        /// Bytes of its body.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A client sent a letter that names no message.
    #[error("unknown message type {tag}")]
    UnknownTag {
        /// The letter.
        tag: Tag,
    },
    /// Describe or Close of something that is neither a statement nor a portal.
    #[error("unknown kind {kind} of object to describe or close: expected 'S' or 'P'")]
    UnknownTarget {
        /// The letter.
        kind: Tag,
    },
    /// ReadyForQuery with a status that does not exist.
    #[error("unknown transaction status {status}: expected 'I', 'T' or 'E'")]
    UnknownTransactionStatus {
        /// The letter.
        status: Tag,
    },
    /// A count or a length inside a message is below what it can be.
    #[error("a count or length inside a message is negative ({count})")]
    NegativeCount {
        /// The number as on the wire.
        count: i32,
    },
    /// The length of the first packet is impossible.
    #[error("startup packet states a length of {length} bytes, allowed are {min} to {max}")]
    StartupLength {
        /// Length as on the wire.
        length: u32,
        /// Smallest length as on the wire.
        min: usize,
        /// Largest length as on the wire.
        max: usize,
    },
    /// The first bytes are a TLS handshake.
    #[error("the client opened with a TLS handshake without asking for TLS first")]
    TlsWithoutRequest,
    /// The first bytes are an HTTP request.
    #[error("the client speaks HTTP, this port speaks the PostgreSQL protocol")]
    HttpRequest,
    /// A cancel key has an impossible length.
    #[error("cancel key has {length} bytes, allowed are {min} to {max}")]
    CancelKeyLength {
        /// Bytes of the key.
        length: usize,
        /// Bytes a key has at least.
        min: usize,
        /// Bytes a key has at most.
        max: usize,
    },
    /// The major version is not 3.
    #[error(
        "unsupported frontend protocol {requested}: server supports {} to {}",
        ProtocolVersion::V3_0,
        ProtocolVersion::V3_2
    )]
    UnsupportedVersion {
        /// Version that the client asked for.
        requested: ProtocolVersion,
    },
    /// The list of startup parameters does not end with the packet.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    StartupLayout,
    /// No user, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    MissingUser,
    /// Bind or Describe of an unnamed statement that was prepared on another server connection.
    #[error("unnamed prepared statement does not exist")]
    UnnamedStatementGone,
    /// A string that must not hold a zero byte holds one.
    #[error("a string holds a zero byte at position {position}, which the protocol cannot carry")]
    NulInString {
        /// Where, counted from 0.
        position: usize,
    },
    /// An empty name would end the list of startup parameters early.
    #[error("a startup parameter has an empty name")]
    EmptyParameterName,
    /// More elements than the protocol's 16-bit count can say.
    #[error("{count} elements do not fit into one message, the protocol counts to {max}")]
    TooMany {
        /// How many.
        count: usize,
        /// How many fit.
        max: usize,
    },
}

impl ProtocolError {
    /// The code PostgreSQL uses for this cause.
    #[must_use]
    pub const fn sqlstate(&self) -> SqlState {
        match self {
            ProtocolError::UnsupportedVersion { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            ProtocolError::UnnamedStatementGone => SqlState::INVALID_SQL_STATEMENT_NAME,
            ProtocolError::MissingUser => SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            ProtocolError::NulInString { .. } => SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            ProtocolError::TooMany { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
            _ => SqlState::PROTOCOL_VIOLATION,
        }
    }

    /// Whether the peer is likely to be no PostgreSQL client at all, so that PostgreSQL closes without an answer.
    #[must_use]
    pub const fn closes_silently(&self) -> bool {
        matches!(
            self,
            ProtocolError::StartupLength { .. }
                | ProtocolError::TlsWithoutRequest
                | ProtocolError::HttpRequest
                | ProtocolError::CancelKeyLength { .. }
        )
    }

    /// Report that the client reads before the connection ends.
    #[must_use]
    pub fn report(&self) -> ErrorReport {
        ErrorReport::fatal(self.sqlstate(), self.to_string())
    }
}

/// How bad it is, in the words of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// The whole server ends.
    Panic,
    /// Something to look at.
    Warning,
    /// Something to know.
    Notice,
    /// Something for developers.
    Debug,
    /// Something that was asked for.
    Info,
    /// Something for the log.
    Log,
}

impl Severity {
    /// The untranslated word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Panic => "PANIC",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
            Severity::Debug => "DEBUG",
            Severity::Info => "INFO",
            Severity::Log => "LOG",
        }
    }

    /// The severity a server names, from the untranslated field.
    #[must_use]
    pub fn from_bytes(word: &[u8]) -> Option<Severity> {
        let all = [
            Severity::Error,
            Severity::Fatal,
            Severity::Panic,
            Severity::Warning,
            Severity::Notice,
            Severity::Debug,
            Severity::Info,
            Severity::Log,
        ];
        all.into_iter()
            .find(|severity| severity.as_str().as_bytes() == word)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error or notice of our own, ready to be written as ErrorResponse or NoticeResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReport {
    /// How bad it is.
    pub severity: Severity,
    /// Its code.
    pub sqlstate: SqlState,
    /// One line: what happened.
    pub message: Cow<'static, str>,
    /// More about it.
    pub detail: Option<Cow<'static, str>>,
    /// Advice: a thing to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl ErrorReport {
    /// A report without detail and hint.
    #[must_use]
    pub fn new(
        severity: Severity,
        sqlstate: SqlState,
        message: impl Into<Cow<'static, str>>,
    ) -> ErrorReport {
        ErrorReport {
            severity,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// The statement failed, the session goes on.
    #[must_use]
    pub fn error(sqlstate: SqlState, message: impl Into<Cow<'static, str>>) -> ErrorReport {
        ErrorReport::new(Severity::Error, sqlstate, message)
    }

    /// The session ends.
    #[must_use]
    pub fn fatal(sqlstate: SqlState, message: impl Into<Cow<'static, str>>) -> ErrorReport {
        ErrorReport::new(Severity::Fatal, sqlstate, message)
    }

    /// This report with a detail.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> ErrorReport {
        ErrorReport {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// This report with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> ErrorReport {
        ErrorReport {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.sqlstate, self.message)
    }
}

impl From<ProtocolError> for ErrorReport {
    fn from(error: ProtocolError) -> ErrorReport {
        error.report()
    }
}
