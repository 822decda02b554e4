//! Statements for which nobody may be connected to a database: PostgreSQL refuses them while somebody is. Pure.

use super::uses::name;
use crate::sql::{
    quoted::undoubled,
    token::{Kind, Reading, Token, Tokens, unquoted},
    word::{ALTER, CREATE, DROP, EXISTS, SET, folded},
};

/// The database that nobody may be connected to when this statement runs (PostgreSQL manual, DROP DATABASE, ALTER
/// DATABASE, CREATE DATABASE). A name that the client's encoding hides is none.
#[cold]
pub(crate) fn vacates(text: &[u8]) -> Option<String> {
    let mut rest = Tokens::new(text, Reading::Standard);
    let verb = folded(rest.next());
    if !is_next(&mut rest, "database") {
        return None;
    }
    let name = match verb {
        DROP => dropped(rest),
        ALTER => altered(rest),
        CREATE => copied(rest),
        _ => None,
    }?;
    String::from_utf8(name).ok()
}

/// DROP DATABASE [IF EXISTS] name.
fn dropped(mut rest: Tokens<'_>) -> Option<Vec<u8>> {
    let mut behind = rest;
    if is_next(&mut behind, "if") && folded(behind.next()) == EXISTS {
        rest = behind;
    }
    name(&mut rest)
}

/// ALTER DATABASE name {RENAME TO | SET TABLESPACE} ...
fn altered(mut rest: Tokens<'_>) -> Option<Vec<u8>> {
    let database = name(&mut rest)?;
    let mut behind = rest;
    let moves = folded(behind.next()) == SET && is_next(&mut behind, "tablespace");
    (moves || is_next(&mut rest, "rename")).then_some(database)
}

/// CREATE DATABASE name ... [TEMPLATE [=] other], a name or a string.
fn copied(mut rest: Tokens<'_>) -> Option<Vec<u8>> {
    for _ in 0..TOKENS_MAX {
        let mut behind = rest;
        if behind.next().is_none() {
            break;
        }
        if is_next(&mut rest, "template") {
            let mut named = rest;
            if named.next().is_some_and(|token| token.text == b"=") {
                rest = named;
            }
            let mut written = rest;
            return match written.next() {
                Some(token) if token.kind == Kind::Literal => {
                    Some(undoubled(unquoted(token), b'\''))
                }
                _ => name(&mut rest),
            };
        }
        rest = behind;
    }
    Some(b"template1".to_vec())
}

/// More than any of these statements has.
const TOKENS_MAX: usize = 64;

/// True when this word is next, which is read.
fn is_next(rest: &mut Tokens<'_>, word: &str) -> bool {
    let is_it = |token: &Token<'_>| {
        token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word.as_bytes())
    };
    rest.next().filter(is_it).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_found() {
        for (text, database) in [
            ("DROP DATABASE a", Some("a")),
            (
                "drop database if exists \"A\"\"b\" with (force);",
                Some("A\"b"),
            ),
            ("DROP DATABASE if", Some("if")),
            ("/* x */ alter database A rename to b", Some("a")),
            ("ALTER DATABASE a SET TABLESPACE t", Some("a")),
            ("ALTER DATABASE a SET work_mem = 1", None),
            ("CREATE DATABASE b", Some("template1")),
            ("CREATE DATABASE b WITH OWNER = x TEMPLATE = a", Some("a")),
            (
                "CREATE DATABASE b TEMPLATE \"A\" ENCODING 'UTF8'",
                Some("A"),
            ),
            (
                "CREATE DATABASE b STRATEGY 'wal_log' TEMPLATE = 'A''b'",
                Some("A'b"),
            ),
            ("CREATE TABLE database (a int)", None),
            ("DROP TABLE database", None),
            ("DROP DATABASE", None),
            ("", None),
        ] {
            assert_eq!(vacates(text.as_bytes()).as_deref(), database, "{text}");
        }
    }
}
