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
    /// Kind of message.
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
    /// Kind of message.
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

    /// Bytes that have not been cut yet: at the end, the beginning of an unfinished message or nothing.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;
    use crate::protocol::tag::{backend, frontend};

    fn header(tag: u8, length: u32) -> [u8; 5] {
        let [a, b, c, d] = length.to_be_bytes();
        [tag, a, b, c, d]
    }

    #[test]
    fn a_header_needs_five_bytes() {
        let bytes = header(b'Q', 9);
        for cut in 0..5 {
            assert_eq!(Header::read(&bytes[..cut]), Ok(None));
        }
        let read = Header::read(&bytes).unwrap().unwrap();
        assert_eq!(
            read,
            Header {
                tag: frontend::QUERY,
                length: 9
            }
        );
        assert_eq!((read.frame_bytes(), read.body_bytes()), (10, 5));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in 0..4 {
            let expected = ProtocolError::LengthTooSmall {
                tag: Tag(b'Z'),
                length,
            };
            assert_eq!(Header::read(&header(b'Z', length)), Err(expected));
        }
        for length in [i32::MIN, -5, -1] {
            let expected = ProtocolError::LengthNegative {
                tag: Tag(b'Z'),
                length,
            };
            assert_eq!(
                Header::read(&header(b'Z', length.cast_unsigned())),
                Err(expected)
            );
        }
    }

    #[test]
    fn the_longest_message_is_accepted() {
        let read = Header::read(&header(b'd', 0x7fff_ffff)).unwrap().unwrap();
        assert_eq!(read.frame_bytes(), 0x8000_0000);
        assert_eq!(read.check_frontend(), Ok(()));
        assert_eq!(Frames::new(&header(b'd', 0x7fff_ffff)).count(), 0);
    }

    #[test]
    fn client_messages_have_the_limits_of_postgresql() {
        let check = |tag: Tag, length| Header { tag, length }.check_frontend();
        assert_eq!(check(frontend::CLOSE, 10_004), Ok(()));
        let expected = ProtocolError::TooLong {
            tag: frontend::CLOSE,
            length: 10_001,
            limit: 10_000,
        };
        assert_eq!(check(frontend::CLOSE, 10_005), Err(expected));
        for tag in [frontend::SYNC, frontend::FLUSH] {
            assert_eq!(check(tag, 4), Ok(()));
            let (length, limit) = (1, 0);
            let expected = ProtocolError::TooLong { tag, length, limit };
            assert_eq!(check(tag, 5), Err(expected));
        }
        let expected = ProtocolError::TooLong {
            tag: frontend::PASSWORD,
            length: 65_536,
            limit: 65_535,
        };
        assert_eq!(check(frontend::PASSWORD, 65_540), Err(expected));
        assert_eq!(check(frontend::QUERY, 0x7fff_ffff), Ok(()));
        for tag in [Tag(0), Tag(b'Z'), backend::ROW_DESCRIPTION, Tag(0xff)] {
            assert_eq!(check(tag, 4), Err(ProtocolError::UnknownTag { tag }));
        }
    }

    #[test]
    fn frames_stop_after_the_first_error() {
        let bytes = [&header(b'S', 4)[..], &header(b'X', 3), &header(b'S', 4)].concat();
        let mut frames = Frames::new(&bytes);
        assert_eq!(
            frames.next(),
            Some(Ok(Frame {
                tag: frontend::SYNC,
                body: b""
            }))
        );
        let expected = ProtocolError::LengthTooSmall {
            tag: frontend::TERMINATE,
            length: 3,
        };
        assert_eq!(frames.next(), Some(Err(expected)));
        assert_eq!(frames.next(), None);
    }
}
