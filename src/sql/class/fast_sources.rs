//! The part of the quick way that knows what FROM lists: relations, joins, aliases and conditions, up to the clause
//! behind it. Never judges a relation itself.

use super::{
    call::{self, Name},
    fast_blocks::{FastClassifier, Sure, Unsure},
    query::check_relation,
};
use crate::sql::{
    token::{Kind, Token, is_in_word, is_space},
    word::{
        AS, DELETE, EXCEPT, FETCH, FOR, FROM, GROUP, HAVING, INSERT, INTERSECT, INTO, JOIN,
        LATERAL, LIMIT, Lengths, MERGE, OFFSET, ONLY, ORDER, ROWS, SELECT, TABLE, TABLESAMPLE,
        UNION, UPDATE, VALUES, WHERE, WINDOW, WITH, fold,
    },
};

/// Words that [`FastClassifier::source`] looks for.
static SOURCES: Lengths = Lengths::of(&[LATERAL, SELECT, ONLY, ROWS, VALUES, TABLE, WITH]);

/// Words that [`FastClassifier::listed_word`] looks for.
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
    AS,
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
]);

impl<'a> FastClassifier<'a, '_> {
    /// A word among sources that may be one of those that matter.
    #[inline]
    pub(super) fn listed_word(&mut self, start: usize, word: &[u8]) -> Sure {
        let end = start + word.len();
        match fold(word) {
            JOIN | WHERE | GROUP | HAVING | ORDER | LIMIT | OFFSET | UNION | INTERSECT | EXCEPT
            | FETCH | WINDOW | FOR | AS => {}
            FROM | INTO | TABLE | INSERT | UPDATE | DELETE | MERGE | SELECT | WITH
            | TABLESAMPLE => return Err(Unsure),
            _ => return Ok(()),
        }
        let previous = self.before(start)?;
        if is_in_word(self.byte(start - 1)) || self.byte(previous - 1) == b'.' {
            return Err(Unsure);
        }
        self.at = end;
        match fold(word) {
            JOIN => return self.source(),
            AS => return self.label(),
            FOR => self.locks(end)?,
            _ => {}
        }
        self.frames.sources &= !1;
        Ok(())
    }

    /// FOR UPDATE, or FOR of SUBSTRING.
    pub(super) fn locks(&self, end: usize) -> Sure {
        let rest = self.text.get(end..).unwrap_or_default().trim_ascii_start();
        match rest.first().map(u8::to_ascii_lowercase) {
            Some(b'u' | b'n' | b's' | b'k' | b'/' | b'-' | 0xb) | None => Err(Unsure),
            _ => Ok(()),
        }
    }

    /// The next token; unsure of comments.
    #[inline]
    fn next(&mut self) -> Sure<Token<'a>> {
        let mut start = self.at;
        while is_space(self.byte(start)) {
            start += 1;
        }
        let first = self.byte(start);
        if matches!(first, b'/' | b'-') {
            return Err(Unsure);
        }
        let word = self.word_at(start);
        if word.len() > 1 && !first.is_ascii_digit() && first != b'$' {
            self.at = start + word.len();
            return Ok(Token {
                kind: Kind::Word,
                text: word,
            });
        }
        let mut tokens = self.tokens(start);
        let token = tokens.next().ok_or(Unsure)?;
        self.at = tokens.offset();
        Ok(token)
    }

    /// AS is read: the alias behind it.
    fn label(&mut self) -> Sure {
        let behind = self.at;
        let label = self.next()?;
        if !matches!(label.kind, Kind::Word | Kind::Quoted) {
            return Err(Unsure);
        }
        if self.next_byte() == b'(' {
            let name = Name {
                schema: None,
                last: label,
            };
            call::check_alias(name, self.knowledge).map_err(|_| Unsure)?;
            self.next()?;
            self.frames.push()?;
        }
        self.leave(behind)
    }

    /// Goes on where the tokens are that were read from `start` on.
    #[inline]
    fn leave(&mut self, start: usize) -> Sure {
        let position = std::mem::replace(&mut self.at, start);
        self.go_on(position)
    }

    /// The next byte that is no space.
    #[inline]
    fn next_byte(&mut self) -> u8 {
        while is_space(self.byte(self.at)) {
            self.at += 1;
        }
        self.byte(self.at)
    }

    /// FROM, JOIN or a comma is read: the source behind it.
    pub(super) fn source(&mut self) -> Sure {
        let behind = self.at;
        loop {
            let first = self.next()?;
            match first.kind {
                Kind::Open => {
                    self.frames.push()?;
                    self.frames.sources |= 1;
                    continue;
                }
                Kind::Word if SOURCES.allow(first.text) => match fold(first.text) {
                    LATERAL => continue,
                    SELECT => {
                        self.frames.sources &= !1;
                        return self.leave(behind);
                    }
                    ONLY | ROWS | VALUES | TABLE | WITH => return Err(Unsure),
                    _ => {}
                },
                Kind::Word | Kind::Quoted => {}
                _ => return Err(Unsure),
            }
            let name = Name {
                schema: None,
                last: first,
            };
            if self.named(name)? == Found::Frame {
                return self.leave(behind);
            }
            if !self.goes_on()? {
                return self.leave(behind);
            }
        }
    }

    /// Behind a relation: reads its alias and a plain condition. True when another source is next. Most lists of sources
    /// end here, before blocks are looked at for what ends them.
    #[inline]
    fn goes_on(&mut self) -> Sure<bool> {
        loop {
            match self.next_byte() {
                b',' => {
                    self.at += 1;
                    return Ok(true);
                }
                b'.' => {
                    self.at += 1;
                    self.next_byte();
                    self.at += self.word_at(self.at).len();
                }
                b'=' | b'<' | b'>' | b'+' => self.at += 1,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => match self.plain_word() {
                    Plain::Word => {}
                    Plain::Source => return Ok(true),
                    Plain::Stop => return Ok(false),
                },
                _ => return Ok(false),
            }
        }
    }

    /// A word among sources, unless it is to be stopped at.
    #[inline]
    fn plain_word(&mut self) -> Plain {
        let word = self.word_at(self.at);
        let behind = self.at + word.len();
        if LISTED.allow(word) {
            match fold(word) {
                JOIN => {
                    self.at = behind;
                    return Plain::Source;
                }
                WHERE | GROUP | ORDER | LIMIT => {
                    self.at = behind;
                    self.frames.sources &= !1;
                    return Plain::Stop;
                }
                FROM | INTO | TABLE | INSERT | UPDATE | DELETE | MERGE | SELECT | WITH
                | TABLESAMPLE | HAVING | OFFSET | UNION | INTERSECT | EXCEPT | FETCH | WINDOW
                | FOR | AS => return Plain::Stop,
                _ => {}
            }
        }
        // It may be the prefix of a literal or of a name.
        if word.len() == 1 && matches!(self.byte(behind), b'\'' | b'&') {
            return Plain::Stop;
        }
        self.at = behind;
        Plain::Word
    }

    /// A relation, or a function with its arguments.
    #[inline]
    fn named(&mut self, mut name: Name<'a>) -> Sure<Found> {
        loop {
            match self.next_byte() {
                b'.' => {
                    let dot = self.next()?;
                    let last = self.next()?;
                    if dot.kind != Kind::Dot {
                        return Err(Unsure);
                    }
                    name = Name {
                        schema: Some(name.last),
                        last,
                    };
                }
                b'(' => {
                    self.next()?;
                    let arguments = self.tokens(self.at);
                    call::check(name, &arguments, self.knowledge).map_err(|_| Unsure)?;
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

/// The part that a word among sources has.
enum Plain {
    Word,
    /// A source is next.
    Source,
    /// Blocks are to be looked at from here on.
    Stop,
}

/// The thing that stands where a source is expected.
#[derive(PartialEq, Eq)]
enum Found {
    Relation,
    /// A parenthesis, in which no sources are listed.
    Frame,
}
