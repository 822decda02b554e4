//! Statements for which nobody may be connected to a database: PostgreSQL refuses them while somebody is. Pure.

use super::token::{Kind, Reading, Token, Tokens, clipped, unquoted};

/// The database that nobody may be connected to when this statement runs (PostgreSQL manual, DROP DATABASE, ALTER
/// DATABASE, CREATE DATABASE). A name that the client's encoding or escapes hide is none.
#[cold]
pub(crate) fn vacates(text: &[u8]) -> Option<String> {
    let tokens: Vec<_> = Tokens::new(text, Reading::Standard)
        .take(TOKENS_MAX)
        .collect();
    let mut rest = &tokens[..];
    let verb = take(&mut rest)?;
    if !is_word(take(&mut rest)?, "database") {
        return None;
    }
    if is_word(verb, "drop") {
        if rest.len() > 2 && is_word(rest[0], "if") && is_word(rest[1], "exists") {
            rest = &rest[2..];
        }
        return name(take(&mut rest)?);
    }
    if is_word(verb, "alter") {
        let database = name(take(&mut rest)?)?;
        let verb = take(&mut rest)?;
        let moves = is_word(verb, "set") && is_word(take(&mut rest)?, "tablespace");
        return (moves || is_word(verb, "rename")).then_some(database);
    }
    if is_word(verb, "create") {
        let place = rest.iter().position(|token| is_word(*token, "template"));
        let Some(place) = place else {
            return Some("template1".to_owned());
        };
        let named = rest[place + 1..].iter().find(|token| token.text != b"=")?;
        return name(*named);
    }
    None
}

/// More than any of these statements has.
const TOKENS_MAX: usize = 64;

fn take<'a>(rest: &mut &[Token<'a>]) -> Option<Token<'a>> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn is_word(token: Token<'_>, word: &str) -> bool {
    token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word.as_bytes())
}

fn name(token: Token<'_>) -> Option<String> {
    let name = match token.kind {
        Kind::Word => token.text.to_ascii_lowercase(),
        Kind::Quoted => unquoted(token).to_vec(),
        _ => return None,
    };
    let name = String::from_utf8(clipped(&name).to_vec()).ok()?;
    Some(name.replace("\"\"", "\""))
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
            ("CREATE TABLE database (a int)", None),
            ("DROP TABLE database", None),
            ("DROP DATABASE", None),
            ("", None),
        ] {
            assert_eq!(vacates(text.as_bytes()).as_deref(), database, "{text}");
        }
    }
}
