//! The kind of statement that a text is, where that is all there is to know. Errs towards the worse kind.

use crate::sql::{
    token::{Kind, Reading, Tokens},
    word::{
        ABORT, BEGIN, COMMIT, DELETE, END, FROM, INSERT, MERGE, RELEASE, RESET, ROLLBACK,
        SAVEPOINT, SELECT, SET, SHOW, START, TABLE, UPDATE, VALUES, WITH, folded,
    },
};

/// True unless a text surely does no more to a relation than read it.
pub(crate) fn may_modify(text: &[u8]) -> bool {
    let mut tokens = Tokens::new(text, Reading::Standard);
    let first = tokens.find(|token| token.kind != Kind::Open);
    let reads = matches!(folded(first), SELECT | VALUES | TABLE | WITH | SHOW);
    let modifies = |word| matches!(word, INSERT | UPDATE | DELETE | MERGE);
    !reads
        || tokens.is_doubtful()
        || tokens.any(|token| token.kind == Kind::Semicolon || modifies(folded(Some(token))))
}

/// True for a text of one statement without any name of a function or relation that the database may have.
pub(crate) fn reads_nothing(text: &[u8]) -> bool {
    let mut tokens = Tokens::new(text, Reading::Standard);
    let first = folded(tokens.next());
    let is_plain = matches!(
        first,
        SELECT | SHOW | COMMIT | END | ROLLBACK | ABORT | BEGIN | START | SAVEPOINT | RELEASE
    );
    let mut rest =
        tokens.skip_while(|token| token.kind != Kind::Semicolon && folded(Some(*token)) != FROM);
    is_plain && rest.all(|token| token.kind == Kind::Semicolon)
}

/// True when the first statement sets or resets a setting, for which no function of the database runs.
pub(crate) fn sets(text: &[u8]) -> bool {
    let first = Tokens::new(text, Reading::Standard).next();
    matches!(folded(first), SET | RESET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_told_from_the_rest() {
        for text in [
            "SELECT 1",
            "(SELECT a FROM t)",
            "WITH a AS (SELECT 1) TABLE a",
            "VALUES (1)",
        ] {
            assert!(!may_modify(text.as_bytes()), "{text}");
        }
        for text in [
            "INSERT INTO t VALUES (1)",
            "WITH a AS (DELETE FROM t RETURNING *) TABLE a",
            "SELECT 1; UPDATE t SET a = 1",
            "COPY t FROM STDIN",
            "SELECT a FROM t FOR UPDATE",
            "FETCH c",
        ] {
            assert!(may_modify(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_names_nothing_reads_nothing() {
        for text in [
            "SELECT 1",
            "select a, 2;",
            "SHOW work_mem",
            "COMMIT",
            "SAVEPOINT a;",
        ] {
            assert!(reads_nothing(text.as_bytes()), "{text}");
        }
        for text in [
            "SELECT * FROM t",
            "TABLE t",
            "SELECT 1; INSERT INTO t VALUES (1)",
            "FETCH c",
            "SELECT 1; x",
        ] {
            assert!(!reads_nothing(text.as_bytes()), "{text}");
        }
    }
}
