//! Small pieces of our own that are sent between the client's bytes: written into memory that is used again.
//!
//! Two pages take turns: when one is full the other's pieces have long been sent. Nothing is allocated then.

use bytes::{Bytes, BytesMut};

use crate::limits::SCRAP_PAGE_BYTES;

/// The pages of one core.
#[derive(Debug)]
pub(crate) struct Arena {
    page: BytesMut,
    other: BytesMut,
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            page: BytesMut::with_capacity(SCRAP_PAGE_BYTES),
            other: BytesMut::with_capacity(SCRAP_PAGE_BYTES),
        }
    }
}

impl Arena {
    /// A piece with this content. One that is longer than a page gets memory of its own.
    pub(crate) fn put(&mut self, content: &[u8]) -> Bytes {
        if content.len() > SCRAP_PAGE_BYTES {
            return Bytes::copy_from_slice(content);
        }
        if self.page.capacity() < content.len() {
            std::mem::swap(&mut self.page, &mut self.other);
            // Gives the page its whole memory back when nobody holds a piece of it, else new memory.
            self.page.clear();
            self.page.reserve(SCRAP_PAGE_BYTES);
        }
        self.page.extend_from_slice(content);
        self.page.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_content() {
        let mut arena = Arena::default();
        let long = vec![7; SCRAP_PAGE_BYTES + 1];
        let all: Vec<_> = (0..10_000_u32)
            .map(|number| (number, arena.put(&number.to_be_bytes())))
            .collect();
        assert_eq!(arena.put(&long), long);
        for (number, piece) in all {
            assert_eq!(piece[..], number.to_be_bytes());
        }
    }

    #[test]
    fn memory_is_used_again() {
        let mut arena = Arena::default();
        let mut places = std::collections::HashSet::new();
        for _ in 0..10 * SCRAP_PAGE_BYTES / 64 {
            places.insert(arena.put(&[1; 64]).as_ptr() as usize / SCRAP_PAGE_BYTES);
        }
        // Two pages, neither of which needs to begin at a multiple of its size.
        assert!(places.len() <= 4, "{}", places.len());
    }
}
