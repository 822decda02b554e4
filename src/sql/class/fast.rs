//! The quick way through the commonest texts: 64 bytes at a time, stopping only where something may matter. Says that a
//! text is a read, or that it does not know; then `read_only.rs` is asked. Never knows more than that does.

use memchr::{memchr, memchr2};

use super::{
    call::{self, Name},
    fast_blocks::{FastClassifier, Frames, Sure, Unsure},
    knowledge::Knowledge,
};
use crate::sql::{
    hint,
    token::{Kind, Token, is_in_word},
    word::{
        AS, DELETE, DISTINCT, EXTRACT, FOR, FROM, INSERT, INTO, JOIN, MERGE, OVERLAY, SELECT,
        SUBSTRING, TABLE, TRIM, UPDATE, VALUES, WITH, fold,
    },
};
use crate::{limits::ROUTED_TEXT_BYTES_MAX, sql::catalog::Catalog};

/// True when the text is a read for sure.
#[inline]
pub(in crate::sql) fn is_read(text: &[u8], knowledge: &Knowledge<'_>) -> bool {
    let suits = text.len() <= ROUTED_TEXT_BYTES_MAX
        && knowledge.catalog.is_some_and(Catalog::projects_nothing)
        && memchr2(0, b'\\', text).is_none()
        && knowledge.overrides.primary_pattern(text).is_none();
    suits && FastClassifier::new(text, knowledge).run().is_ok() && std::str::from_utf8(text).is_ok()
}

/// True when the word SELECT may be in it.
fn has_select(text: &[u8]) -> bool {
    let is_it = |at: usize| {
        let word = text[at..].get(..6);
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"select"))
    };
    memchr::memchr2_iter(b's', b'S', text).any(is_it)
}

impl<'a> FastClassifier<'a, '_> {
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

    /// End of the comment that begins here. Unsure when it asks for the primary.
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
