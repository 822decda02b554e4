//! One query, from SELECT, VALUES, TABLE, WITH or a parenthesis to its end: finds the names that it calls and the
//! relations that it reads, and refuses the words that make a write of it. Follows no grammar but for what tells
//! these from columns, labels and aliases.
//!
//! Where it is not sure it refuses too much: words like UPDATE as names of columns without a table before them, a
//! common table expression that is used before it is written, one of a name that a relation of the database has.

use super::{
    call::{self, Name, identifier},
    knowledge::Knowledge,
    verdict::Reason,
};
use crate::sql::catalog::{Identifier, Named};
use crate::sql::{
    token::{Kind, Token, Tokens},
    word::{
        AS, BERNOULLI, DELETE, DISTINCT, EXCEPT, EXTRACT, FETCH, FOR, FROM, Folded, GROUP, HAVING,
        INSERT, INTERSECT, INTO, IS, JOIN, KEY, LATERAL, LIMIT, Lengths, MATERIALIZED, MERGE, NO,
        NOT, OFFSET, ONLY, ORDER, ORDINALITY, OVERLAY, RECURSIVE, ROWS, SELECT, SHARE, SUBSTRING,
        SYSTEM, TABLE, TABLESAMPLE, TRIM, UNION, UPDATE, VALUES, WHERE, WINDOW, WITH, fold, folded,
    },
};

/// How many parentheses may be open: a bit for each in a word of 64, the lowest for none.
const DEPTH_MAX: u32 = 63;

/// Common table expressions that are remembered at a time.
const EXPRESSIONS_MAX: usize = 24;

/// Words that [`Query::keyword`] knows.
static KEYWORDS: Lengths = Lengths::of(&[
    AS,
    DELETE,
    DISTINCT,
    EXCEPT,
    FETCH,
    FOR,
    FROM,
    GROUP,
    HAVING,
    INSERT,
    INTERSECT,
    INTO,
    IS,
    JOIN,
    LIMIT,
    MERGE,
    NOT,
    OFFSET,
    ORDER,
    ORDINALITY,
    SELECT,
    TABLE,
    TABLESAMPLE,
    UNION,
    UPDATE,
    WHERE,
    WINDOW,
    WITH,
]);

/// Where a query ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a semicolon, or with the text.
    Statement,
    /// With the parenthesis that it begins with.
    Parenthesis,
}

/// The thing that the next token begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Nothing,
    /// Something that a query reads from.
    Source,
    /// A name that WITH gives.
    Expression,
}

/// The phrase just before, as far as more than one token makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phrase {
    None,
    /// AS, where it is no name.
    As,
    /// IS, IS NOT.
    Is,
    /// IS DISTINCT, IS NOT DISTINCT.
    IsDistinct,
    /// A source, which is over.
    Source,
    /// TABLESAMPLE.
    Sample,
    /// The query of a common table expression, which is over.
    Expression,
}

/// A name that is being read.
#[derive(Clone, Copy, Debug)]
struct Chain<'a> {
    name: Name<'a>,
    before: Phrase,
    /// It is in the place of a source.
    is_source: bool,
    /// It has just been given, by WITH, to a common table expression.
    is_given: bool,
}

/// One bit for each open parenthesis and bracket and each question about it; the lowest bits are the innermost's.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    /// Commas separate sources.
    sources: u64,
    /// Commas separate common table expressions.
    expressions: u64,
    /// FROM belongs to EXTRACT or its like.
    extracts: u64,
    /// It is itself a source: a subquery, a join, the arguments of a function.
    is_source: u64,
    /// It is the query of a common table expression.
    is_expression: u64,
    /// Common table expressions are seen from where they are given.
    recursive: u64,
    /// It is a bracket.
    brackets: u64,
    depth: u32,
}

impl Frames {
    fn push(&mut self) {
        for bits in self.bits() {
            *bits <<= 1;
        }
        self.depth += 1;
    }

    /// Answers what has just ended; `None` when that is not what a parenthesis, or a bracket, closes.
    fn pop(&mut self, is_bracket: bool) -> Option<Phrase> {
        if self.depth == 0 || (self.brackets & 1 != 0) != is_bracket {
            return None;
        }
        let ended = match (self.is_source & 1, self.is_expression & 1) {
            (1, _) => Phrase::Source,
            (_, 1) => Phrase::Expression,
            _ => Phrase::None,
        };
        for bits in self.bits() {
            *bits >>= 1;
        }
        self.depth -= 1;
        Some(ended)
    }

    /// True within the query of a common table expression that cannot see itself, whose WITH is that deep.
    fn is_in_expression(&self, of: u32) -> bool {
        let above = self.depth - of;
        above > 0 && self.is_expression >> (above - 1) & 1 != 0 && self.recursive >> above & 1 == 0
    }

    fn bits(&mut self) -> [&mut u64; 7] {
        [
            &mut self.sources,
            &mut self.expressions,
            &mut self.extracts,
            &mut self.is_source,
            &mut self.is_expression,
            &mut self.recursive,
            &mut self.brackets,
        ]
    }
}

/// Names that WITH has given, where they can be seen.
#[derive(Clone, Copy, Debug)]
struct Expressions<'a> {
    /// Each with the number of parentheses around its WITH.
    names: [(Identifier<'a>, u32); EXPRESSIONS_MAX],
    count: usize,
}

impl<'a> Expressions<'a> {
    fn new() -> Self {
        Self {
            names: [(Identifier::quoted(&[]), 0); EXPRESSIONS_MAX],
            count: 0,
        }
    }

    fn add(&mut self, name: Identifier<'a>, depth: u32) -> Result<(), Reason<'a>> {
        let place = self.names.get_mut(self.count).ok_or(Reason::TooDeep)?;
        *place = (name, depth);
        self.count += 1;
        Ok(())
    }

    /// Forgets those that were given further inside.
    #[inline]
    fn leave(&mut self, depth: u32) {
        while self.given().last().is_some_and(|(_, of)| *of > depth) {
            self.count -= 1;
        }
    }

    fn given(&self) -> &[(Identifier<'a>, u32)] {
        self.names.get(..self.count).unwrap_or_default()
    }

    /// True when the name is given and can be seen: not in the query that it is given to, unless with RECURSIVE.
    fn has(&self, name: Identifier<'_>, frames: &Frames) -> bool {
        let given = self.given();
        let is_seen = |at: usize, of: u32| {
            let is_last = !given[at + 1..].iter().any(|(_, other)| *other == of);
            !(is_last && frames.is_in_expression(of))
        };
        let mut given_here = given.iter().enumerate();
        given_here.any(|(at, (given, of))| given.is_same(name) && is_seen(at, *of))
    }
}

/// Reads one query.
pub(super) struct Query<'a, 't, 'k> {
    tokens: &'t mut Tokens<'a>,
    knowledge: &'t Knowledge<'k>,
    frames: Frames,
    expect: Expect,
    /// Before the token that is read.
    phrase: Phrase,
    /// The kind of the last token, and the name that it ends or is a dot behind.
    previous: Kind,
    chain: Option<Chain<'a>>,
    expressions: Option<Expressions<'a>>,
    /// Columns may be calls.
    watches_columns: bool,
}

impl<'a, 't, 'k> Query<'a, 't, 'k> {
    /// `tokens` follow the first.
    pub(super) fn new(tokens: &'t mut Tokens<'a>, knowledge: &'t Knowledge<'k>) -> Self {
        Self {
            tokens,
            knowledge,
            frames: Frames::default(),
            expect: Expect::Nothing,
            phrase: Phrase::None,
            previous: Kind::Open,
            chain: None,
            expressions: None,
            watches_columns: knowledge
                .catalog
                .is_some_and(|catalog| !catalog.projects_nothing()),
        }
    }

    /// Reads up to the end, which is read too.
    pub(super) fn run(mut self, first: Token<'a>, end: End) -> Result<(), Reason<'a>> {
        let mut next = Some(first);
        while let Some(token) = next.filter(|token| token.kind != Kind::Semicolon) {
            self.step(token)?;
            if end == End::Parenthesis && self.frames.depth == 0 {
                return Ok(());
            }
            next = self.tokens.next();
        }
        if self.frames.depth > 0 {
            return Err(Reason::Unpaired);
        }
        self.end_source(None)
    }

    #[inline]
    fn step(&mut self, token: Token<'a>) -> Result<(), Reason<'a>> {
        if self.chain.is_some_and(|chain| chain.is_source) {
            self.end_source(Some(token))?;
        }
        match token.kind {
            Kind::Dot => {}
            Kind::Word => self.word(token)?,
            Kind::Quoted => self.name(token)?,
            Kind::Open => self.open()?,
            Kind::Close => self.close(false)?,
            Kind::Comma => self.comma(),
            Kind::UnicodeQuoted => return Err(Reason::UnreadableName(token.text)),
            Kind::Broken => return Err(Reason::Unended),
            _ => self.other(token)?,
        }
        self.previous = token.kind;
        Ok(())
    }

    /// Judges the name of a source when `next`, the token behind it, is no part of it.
    fn end_source(&mut self, next: Option<Token<'a>>) -> Result<(), Reason<'a>> {
        let is_part = |next: Token<'_>| matches!(next.kind, Kind::Dot | Kind::Open);
        let Some(chain) = self.chain.filter(|chain| chain.is_source) else {
            return Ok(());
        };
        let is_name = |next: Token<'_>| matches!(next.kind, Kind::Word | Kind::Quoted);
        if self.previous == Kind::Dot {
            let goes_on = next.is_some_and(is_name);
            return if goes_on {
                Ok(())
            } else {
                Err(Reason::UnreadableName(chain.name.last.text))
            };
        }
        if next.is_some_and(is_part) {
            return Ok(());
        }
        self.chain = None;
        let is_rows = chain.name.is_bare() && fold(chain.name.last.text) == ROWS;
        if !(is_rows && folded(next) == FROM) {
            self.source(chain.name)?;
            self.phrase = Phrase::Source;
        }
        Ok(())
    }

    fn source(&self, name: Name<'a>) -> Result<(), Reason<'a>> {
        let lone = name
            .schema
            .is_none()
            .then(|| identifier(name.last))
            .flatten();
        let is_given = || lone.is_some_and(|name| self.is_given(name));
        match check_relation(name, self.knowledge) {
            Err(Reason::UnknownRelation(_) | Reason::NoCatalog(_)) if is_given() => Ok(()),
            verdict => verdict,
        }
    }

    fn is_given(&self, name: Identifier<'_>) -> bool {
        let expressions = self.expressions.as_ref();
        expressions.is_some_and(|expressions| expressions.has(name, &self.frames))
    }

    /// A word without quotes.
    #[inline]
    fn word(&mut self, token: Token<'a>) -> Result<(), Reason<'a>> {
        if self.previous == Kind::Dot || self.phrase == Phrase::As {
            return self.name(token);
        }
        let word = fold(token.text);
        match (self.expect, word) {
            (Expect::Nothing, _) => {}
            (Expect::Source, ONLY | LATERAL) => return Ok(()),
            (Expect::Expression, RECURSIVE) if !self.gives_name() => {
                self.frames.recursive |= 1;
                return Ok(());
            }
            (Expect::Source, SELECT | TABLE | WITH) => self.expect = Expect::Nothing,
            (Expect::Source, VALUES) if self.opens_next() => {
                self.expect = Expect::Nothing;
                self.frames.sources &= !1;
            }
            _ => return self.name(token),
        }
        let phrase = self.phrase;
        self.name(token)?;
        if KEYWORDS.allow(token.text) {
            return self.keyword(word, phrase, token);
        }
        Ok(())
    }

    /// A word that may be a keyword, behind `phrase`.
    #[inline]
    fn keyword(
        &mut self,
        word: Folded,
        phrase: Phrase,
        token: Token<'a>,
    ) -> Result<(), Reason<'a>> {
        match word {
            FROM => self.from(phrase),
            JOIN | TABLE => self.begin_source(),
            SELECT => {
                self.frames.sources &= !1;
                self.frames.expressions &= !1;
                self.frames.extracts &= !1;
            }
            WHERE | GROUP | HAVING | WINDOW | ORDER | LIMIT | OFFSET | FETCH | UNION
            | INTERSECT | EXCEPT => {
                self.frames.sources &= !1;
            }
            FOR => return self.lock(),
            WITH if self.previous == Kind::Open => {
                self.frames.expressions |= 1;
                self.frames.recursive &= !1;
                self.expect = Expect::Expression;
            }
            AS => self.phrase = Phrase::As,
            IS => self.phrase = Phrase::Is,
            NOT if phrase == Phrase::Is => self.phrase = Phrase::Is,
            DISTINCT if phrase == Phrase::Is => self.phrase = Phrase::IsDistinct,
            TABLESAMPLE => self.phrase = Phrase::Sample,
            ORDINALITY => self.phrase = Phrase::Source,
            INTO => return Err(Reason::Into),
            INSERT | UPDATE | DELETE | MERGE => return Err(Reason::Modifies(token.text)),
            _ => {}
        }
        Ok(())
    }

    fn from(&mut self, phrase: Phrase) {
        if phrase != Phrase::IsDistinct && self.frames.extracts & 1 == 0 {
            self.frames.sources |= 1;
            self.begin_source();
        }
    }

    fn begin_source(&mut self) {
        self.expect = Expect::Source;
        self.chain = None;
    }

    /// FOR: of SUBSTRING, or of a lock.
    fn lock(&mut self) -> Result<(), Reason<'a>> {
        self.frames.sources &= !1;
        match folded(self.peek()) {
            UPDATE | NO | SHARE | KEY => Err(Reason::Locks),
            _ => Ok(()),
        }
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.clone().next()
    }

    /// True when what was read last is the name of a common table expression.
    fn gives_name(&self) -> bool {
        self.opens_next() || folded(self.peek()) == AS
    }

    fn opens_next(&self) -> bool {
        self.peek().is_some_and(|next| next.kind == Kind::Open)
    }

    /// A name, or a word that may be one.
    #[inline]
    fn name(&mut self, token: Token<'a>) -> Result<(), Reason<'a>> {
        let before = std::mem::replace(&mut self.phrase, Phrase::None);
        let expect = std::mem::replace(&mut self.expect, Expect::Nothing);
        let mut chain = Chain {
            name: Name {
                schema: None,
                last: token,
            },
            before,
            is_source: expect == Expect::Source,
            is_given: expect == Expect::Expression,
        };
        if self.previous == Kind::Dot {
            self.column(token)?;
            // Behind a value it is a field of it, which nothing but itself may qualify: no function is called so.
            let qualifier = self.chain.unwrap_or(chain);
            let schema = Some(qualifier.name.last);
            chain = Chain {
                name: Name {
                    schema,
                    last: token,
                },
                ..qualifier
            };
        } else if chain.is_given {
            if !self.gives_name() {
                return Err(Reason::UnreadableName(token.text));
            }
            let name = identifier(token).ok_or(Reason::UnreadableName(token.text))?;
            let expressions = self.expressions.get_or_insert_with(Expressions::new);
            expressions.add(name, self.frames.depth)?;
        }
        self.chain = Some(chain);
        Ok(())
    }

    /// A name behind a dot, which may be the call of a function.
    #[inline]
    fn column(&self, token: Token<'a>) -> Result<(), Reason<'a>> {
        if !self.watches_columns {
            return Ok(());
        }
        let name = identifier(token).ok_or(Reason::UnreadableName(token.text))?;
        match self.knowledge.catalog {
            Some(catalog) if catalog.projects(name) => Err(Reason::Projection(token.text)),
            _ => Ok(()),
        }
    }

    fn open(&mut self) -> Result<(), Reason<'a>> {
        let expect = std::mem::replace(&mut self.expect, Expect::Nothing);
        self.phrase = Phrase::None;
        let Some(chain) = self.chain.take() else {
            self.push()?;
            if expect == Expect::Source {
                // A join, a subquery or a relation: a source that begins with one, or with SELECT.
                self.frames.sources |= 1;
                self.frames.is_source |= 1;
                self.expect = Expect::Source;
            }
            return Ok(());
        };
        self.call(chain)?;
        self.push()?;
        self.frames.is_source |= u64::from(chain.is_source);
        if chain.name.is_bare() {
            match fold(chain.name.last.text) {
                EXTRACT | OVERLAY | SUBSTRING | TRIM => self.frames.extracts |= 1,
                AS | MATERIALIZED => self.frames.is_expression |= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// `name (`, which is a call unless what is before tells otherwise.
    #[inline]
    fn call(&self, chain: Chain<'a>) -> Result<(), Reason<'a>> {
        // Names of columns, or the size of a type, in CAST(x AS varchar(10)).
        let names_columns = chain.is_given || matches!(chain.before, Phrase::As | Phrase::Source);
        if names_columns && chain.name.schema.is_none() {
            return call::check_alias(chain.name, self.knowledge);
        }
        let word = || fold(chain.name.last.text);
        if chain.before == Phrase::Sample
            && chain.name.is_bare()
            && matches!(word(), SYSTEM | BERNOULLI)
        {
            return Ok(());
        }
        call::check(chain.name, self.tokens, self.knowledge)
    }

    fn push(&mut self) -> Result<(), Reason<'a>> {
        if self.frames.depth == DEPTH_MAX {
            return Err(Reason::TooDeep);
        }
        self.frames.push();
        Ok(())
    }

    fn close(&mut self, is_bracket: bool) -> Result<(), Reason<'a>> {
        self.rest();
        self.phrase = self.frames.pop(is_bracket).ok_or(Reason::Unpaired)?;
        if let Some(expressions) = &mut self.expressions {
            expressions.leave(self.frames.depth);
        }
        Ok(())
    }

    fn comma(&mut self) {
        let ended = self.phrase;
        self.rest();
        if self.frames.sources & 1 != 0 {
            self.expect = Expect::Source;
        } else if self.frames.expressions & 1 != 0 && ended == Phrase::Expression {
            self.expect = Expect::Expression;
        }
    }

    /// Values, operators, brackets.
    fn other(&mut self, token: Token<'a>) -> Result<(), Reason<'a>> {
        self.rest();
        match token.text {
            b"[" => {
                self.push()?;
                self.frames.brackets |= 1;
                Ok(())
            }
            b"]" => self.close(true),
            _ => Ok(()),
        }
    }

    /// No name goes on here.
    #[inline]
    fn rest(&mut self) {
        self.chain = None;
        self.expect = Expect::Nothing;
        self.phrase = Phrase::None;
    }
}

/// Refuses a relation unless standbys have it.
pub(super) fn check_relation<'a>(
    name: Name<'a>,
    knowledge: &Knowledge<'_>,
) -> Result<(), Reason<'a>> {
    let text = name.last.text;
    let (schema, last) = name.identifiers().ok_or(Reason::UnreadableName(text))?;
    let named = knowledge.catalog.map(|catalog| catalog.named(schema, last));
    match named {
        Some(Named::Replicated) => Ok(()),
        Some(Named::Tainted(taint, is_inherited)) => {
            Err(Reason::Relation(text, taint, is_inherited))
        }
        Some(Named::Unknown) => Err(Reason::UnknownRelation(text)),
        None => Err(Reason::NoCatalog(text)),
    }
}
