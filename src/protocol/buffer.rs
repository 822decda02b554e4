//! Cuts a stream of received pieces into messages without moving them.
//!
//! A message that lies whole in one piece is a view into it. One that does not either streams through
//! (its first part is shown, the rest counted) or, when it must be understood, is held until it is whole.

use super::error::ProtocolError;
use super::frame::Header;

/// Where the cursor stands between two pieces.
#[derive(Debug, Default)]
pub struct Cutter {
    /// Start of a message that is not whole yet and must be, or whose header is not whole.
    held: Vec<u8>,
    /// Bytes to come of a message that streams through.
    passing: usize,
}

/// Treatment of a message that is not whole in its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Show its beginning and let it stream.
    Stream,
    /// Hold it until it is whole.
    Hold,
}

/// Message, or part of one, at the cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole message: its body.
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
    /// Looks at what stands at the start of `piece`. `partial` decides about a message that is not whole, by the header and
    /// as much of the body as has come; it is asked again when more comes of one that is held.
    #[inline]
    pub fn next<'a>(
        &mut self,
        piece: &'a [u8],
        partial: impl Fn(Header, &[u8]) -> Result<Partial, ProtocolError>,
    ) -> Result<Cut<'a>, ProtocolError> {
        match self.whole(piece) {
            Some((header, body)) => Ok(Cut::Whole(header, body)),
            None => self.cut(piece, partial),
        }
    }

    /// The message at the start of `piece` that lies there whole, and takes `header.frame_bytes()` of it. That is the
    /// common case; what comes of any other, [`Cutter::cut`] tells.
    #[inline]
    fn whole<'a>(&self, piece: &'a [u8]) -> Option<(Header, &'a [u8])> {
        if !self.is_between() {
            return None;
        }
        let header = Header::read(piece).ok()??;
        let body = piece.get(Header::BYTES..header.frame_bytes())?;
        Some((header, body))
    }

    /// Piece of a message that is not whole, or that more than one piece holds.
    fn cut<'a>(
        &mut self,
        piece: &'a [u8],
        partial: impl Fn(Header, &[u8]) -> Result<Partial, ProtocolError>,
    ) -> Result<Cut<'a>, ProtocolError> {
        if !self.is_between() {
            return self.resume(piece, partial);
        }
        match Header::read(piece)? {
            Some(header) => self.begin(header, piece, partial),
            None => {
                self.held.extend_from_slice(piece);
                Ok(Cut::Empty)
            }
        }
    }

    /// A message that reaches past its piece.
    fn begin<'a>(
        &mut self,
        header: Header,
        piece: &'a [u8],
        partial: impl Fn(Header, &[u8]) -> Result<Partial, ProtocolError>,
    ) -> Result<Cut<'a>, ProtocolError> {
        let body = piece.get(Header::BYTES..).unwrap_or_default();
        if partial(header, body)? == Partial::Hold {
            self.held.extend_from_slice(piece);
            return Ok(Cut::Empty);
        }
        let missing = header.frame_bytes().checked_sub(piece.len());
        self.passing = missing.expect("who cuts has looked for a whole message");
        Ok(Cut::Begins(header, body))
    }

    fn resume<'a>(
        &mut self,
        piece: &'a [u8],
        partial: impl Fn(Header, &[u8]) -> Result<Partial, ProtocolError>,
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
        if self.streams_now(header, &partial)? {
            return Ok(Cut::Held(header, taken));
        }
        let rest = piece.get(taken..).unwrap_or_default();
        let taken = taken + self.fill(header.frame_bytes(), rest);
        let whole = self.held.len() == header.frame_bytes();
        if whole || self.streams_now(header, &partial)? {
            return Ok(Cut::Held(header, taken));
        }
        Ok(Cut::Empty)
    }

    /// True when what is held is enough of a message that is not whole: the rest streams.
    fn streams_now(
        &mut self,
        header: Header,
        partial: &impl Fn(Header, &[u8]) -> Result<Partial, ProtocolError>,
    ) -> Result<bool, ProtocolError> {
        let missing = header.frame_bytes() - self.held.len();
        let body = self.held.get(Header::BYTES..).unwrap_or_default();
        let streams = missing > 0 && partial(header, body)? == Partial::Stream;
        if streams {
            self.passing = missing;
        }
        Ok(streams)
    }

    /// Moves bytes from `piece` until `target` bytes are held; answers how many.
    fn fill(&mut self, target: usize, piece: &[u8]) -> usize {
        let count = target.saturating_sub(self.held.len()).min(piece.len());
        self.held.extend(piece.iter().take(count));
        count
    }

    /// Bytes of a message, or of its header, that is not whole yet and must be.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// The message announced by [`Cut::Held`]: whole, or only its header when the rest streams.
    pub fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Held bytes and the `rest` that follows them, to be cut anew.
    pub fn unite(&mut self, rest: &[u8]) -> Vec<u8> {
        let mut united = self.take_held();
        united.extend_from_slice(rest);
        *self = Self::default();
        united
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

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::{super::tag::Tag, *};

    const LIMIT: usize = 64;

    /// As sessions do: short messages of some tags are held, others stream.
    fn policy(header: Header, _: &[u8]) -> Result<Partial, ProtocolError> {
        let holds = header.tag == Tag(b'h') && header.frame_bytes() <= LIMIT;
        Ok(if holds {
            Partial::Hold
        } else {
            Partial::Stream
        })
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap() + 4;
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    /// Bytes and messages that a reader of the pieces sees.
    #[derive(Debug, Default)]
    struct Seen {
        /// Everything passed on, in order.
        bytes: Vec<u8>,
        /// The messages, each with as much of its body as was shown.
        messages: Vec<(Header, Vec<u8>)>,
    }

    impl Seen {
        fn add(&mut self, header: Header, body: &[u8]) {
            self.messages.push((header, body.to_vec()));
        }

        /// One step; answers how many bytes of the piece were used.
        fn step(
            &mut self,
            cutter: &mut Cutter,
            piece: &[u8],
        ) -> Result<Option<usize>, ProtocolError> {
            let (used, passed) = match cutter.next(piece, policy)? {
                Cut::Whole(header, body) => {
                    self.add(header, body);
                    (header.frame_bytes(), header.frame_bytes())
                }
                Cut::Held(header, used) => {
                    self.add(header, cutter.held_body());
                    self.bytes.extend(cutter.take_held());
                    (used, 0)
                }
                Cut::Begins(header, body) => {
                    self.add(header, body);
                    assert!(cutter.is_passing(), "the rest is to come");
                    (piece.len(), piece.len())
                }
                Cut::Continues(count) => (count, count),
                Cut::Empty => return Ok(None),
            };
            self.bytes.extend(&piece[..passed]);
            Ok(Some(used))
        }
    }

    /// Cuts the stream, received in these pieces.
    fn cut<'p>(
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<(Seen, Cutter), ProtocolError> {
        let (mut seen, mut cutter) = (Seen::default(), Cutter::default());
        for mut piece in pieces {
            while let Some(used) = seen.step(&mut cutter, piece)? {
                piece = &piece[used..];
            }
        }
        Ok((seen, cutter))
    }

    /// The stream in these pieces is the same stream, and what must be seen whole is.
    fn check<'p>(messages: &[Vec<u8>], pieces: impl IntoIterator<Item = &'p [u8]>) {
        let (seen, cutter) = cut(pieces).unwrap();
        assert!(cutter.is_between() && !cutter.is_passing());
        assert_eq!(seen.bytes, messages.concat());
        assert_eq!(seen.messages.len(), messages.len());
        for ((header, shown), message) in seen.messages.iter().zip(messages) {
            assert_eq!(Header::read(message), Ok(Some(*header)));
            assert!(message[Header::BYTES..].starts_with(shown));
            if policy(*header, b"") == Ok(Partial::Hold) {
                assert_eq!(
                    shown.len(),
                    header.body_bytes(),
                    "held messages are seen whole"
                );
            }
        }
    }

    /// Messages without a body, short ones and ones too long to be held.
    fn samples() -> Vec<Vec<u8>> {
        let long = [7; LIMIT + 10];
        vec![
            message(b'h', b""),
            message(b's', b""),
            message(b'h', b"held"),
            message(b's', b"streams"),
            message(b'h', &long),
            message(b's', &long),
            message(b'h', &long[..LIMIT - 5]),
            message(b'h', &long[..LIMIT - 4]),
        ]
    }

    #[test]
    fn a_stream_in_one_piece_is_shown_in_place() {
        let stream = samples().concat();
        check(&samples(), [&stream[..]]);
        let (seen, _) = cut([&stream[..]]).unwrap();
        assert!(
            seen.messages
                .iter()
                .all(|(header, shown)| shown.len() == header.body_bytes())
        );
    }

    #[test]
    fn a_stream_may_be_split_at_any_byte() {
        let stream = samples().concat();
        for at in 0..=stream.len() {
            let (before, after) = stream.split_at(at);
            check(&samples(), [before, after]);
        }
        check(&samples(), stream.chunks(1));
    }

    #[test]
    fn a_split_header_of_a_message_that_streams_comes_alone() {
        let stream = message(b's', b"streams");
        for at in 1..Header::BYTES {
            let mut cutter = Cutter::default();
            assert_eq!(cutter.cut(&stream[..at], policy), Ok(Cut::Empty));
            assert!(!cutter.is_between() && !cutter.is_passing());
            let header = Header::read(&stream).unwrap().unwrap();
            let rest = Header::BYTES - at;
            assert_eq!(
                cutter.cut(&stream[at..], policy),
                Ok(Cut::Held(header, rest))
            );
            assert_eq!(cutter.held_body(), b"");
            assert_eq!(cutter.take_held(), stream[..Header::BYTES]);
            assert!(cutter.is_passing());
            assert_eq!(
                cutter.cut(&stream[Header::BYTES..], policy),
                Ok(Cut::Continues(7))
            );
            assert!(cutter.is_between());
        }
    }

    #[test]
    fn impossible_lengths_are_refused_wherever_the_header_is_split() {
        for length in [0, 1, 3, 0x8000_0000, u32::MAX] {
            let [a, b, c, d] = length.to_be_bytes();
            let stream = [b'h', a, b, c, d];
            for at in 0..stream.len() {
                let (before, after) = stream.split_at(at);
                let expected = Header::read(&stream).unwrap_err();
                assert_eq!(cut([before, after]).unwrap_err(), expected, "{length} {at}");
            }
        }
    }

    #[test]
    fn who_decides_may_refuse() {
        let refusal = ProtocolError::UnknownTag { tag: Tag(b'?') };
        let stream = message(b'?', b"body");
        for at in 1..stream.len() {
            let mut cutter = Cutter::default();
            let answers = [&stream[..at], &stream[at..stream.len() - 1]];
            let answers = answers.map(|piece| cutter.cut(piece, |_, _| Err(refusal)).err());
            assert!(answers.contains(&Some(refusal)), "{at}");
        }
    }

    proptest! {
        #[test]
        fn random_streams_are_cut_alike_wherever_they_are_split(
            messages in vec((prop::sample::select(b"hs".to_vec()), vec(any::<u8>(), 0..100)), 0..12),
            splits in vec(any::<Index>(), 0..12),
        ) {
            let messages: Vec<_> = messages.iter().map(|(tag, body)| message(*tag, body)).collect();
            let stream = messages.concat();
            let mut splits: Vec<_> = splits.iter().map(|at| at.index(stream.len() + 1)).collect();
            splits.extend([0, stream.len()]);
            splits.sort_unstable();
            check(&messages, splits.windows(2).map(|pair| &stream[pair[0]..pair[1]]));
        }
    }
}
