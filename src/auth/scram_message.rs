//! The comma-separated attributes of SCRAM messages (RFC 5802, section 7), read in order.
//! Never gives meaning to an attribute.

/// Name of the one SASL mechanism we speak.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Random bytes in our part of a SCRAM nonce, as many as PostgreSQL takes.
pub const NONCE_BYTES: usize = 18;

/// Why bytes are no SCRAM message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No bytes at all.
    #[error("malformed SCRAM message: it is empty")]
    Empty,
    /// A zero byte, which no attribute can hold.
    #[error("malformed SCRAM message: it holds a zero byte")]
    ZeroByte,
    /// Another attribute than the one due.
    #[error("malformed SCRAM message: attribute \"{}\" expected", char::from(*expected))]
    Attribute {
        /// Its letter.
        expected: u8,
    },
    /// Something that is no attribute.
    #[error("malformed SCRAM message: a letter and \"=\" expected")]
    NoAttribute,
    /// An attribute whose value makes no sense.
    #[error("malformed SCRAM message: attribute \"{}\" has an invalid value", char::from(*attribute))]
    Value {
        /// Its letter.
        attribute: u8,
    },
    /// Bytes behind the last attribute.
    #[error("malformed SCRAM message: it goes on after its last attribute")]
    Garbage,
}

/// The attributes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a> {
    left: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Starts at the first attribute.
    pub(super) fn new(message: &'a [u8]) -> Result<Attributes<'a>, MessageError> {
        if message.is_empty() {
            return Err(MessageError::Empty);
        }
        match memchr::memchr(0, message) {
            Some(_) => Err(MessageError::ZeroByte),
            None => Ok(Attributes { left: message }),
        }
    }

    /// Value of the next attribute, which must be this one.
    pub(super) fn expect(&mut self, expected: u8) -> Result<&'a [u8], MessageError> {
        match self.any() {
            Ok((given, value)) if given == expected => Ok(value),
            _ => Err(MessageError::Attribute { expected }),
        }
    }

    /// Letter and value of the next attribute.
    pub(super) fn any(&mut self) -> Result<(u8, &'a [u8]), MessageError> {
        match self.left {
            [letter, b'=', rest @ ..] if letter.is_ascii_alphabetic() => {
                let (value, left) = split_at_comma(rest);
                self.left = left;
                Ok((*letter, value))
            }
            _ => Err(MessageError::NoAttribute),
        }
    }

    /// Bytes that have not been read.
    pub(super) const fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Reads attributes we do not know until there are none.
    pub(super) fn skip_extensions(mut self) -> Result<(), MessageError> {
        while self.remaining() > 0 {
            self.any()?;
        }
        Ok(())
    }
}

/// The text before the first comma and the text behind it; without a comma, all of it and nothing.
pub(super) fn split_at_comma(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b',', text).unwrap_or(text.len());
    let (before, after) = text.split_at(end);
    (before, after.get(1..).unwrap_or_default())
}

/// Whether these bytes may stand in a nonce: printable ASCII without a comma.
pub(super) fn is_nonce(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b',')
}
