//! A checked cursor over the body of one message: the only way in which `protocol/` takes bytes apart.
//! Never copies a string, never reads past the end, never believes a length.

use super::error::ProtocolError;

/// The unread rest of a message body. Cheap to copy; a failed read leaves it where it was.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `body`.
    #[inline]
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Reader<'a> {
        Reader { left: body }
    }

    /// The next `count` bytes.
    #[inline]
    pub const fn bytes(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        match self.left.split_at_checked(count) {
            Some((taken, left)) => {
                self.left = left;
                Ok(taken)
            }
            None => Err(ProtocolError::Truncated {
                needed: count,
                left: self.left.len(),
            }),
        }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub const fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        match self.left.split_first_chunk::<N>() {
            Some((taken, left)) => {
                self.left = left;
                Ok(*taken)
            }
            None => Err(ProtocolError::Truncated {
                needed: N,
                left: self.left.len(),
            }),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array().map(u8::from_be_bytes)
    }

    /// A signed 16-bit number.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, ProtocolError> {
        self.array().map(i16::from_be_bytes)
    }

    /// An unsigned 16-bit number. Counts are read with it: PostgreSQL takes them as unsigned.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A signed 32-bit number.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, ProtocolError> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned 32-bit number, such as an oid.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A string up to its zero byte; the zero byte is taken too but not returned.
    #[inline]
    pub fn cstr(&mut self) -> Result<&'a [u8], ProtocolError> {
        let missing = ProtocolError::MissingTerminator {
            left: self.left.len(),
        };
        let end = memchr::memchr(0, self.left).ok_or(missing)?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// A value behind a 32-bit length, where -1 means null.
    #[inline]
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        let start = *self;
        let value = match self.i32()? {
            -1 => return Ok(None),
            count => usize::try_from(count).map_err(|_| ProtocolError::NegativeCount { count }),
        };
        let taken = value.and_then(|count| self.bytes(count));
        if taken.is_err() {
            *self = start;
        }
        taken.map(Some)
    }

    /// Everything that is left.
    #[inline]
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.left;
        self.left = &[];
        rest
    }

    /// How many bytes are left.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Whether nothing is left.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Ends the message: bytes after the last field are a violation, as they are for PostgreSQL.
    #[inline]
    pub const fn finish(self) -> Result<(), ProtocolError> {
        match self.left.len() {
            0 => Ok(()),
            count => Err(ProtocolError::TrailingBytes { count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian() {
        let mut reader = Reader::new(b"\x01\xff\xfe\xff\xfe\xff\xff\xff\xfd\x80\0\0\x01");
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.i16(), Ok(-2));
        assert_eq!(reader.u16(), Ok(0xfffe));
        assert_eq!(reader.i32(), Ok(-3));
        assert_eq!(reader.u32(), Ok(0x8000_0001));
        assert!(reader.is_empty());
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut reader = Reader::new(b"\0\0\x05");
        assert_eq!(
            reader.i32(),
            Err(ProtocolError::Truncated { needed: 4, left: 3 })
        );
        assert_eq!(
            reader.bytes(4),
            Err(ProtocolError::Truncated { needed: 4, left: 3 })
        );
        assert_eq!(
            reader.value(),
            Err(ProtocolError::Truncated { needed: 4, left: 3 })
        );
        assert_eq!((reader.remaining(), reader.rest()), (3, &b"\0\0\x05"[..]));
        assert_eq!(reader.rest(), b"");
    }

    #[test]
    fn a_failed_value_gives_its_length_back() {
        for body in [
            &b"\0\0\0\x02x"[..],
            b"\xff\xff\xff\xfex",
            b"\x7f\xff\xff\xffx",
        ] {
            let mut reader = Reader::new(body);
            assert!(reader.value().is_err());
            assert_eq!(reader.remaining(), 5);
        }
    }

    #[test]
    fn strings_end_at_their_zero_byte() {
        let mut reader = Reader::new(b"ab\0\0cd");
        assert_eq!(reader.cstr(), Ok(&b"ab"[..]));
        assert_eq!(reader.cstr(), Ok(&b""[..]));
        assert_eq!(
            reader.cstr(),
            Err(ProtocolError::MissingTerminator { left: 2 })
        );
        assert_eq!(
            reader.finish(),
            Err(ProtocolError::TrailingBytes { count: 2 })
        );
    }

    #[test]
    fn values_may_be_null() {
        let mut reader = Reader::new(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x01x");
        assert_eq!(reader.value(), Ok(None));
        assert_eq!(reader.value(), Ok(Some(&b""[..])));
        assert_eq!(reader.value(), Ok(Some(&b"x"[..])));
    }
}
