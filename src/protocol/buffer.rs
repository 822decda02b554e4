//! Cuts a stream of received pieces into messages without moving them.
//!
//! A message that lies whole in one piece is a view into it. One that does not either streams through
//! (its first part is shown, the rest counted) or, when it must be understood, is held until it is whole.

use super::error::ProtocolError;
use super::frame::Header;
use super::tag::Tag;

/// Where the cursor stands between two pieces.
#[derive(Debug, Default)]
pub struct Cutter {
    /// Start of a message that is not whole yet and must be, or whose header is not whole.
    held: Vec<u8>,
    /// Bytes to come of a message that streams through.
    passing: usize,
}

/// What to do with a message that is not whole in its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Show its beginning and let it stream.
    Stream,
    /// Hold it until it is whole.
    Hold,
}

/// What stands at the cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole message: its body; it takes `header.frame_bytes()` of the piece.
    Whole(Header, &'a [u8]),
    /// A whole message that was held; it took this many bytes of the piece. [`Cutter::take_held`] has it.
    Held(Header, usize),
    /// The first part of a message that streams: its body as far as the piece goes, which it fills.
    Begins(Header, &'a [u8]),
    /// This many bytes more of the message that streams.
    Continues(usize),
    /// The piece is used up; what was left of it is held.
    Empty,
}

impl Cutter {
    /// Looks at what stands at the start of `piece`. `partial` decides about messages that are not whole.
    #[inline]
    pub fn cut<'a>(
        &mut self,
        piece: &'a [u8],
        partial: impl Fn(Header) -> Result<Partial, ProtocolError>,
    ) -> Result<Cut<'a>, ProtocolError> {
        if self.passing > 0 || !self.held.is_empty() {
            return self.resume(piece, partial);
        }
        let Some(header) = Header::read(piece)? else {
            self.held.extend_from_slice(piece);
            return Ok(Cut::Empty);
        };
        match piece.get(Header::BYTES..header.frame_bytes()) {
            Some(body) => Ok(Cut::Whole(header, body)),
            None => self.begin(header, piece, partial),
        }
    }

    /// A message that reaches past its piece.
    #[cold]
    fn begin<'a>(
        &mut self,
        header: Header,
        piece: &'a [u8],
        partial: impl Fn(Header) -> Result<Partial, ProtocolError>,
    ) -> Result<Cut<'a>, ProtocolError> {
        if partial(header)? == Partial::Hold {
            self.held.extend_from_slice(piece);
            return Ok(Cut::Empty);
        }
        self.passing = header.frame_bytes() - piece.len();
        let body = piece.get(Header::BYTES..).unwrap_or_default();
        Ok(Cut::Begins(header, body))
    }

    #[cold]
    fn resume<'a>(
        &mut self,
        piece: &'a [u8],
        partial: impl Fn(Header) -> Result<Partial, ProtocolError>,
    ) -> Result<Cut<'a>, ProtocolError> {
        if piece.is_empty() {
            return Ok(Cut::Empty);
        }
        if self.passing > 0 {
            let count = self.passing.min(piece.len());
            self.passing -= count;
            return Ok(Cut::Continues(count));
        }
        let taken = self.fill(Header::BYTES, piece);
        let Some(header) = Header::read(&self.held)? else {
            return Ok(Cut::Empty);
        };
        if self.held.len() < header.frame_bytes() && partial(header)? == Partial::Stream {
            self.passing = header.frame_bytes() - self.held.len();
            return Ok(Cut::Held(header, taken));
        }
        let rest = piece.get(taken..).unwrap_or_default();
        let taken = taken + self.fill(header.frame_bytes(), rest);
        if self.held.len() < header.frame_bytes() {
            return Ok(Cut::Empty);
        }
        Ok(Cut::Held(header, taken))
    }

    /// Moves bytes from `piece` until `target` bytes are held; answers how many.
    fn fill(&mut self, target: usize, piece: &[u8]) -> usize {
        let count = target.saturating_sub(self.held.len()).min(piece.len());
        self.held.extend(piece.iter().take(count));
        count
    }

    /// The message announced by [`Cut::Held`]: whole, or only its header when the rest streams.
    pub fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// The body of the message announced by [`Cut::Held`], as far as it is here.
    #[must_use]
    pub fn held_body(&self) -> &[u8] {
        self.held.get(Header::BYTES..).unwrap_or_default()
    }

    /// True between two messages: nothing was begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.passing == 0 && self.held.is_empty()
    }

    /// True inside a message whose beginning has been passed on.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.passing > 0
    }
}

/// Holds messages of these tags up to `limit` bytes, lets everything else stream.
pub fn hold_some(hold: impl Fn(Tag) -> bool, limit: usize) -> impl Fn(Header) -> Partial {
    move |header| {
        if hold(header.tag) && header.frame_bytes() <= limit {
            Partial::Hold
        } else {
            Partial::Stream
        }
    }
}
