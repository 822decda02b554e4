//! The quick way through the commonest texts: 64 bytes at a time, stopping only where something may matter. Says that a
//! text is a read, or that it does not know; then `read_only.rs` is asked. Never knows more than that does.

use memchr::{memchr, memchr2};

use super::{
    call::{self, Name},
    knowledge::Knowledge,
};
use crate::sql::{
    hint,
    lanes::{self, BLOCK, FOUND, PART, WINDOW, bits, prefixes, within},
    token::{Kind, Reading, Token, Tokens, is_in_word, is_space},
    word::{
        AS, DELETE, DISTINCT, EXTRACT, FOR, FROM, INSERT, INTO, JOIN, MERGE, OVERLAY, SELECT,
        SUBSTRING, TABLE, TRIM, UPDATE, VALUES, WITH, fold,
    },
};
use crate::{limits::ROUTED_TEXT_BYTES_MAX, sql::catalog::Catalog};

/// How many parentheses may be open: a bit for each in a word of 64, the lowest for none.
const DEPTH_MAX: u32 = 63;

/// That the quick way does not know.
pub(super) struct Unsure;

pub(super) type Sure<T = ()> = Result<T, Unsure>;

/// True when the text is a read for sure.
#[inline]
pub(in crate::sql) fn is_read(text: &[u8], knowledge: &Knowledge<'_>) -> bool {
    let suits = text.len() <= ROUTED_TEXT_BYTES_MAX
        && knowledge.catalog.is_some_and(Catalog::projects_nothing)
        && memchr2(0, b'\\', text).is_none()
        && knowledge.overrides.primary_pattern(text).is_none();
    suits && Leap::new(text, knowledge).run().is_ok() && std::str::from_utf8(text).is_ok()
}

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

/// What is known of each open parenthesis and bracket; the lowest bits are the innermost's.
#[derive(Clone, Copy, Default)]
pub(super) struct Frames {
    /// Sources are listed.
    pub(super) sources: u64,
    /// FROM belongs to EXTRACT or its like.
    extracts: u64,
    /// It is a bracket.
    brackets: u64,
    depth: u32,
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
    fn pop(&mut self, bracket: u64) -> Sure {
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

/// True when the word SELECT may be in it.
fn has_select(text: &[u8]) -> bool {
    let is_it = |at: usize| {
        let word = text[at..].get(..6);
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"select"))
    };
    memchr::memchr2_iter(b's', b'S', text).any(is_it)
}

/// Goes through one text.
pub(super) struct Leap<'a, 'k> {
    pub(super) text: &'a [u8],
    pub(super) knowledge: &'k Knowledge<'k>,
    pub(super) frames: Frames,
    /// Everything before has been dealt with.
    pub(super) at: usize,
    /// Where the statement begins.
    begin: usize,
    /// Where the arguments of EXTRACT or its like begin, of the outermost one.
    extract: usize,
    /// Where the last comment ends, and what is before it. No word may be looked for in between.
    comment: (usize, usize),
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

impl<'a, 'k> Leap<'a, 'k> {
    fn new(text: &'a [u8], knowledge: &'k Knowledge<'k>) -> Self {
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

    /// Reads all statements.
    fn run(mut self) -> Sure {
        while self.begins()? {
            self.statement()?;
        }
        Ok(())
    }

    /// Reads the first word of a statement, SELECT or VALUES; false when there is none.
    #[inline]
    fn begins(&mut self) -> Sure<bool> {
        loop {
            self.skip_space();
            match self.byte(self.at) {
                b';' => self.at += 1,
                b'-' | b'/' => {
                    let end = self.skip_comment(self.at)?;
                    self.at = end;
                }
                _ => break,
            }
        }
        let word = self.word_at(self.at);
        if word.is_empty() && self.at >= self.text.len() {
            return Ok(false);
        }
        self.begin = self.at;
        self.frames = Frames::default();
        match fold(word) {
            SELECT | VALUES => {
                self.look_at(self.at + word.len())?;
                Ok(true)
            }
            _ => Err(Unsure),
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while is_space(self.byte(self.at)) {
            self.at += 1;
        }
    }

    /// Reads the rest of a statement, with its semicolon.
    fn statement(&mut self) -> Sure {
        loop {
            while let Some(stop) = self.stop() {
                if self.ends_at(stop)? {
                    return self.over();
                }
            }
            if !self.advance()? {
                return self.over();
            }
        }
    }

    fn over(&self) -> Sure {
        if self.frames.depth == 0 {
            Ok(())
        } else {
            Err(Unsure)
        }
    }

    /// Goes on to the next block, or to the one in which an open literal ends; false when there is none.
    #[inline]
    fn advance(&mut self) -> Sure<bool> {
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
    fn look_at(&mut self, base: usize) -> Sure {
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
    fn stop(&mut self) -> Option<usize> {
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
        let listed = super::fast_sources::marks(window) & !self.literals;
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
    fn word_before(&self, end: usize) -> &'a [u8] {
        let length = lanes::word_length_before(self.text, end);
        self.text.get(end - length..end).unwrap_or_default()
    }

    /// The tokens from `position` on.
    pub(super) fn tokens(&self, position: usize) -> Tokens<'a> {
        let mut tokens = Tokens::new(self.text, Reading::Standard);
        tokens.seek(position);
        tokens
    }

    /// Deals with one stop; true when the statement ends there.
    #[inline]
    fn ends_at(&mut self, stop: usize) -> Sure<bool> {
        match self.byte(stop) {
            b'(' => self.open(stop)?,
            b')' => self.frames.pop(0)?,
            b',' => self.source()?,
            b'"' => self.quoted(stop)?,
            b'-' | b'/' => self.comment(stop)?,
            b';' => return Ok(true),
            b'[' => {
                self.frames.push()?;
                self.frames.brackets |= 1;
            }
            b']' => self.frames.pop(1)?,
            b'$' if self.byte(stop + 1).is_ascii_digit() => {}
            b'$' | b'\\' | b'\'' => return Err(Unsure),
            b'#' | b'%' | b'&' => {}
            _ => self.keyword(stop)?,
        }
        Ok(false)
    }

    /// Names in quotes, with none in them.
    #[inline]
    fn quoted(&mut self, quote: usize) -> Sure {
        let rest = self.text.get(quote + 1..).unwrap_or_default();
        let end = quote + 2 + memchr(b'"', rest).ok_or(Unsure)?;
        if self.byte(end) == b'"' || self.byte(quote - 1) == b'&' {
            return Err(Unsure);
        }
        self.go_on(end)
    }

    /// A comment, or an operator.
    fn comment(&mut self, start: usize) -> Sure {
        if !self.tokens(start).is_comment(start) {
            return Ok(());
        }
        let end = self.skip_comment(start)?;
        self.go_on(end)
    }

    /// What follows the comment that begins here, unless it asks for the primary.
    fn skip_comment(&mut self, start: usize) -> Sure<usize> {
        let tokens = self.tokens(start);
        if !tokens.is_comment(start) {
            return Err(Unsure);
        }
        let end = tokens.comment_end(start).ok_or(Unsure)?;
        let comment = self.text.get(start..end).unwrap_or_default();
        if hint::asks_for_primary(comment) {
            return Err(Unsure);
        }
        let before = self.before(start).unwrap_or(0);
        self.comment = (end, before);
        Ok(end)
    }

    /// What is before `end` but space and the last comment: where it ends. Unsure at the beginning of the text.
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

    /// A parenthesis, perhaps of a call.
    #[inline]
    fn open(&mut self, open: usize) -> Sure {
        self.frames.push()?;
        self.skip_space();
        if matches!(self.byte(self.at), b'w' | b'W' | b'/' | b'-') && self.may_be_with() {
            return Err(Unsure);
        }
        let end = self.before(open)?;
        let word = self.word_before(end);
        let start = end - word.len();
        match word.first() {
            None if matches!(self.byte(end - 1), b'"' | b'.') => return Err(Unsure),
            None => return Ok(()),
            Some(b'0'..=b'9' | b'$') => return Err(Unsure),
            Some(_) => {}
        }
        if start != self.begin && self.byte(self.before(start)? - 1) == b'.' {
            return Err(Unsure);
        }
        self.call(word, open + 1)
    }

    /// True when WITH is next, or a comment, behind which it may be.
    #[cold]
    fn may_be_with(&self) -> bool {
        let is_letter = self.byte(self.at).is_ascii_alphabetic();
        !is_letter || fold(self.word_at(self.at)) == WITH
    }

    /// `word (`, in the frame of which we are already. `arguments` follow.
    #[inline]
    fn call(&mut self, word: &'a [u8], arguments: usize) -> Sure {
        let last = Token {
            kind: Kind::Word,
            text: word,
        };
        let name = Name { schema: None, last };
        call::check(name, &self.tokens(arguments), self.knowledge).map_err(|_| Unsure)?;
        if matches!(word.len(), 4 | 7 | 9)
            && matches!(fold(word), EXTRACT | SUBSTRING | TRIM | OVERLAY)
        {
            if self.frames.extracts == 0 {
                self.extract = arguments;
            }
            self.frames.extracts |= 1;
        }
        Ok(())
    }

    /// Where a word begins that may be one of those that matter.
    #[inline]
    fn keyword(&mut self, start: usize) -> Sure {
        let before = self.byte(start - 1);
        if before == b'_' || before >= 0x80 {
            return Ok(());
        }
        let word = self.word_at(start);
        if self.frames.sources & 1 != 0 {
            return self.listed_word(start, word);
        }
        match fold(word) {
            FROM => self.from(start),
            FOR => self.locks(start + word.len()),
            JOIN | INTO | TABLE | INSERT | UPDATE | DELETE | MERGE => Err(Unsure),
            _ => Ok(()),
        }
    }

    /// FOR UPDATE, or FOR of SUBSTRING.
    pub(super) fn locks(&self, end: usize) -> Sure {
        let rest = self.text.get(end..).unwrap_or_default().trim_ascii_start();
        match rest.first().map(u8::to_ascii_lowercase) {
            Some(b'u' | b'n' | b's' | b'k' | b'/' | b'-' | 0xb) | None => Err(Unsure),
            _ => Ok(()),
        }
    }

    fn from(&mut self, start: usize) -> Sure {
        let previous = self.before(start)?;
        let glued = is_in_word(self.byte(start - 1));
        let last = self.byte(previous - 1);
        let may_be_label = matches!(last, b's' | b'S' | b't' | b'T');
        let label = may_be_label && matches!(fold(self.word_before(previous)), AS | DISTINCT);
        if glued || label || last == b'.' {
            return Err(Unsure);
        }
        if self.frames.extracts & 1 != 0 {
            // It belongs to a query that has lost its parenthesis, perhaps.
            let before = self.text.get(self.extract..start).unwrap_or_default();
            return if has_select(before) {
                Err(Unsure)
            } else {
                Ok(())
            };
        }
        self.frames.sources |= 1;
        self.at = start + 4;
        self.source()
    }
}
