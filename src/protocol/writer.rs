//! Appends messages to a byte vector. This file owns framing and the ways to put a value;
//! `write_frontend` and `write_backend` hold one method per message. Never flushes, never leaves half a message.
//!
//! A zero byte would end a string early and move every field behind it. Messages towards a server refuse it
//! (a name or a text cut short would mean something else); texts towards a client are cut before it.

use super::error::ProtocolError;
use super::tag::Tag;
use crate::limits::MESSAGE_BYTES_MAX;

/// Appends whole messages to a vector that the caller owns and reuses.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends behind what `out` already holds.
    #[inline]
    pub const fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// A message whose body is at hand, in either direction.
    ///
    /// # Panics
    /// When the body is longer than a message can be (2 GiB), which no body that was received can be.
    pub fn message(&mut self, tag: Tag, body: &[u8]) -> &mut Self {
        self.put(tag, |out| out.bytes(body))
    }

    /// Appends a message that cannot fail because our own texts and lists are bounded.
    pub(super) fn put(&mut self, tag: Tag, fill: impl FnOnce(&mut Body<'_>)) -> &mut Self {
        let fill = |body: &mut Body<'_>| {
            fill(body);
            Ok(())
        };
        self.framed(Some(tag), fill)
            .expect("a message we make ourselves is below 2 GiB");
        self
    }

    /// Appends a message, or nothing when filling it fails.
    pub(super) fn try_put(
        &mut self,
        tag: Tag,
        fill: impl FnOnce(&mut Body<'_>) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        self.framed(Some(tag), fill)
    }

    /// Appends a message, with or without a tag, or nothing when filling it fails.
    pub(super) fn framed(
        &mut self,
        tag: Option<Tag>,
        fill: impl FnOnce(&mut Body<'_>) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let start = self.out.len();
        self.out.extend(tag.map(|tag| tag.0));
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let done = fill(&mut Body { out: self.out }).and_then(|()| self.close(tag, length_at));
        if done.is_err() {
            self.out.truncate(start);
        }
        done
    }

    fn close(&mut self, tag: Option<Tag>, length_at: usize) -> Result<(), ProtocolError> {
        let length = self.out.len() - length_at;
        if length > MESSAGE_BYTES_MAX {
            let tag = tag.unwrap_or(Tag(0));
            return Err(ProtocolError::TooLong {
                tag,
                length: length - 4,
                limit: MESSAGE_BYTES_MAX - 4,
            });
        }
        patch(self.out, length_at, (length as u32).to_be_bytes());
        Ok(())
    }
}

/// Overwrites bytes that were reserved at `at`.
fn patch<const N: usize>(out: &mut [u8], at: usize, value: [u8; N]) {
    let reserved = out.get_mut(at..).and_then(|tail| tail.first_chunk_mut());
    *reserved.expect("the bytes were reserved before the body was written") = value;
}

/// The body of one message while it is written.
pub(super) struct Body<'a> {
    out: &'a mut Vec<u8>,
}

impl Body<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A string and its terminator; refused when it holds a zero byte.
    pub(super) fn exact(&mut self, text: &[u8]) -> Result<(), ProtocolError> {
        if let Some(position) = memchr::memchr(0, text) {
            return Err(ProtocolError::NulInString { position });
        }
        self.bytes(text);
        self.u8(0);
        Ok(())
    }

    /// A string and its terminator; cut before a zero byte.
    pub(super) fn cut(&mut self, text: &[u8]) {
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        self.bytes(text.get(..end).unwrap_or(text));
        self.u8(0);
    }

    /// A value behind its 32-bit length, -1 for null.
    pub(super) fn value(&mut self, value: Option<&[u8]>) -> Result<(), ProtocolError> {
        let Some(value) = value else {
            self.i32(-1);
            return Ok(());
        };
        let limit = MESSAGE_BYTES_MAX;
        let length = i32::try_from(value.len());
        self.i32(length.map_err(|_| ProtocolError::TooMany {
            count: value.len(),
            max: limit,
        })?);
        self.bytes(value);
        Ok(())
    }

    /// A list behind its 16-bit count.
    pub(super) fn counted<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let count_at = self.out.len();
        self.bytes(&[0; 2]);
        let mut count = 0_usize;
        for item in items {
            put(self, item)?;
            count += 1;
        }
        let wire = u16::try_from(count).map_err(|_| ProtocolError::TooMany {
            count,
            max: usize::from(u16::MAX),
        })?;
        patch(self.out, count_at, wire.to_be_bytes());
        Ok(())
    }

    /// Strings behind their 32-bit count; each is cut before a zero byte.
    pub(super) fn counted_strings<'s>(&mut self, strings: impl Iterator<Item = &'s [u8]>) {
        let count_at = self.out.len();
        self.bytes(&[0; 4]);
        let mut count = 0_u32;
        for text in strings {
            self.cut(text);
            count += 1;
        }
        patch(self.out, count_at, count.to_be_bytes());
    }
}
