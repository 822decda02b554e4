//! The part of the quick way that goes token by token: what FROM lists, with its joins, aliases and conditions, up to
//! the clause behind it. Never leaps.

use super::{
    call::{self, Name},
    leap::{Leap, Sure, Unsure},
    query::check_relation,
    token::{Kind, Token, is_in_word, is_space},
    word::{
        AS, DELETE, EXCEPT, FETCH, FOR, FROM, GROUP, HAVING, INSERT, INTERSECT, INTO, JOIN,
        LATERAL, LIMIT, Lengths, MERGE, OFFSET, ONLY, ORDER, ROWS, SELECT, TABLE, TABLESAMPLE,
        UNION, UPDATE, VALUES, WHERE, WINDOW, WITH, fold,
    },
};

/// What [`Leap::listed`] looks for.
static LISTED: Lengths = Lengths::of(&[
    JOIN,
    WHERE,
    GROUP,
    HAVING,
    ORDER,
    LIMIT,
    OFFSET,
    UNION,
    INTERSECT,
    EXCEPT,
    FETCH,
    WINDOW,
    FOR,
    FROM,
    INTO,
    TABLE,
    INSERT,
    UPDATE,
    DELETE,
    MERGE,
    SELECT,
    WITH,
    TABLESAMPLE,
    AS,
]);

/// What [`Leap::source`] looks for.
static SOURCES: Lengths = Lengths::of(&[LATERAL, SELECT, ONLY, ROWS, VALUES, TABLE, WITH]);

impl<'a> Leap<'a, '_, '_> {
    /// Reads the tokens among which sources are listed, up to what ends the list or opens a parenthesis. `expects` one
    /// next.
    pub(super) fn sources(&mut self, mut expects: bool) -> Sure<Option<usize>> {
        let mut previous = Previous::Other;
        while let Some(token) = self.next() {
            if expects {
                match self.source(token)? {
                    Found::Part => {}
                    Found::Relation => expects = false,
                    Found::Frame => return self.leave(token),
                }
                previous = Previous::Other;
                continue;
            }
            match token.kind {
                Kind::Comma => expects = true,
                Kind::Word if !matches!(previous, Previous::Dot) => match self.listed(token)? {
                    Listed::Source => expects = true,
                    Listed::End => return self.leave(token),
                    Listed::Word => {}
                },
                Kind::Open => {
                    self.frames.push()?;
                    self.leave(token)?;
                    return self.called(previous);
                }
                Kind::Close => {
                    self.frames.pop(0)?;
                    if self.frames.sources & 1 == 0 {
                        return self.leave(token);
                    }
                }
                Kind::Semicolon => return Ok(Some(self.tokens.offset())),
                Kind::Broken | Kind::UnicodeQuoted | Kind::Other => return Err(Unsure),
                _ => {}
            }
            previous = match token.kind {
                Kind::Dot => Previous::Dot,
                Kind::Word if !matches!(previous, Previous::Dot) => Previous::Word(token),
                Kind::Word | Kind::Quoted => Previous::Name,
                _ => Previous::Other,
            };
        }
        self.at = self.text.len();
        Ok(None)
    }

    /// The next token: the commonest ones here, the others where all are known.
    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let mut start = self.tokens.offset();
        while self.byte(start) == b' ' {
            start += 1;
        }
        let (kind, end) = match self.byte(start) {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => (Kind::Word, self.word_end(start)),
            b',' => (Kind::Comma, start + 1),
            b'(' => (Kind::Open, start + 1),
            b')' => (Kind::Close, start + 1),
            b'.' if !self.byte(start + 1).is_ascii_digit() => (Kind::Dot, start + 1),
            _ => return self.tokens.next(),
        };
        // A letter may be the prefix of a literal.
        if kind == Kind::Word && end == start + 1 && matches!(self.byte(end), b'\'' | b'&') {
            return self.tokens.next();
        }
        self.tokens.seek(end);
        let text = self.text.get(start..end).unwrap_or_default();
        Some(Token { kind, text })
    }

    #[inline]
    fn word_end(&self, start: usize) -> usize {
        let mut end = start + 1;
        while is_in_word(self.byte(end)) {
            end += 1;
        }
        end
    }

    /// What is before a parenthesis among sources may call it.
    fn called(&mut self, previous: Previous<'a>) -> Sure<Option<usize>> {
        match previous {
            Previous::Other => Ok(None),
            Previous::Word(word) => self.call(word.text).map(|()| None),
            Previous::Dot | Previous::Name => Err(Unsure),
        }
    }

    /// A word among sources, where none is expected.
    #[inline]
    fn listed(&mut self, word: Token<'a>) -> Sure<Listed> {
        if !LISTED.allow(word.text) {
            return Ok(Listed::Word);
        }
        match fold(word.text) {
            JOIN => return Ok(Listed::Source),
            WHERE | GROUP | HAVING | ORDER | LIMIT | OFFSET | UNION | INTERSECT | EXCEPT
            | FETCH | WINDOW => {}
            FOR => self.locks(self.tokens.offset())?,
            FROM | INTO | TABLE | INSERT | UPDATE | DELETE | MERGE | SELECT | WITH
            | TABLESAMPLE | AS => {
                return self.label(word);
            }
            _ => return Ok(Listed::Word),
        }
        self.frames.sources &= !1;
        Ok(Listed::End)
    }

    /// AS and the alias behind it.
    #[inline]
    fn label(&mut self, word: Token<'a>) -> Sure<Listed> {
        let is_as = word.text.len() == 2;
        let label = self
            .tokens
            .next()
            .filter(|label| is_as && matches!(label.kind, Kind::Word | Kind::Quoted));
        let label = label.ok_or(Unsure)?;
        if self.opens() {
            let name = Name {
                schema: None,
                last: label,
            };
            call::check_alias(name, self.knowledge).map_err(|_| Unsure)?;
        }
        Ok(Listed::Word)
    }

    /// True when a parenthesis is next, or a comment.
    #[inline]
    fn opens(&self) -> bool {
        matches!(self.next_byte(), b'(' | b'/' | b'-')
    }

    /// The next byte that is no space.
    #[inline]
    fn next_byte(&self) -> u8 {
        let mut at = self.tokens.offset();
        while is_space(self.byte(at)) {
            at += 1;
        }
        self.byte(at)
    }

    /// A token where a source is expected.
    #[inline]
    fn source(&mut self, first: Token<'a>) -> Sure<Found> {
        match first.kind {
            Kind::Open => {
                self.frames.push()?;
                self.frames.sources |= 1;
                return Ok(Found::Part);
            }
            Kind::Word if SOURCES.allow(first.text) => match fold(first.text) {
                LATERAL => return Ok(Found::Part),
                SELECT => {
                    self.frames.sources &= !1;
                    return Ok(Found::Frame);
                }
                ONLY | ROWS | VALUES | TABLE | WITH => return Err(Unsure),
                _ => {}
            },
            Kind::Word | Kind::Quoted => {}
            _ => return Err(Unsure),
        }
        self.named(Name {
            schema: None,
            last: first,
        })
    }

    /// A relation, or a function with its arguments.
    #[inline]
    fn named(&mut self, mut name: Name<'a>) -> Sure<Found> {
        loop {
            match self.next_byte() {
                b'.' => {
                    self.tokens.next();
                    let last = self.tokens.next().ok_or(Unsure)?;
                    name = Name {
                        schema: Some(name.last),
                        last,
                    };
                }
                b'(' => {
                    self.tokens.next();
                    call::check(name, &self.tokens, self.knowledge).map_err(|_| Unsure)?;
                    self.frames.push()?;
                    return Ok(Found::Frame);
                }
                // A comment, behind which either may be.
                b'/' | b'-' => return Err(Unsure),
                _ => break,
            }
        }
        check_relation(name, self.knowledge).map_err(|_| Unsure)?;
        Ok(Found::Relation)
    }
}

/// What was found where a source is expected.
enum Found {
    /// A part of one.
    Part,
    Relation,
    /// A parenthesis, in which no sources are listed, or SELECT.
    Frame,
}

/// What a word among sources says.
enum Listed {
    Word,
    /// A source is next.
    Source,
    /// That was the list.
    End,
}

/// What is before a token among sources.
#[derive(Clone, Copy)]
enum Previous<'a> {
    Other,
    Dot,
    Name,
    /// A word that may be a keyword.
    Word(Token<'a>),
}
