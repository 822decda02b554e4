//! The letter that opens each message after the startup packet, and its names in both directions.
//! Never decides what a message means: the same letter is a different message in each direction.

use std::fmt;

/// First byte of a message. Open on purpose: a letter without a name is still a tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u8);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

/// Messages that a client sends.
pub mod frontend {
    use crate::{limits, protocol::tag::Tag};

    /// Simple query.
    pub const QUERY: Tag = Tag(b'Q');
    /// Prepares a statement.
    pub const PARSE: Tag = Tag(b'P');
    /// Makes a portal of a statement and its parameters.
    pub const BIND: Tag = Tag(b'B');
    /// Asks for the shape of a statement or a portal.
    pub const DESCRIBE: Tag = Tag(b'D');
    /// Runs a portal.
    pub const EXECUTE: Tag = Tag(b'E');
    /// Closes a statement or a portal.
    pub const CLOSE: Tag = Tag(b'C');
    /// Asks for the answers so far.
    pub const FLUSH: Tag = Tag(b'H');
    /// Ends a pipeline.
    pub const SYNC: Tag = Tag(b'S');
    /// Calls a function by its oid.
    pub const FUNCTION_CALL: Tag = Tag(b'F');
    /// A piece of COPY data.
    pub const COPY_DATA: Tag = Tag(b'd');
    /// COPY data are complete.
    pub const COPY_DONE: Tag = Tag(b'c');
    /// COPY data end with a failure.
    pub const COPY_FAIL: Tag = Tag(b'f');
    /// The client leaves.
    pub const TERMINATE: Tag = Tag(b'X');
    /// Password, SASLInitialResponse, SASLResponse or GSSResponse; which one depends on what was asked.
    pub const PASSWORD: Tag = Tag(b'p');

    /// Longest body that is taken from a client for this tag, in bytes, or `None` for a tag it does not know.
    #[must_use]
    pub const fn body_bytes_max(tag: Tag) -> Option<usize> {
        match tag {
            QUERY | PARSE | BIND | FUNCTION_CALL | COPY_DATA => Some(limits::MESSAGE_BYTES_MAX - 4),
            DESCRIBE | EXECUTE | CLOSE | COPY_DONE | COPY_FAIL | TERMINATE => {
                Some(limits::SMALL_MESSAGE_BYTES_MAX)
            }
            // A server refuses more than nothing when it has read it.
            FLUSH | SYNC => Some(0),
            PASSWORD => Some(limits::AUTHENTICATION_BYTES_MAX),
            _ => None,
        }
    }
}

/// Messages that a server sends.
pub mod backend {
    use crate::protocol::tag::Tag;

    /// A request for authentication, or its end.
    pub const AUTHENTICATION: Tag = Tag(b'R');
    /// A setting and its value.
    pub const PARAMETER_STATUS: Tag = Tag(b'S');
    /// Process id and cancel key.
    pub const BACKEND_KEY_DATA: Tag = Tag(b'K');
    /// The server waits for the next query or pipeline.
    pub const READY_FOR_QUERY: Tag = Tag(b'Z');
    /// An error.
    pub const ERROR_RESPONSE: Tag = Tag(b'E');
    /// A notice, a warning or the like.
    pub const NOTICE_RESPONSE: Tag = Tag(b'N');
    /// A NOTIFY of some session.
    pub const NOTIFICATION: Tag = Tag(b'A');
    /// A command is done.
    pub const COMMAND_COMPLETE: Tag = Tag(b'C');
    /// The query text held no command.
    pub const EMPTY_QUERY: Tag = Tag(b'I');
    /// Shape of the rows to come.
    pub const ROW_DESCRIPTION: Tag = Tag(b'T');
    /// One row.
    pub const DATA_ROW: Tag = Tag(b'D');
    /// Parse is done.
    pub const PARSE_COMPLETE: Tag = Tag(b'1');
    /// Bind is done.
    pub const BIND_COMPLETE: Tag = Tag(b'2');
    /// Close is done.
    pub const CLOSE_COMPLETE: Tag = Tag(b'3');
    /// The statement or portal returns no rows.
    pub const NO_DATA: Tag = Tag(b'n');
    /// Parameter types of a statement.
    pub const PARAMETER_DESCRIPTION: Tag = Tag(b't');
    /// Execute reached its row limit.
    pub const PORTAL_SUSPENDED: Tag = Tag(b's');
    /// The server waits for COPY data.
    pub const COPY_IN: Tag = Tag(b'G');
    /// COPY data of the server follow.
    pub const COPY_OUT: Tag = Tag(b'H');
    /// COPY data flow both ways (replication).
    pub const COPY_BOTH: Tag = Tag(b'W');
    /// A piece of COPY data.
    pub const COPY_DATA: Tag = Tag(b'd');
    /// COPY data are complete.
    pub const COPY_DONE: Tag = Tag(b'c');
    /// Result of a function call.
    pub const FUNCTION_CALL_RESPONSE: Tag = Tag(b'V');
    /// The server speaks an older minor version, or does not know an option.
    pub const NEGOTIATE_VERSION: Tag = Tag(b'v');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_shows_its_letter() {
        assert_eq!(format!("{:?}", frontend::QUERY), "Tag('Q')");
        assert_eq!(Tag(0x16).to_string(), "'\\x16'");
    }
}
