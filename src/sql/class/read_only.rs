//! The statements that can be reads: queries, SHOW, EXPLAIN and COPY TO. Says so of a text, statement by statement, or
//! names the first thing against it. Never looks inside of a query.

use super::{
    call::{Name, identifier},
    knowledge::Knowledge,
    query::{self, End, Query},
    verdict::Reason,
};
use crate::sql::{
    effects::{settings, statement::explained},
    token::{Kind, Token, Tokens},
    word::{
        COPY, EXPLAIN, Folded, ISOLATION, LEVEL, SELECT, SHOW, STDOUT, TABLE, TIME, TO,
        TRANSACTION, VALUES, WITH, ZONE, folded,
    },
};

/// Judges the statements that `tokens` has; answers how many there are.
pub(super) fn judge<'a>(
    tokens: &mut Tokens<'a>,
    knowledge: &Knowledge<'_>,
) -> Result<usize, Reason<'a>> {
    let mut statements = 0;
    while let Some(first) = tokens.next() {
        if first.kind != Kind::Semicolon {
            statements += 1;
            Statement { tokens, knowledge }.judge(first)?;
        }
    }
    Ok(statements)
}

/// One statement.
struct Statement<'a, 't, 'k> {
    tokens: &'t mut Tokens<'a>,
    knowledge: &'t Knowledge<'k>,
}

impl<'a> Statement<'a, '_, '_> {
    fn judge(&mut self, first: Token<'a>) -> Result<(), Reason<'a>> {
        match (first.kind, folded(Some(first))) {
            (Kind::Open, _) | (_, SELECT | VALUES | TABLE | WITH) => {
                self.query(first, End::Statement)
            }
            (_, SHOW) => self.show(),
            (_, EXPLAIN) => self.explain(),
            (_, COPY) => self.copy(),
            (Kind::Broken, _) => Err(Reason::Unended),
            _ => Err(Reason::Statement(first.text)),
        }
    }

    #[inline]
    fn query(&mut self, first: Token<'a>, end: End) -> Result<(), Reason<'a>> {
        let begins = match first.kind {
            Kind::Open => inner(*self.tokens),
            _ => Some(first),
        };
        match folded(begins) {
            SELECT | VALUES | TABLE | WITH => {
                Query::new(self.tokens, self.knowledge).run(first, end)
            }
            _ => Err(Reason::Statement(begins.unwrap_or(first).text)),
        }
    }

    /// SHOW of what is the same on all nodes.
    fn show(&mut self) -> Result<(), Reason<'a>> {
        let name = self.tokens.next();
        let is_same = match folded(name) {
            TIME => self.has([ZONE]),
            TRANSACTION => self.has([ISOLATION, LEVEL]),
            _ => name
                .and_then(identifier)
                .is_some_and(|name| settings::is_same_everywhere(name.written())),
        };
        let text = name.map_or(&b""[..], |name| name.text);
        // Of a name with dots the first part alone was read.
        if is_same && self.is_over() {
            return Ok(());
        }
        Err(Reason::Setting(text))
    }

    /// EXPLAIN does what it explains, when it has ANALYZE; without, it is a read if that is one.
    fn explain(&mut self) -> Result<(), Reason<'a>> {
        let inner = explained(*self.tokens);
        while self.tokens.offset() < inner.offset() {
            let option = self.tokens.next();
            if option.is_none_or(|option| matches!(option.kind, Kind::Semicolon | Kind::Other)) {
                return Err(Reason::Unpaired);
            }
        }
        let Some(first) = self.tokens.next() else {
            return Err(Reason::Explains(b""));
        };
        self.query(first, End::Statement)
            .map_err(|reason| match reason {
                Reason::Statement(text) => Reason::Explains(text),
                reason => reason,
            })
    }

    /// COPY of a query or a relation to the client.
    fn copy(&mut self) -> Result<(), Reason<'a>> {
        let source = self.tokens.next();
        match source {
            Some(open) if open.kind == Kind::Open => self.query(open, End::Parenthesis)?,
            Some(name) => self.copied_relation(name)?,
            None => return Err(Reason::Copies),
        }
        if !self.has([TO, STDOUT]) {
            return Err(Reason::Copies);
        }
        self.options()
    }

    /// A relation, perhaps with a schema and columns.
    fn copied_relation(&mut self, first: Token<'a>) -> Result<(), Reason<'a>> {
        let mut name = Name {
            schema: None,
            last: first,
        };
        while self.skip(Kind::Dot) {
            let last = self.tokens.next().ok_or(Reason::Copies)?;
            name = Name {
                schema: Some(name.last),
                last,
            };
        }
        query::check_relation(name, self.knowledge)?;
        if self.skip(Kind::Open) {
            let is_name = |kind| matches!(kind, Kind::Word | Kind::Quoted | Kind::Comma);
            let end = self.tokens.find(|token| !is_name(token.kind));
            if end.is_none_or(|end| end.kind != Kind::Close) {
                return Err(Reason::Copies);
            }
        }
        Ok(())
    }

    /// Options of COPY behind STDOUT, in which nothing is called.
    fn options(&mut self) -> Result<(), Reason<'a>> {
        let end = self
            .tokens
            .find(|token| matches!(token.kind, Kind::Semicolon | Kind::Broken));
        match end {
            Some(end) if end.kind == Kind::Broken => Err(Reason::Unended),
            _ => Ok(()),
        }
    }

    /// True when these words are next; they are read.
    fn has<const N: usize>(&mut self, words: [Folded; N]) -> bool {
        words.iter().all(|word| folded(self.tokens.next()) == *word)
    }

    fn skip(&mut self, kind: Kind) -> bool {
        let mut rest = *self.tokens;
        let found = rest.next().is_some_and(|token| token.kind == kind);
        if found {
            *self.tokens = rest;
        }
        found
    }

    /// True when the statement ends here; its semicolon is read.
    fn is_over(&mut self) -> bool {
        self.tokens
            .next()
            .is_none_or(|token| token.kind == Kind::Semicolon)
    }
}

/// The first token that is no parenthesis.
fn inner(mut rest: Tokens<'_>) -> Option<Token<'_>> {
    rest.find(|token| token.kind != Kind::Open)
}
