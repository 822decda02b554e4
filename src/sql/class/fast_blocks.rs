//! A text as the quick way goes through it: blocks of 64 bytes, in each the places where something may matter, and what
//! is known of the parentheses that are open. Never says what stands at such a place.

use memchr::memchr;

use super::knowledge::Knowledge;
use crate::sql::{
    lanes::{self, BLOCK, FOUND, PART, WINDOW, bits, prefixes, within},
    token::{Reading, Tokens, is_space},
};

/// How many parentheses may be open: a bit for each in a word of 64, the lowest for none.
const DEPTH_MAX: u32 = 63;

/// That the quick way does not know.
pub(super) struct Unsure;

pub(super) type Sure<T = ()> = Result<T, Unsure>;

/// Where something may matter: quotes, parentheses, brackets, names in quotes, dollars, semicolons, comments, and
/// beginnings of words that may be FROM, FOR, JOIN, INTO, INSERT, UPDATE, DELETE, MERGE or TABLE, told by three letters
/// at most. Without branches, so that the compiler makes vectors of it.
#[inline]
fn marks(window: &[u8; WINDOW], bytes: usize) -> u64 {
    let mut stops = [0; BLOCK];
    for at in 0..bytes.next_multiple_of(PART).min(BLOCK) {
        let before = window[at] | 0x20;
        let byte = window[at + 1];
        let letter = byte | 0x20;
        let (next, second) = (window[at + 2] | 0x20, window[at + 3] | 0x20);
        // From the double quote to the closing parenthesis there are also # % and &, which are rare.
        let sign = (byte.wrapping_sub(b'"') <= b')' - b'"')
            | (byte.wrapping_sub(b'[') <= b']' - b'[')
            | (byte | (b'-' ^ b'/') == b'/')
            | (byte == b';');
        let begins = before.wrapping_sub(b'a') >= 26;
        // Those that begin with a letter from F to J, by the sum of their letters, in which the second counts twice.
        let sum = letter
            .wrapping_add(next)
            .wrapping_add(next)
            .wrapping_add(second);
        let word = (letter.wrapping_sub(b'f') <= b'j' - b'f')
            & (sum.wrapping_sub(SUM_MIN) <= SUM_MAX - SUM_MIN)
            | (letter == b'u') & (second == b'd')
            | (letter == b't') & (second == b'b')
            | (letter == b'd') & (second == b'l')
            | (letter == b'm') & (second == b'r');
        stops[at] = if sign | begins & word { FOUND[at] } else { 0 };
    }
    bits(&stops)
}

const fn sum(word: &[u8; 3]) -> u8 {
    word[0]
        .wrapping_add(word[1])
        .wrapping_add(word[1])
        .wrapping_add(word[2])
}

/// The sums of FROM, FOR, JOIN, INTO and INSERT are between these.
const SUM_MIN: u8 = sum(b"joi");
const SUM_MAX: u8 = sum(b"fro");

const _: () = {
    let words = [b"fro", b"for", b"joi", b"int", b"ins"];
    let mut at = 0;
    while at < words.len() {
        let sum = sum(words[at]);
        assert!(SUM_MIN <= sum && sum <= SUM_MAX);
        at += 1;
    }
};

/// Where something may matter while sources are listed, beside what always does: commas, and beginnings of words that
/// may be WHERE, WITH, WINDOW, GROUP, HAVING, ORDER, OFFSET, LIMIT, UNION, EXCEPT, FETCH, SELECT or AS.
#[inline]
fn source_marks(window: &[u8; WINDOW]) -> u64 {
    let mut stops = [0; BLOCK];
    for at in 0..BLOCK {
        let before = window[at] | 0x20;
        let byte = window[at + 1];
        let letter = byte | 0x20;
        let (next, second) = (window[at + 2] | 0x20, window[at + 3] | 0x20);
        let begins = before.wrapping_sub(b'a') >= 26;
        let is_two = second.wrapping_sub(b'a') >= 26;
        let word = (letter == b'w') & (next & 0xfe == b'h')
            | (letter == b'g') & (next == b'r')
            | (letter == b'h') & (second == b'v')
            | (letter == b'o') & ((second == b'd') | (second == b'f'))
            | (letter == b'l') & (second == b'm')
            | (letter == b'u') & (second == b'i')
            | (letter == b'e') & (second == b'c')
            | (next == b'e')
                & ((letter == b'f') & (second == b't') | (letter == b's') & (second == b'l'))
            | (letter == b'a') & (next == b's') & is_two;
        let stop = (byte == b',') | begins & word;
        stops[at] = if stop { FOUND[at] } else { 0 };
    }
    bits(&stops)
}

/// One bit for each open parenthesis and bracket and each question about it; the lowest bits are the innermost's.
#[derive(Clone, Copy, Default)]
pub(super) struct Frames {
    /// Sources are listed.
    pub(super) sources: u64,
    /// FROM belongs to EXTRACT or its like.
    pub(super) extracts: u64,
    /// It is a bracket.
    pub(super) brackets: u64,
    pub(super) depth: u32,
}

impl Frames {
    #[inline]
    pub(super) fn push(&mut self) -> Sure {
        if self.depth == DEPTH_MAX {
            return Err(Unsure);
        }
        self.sources <<= 1;
        self.extracts <<= 1;
        self.brackets <<= 1;
        self.depth += 1;
        Ok(())
    }

    #[inline]
    pub(super) fn pop(&mut self, bracket: u64) -> Sure {
        if self.depth == 0 || self.brackets & 1 != bracket {
            return Err(Unsure);
        }
        self.sources >>= 1;
        self.extracts >>= 1;
        self.brackets >>= 1;
        self.depth -= 1;
        Ok(())
    }
}

/// Goes through one text by blocks.
pub(super) struct FastClassifier<'a, 'k> {
    pub(super) text: &'a [u8],
    pub(super) knowledge: &'k Knowledge<'k>,
    pub(super) frames: Frames,
    /// Everything before has been dealt with.
    pub(super) at: usize,
    /// Where the statement begins.
    pub(super) begin: usize,
    /// Where the arguments of EXTRACT or its like begin, of the outermost one.
    pub(super) extract: usize,
    /// Where the last comment ends, and what is before it. No word may be looked for in between.
    pub(super) comment: (usize, usize),
    /// Where the block begins that is looked at.
    base: usize,
    quotes: u64,
    /// Where to stop, not counting what is within literals.
    stops: u64,
    /// Where to stop as well while sources are listed, once that was asked.
    listed: Option<u64>,
    /// Which bytes are within literals, and whether the last is: all bits or none.
    literals: u64,
    open: u64,
}

impl<'a, 'k> FastClassifier<'a, 'k> {
    pub(super) fn new(text: &'a [u8], knowledge: &'k Knowledge<'k>) -> Self {
        Self {
            text,
            knowledge,
            frames: Frames::default(),
            at: 0,
            begin: 0,
            extract: 0,
            comment: (0, 0),
            base: 0,
            quotes: 0,
            stops: 0,
            listed: None,
            literals: 0,
            open: 0,
        }
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while is_space(self.byte(self.at)) {
            self.at += 1;
        }
    }

    /// Goes on to the next block, or to the one in which an open literal ends; false when there is none.
    #[inline]
    pub(super) fn advance(&mut self) -> Sure<bool> {
        let mut next = self.base + BLOCK;
        let rest = self.text.get(next..).unwrap_or_default();
        if self.open != 0 {
            let length = memchr(b'\'', rest).ok_or(Unsure)?;
            next += length;
        } else if rest.is_empty() {
            self.at = self.text.len();
            return Ok(false);
        }
        self.look(next)?;
        Ok(true)
    }

    /// Looks at the block that begins at `base`.
    #[inline]
    fn look(&mut self, base: usize) -> Sure {
        let mut end = [0; WINDOW];
        let window = lanes::window(self.text, base, &mut end);
        let mut stops = marks(window, self.text.len() - base);
        let mut quotes = 0;
        self.literals = self.open;
        // A quote is one of the stops.
        if self.open != 0 || lanes::has_quote(window, stops) {
            quotes = lanes::quotes(window);
            self.literals = within(quotes, self.open);
            // One with a prefix is to be stopped at, and no other.
            let prefixed = quotes & self.literals & prefixes(window);
            stops = stops & !quotes & !self.literals | prefixed;
        }
        (self.base, self.at) = (base, base);
        (self.quotes, self.stops) = (quotes, stops);
        self.listed = None;
        self.open = ((self.literals as i64) >> 63) as u64;
        Ok(())
    }

    /// Looks at the block that begins at `base`, outside of literals.
    pub(super) fn look_at(&mut self, base: usize) -> Sure {
        self.open = 0;
        self.look(base)
    }

    /// Goes on at `position`, outside of literals.
    #[inline]
    pub(super) fn go_on(&mut self, position: usize) -> Sure {
        let end = self.base + BLOCK;
        if position < end {
            let passed = self.quotes >> (self.at - self.base);
            if passed & !(u64::MAX << (position - self.at)) == 0 {
                self.at = position;
                return Ok(());
            }
        }
        self.look_at(position)
    }

    /// The next stop of this block.
    #[inline]
    pub(super) fn stop(&mut self) -> Option<usize> {
        let done = self.at - self.base;
        if done >= BLOCK {
            return None;
        }
        let mut stops = self.stops;
        if self.frames.sources & 1 != 0 {
            stops |= self.listed();
        }
        let ahead = stops >> done;
        if ahead == 0 {
            return None;
        }
        let stop = self.at + ahead.trailing_zeros() as usize;
        self.at = stop + 1;
        Some(stop)
    }

    /// Where to stop as well while sources are listed.
    #[inline]
    fn listed(&mut self) -> u64 {
        if let Some(listed) = self.listed {
            return listed;
        }
        let mut end = [0; WINDOW];
        let window = lanes::window(self.text, self.base, &mut end);
        let listed = source_marks(window) & !self.literals;
        self.listed = Some(listed);
        listed
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or_default()
    }

    /// The word that begins at `start`; empty if none does.
    #[inline]
    pub(super) fn word_at(&self, start: usize) -> &'a [u8] {
        let length = lanes::word_length(self.text, start);
        self.text.get(start..start + length).unwrap_or_default()
    }

    /// The word that ends at `end`; empty if none does.
    #[inline]
    pub(super) fn word_before(&self, end: usize) -> &'a [u8] {
        let length = lanes::word_length_before(self.text, end);
        self.text.get(end - length..end).unwrap_or_default()
    }

    /// The tokens from `position` on.
    pub(super) fn tokens(&self, position: usize) -> Tokens<'a> {
        let mut tokens = Tokens::new(self.text, Reading::Standard);
        tokens.seek(position);
        tokens
    }

    /// End of the text before `end`, without space and the last comment. Unsure at the beginning of the text.
    #[inline]
    pub(super) fn before(&self, mut end: usize) -> Sure<usize> {
        while end > 0 && is_space(self.byte(end - 1)) {
            end -= 1;
        }
        let (comment_end, before) = self.comment;
        if end <= comment_end {
            // Further back there may be other comments.
            end = if end > before { before } else { 0 };
        }
        if end > 0 { Ok(end) } else { Err(Unsure) }
    }
}
