//! The quick way through a query: 64 bytes at a time, stopping only where something may matter. Finds what
//! `statement.rs` finds token by token, and hands it the tokens in question. Only for statements that begin as
//! queries do, since fewer words matter in them.

use super::{
    flags::StatementFlags,
    literal,
    statement::{Reader, may_matter},
};
use crate::sql::{
    lanes::{self, BLOCK, FOUND, PART, WINDOW, bits, places, prefixes, quotes, within},
    token::{Kind, Tokens, is_in_word, is_space},
};

/// Where something may matter, as a bit per byte of the block that begins at the window's second byte:
/// quotes, dollars, semicolons, zeros, comments and backslashes, and the beginnings or ends of words, told
/// by some of their letters: `i..o` (INTO), `p._` (`pg_`), `t._` (`ts_stat`), `s.t` with `_`, `s` or `v` (`set_config`,
/// `setseed`, `setval`), `c.rr`, `l.st`, `n.xt` (`currval` and its like), `_xml`, and for literals `ow` (now, tomorrow) and
/// `d.y` (today, yesterday). Without branches, so that the compiler makes vectors of it.
#[inline]
fn stops(window: &[u8; WINDOW], bytes: usize) -> u64 {
    let mut found = [0; BLOCK];
    for at in 0..bytes.next_multiple_of(PART).min(BLOCK) {
        let before = window[at] | 0x20;
        let byte = window[at + 1];
        let letter = byte | 0x20;
        let (next, second, third) = (window[at + 2], window[at + 3], window[at + 4]);
        // From the double quote to the quote there are also # % and &, which are rare.
        let quote = byte.wrapping_sub(b'"') <= b'\'' - b'"';
        let sign = (byte == b'-') | (byte == b'/') | (byte == b';') | (byte == 0) | (byte == b'\\');
        let begins = before.wrapping_sub(b'a') > b'z' - b'a';
        let (last, middle) = (third | 0x20, second | 0x20);
        let word = (letter == b'i') & (last == b'o')
            | (letter == b's')
                & (middle == b't')
                & ((third == b'_') | (last == b's') | (last == b'v'))
            | ((letter == b'p') | (letter == b't')) & (second == b'_')
            | (letter == b'c') & (middle == b'r') & (last == b'r')
            | (letter == b'l') & (middle == b's') & (last == b't')
            | (letter == b'n') & (middle == b'x') & (last == b't');
        let xml = (letter == b'x') & (next | 0x20 == b'm') & (middle == b'l') & (before == 0x7f);
        let moment =
            (letter == b'o') & (next | 0x20 == b'w') | (letter == b'd') & (second | 0x20 == b'y');
        let stop = quote | sign | begins & word | xml | moment;
        found[at] = if stop { FOUND[at] } else { 0 };
    }
    bits(&found)
}

/// Letters with which the words begin, or in which they have what is stopped at.
static WORDS: [bool; 256] = {
    let mut words = [false; 256];
    let letters = b"isptclnxISPTCLNX";
    let mut at = 0;
    while at < letters.len() {
        words[letters[at] as usize] = true;
        at += 1;
    }
    words
};

/// Goes through the rest of a query by blocks.
pub(super) struct FastEffects<'a, 'r> {
    text: &'a [u8],
    tokens: &'r mut Tokens<'a>,
    reader: &'r mut Reader<'a>,
    /// Everything before has been dealt with; a token may begin here.
    at: usize,
    /// The comments that were met last, with nothing but space between them.
    comments: (usize, usize),
    /// Stops of the block that is looked at, and where it begins.
    stops: u64,
    base: usize,
    /// Where the next block begins, unless what is met goes further.
    end: usize,
}

impl<'a, 'r> FastEffects<'a, 'r> {
    pub(super) fn new(tokens: &'r mut Tokens<'a>, reader: &'r mut Reader<'a>) -> Self {
        let at = tokens.offset();
        Self {
            text: tokens.text(),
            tokens,
            reader,
            at,
            comments: (0, 0),
            stops: 0,
            base: at,
            end: at,
        }
    }

    /// Reads up to the semicolon, and leaves the tokens behind it.
    #[inline]
    pub(super) fn run(mut self) {
        while self.base < self.text.len() {
            self.look_at_block();
            while let Some(stop) = self.stop() {
                if self.ends_at(stop) {
                    return;
                }
            }
            self.base = self.at.max(self.end);
        }
        self.tokens.seek(self.text.len());
    }

    /// The statement's first word is before the first block.
    #[inline]
    fn look_at_block(&mut self) {
        let mut end = [0; WINDOW];
        let window = lanes::window(self.text, self.base, &mut end);
        self.stops = stops(window, self.text.len() - self.base);
        self.end = self.base + BLOCK;
        if lanes::has_quote(window, self.stops) {
            self.skip_literals(window);
        }
    }

    /// The commonest literals of all: where each of a block is plain, none needs to be stopped at. One that the block
    /// does not end begins the next block.
    #[inline]
    fn skip_literals(&mut self, window: &[u8; WINDOW]) {
        let quotes = quotes(window);
        let literals = within(quotes, 0);
        let open = literals.leading_ones();
        if open as usize == BLOCK {
            return;
        }
        let whole = u64::MAX >> open;
        let prefixed = quotes & literals & prefixes(window);
        let mut others = places(self.stops & !quotes & whole);
        let mut ends = places(quotes & !literals);
        if prefixed == 0
            && others.all(|place| self.is_harmless(place, literals))
            && ends.all(|place| self.ends_literal(self.base + place))
        {
            self.stops &= whole & !quotes & !literals;
            self.end = self.base + BLOCK - open as usize;
        }
    }

    /// True for a stop that may be within a literal, or that leaves literals where they are.
    #[inline]
    fn is_harmless(&self, place: usize, literals: u64) -> bool {
        let stop = self.base + place;
        let is_within = literals >> place & 1 != 0;
        match self.byte(stop) {
            b'\\' => !is_within,
            b'o' | b'O' | b'd' | b'D' | b'p' | b'P' => {
                !is_within || !literal::ends_word_of_the_moment(self.text, stop)
            }
            b'"' => is_within,
            b'$' => is_within || self.byte(stop + 1).is_ascii_digit(),
            b'-' | b'/' => is_within || !self.tokens.is_comment(stop),
            _ => true,
        }
    }

    /// True when the quote at `at` is the last of its literal.
    #[inline]
    fn ends_literal(&self, at: usize) -> bool {
        match self.byte(at + 1) {
            b'\'' | b'-' => false,
            next => !(is_space(next) && self.tokens.is_continued(at + 1)),
        }
    }

    /// The next stop of this block that has not been dealt with.
    #[inline]
    fn stop(&mut self) -> Option<usize> {
        if let Some(done) = self.at.checked_sub(self.base) {
            let left = u64::MAX.checked_shl(done.min(BLOCK) as u32).unwrap_or(0);
            self.stops &= left;
        }
        if self.stops == 0 {
            return None;
        }
        let stop = self.base + self.stops.trailing_zeros() as usize;
        self.stops &= self.stops - 1;
        Some(stop)
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or_default()
    }

    /// Deals with one stop; true when the statement ends there.
    #[inline]
    fn ends_at(&mut self, stop: usize) -> bool {
        match self.byte(stop) {
            b'\'' => self.literal(stop),
            b'"' => self.quoted(stop),
            b'$' => self.token(stop),
            letter if WORDS[usize::from(letter)] => self.token(stop),
            b'-' | b'/' => self.comment(stop),
            b';' => {
                self.tokens.seek(stop + 1);
                return true;
            }
            0 => {
                self.tokens.seek(stop);
                return true;
            }
            _ => {}
        }
        false
    }

    /// The commonest literals: in one block, without a prefix, a doubled quote or a backslash.
    #[inline]
    fn literal(&mut self, quote: usize) {
        let before = self.byte(quote.wrapping_sub(1));
        if is_in_word(before) || before == b'&' {
            return self.token(quote);
        }
        let mut ahead = self.stops;
        while ahead != 0 {
            let at = self.base + ahead.trailing_zeros() as usize;
            ahead &= ahead - 1;
            match self.byte(at) {
                b'\'' => {
                    if !self.ends_literal(at) {
                        break;
                    }
                    self.at = at + 1;
                    return;
                }
                b'\\' => break,
                b'o' | b'O' | b'd' | b'D' | b'p' | b'P'
                    if literal::ends_word_of_the_moment(self.text, at) =>
                {
                    break;
                }
                _ => {}
            }
        }
        self.token(quote);
    }

    /// The commonest identifiers in quotes, likewise.
    #[inline]
    fn quoted(&mut self, quote: usize) {
        let mut ahead = self.stops;
        while ahead != 0 && self.byte(quote.wrapping_sub(1)) != b'&' {
            let at = self.base + ahead.trailing_zeros() as usize;
            ahead &= ahead - 1;
            if self.byte(at) == b'"' {
                if self.byte(at + 1) == b'"' {
                    break;
                }
                self.at = at + 1;
                let name = self.text.get(quote + 1..at).unwrap_or_default();
                if may_matter(name) {
                    self.tokens.seek(self.at);
                    self.reader.name(name, *self.tokens);
                }
                return;
            }
        }
        self.token(quote);
    }

    /// Reads the token in which `stop` is, and those before it that are in the way.
    fn token(&mut self, stop: usize) {
        let start = self.token_start(stop);
        self.tokens.seek(start);
        while self.tokens.offset() <= stop {
            let Some(token) = self.tokens.next() else {
                break;
            };
            if token.kind == Kind::Word && token.text.len() == 4 {
                self.find_insert(self.tokens.offset() - token.text.len());
            }
            self.reader.look(token, self.tokens);
        }
        self.at = self.tokens.offset();
    }

    /// Where a token begins, at `stop` or before it. No word and no number goes on there.
    fn token_start(&self, stop: usize) -> usize {
        let word_start = |end: usize| {
            let word = self.text.get(self.at..end).unwrap_or_default();
            let behind = word.iter().rposition(|byte| !is_in_word(*byte));
            behind.map_or(self.at, |behind| self.at + behind + 1)
        };
        let start = word_start(stop);
        let prefixed = start == stop && start > self.at && self.byte(start - 1) == b'&';
        if prefixed {
            word_start(start - 1)
        } else {
            start
        }
    }

    /// Before INTO: sees whether INSERT or MERGE is before it.
    fn find_insert(&mut self, into: usize) {
        let mut end = self.skip_space_back(into);
        if end == self.comments.1 && end > 0 {
            end = self.skip_space_back(self.comments.0);
        }
        let start = end.saturating_sub(1 + "insert".len());
        let words = self.text.get(start..end).unwrap_or_default();
        let length = words
            .iter()
            .rev()
            .take_while(|byte| is_in_word(**byte))
            .count();
        self.reader.previous = words.get(words.len() - length..).unwrap_or_default();
    }

    fn skip_space_back(&self, end: usize) -> usize {
        let before = self.text.get(..end).unwrap_or_default();
        before
            .iter()
            .rposition(|byte| !is_space(*byte))
            .map_or(0, |last| last + 1)
    }

    /// Skips a comment, if one begins here.
    fn comment(&mut self, start: usize) {
        if !self.tokens.is_comment(start) {
            return;
        }
        let chained = self.skip_space_back(start) == self.comments.1 && self.comments.1 > 0;
        match self.tokens.comment_end(start) {
            Some(end) => {
                self.comments = (if chained { self.comments.0 } else { start }, end);
                self.at = end;
            }
            None => {
                self.reader.flags = self.reader.flags.without(StatementFlags::SHAREABLE);
                self.at = self.text.len();
            }
        }
    }
}
