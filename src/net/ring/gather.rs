//! Memory of one turn's sends: pieces that go to one socket, copied into one or listed for the kernel.

use std::collections::VecDeque;

use super::buffers::Chunk;
use crate::limits::{GATHERED_SENDS_MAX, SEND_PIECES_MAX, UNITED_BYTES, UNITED_SEND_BYTES_MAX};

/// Copies and lists of one turn's sends; their addresses are stable until the turn ends.
pub(crate) struct Gather {
    /// Small pieces, copied to lie one behind the other: that costs less than a list that the kernel must copy.
    united: Vec<u8>,
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
}

/// Memory that one send names.
pub(crate) enum Content {
    /// So many bytes from there.
    Bytes(*const u8, u32),
    /// Pieces that lie here and there.
    List(*const libc::msghdr),
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.as_ptr(), bytes.len() as u32)
    }
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self {
            united: Vec::with_capacity(UNITED_BYTES),
            pieces: Vec::with_capacity(GATHERED_SENDS_MAX * SEND_PIECES_MAX),
            headers: Vec::with_capacity(GATHERED_SENDS_MAX),
        }
    }

    /// Forgets the turn's sends; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.united.clear();
        self.headers.clear();
        self.pieces.clear();
    }

    /// Content of a first attempt at what stands in `outbound`, and how many of its pieces that is.
    pub(crate) fn collect(&mut self, outbound: &VecDeque<Chunk>) -> (Content, u16) {
        if outbound.len() > 1 {
            if let Some(united) = self.unite(outbound) {
                return (Content::of(united), outbound.len() as u16);
            }
            if let Some((header, pieces)) = self.add(outbound.iter()) {
                return (Content::List(header), pieces);
            }
        }
        (Content::of(&outbound[0]), 1)
    }

    /// All of `outbound` in one place; `None` when that is more than a few bytes, or this turn's place is full.
    fn unite(&mut self, outbound: &VecDeque<Chunk>) -> Option<&[u8]> {
        let room = self.united.capacity() - self.united.len();
        let bytes: usize = outbound.iter().map(|chunk| chunk.len()).sum();
        if bytes > room.min(UNITED_SEND_BYTES_MAX) {
            return None;
        }
        let start = self.united.len();
        for chunk in outbound {
            self.united.extend_from_slice(chunk);
        }
        Some(&self.united[start..])
    }

    /// One header over the first pieces of `outbound`; `None` when this turn's lists are full.
    fn add<'a>(
        &mut self,
        outbound: impl Iterator<Item = &'a Chunk>,
    ) -> Option<(*const libc::msghdr, u16)> {
        if self.headers.len() == self.headers.capacity() {
            return None;
        }
        let start = self.pieces.len();
        self.pieces
            .extend(outbound.take(SEND_PIECES_MAX).map(|chunk| libc::iovec {
                iov_base: chunk.as_ptr().cast_mut().cast(),
                iov_len: chunk.len(),
            }));
        let count = self.pieces.len() - start;
        // SAFETY: all-zero bytes are a valid empty header.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = self.pieces[start..].as_mut_ptr();
        header.msg_iovlen = count;
        self.headers.push(header);
        Some((self.headers.last()?, count as u16))
    }
}
