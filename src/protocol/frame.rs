//! Where one message ends and the next begins: the five bytes before each body.
//! Never looks into a body and never waits for one.

use super::error::ProtocolError;
use super::tag::{self, Tag};
use crate::limits::MESSAGE_BYTES_MAX;

/// Bytes of the length field, which counts itself.
const LENGTH_BYTES: u32 = 4;

/// Tag and length of a message, checked: `4 <= length <= i32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What message it is.
    pub tag: Tag,
    /// Length as on the wire: it counts itself and the body, not the tag.
    pub length: u32,
}

impl Header {
    /// Bytes of a header.
    pub const BYTES: usize = 5;

    /// Reads the header at the start of `bytes`; `None` when fewer than [`Header::BYTES`] are there.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        // One comparison refuses both ends: a length below 4 wraps around to a huge number.
        if length.wrapping_sub(LENGTH_BYTES) > MESSAGE_BYTES_MAX as u32 - LENGTH_BYTES {
            return Err(impossible_length(Tag(tag), length));
        }
        Ok(Some(Header {
            tag: Tag(tag),
            length,
        }))
    }

    /// Bytes of the whole message, tag included.
    #[inline]
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        1 + self.length as usize
    }

    /// Bytes of the body alone.
    #[inline]
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.length.saturating_sub(LENGTH_BYTES) as usize
    }

    /// Refuses what PostgreSQL refuses of a client before it reads the body: an unknown tag, or a body too long for its tag.
    #[inline]
    pub const fn check_frontend(&self) -> Result<(), ProtocolError> {
        let Some(limit) = tag::frontend::body_bytes_max(self.tag) else {
            return Err(ProtocolError::UnknownTag { tag: self.tag });
        };
        self.check_length(limit)
    }

    /// Refuses a body above `limit` bytes.
    #[inline]
    pub const fn check_length(&self, limit: usize) -> Result<(), ProtocolError> {
        if self.body_bytes() > limit {
            return Err(ProtocolError::TooLong {
                tag: self.tag,
                length: self.body_bytes(),
                limit,
            });
        }
        Ok(())
    }
}

/// Says which of the two ends was crossed.
#[cold]
const fn impossible_length(tag: Tag, length: u32) -> ProtocolError {
    if length < LENGTH_BYTES {
        ProtocolError::LengthTooSmall { tag, length }
    } else {
        ProtocolError::LengthNegative {
            tag,
            length: length.cast_signed(),
        }
    }
}

/// One whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What message it is.
    pub tag: Tag,
    /// Everything after the header.
    pub body: &'a [u8],
}

/// Cuts whole messages off the front of a slice. Ends at the first unfinished message or after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    left: &'a [u8],
    failed: bool,
}

impl<'a> Frames<'a> {
    /// Starts at the first byte, which must be a tag.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Frames<'a> {
        Frames {
            left: bytes,
            failed: false,
        }
    }

    /// What has not been cut yet: at the end, the beginning of an unfinished message or nothing.
    #[inline]
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.left
    }

    fn cut(&mut self) -> Result<Option<Frame<'a>>, ProtocolError> {
        let Some(header) = Header::read(self.left)? else {
            return Ok(None);
        };
        let Some((whole, left)) = self.left.split_at_checked(header.frame_bytes()) else {
            return Ok(None);
        };
        self.left = left;
        let (_, body) = whole
            .split_at_checked(Header::BYTES)
            .expect("a checked header counts at least its own bytes");
        Ok(Some(Frame {
            tag: header.tag,
            body,
        }))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, ProtocolError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.cut().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
