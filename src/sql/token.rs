//! PostgreSQL's tokens: where words, literals and comments begin and end, byte for byte as its scanner has it
//! (manual, "Lexical Structure"; its `scan.l`). Allocates nothing. Never says what a token means.

use memchr::{memchr, memchr2, memmem};

use Class::{
    Close, Comma, Dash, Digit, Dollar, Dot, DoubleQuote, End, Letter, Open, Other, Quote,
    Semicolon, Slash, Space, Symbol,
};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an identifier without quotes.
    Word,
    /// `"..."`.
    Quoted,
    /// `U&"..."`.
    UnicodeQuoted,
    /// `'...'`, also behind the N of `N'...'`, which is a word here.
    Literal,
    /// `E'...'`.
    EscapeLiteral,
    /// `U&'...'`.
    UnicodeLiteral,
    /// `B'...'` and `X'...'`.
    BitLiteral,
    /// `$tag$...$tag$`.
    DollarLiteral,
    /// Digits, with a fraction and an exponent. Prefixes and underscores make words behind it.
    Number,
    /// `$1`.
    Parameter,
    /// As many operator characters as there are. The server may take a sign off its end.
    Operator,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// Any other byte.
    Other,
    /// A literal, a quoted identifier or a comment that does not end: the server refuses the whole text.
    Broken,
}

/// A token and its bytes, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a [u8],
}

/// The bytes of a name that count: PostgreSQL's `NAMEDATALEN` - 1, and no half of a character. The server cuts what is
/// longer.
pub(crate) fn clipped(name: &[u8]) -> &[u8] {
    const NAME_BYTES_MAX: usize = 63;
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let mut end = NAME_BYTES_MAX;
    if let Ok(text) = std::str::from_utf8(name) {
        while !text.is_char_boundary(end) {
            end -= 1;
        }
    }
    &name[..end]
}

/// An identifier without its quotes, as it is written between them.
pub(crate) fn unquoted(token: Token<'_>) -> &[u8] {
    match token.kind {
        Kind::Quoted | Kind::Literal => token.text.get(1..token.text.len() - 1).unwrap_or_default(),
        Kind::UnicodeQuoted => token.text.get(3..token.text.len() - 1).unwrap_or_default(),
        _ => token.text,
    }
}

/// How the server reads `'...'`: its setting `standard_conforming_strings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// On: a backslash is a backslash.
    Standard,
    /// Off: a backslash escapes, as in `E'...'`.
    Backslash,
}

/// The tokens of a text, without space and comments. A zero byte outside of literals and comments ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    reading: Reading,
    doubtful: bool,
}

/// The kind of token that a byte begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    End,
    Space,
    Letter,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Semicolon,
    Open,
    Close,
    Comma,
    Dot,
    Dash,
    Slash,
    Symbol,
    Other,
}

static CLASSES: [Class; 256] = classes();

/// Bytes that go on a word: letters, digits, `_`, `$` and those of other alphabets.
static IN_WORD: [bool; 256] = in_word();

const fn classes() -> [Class; 256] {
    let mut classes = [Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class_of(byte as u8);
        byte += 1;
    }
    classes
}

const fn class_of(byte: u8) -> Class {
    match byte {
        0 => End,
        // Vertical tab is space from PostgreSQL 16 on; before, it makes the text an error.
        b' ' | b'\t'..=b'\r' => Space,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Letter,
        b'0'..=b'9' => Digit,
        b'\'' => Quote,
        b'"' => DoubleQuote,
        b'$' => Dollar,
        b';' => Semicolon,
        b'(' => Open,
        b')' => Close,
        b',' => Comma,
        b'.' => Dot,
        b'-' => Dash,
        b'/' => Slash,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'*' | b'%'
        | b'<' | b'>' | b'=' => Symbol,
        _ => Other,
    }
}

const fn in_word() -> [bool; 256] {
    let mut belongs = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        belongs[byte] = matches!(class_of(byte as u8), Letter | Digit | Dollar);
        byte += 1;
    }
    belongs
}

/// True for bytes that go on a word.
#[inline]
pub(crate) fn is_in_word(byte: u8) -> bool {
    IN_WORD[usize::from(byte)]
}

/// True for white space.
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    CLASSES[usize::from(byte)] == Space
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a [u8], reading: Reading) -> Self {
        Self {
            text,
            at: 0,
            reading,
            doubtful: false,
        }
    }

    /// True when a literal had a backslash that the other reading understands otherwise.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// All of it.
    pub(crate) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// How much has been read.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Goes on at `position`, where a token, a comment or space must begin.
    pub(crate) fn seek(&mut self, position: usize) {
        self.at = position;
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or_default()
    }

    #[inline]
    fn class(&self, at: usize) -> Class {
        CLASSES[usize::from(self.byte(at))]
    }

    /// The token that begins at `start`, which is not space.
    #[inline]
    fn token(&mut self, start: usize) -> (Kind, usize) {
        let single = |kind| (kind, start + 1);
        match self.class(start) {
            Letter => self.word(start),
            Digit => (Kind::Number, self.number_end(start)),
            Comma => single(Kind::Comma),
            Open => single(Kind::Open),
            Close => single(Kind::Close),
            Semicolon => single(Kind::Semicolon),
            Dot if self.class(start + 1) == Digit => (Kind::Number, self.number_end(start)),
            Dot => single(Kind::Dot),
            Symbol | Dash | Slash => (Kind::Operator, self.operator_end(start)),
            Quote => self.literal(Kind::Literal, start),
            DoubleQuote => self.quoted(Kind::Quoted, start),
            Dollar => self.dollar(start),
            End | Space | Other => single(Kind::Other),
        }
    }

    fn word(&mut self, start: usize) -> (Kind, usize) {
        let end = self.word_end(start);
        if end == start + 1 && matches!(self.byte(end), b'\'' | b'&') {
            return self.prefixed(start);
        }
        (Kind::Word, end)
    }

    #[inline]
    fn word_end(&self, start: usize) -> usize {
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| !IN_WORD[usize::from(*byte)])
            .unwrap_or(rest.len());
        start + length
    }

    /// A single letter before a quote or an ampersand.
    #[cold]
    fn prefixed(&mut self, start: usize) -> (Kind, usize) {
        let quote = start + 1;
        match (self.byte(start).to_ascii_lowercase(), self.byte(quote)) {
            (b'e', b'\'') => self.literal(Kind::EscapeLiteral, quote),
            (b'b' | b'x', b'\'') => self.literal(Kind::BitLiteral, quote),
            (b'u', b'&') if self.byte(quote + 1) == b'\'' => {
                self.literal(Kind::UnicodeLiteral, quote + 1)
            }
            (b'u', b'&') if self.byte(quote + 1) == b'"' => {
                self.quoted(Kind::UnicodeQuoted, quote + 1)
            }
            _ => (Kind::Word, quote),
        }
    }

    fn number_end(&self, start: usize) -> usize {
        let mut end = self.digits_end(start);
        // Two dots are a range of PL/pgSQL, not a fraction.
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            end = self.digits_end(end + 1);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let signed = matches!(self.byte(end + 1), b'+' | b'-');
            let digits = end + 1 + usize::from(signed);
            if self.class(digits) == Digit {
                end = self.digits_end(digits);
            }
        }
        end
    }

    #[inline]
    fn digits_end(&self, mut at: usize) -> usize {
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        at
    }

    /// A comment begins in the midst of operator characters too.
    fn operator_end(&self, start: usize) -> usize {
        let mut end = start + 1;
        while matches!(self.class(end), Symbol | Dash | Slash) && !self.is_comment(end) {
            end += 1;
        }
        end
    }

    /// True when a comment begins at `at`, unless that is inside of something.
    #[inline]
    pub(crate) fn is_comment(&self, at: usize) -> bool {
        matches!(
            (self.byte(at), self.byte(at + 1)),
            (b'-', b'-') | (b'/', b'*')
        )
    }

    /// A literal in single quotes, the first of which is at `quote`.
    fn literal(&mut self, kind: Kind, quote: usize) -> (Kind, usize) {
        match self.literal_end(kind, quote + 1) {
            Some(end) => (kind, end),
            None => (Kind::Broken, self.text.len()),
        }
    }

    fn literal_end(&mut self, kind: Kind, mut at: usize) -> Option<usize> {
        let mut watches = matches!(kind, Kind::Literal | Kind::EscapeLiteral);
        let escapes = kind == Kind::EscapeLiteral || self.reading == Reading::Backslash;
        loop {
            let rest = self.text.get(at..)?;
            let found = if watches {
                memchr2(b'\'', b'\\', rest)?
            } else {
                memchr(b'\'', rest)?
            };
            at += found + 1;
            if self.byte(at - 1) == b'\\' {
                self.doubtful |= kind == Kind::Literal;
                watches = escapes;
                at += usize::from(escapes);
            } else if self.byte(at) == b'\'' && kind != Kind::BitLiteral {
                at += 1;
            } else {
                match self.continuation(at) {
                    Some(next) => at = next,
                    None => return Some(at),
                }
            }
        }
    }

    /// True when the literal whose last quote is before `at` goes on.
    pub(crate) fn is_continued(&self, at: usize) -> bool {
        self.continuation(at).is_some()
    }

    /// A literal goes on behind a line break, with a quote: `'a' -- comment` and `'b'` below it are `'ab'`.
    /// Answers what is behind that quote.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut broken = false;
        loop {
            match self.byte(at) {
                b'\n' | b'\r' => broken = true,
                b'\'' if broken => return Some(at + 1),
                b'-' if self.byte(at + 1) == b'-' => {
                    at = self.line_end(at)?;
                    continue;
                }
                _ if self.class(at) == Space => {}
                _ => return None,
            }
            at += 1;
        }
    }

    /// An identifier in double quotes, the first of which is at `quote`.
    fn quoted(&self, kind: Kind, quote: usize) -> (Kind, usize) {
        let mut at = quote + 1;
        while let Some(found) = memchr(b'"', self.text.get(at..).unwrap_or_default()) {
            at += found + 1;
            if self.byte(at) != b'"' {
                return (kind, at);
            }
            at += 1;
        }
        (Kind::Broken, self.text.len())
    }

    /// A parameter, a literal in dollars, or a lone dollar.
    fn dollar(&self, start: usize) -> (Kind, usize) {
        let mut tag_end = start + 1;
        if self.class(tag_end) == Digit {
            return (Kind::Parameter, self.digits_end(tag_end));
        }
        while matches!(self.class(tag_end), Letter | Digit) {
            tag_end += 1;
        }
        if self.byte(tag_end) != b'$' {
            return (Kind::Other, start + 1);
        }
        let behind = tag_end + 1;
        let delimiter = self.text.get(start..behind).unwrap_or_default();
        let rest = self.text.get(behind..).unwrap_or_default();
        match memmem::find(rest, delimiter) {
            Some(length) => (Kind::DollarLiteral, behind + length + delimiter.len()),
            None => (Kind::Broken, self.text.len()),
        }
    }

    /// The line break that ends a comment; `None` when the text ends first.
    fn line_end(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        memchr2(b'\n', b'\r', rest).map(|length| at + length)
    }

    /// End of a block comment; they nest. `None` for an endless one.
    #[cold]
    fn block_end(&self, start: usize) -> Option<usize> {
        let mut depth = 1_usize;
        let mut at = start + 2;
        loop {
            at += memchr2(b'/', b'*', self.text.get(at..)?)?;
            match (self.byte(at), self.byte(at + 1)) {
                (b'/', b'*') => depth += 1,
                (b'*', b'/') => depth -= 1,
                _ => {
                    at += 1;
                    continue;
                }
            }
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        }
    }

    /// End of the comment at `at`; `None` when it has none.
    #[cold]
    pub(crate) fn comment_end(&self, at: usize) -> Option<usize> {
        if self.byte(at) == b'-' {
            return Some(self.line_end(at).unwrap_or(self.text.len()));
        }
        self.block_end(at)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let mut start = self.at;
        let (kind, end) = loop {
            match self.class(start) {
                Space => start += 1,
                End => {
                    self.at = start;
                    return None;
                }
                Dash | Slash if self.is_comment(start) => match self.comment_end(start) {
                    Some(end) => start = end,
                    None => break (Kind::Broken, self.text.len()),
                },
                _ => break self.token(start),
            }
        };
        self.at = end;
        let text = self.text.get(start..end).unwrap_or_default();
        Some(Token { kind, text })
    }
}
