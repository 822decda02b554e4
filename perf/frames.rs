//! Owns the cutting of protocol 3 frames out of a byte stream, as the mock server and the load generator need it: whole
//! frames for the one, tags and lengths for the other. It never waits and holds no socket. (pure)

/// Bytes of a tag and a length.
const HEADER_BYTES: usize = 5;
/// No peer of a measurement sends more in one frame; more means that the stream is out of step.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// A message: its tag and what follows its length.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

/// A length that no message can have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLength(pub(crate) i64);

/// Cuts the first whole tagged message; `None` when it is not whole yet. The second value is its length in the stream.
pub(crate) fn cut(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, BadLength> {
    let Some((&[tag, length @ ..], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let body_bytes = body_length(length)?;
    Ok(rest
        .get(..body_bytes)
        .map(|body| (Frame { tag, body }, HEADER_BYTES + body_bytes)))
}

/// Cuts a startup packet, which has no tag; answers its body and its length in the stream.
pub(crate) fn cut_startup(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, BadLength> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let body_bytes = body_length(*length)?;
    Ok(rest.get(..body_bytes).map(|body| (body, 4 + body_bytes)))
}

fn body_length(length: [u8; 4]) -> Result<usize, BadLength> {
    let length = i64::from(i32::from_be_bytes(length));
    match usize::try_from(length - 4) {
        Ok(body_bytes) if body_bytes <= FRAME_BYTES_MAX => Ok(body_bytes),
        _ => Err(BadLength(length)),
    }
}

/// A cursor over the server's messages that keeps only a partial header and the bytes still to skip, so that a message of
/// any size costs nothing to pass.
#[derive(Default, Clone, Copy)]
pub(crate) struct Scanner {
    header: [u8; HEADER_BYTES],
    have: usize,
    skip: usize,
}

impl Scanner {
    /// Calls `seen` with the tag of each message whose header is complete and with the part of its body that is in `bytes`;
    /// the last byte of the stream position has been consumed on return.
    pub(crate) fn scan(
        &mut self,
        mut bytes: &[u8],
        mut seen: impl FnMut(u8, &[u8]),
    ) -> Result<(), BadLength> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < HEADER_BYTES {
                return Ok(());
            }
            self.have = 0;
            let [tag, length @ ..] = self.header;
            self.skip = body_length(length)?;
            seen(tag, &bytes[..self.skip.min(bytes.len())]);
        }
    }

    /// Whether the stream stands between two messages.
    pub(crate) fn at_boundary(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

/// Appends one message whose body `fill` writes.
pub(crate) fn put(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    put_sized(out, fill);
}

/// Appends a length and what `fill` writes behind it: a message without a tag.
pub(crate) fn put_sized(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a string and its closing zero.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// Splits a zero-terminated string off; `None` without a zero.
pub(crate) fn take_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
