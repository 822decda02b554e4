//! Calls: a name with a parenthesis behind it, and the many places where SQL writes a parenthesis behind a keyword. Says
//! what may be called; never where in a query it stands.

use super::{knowledge::Knowledge, verdict::Reason};
use crate::sql::catalog::{Called, Identifier};
use crate::sql::{
    effects::settings,
    token::{Kind, Token, Tokens},
    word::{
        ALL, AND, ANY, ARRAY, AS, ASYMMETRIC, BETWEEN, BIT, BOTH, BY, CASE, CAST, CHAR, CHARACTER,
        COALESCE, COLLATE, COLUMNS, CONTENT, CUBE, CURRENT_TIME, DEC, DECIMAL, DEFAULT, DISTINCT,
        DOCUMENT, ELSE, ESCAPE, EXCEPT, EXISTS, EXTRACT, FETCH, FILTER, FIRST, FLOAT, FOR, FROM,
        Folded, GREATEST, GROUP, GROUPING, HAVING, ILIKE, IN, INTERSECT, INTERVAL, JOIN, JSON,
        JSON_ARRAY, JSON_ARRAYAGG, JSON_EXISTS, JSON_OBJECT, JSON_OBJECTAGG, JSON_QUERY,
        JSON_SCALAR, JSON_SERIALIZE, JSON_TABLE, JSON_VALUE, LATERAL, LEADING, LEAST, LIKE, LIMIT,
        LOCALTIME, LOCALTIMESTAMP, Lengths, MATERIALIZED, NATIONAL, NCHAR, NEXT, NORMALIZE, NOT,
        NULLIF, NUMERIC, OFFSET, ON, ONLY, OPERATOR, OR, ORDER, OVER, OVERLAPS, OVERLAY, PASSING,
        PLACING, POSITION, PRECISION, REPEATABLE, ROLLUP, ROW, SECOND, SELECT, SETS, SOME,
        SUBSTRING, SYMMETRIC, TABLE, THEN, TIME, TIMESTAMP, TO, TRAILING, TREAT, TRIM, UNION,
        USING, VALUES, VARCHAR, VARIADIC, VARYING, WHEN, WHERE, WINDOW, WITH, XMLATTRIBUTES,
        XMLCONCAT, XMLELEMENT, XMLEXISTS, XMLFOREST, XMLNAMESPACES, XMLPARSE, XMLPI, XMLROOT,
        XMLSERIALIZE, XMLTABLE, ZONE, fold,
    },
};

/// A function that says what is true of one server, unless its argument is known.
const CURRENT_SETTING: &[u8] = b"current_setting";

/// The longest keyword of those with a parenthesis, which is too long for a [`Folded`].
const CURRENT_TIMESTAMP: &[u8] = b"current_timestamp";

/// A name with what is before its last dot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) schema: Option<Token<'a>>,
    pub(super) last: Token<'a>,
}

impl<'a> Name<'a> {
    /// True for a lone word, which may be a keyword.
    #[inline]
    pub(super) fn is_bare(self) -> bool {
        self.schema.is_none() && self.last.kind == Kind::Word
    }

    /// Its parts as the catalog looks for them.
    #[inline]
    pub(super) fn identifiers(self) -> Option<(Option<Identifier<'a>>, Identifier<'a>)> {
        let schema = match self.schema {
            Some(schema) => Some(identifier(schema)?),
            None => None,
        };
        Some((schema, identifier(self.last)?))
    }
}

/// A name as the server stores it; `None` when it has quotes in it, or is written in numbers.
#[inline]
pub(super) fn identifier(token: Token<'_>) -> Option<Identifier<'_>> {
    match token.kind {
        Kind::Word => Some(Identifier::plain(token.text)),
        Kind::Quoted => {
            let name = token.text.get(1..token.text.len() - 1)?;
            (!name.contains(&b'"')).then_some(Identifier::quoted(name))
        }
        _ => None,
    }
}

/// How a keyword has a parenthesis behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Never as a function's name, since the grammar keeps the word.
    Kept,
    /// In a clause of its own, or as the name of a function if there is one.
    Either,
    /// It is no such keyword.
    None,
}

/// Keywords that [`form`] knows.
static FORMS: Lengths = Lengths::of(&[
    ALL,
    AND,
    ANY,
    ARRAY,
    AS,
    ASYMMETRIC,
    BETWEEN,
    BIT,
    BOTH,
    BY,
    CASE,
    CAST,
    CHAR,
    CHARACTER,
    COALESCE,
    COLLATE,
    COLUMNS,
    CONTENT,
    CUBE,
    CURRENT_TIME,
    DEC,
    DECIMAL,
    DEFAULT,
    DISTINCT,
    DOCUMENT,
    ELSE,
    ESCAPE,
    EXCEPT,
    EXISTS,
    EXTRACT,
    FETCH,
    FILTER,
    FIRST,
    FLOAT,
    FOR,
    FROM,
    GREATEST,
    GROUP,
    GROUPING,
    HAVING,
    ILIKE,
    IN,
    INTERSECT,
    INTERVAL,
    JOIN,
    JSON,
    JSON_ARRAY,
    JSON_ARRAYAGG,
    JSON_EXISTS,
    JSON_OBJECT,
    JSON_OBJECTAGG,
    JSON_QUERY,
    JSON_SCALAR,
    JSON_SERIALIZE,
    JSON_TABLE,
    JSON_VALUE,
    LATERAL,
    LEADING,
    LEAST,
    LIKE,
    LIMIT,
    LOCALTIME,
    LOCALTIMESTAMP,
    MATERIALIZED,
    NATIONAL,
    NCHAR,
    NEXT,
    NORMALIZE,
    NOT,
    NULLIF,
    NUMERIC,
    OFFSET,
    ON,
    ONLY,
    OPERATOR,
    OR,
    ORDER,
    OVER,
    OVERLAPS,
    OVERLAY,
    PASSING,
    PLACING,
    POSITION,
    PRECISION,
    REPEATABLE,
    ROLLUP,
    ROW,
    SECOND,
    SELECT,
    SETS,
    SOME,
    SUBSTRING,
    SYMMETRIC,
    TABLE,
    THEN,
    TIME,
    TIMESTAMP,
    TO,
    TRAILING,
    TREAT,
    TRIM,
    UNION,
    USING,
    VALUES,
    VARCHAR,
    VARIADIC,
    VARYING,
    WHEN,
    WHERE,
    WINDOW,
    WITH,
    XMLATTRIBUTES,
    XMLCONCAT,
    XMLELEMENT,
    XMLEXISTS,
    XMLFOREST,
    XMLNAMESPACES,
    XMLPARSE,
    XMLPI,
    XMLROOT,
    XMLSERIALIZE,
    XMLTABLE,
    ZONE,
]);

/// `keyword (...)`. Those that were added after PostgreSQL 12 are names of functions in older ones.
#[inline]
fn form(word: Folded) -> Form {
    match word {
        ALL | AND | ANY | ARRAY | AS | ASYMMETRIC | BOTH | CASE | CAST | COLLATE | DEFAULT
        | DISTINCT | ELSE | EXCEPT | FETCH | FOR | FROM | GROUP | HAVING | IN | INTERSECT
        | LATERAL | LEADING | LIMIT | NOT | OFFSET | ON | ONLY | OR | ORDER | PLACING | SELECT
        | SOME | SYMMETRIC | TABLE | THEN | TO | TRAILING | UNION | USING | VARIADIC | WHEN
        | WHERE | WINDOW | WITH => Form::Kept,
        BETWEEN | COALESCE | CURRENT_TIME | EXISTS | EXTRACT | GREATEST | GROUPING | LEAST
        | LOCALTIME | LOCALTIMESTAMP | NULLIF | OVERLAY | POSITION | ROW | SUBSTRING | TREAT
        | TRIM | VALUES | XMLATTRIBUTES | XMLCONCAT | XMLELEMENT | XMLEXISTS | XMLFOREST
        | XMLNAMESPACES | XMLPARSE | XMLPI | XMLROOT | XMLSERIALIZE | XMLTABLE => Form::Kept,
        BIT | CHAR | CHARACTER | DEC | DECIMAL | FLOAT | INTERVAL | NATIONAL | NCHAR | NUMERIC
        | PRECISION | TIME | TIMESTAMP | VARCHAR => Form::Kept,
        BY | COLUMNS | CONTENT | CUBE | DOCUMENT | ESCAPE | FILTER | FIRST | ILIKE | JOIN
        | JSON | JSON_ARRAY | JSON_ARRAYAGG | JSON_EXISTS | JSON_OBJECT | JSON_OBJECTAGG
        | JSON_QUERY | JSON_SCALAR | JSON_SERIALIZE | JSON_TABLE | JSON_VALUE | LIKE
        | MATERIALIZED | NEXT | NORMALIZE | OPERATOR | OVER | OVERLAPS | PASSING | REPEATABLE
        | ROLLUP | SECOND | SETS | VARYING | ZONE => Form::Either,
        _ => Form::None,
    }
}

/// Refuses what `name (` may call, unless it only reads. `arguments` follow the parenthesis.
#[inline]
pub(super) fn check<'a>(
    name: Name<'a>,
    arguments: &Tokens<'a>,
    knowledge: &Knowledge<'_>,
) -> Result<(), Reason<'a>> {
    let form = if name.is_bare() && FORMS.allow(name.last.text) {
        form(fold(name.last.text))
    } else {
        Form::None
    };
    if form == Form::Kept {
        return Ok(());
    }
    let text = name.last.text;
    let Some((schema, last)) = name.identifiers() else {
        return Err(Reason::UnreadableName(text));
    };
    let (of, called) = (schema.map(Identifier::written), last.written());
    if knowledge.overrides.writes(of, called) {
        return Err(Reason::WriteFunction(text));
    }
    if knowledge.overrides.reads(of, called) {
        return Ok(());
    }
    let verdict = knowledge
        .catalog
        .map(|catalog| catalog.called(schema, last));
    match verdict {
        Some(Called::Reader) if last.is(CURRENT_SETTING) => setting(text, *arguments),
        Some(Called::Reader) => Ok(()),
        Some(Called::Volatile) => Err(Reason::VolatileFunction(text)),
        Some(Called::PrimaryOnly) => Err(Reason::PrimaryFunction(text)),
        Some(Called::Unknown) if form == Form::Either => Ok(()),
        _ if name.is_bare() && text.eq_ignore_ascii_case(CURRENT_TIMESTAMP) => Ok(()),
        Some(Called::Unknown) => Err(Reason::UnknownFunction(text)),
        None => Err(Reason::NoCatalog(text)),
    }
}

/// Refuses an alias or a type that has the name of a function that writes: what follows an alias cannot be a call,
/// but to be wrong there would be dear, and to be careful costs nothing.
pub(super) fn check_alias<'a>(name: Name<'a>, knowledge: &Knowledge<'_>) -> Result<(), Reason<'a>> {
    let text = name.last.text;
    let (_, last) = name.identifiers().ok_or(Reason::UnreadableName(text))?;
    match knowledge.catalog.map(|catalog| catalog.called(None, last)) {
        Some(Called::Volatile) => Err(Reason::VolatileFunction(text)),
        Some(Called::PrimaryOnly) => Err(Reason::PrimaryFunction(text)),
        Some(Called::Reader) if last.is(CURRENT_SETTING) => Err(Reason::Setting(text)),
        _ => Ok(()),
    }
}

#[cold]
fn setting<'a>(text: &'a [u8], mut arguments: Tokens<'a>) -> Result<(), Reason<'a>> {
    if settings::is_same_argument(arguments.next()) {
        Ok(())
    } else {
        Err(Reason::Setting(text))
    }
}
