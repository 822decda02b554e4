//! The quick way through the commonest queries: 32 bytes at a time, stopping only where something may matter, and token
//! by token only where sources are listed. Says that a statement is a read, or that it does not know; then `query.rs`
//! is asked. Never knows more than that does.

use memchr::memchr2;

use super::{
    call::{self, Name},
    class::Knowledge,
    scan::packed,
    token::{Kind, Token, Tokens, is_in_word, is_space},
    word::{
        AS, DELETE, DISTINCT, EXTRACT, FOR, FROM, INSERT, INTO, MERGE, OVERLAY, SUBSTRING, TABLE,
        TRIM, UPDATE, fold,
    },
};

/// Bytes that are looked at together: few, since there are lists of sources between.
const BLOCK: usize = 32;
/// The byte before a block tells whether a word begins in it, and two behind it how one goes on.
const WINDOW: usize = 1 + BLOCK + 2;

/// How many parentheses may be open: a bit for each in a word of 64, the lowest for none.
const DEPTH_MAX: u32 = 63;

/// That the quick way does not know.
pub(super) struct Unsure;

pub(super) type Sure<T = ()> = Result<T, Unsure>;

/// Where something may matter, as a bit per byte of the block that begins at the window's second byte: quotes,
/// parentheses, brackets, dollars, semicolons, comments and backslashes, and beginnings of words that may be FROM, FOR,
/// INTO, INSERT, UPDATE, DELETE, MERGE or TABLE, told by three letters at most. Without branches, so that the compiler
/// makes vectors of it.
#[inline]
fn stops(window: &[u8; WINDOW]) -> u64 {
    let mut found = [0; BLOCK];
    for at in 0..BLOCK {
        let before = window[at] | 0x20;
        let byte = window[at + 1];
        let letter = byte | 0x20;
        let (next, second) = (window[at + 2] | 0x20, window[at + 3] | 0x20);
        // From the double quote to the closing parenthesis there are also # % and &, which are rare.
        let quote = byte.wrapping_sub(b'"') <= b')' - b'"';
        let bracket = byte.wrapping_sub(b'[') <= b']' - b'[';
        let sign = (byte == b'-') | (byte == b'/') | (byte == b';');
        let begins = before.wrapping_sub(b'a') > b'z' - b'a';
        let r = second == b'r';
        let word = (letter == b'f') & ((second == b'o') | r)
            | (letter == b'i') & (next == b'n') & ((second == b't') | (second == b's'))
            | (letter == b'u') & (second == b'd')
            | (letter == b't') & (second == b'b')
            | (next == b'e') & ((letter == b'd') & (second == b'l') | (letter == b'm') & r);
        found[at] = u8::from(quote | bracket | sign | begins & word);
    }
    packed(&found)
}

/// What is known of each open parenthesis and bracket; the lowest bits are the innermost's.
#[derive(Clone, Copy, Default)]
pub(super) struct Frames {
    /// Commas separate sources.
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

/// Goes through one query.
pub(super) struct Leap<'a, 't, 'k> {
    pub(super) text: &'a [u8],
    pub(super) tokens: Tokens<'a>,
    pub(super) knowledge: &'t Knowledge<'k>,
    pub(super) frames: Frames,
    /// Everything before has been dealt with; a token may begin here.
    pub(super) at: usize,
    /// Before this there may be a comment, in which no word may be looked for.
    pub(super) floor: usize,
    /// Where the keyword begins that was read last as a token.
    pub(super) begin: usize,
    /// Stops of the block that is looked at, and where it begins.
    pub(super) stops: u64,
    pub(super) base: usize,
}

impl<'a, 't, 'k> Leap<'a, 't, 'k> {
    /// `tokens` follow `first`, SELECT or VALUES, with which the statement begins.
    #[inline]
    pub(super) fn new(first: Token<'a>, tokens: &Tokens<'a>, knowledge: &'t Knowledge<'k>) -> Self {
        let at = tokens.offset();
        let begin = at - first.text.len();
        Self {
            text: tokens.text(),
            tokens: *tokens,
            knowledge,
            frames: Frames::default(),
            at,
            floor: begin,
            begin,
            stops: 0,
            base: at,
        }
    }

    /// Reads up to the semicolon or the end; answers where that is, for sure of a read.
    #[inline]
    pub(super) fn run(mut self) -> Sure<usize> {
        while self.base < self.text.len() {
            self.look_at_block();
            while let Some(stop) = self.stop() {
                if let Some(end) = self.ends_at(stop)? {
                    return self.over(end);
                }
            }
            self.base = self.at.max(self.base + BLOCK);
        }
        self.over(self.text.len())
    }

    fn over(&self, end: usize) -> Sure<usize> {
        if self.frames.depth == 0 && !self.tokens.is_doubtful() {
            Ok(end)
        } else {
            Err(Unsure)
        }
    }

    #[inline]
    fn look_at_block(&mut self) {
        let start = self.base - 1;
        if let Some(Ok(window)) = self
            .text
            .get(start..start + WINDOW)
            .map(<&[u8; WINDOW]>::try_from)
        {
            self.stops = stops(window);
            return;
        }
        let mut window = [b' '; WINDOW];
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest.len().min(WINDOW);
        window[..length].copy_from_slice(&rest[..length]);
        self.stops = stops(&window);
    }

    /// The next stop of this block that has not been dealt with.
    #[inline]
    fn stop(&mut self) -> Option<usize> {
        if let Some(done) = self.at.checked_sub(self.base) {
            self.stops &= u64::MAX.checked_shl(done.min(BLOCK) as u32).unwrap_or(0);
        }
        if self.stops == 0 {
            return None;
        }
        let stop = self.base + self.stops.trailing_zeros() as usize;
        self.stops &= self.stops - 1;
        Some(stop)
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or_default()
    }

    /// Deals with one stop; answers the end of the statement when it is reached.
    #[inline]
    fn ends_at(&mut self, stop: usize) -> Sure<Option<usize>> {
        match self.byte(stop) {
            b'\'' => self.literal(stop)?,
            b'(' => self.open(stop)?,
            b')' => {
                self.at = stop + 1;
                self.frames.pop(0)?;
                return self.resume();
            }
            b'"' => self.quoted(stop)?,
            b'$' => self.dollar(stop)?,
            b'-' | b'/' => self.comment(stop)?,
            b';' => return Ok(Some(stop + 1)),
            b'[' => {
                self.frames.push()?;
                self.frames.brackets |= 1;
            }
            b']' => {
                self.at = stop + 1;
                self.frames.pop(1)?;
                return self.resume();
            }
            b'\\' => return Err(Unsure),
            b'#' | b'%' | b'&' => {}
            _ => return self.keyword(stop),
        }
        Ok(None)
    }

    /// Literals without prefix, backslash and continuation.
    #[inline]
    fn literal(&mut self, quote: usize) -> Sure {
        let before = self.byte(quote - 1);
        if is_in_word(before) || before == b'&' {
            return Err(Unsure);
        }
        let mut at = quote + 1;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            at += memchr2(b'\'', b'\\', rest).ok_or(Unsure)? + 1;
            if self.byte(at - 1) == b'\\' {
                return Err(Unsure);
            }
            if self.byte(at) != b'\'' {
                break;
            }
            at += 1;
        }
        let next = self.byte(at);
        if next == b'-' || is_space(next) && self.tokens.is_continued(at) {
            return Err(Unsure);
        }
        self.at = at;
        Ok(())
    }

    /// Names in quotes, with none in them.
    #[inline]
    fn quoted(&mut self, quote: usize) -> Sure {
        let rest = self.text.get(quote + 1..).unwrap_or_default();
        let length = memchr::memchr(b'"', rest).ok_or(Unsure)?;
        self.at = quote + length + 2;
        let doubled = self.byte(self.at) == b'"';
        if doubled || self.byte(quote - 1) == b'&' {
            Err(Unsure)
        } else {
            Ok(())
        }
    }

    /// A parameter, or part of a name.
    fn dollar(&mut self, dollar: usize) -> Sure {
        let is_name = is_in_word(self.byte(dollar - 1));
        if is_name || self.byte(dollar + 1).is_ascii_digit() {
            Ok(())
        } else {
            Err(Unsure)
        }
    }

    fn comment(&mut self, start: usize) -> Sure {
        if self.tokens.is_comment(start) {
            self.at = self.tokens.comment_end(start).ok_or(Unsure)?;
            self.floor = self.at;
        }
        Ok(())
    }

    /// What is before `end` but space: where it ends. Unsure behind a comment.
    #[inline]
    fn before(&self, end: usize) -> Sure<usize> {
        let mut end = end;
        while is_space(self.byte(end - 1)) {
            end -= 1;
        }
        if end > self.floor {
            Ok(end)
        } else {
            Err(Unsure)
        }
    }

    /// The word that ends at `end`, empty if none does. The first byte of the text is no place to begin at: some word
    /// begins the statement.
    #[inline]
    fn word_before(&self, end: usize) -> &'a [u8] {
        let text = self.text.get(..end).unwrap_or_default();
        let length = text
            .iter()
            .rev()
            .take_while(|byte| is_in_word(**byte))
            .count();
        text.get(end - length..).unwrap_or_default()
    }

    /// A parenthesis, perhaps of a call.
    fn open(&mut self, open: usize) -> Sure {
        self.at = open + 1;
        let end = self.before(open)?;
        let word = self.word_before(end);
        self.frames.push()?;
        if self.begins_with(b"with") || self.byte(end - 1) == b'"' {
            return Err(Unsure);
        }
        let Some(first) = word.first() else {
            return Ok(());
        };
        let start = end - word.len();
        let qualified = start != self.begin && self.byte(self.before(start)? - 1) == b'.';
        if qualified || first.is_ascii_digit() || *first == b'$' {
            return Err(Unsure);
        }
        self.call(word)
    }

    /// True when this word is next.
    #[inline]
    fn begins_with(&self, word: &[u8]) -> bool {
        let mut at = self.at;
        while is_space(self.byte(at)) {
            at += 1;
        }
        let next = self.text.get(at..at + word.len());
        // A comment may be before the word.
        matches!(self.byte(at), b'/' | b'-')
            || next.is_some_and(|next| next.eq_ignore_ascii_case(word))
    }

    /// `word (`, in the frame of which we are already.
    #[inline]
    pub(super) fn call(&mut self, word: &'a [u8]) -> Sure {
        let last = Token {
            kind: Kind::Word,
            text: word,
        };
        let mut arguments = self.tokens;
        arguments.seek(self.at);
        call::check(Name { schema: None, last }, &arguments, self.knowledge).map_err(|_| Unsure)?;
        if matches!(word.len(), 4 | 7 | 9)
            && matches!(fold(word), EXTRACT | SUBSTRING | TRIM | OVERLAY)
        {
            self.frames.extracts |= 1;
        }
        Ok(())
    }

    /// Where a word begins that may be one of those that matter.
    #[inline]
    fn keyword(&mut self, start: usize) -> Sure<Option<usize>> {
        let before = self.byte(start - 1);
        if before == b'_' || before >= 0x80 {
            return Ok(None);
        }
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest
            .iter()
            .take(8)
            .take_while(|byte| is_in_word(**byte))
            .count();
        if !matches!(length, 3..7) {
            return Ok(None);
        }
        match fold(&rest[..length]) {
            FROM => self.from(start),
            FOR => self.locks(start + length).map(|()| None),
            INTO | TABLE | INSERT | UPDATE | DELETE | MERGE => Err(Unsure),
            _ => Ok(None),
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

    fn from(&mut self, start: usize) -> Sure<Option<usize>> {
        let previous = self.before(start)?;
        let glued = previous == start && is_in_word(self.byte(start - 1));
        let label = matches!(fold(self.word_before(previous)), AS | DISTINCT);
        if glued || label || self.byte(previous - 1) == b'.' {
            return Err(Unsure);
        }
        if self.frames.extracts & 1 != 0 {
            return Ok(None);
        }
        self.frames.sources |= 1;
        self.tokens.seek(start + 4);
        self.sources(true)
    }

    /// Behind a parenthesis or bracket: sources may go on.
    #[inline]
    fn resume(&mut self) -> Sure<Option<usize>> {
        if self.frames.sources & 1 == 0 {
            return Ok(None);
        }
        self.tokens.seek(self.at);
        self.sources(false)
    }

    /// Goes on in leaps behind `token`.
    #[inline]
    pub(super) fn leave(&mut self, token: Token<'_>) -> Sure<Option<usize>> {
        self.at = self.tokens.offset();
        self.begin = self.at - token.text.len();
        self.floor = self.begin;
        Ok(None)
    }
}
