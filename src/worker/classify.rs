//! What a statement is, as far as pooling must know: its first words. Pure, allocates nothing.
//!
//! Errs on one side only: a text that commits is never missed, one that only looks as if it did may be
//! taken for it. Never decides what a statement does beyond ending a transaction.

/// How a statement ends the transaction it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// COMMIT, END, PREPARE TRANSACTION.
    Commit,
    /// ROLLBACK or ABORT of the whole transaction.
    Rollback,
}

/// How the first statement of `text` ends its transaction, if it does.
pub(crate) fn ending(text: &[u8]) -> Option<Ending> {
    let (first, rest) = word(skip_empty(text));
    let second = || word(rest).0;
    if is(first, "COMMIT") || is(first, "END") {
        return (!is(second(), "PREPARED")).then_some(Ending::Commit);
    }
    if is(first, "PREPARE") {
        return is(second(), "TRANSACTION").then_some(Ending::Commit);
    }
    if is(first, "ABORT") {
        return Some(Ending::Rollback);
    }
    let whole = is(first, "ROLLBACK") && !is(second(), "PREPARED") && !is(after_work(rest).0, "TO");
    whole.then_some(Ending::Rollback)
}

/// True when the first statement of `text` ends a transaction and begins the next one: `... AND CHAIN`.
pub(crate) fn chains(text: &[u8]) -> bool {
    let (and, rest) = after_work(word(skip_empty(text)).1);
    is(and, "AND") && is(word(rest).0, "CHAIN")
}

/// The word that follows an optional WORK or TRANSACTION, and what follows it.
fn after_work(rest: &[u8]) -> (&[u8], &[u8]) {
    let (next, behind) = word(rest);
    if is(next, "WORK") || is(next, "TRANSACTION") {
        return word(behind);
    }
    (next, behind)
}

/// True when some statement of `text` may make a transaction permanent, be it one that was prepared.
/// A semicolon inside a literal counts as the end of a statement.
pub(crate) fn commits(text: &[u8]) -> bool {
    let first = word(text).0;
    if is(first, "COMMIT") || ending(text) == Some(Ending::Commit) {
        return true;
    }
    memchr::memchr_iter(b';', text).any(|end| {
        let next = text.get(end + 1..).unwrap_or_default();
        is(word(next).0, "COMMIT") || ending(next) == Some(Ending::Commit)
    })
}

/// True when nothing but space, comments and semicolons follows the first statement.
pub(crate) fn is_single(text: &[u8]) -> bool {
    let text = skip_empty(text);
    match memchr::memchr(b';', text) {
        Some(end) => is_empty(text.get(end..).unwrap_or_default()),
        None => true,
    }
}

/// True when there is no statement in `text` at all.
pub(crate) fn is_empty(text: &[u8]) -> bool {
    skip_empty(text).is_empty()
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// The first word of `text`, and what follows it. Bytes of other alphabets belong to words.
pub(crate) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = skip_space(text);
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    let end = text.iter().position(|byte| !belongs(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// `text` without leading empty statements.
fn skip_empty(mut text: &[u8]) -> &[u8] {
    loop {
        text = skip_space(text);
        match text.strip_prefix(b";") {
            Some(rest) => text = rest,
            None => return text,
        }
    }
}

/// `text` without leading white space and comments.
fn skip_space(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = text.strip_prefix(b"\x0b").unwrap_or(text);
        if text.starts_with(b"--") {
            let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
            text = &text[end..];
        } else if text.starts_with(b"/*") {
            text = skip_comment(text);
        } else {
            return text;
        }
    }
}

/// What follows a block comment; they nest. An endless one swallows everything.
fn skip_comment(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return &text[at..];
            }
        } else {
            let step = rest
                .iter()
                .skip(1)
                .position(|byte| matches!(byte, b'/' | b'*'));
            let Some(step) = step else { break };
            at += step + 1;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_the_ends_of_a_transaction() {
        const COMMIT: Option<Ending> = Some(Ending::Commit);
        const ROLLBACK: Option<Ending> = Some(Ending::Rollback);
        let table = [
            ("COMMIT", COMMIT),
            ("  commit ; ", COMMIT),
            ("\u{b}\u{c}\r\n\tcommit", COMMIT),
            ("commit\0", COMMIT),
            ("COMMIT WORK", COMMIT),
            ("COMMIT TRANSACTION AND CHAIN", COMMIT),
            ("COMMIT AND NO CHAIN", COMMIT),
            ("COMMIT; SELECT 1", COMMIT),
            (";; /**/ ; COMMIT", COMMIT),
            ("end", COMMIT),
            ("end/**/work", COMMIT),
            ("-- why\n/* a /* nested */ one */ EnD;", COMMIT),
            ("-- why\rEND", COMMIT),
            ("PREPARE TRANSACTION 'x'", COMMIT),
            ("prepare/* */transaction'x'", COMMIT),
            ("PREPARE x AS SELECT 1", None),
            ("PREPARE", None),
            ("COMMIT PREPARED 'x'", None),
            ("ROLLBACK PREPARED 'x'", None),
            ("rollback", ROLLBACK),
            ("ROLLBACK WORK", ROLLBACK),
            ("ROLLBACK AND CHAIN", ROLLBACK),
            ("ROLLBACK TO s", None),
            ("ROLLBACK TO SAVEPOINT s", None),
            ("ROLLBACK/**/TO s", None),
            ("ROLLBACK WORK TO s", None),
            ("ROLLBACK TRANSACTION TO SAVEPOINT s", None),
            ("ROLLBACK TRANSACTION", ROLLBACK),
            ("abort", ROLLBACK),
            ("ABORT AND CHAIN", ROLLBACK),
            ("SELECT 'commit'", None),
            ("SELECT 1; COMMIT", None),
            ("committed", None),
            ("commit_", None),
            ("commit$1", None),
            ("commit\u{e9}", None),
            ("\"commit\"", None),
            ("'commit'", None),
            ("BEGIN", None),
            ("START TRANSACTION", None),
            ("SAVEPOINT commit", None),
            ("RELEASE commit", None),
            ("/* endless COMMIT", None),
            ("-- COMMIT", None),
            ("/*/ COMMIT", None),
            ("/", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(ending(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn finds_every_commit() {
        let commits_for_sure = [
            "COMMIT",
            "end",
            "SELECT 1; COMMIT",
            "SELECT 1;commit;SELECT 2",
            "BEGIN; INSERT INTO t VALUES (1); END;",
            "SELECT 1; /* now */ COMMIT AND CHAIN",
            "SELECT 1;;COMMIT",
            "SELECT ';'; COMMIT",
            "COMMIT PREPARED 'x'",
            "SELECT 1; COMMIT PREPARED 'x'",
            "SELECT 1; PREPARE TRANSACTION 'x'",
            "ROLLBACK; COMMIT",
        ];
        for text in commits_for_sure {
            assert!(commits(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "SELECT 1",
            "SELECT 1;",
            "ROLLBACK",
            "SELECT 1 -- ; x\n; ROLLBACK",
            "SELECT 'commit'",
        ] {
            assert!(!commits(text.as_bytes()), "{text}");
        }
        assert!(commits(b"SELECT '; COMMIT'"), "better one too many");
    }

    #[test]
    fn tells_which_ends_are_beginnings() {
        for text in [
            "COMMIT AND CHAIN",
            "rollback work and chain",
            "; ABORT TRANSACTION AND/**/CHAIN;",
        ] {
            assert!(chains(text.as_bytes()), "{text}");
        }
        for text in [
            "COMMIT",
            "COMMIT AND NO CHAIN",
            "ROLLBACK WORK",
            "COMMIT CHAIN",
            "AND CHAIN",
        ] {
            assert!(!chains(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn tells_one_statement_from_many() {
        for text in ["ROLLBACK", "ROLLBACK; -- done", ";ROLLBACK;;", "", ";"] {
            assert!(is_single(text.as_bytes()), "{text}");
        }
        assert!(!is_single(b"ROLLBACK; SELECT 1"));
        assert!(!is_single(b"; ROLLBACK ;/**/ SELECT 1"));
        for text in ["", " ;\t; ", " /* x */ -- y", "/* endless"] {
            assert!(is_empty(text.as_bytes()), "{text}");
        }
        assert!(!is_empty(b"x"));
        assert!(!is_empty(b"-"));
    }

    #[test]
    fn finds_words_past_comments() {
        assert_eq!(word(b"/**/select 1").0, b"select");
        assert_eq!(word(b"--\n").0, b"");
        assert_eq!(word(b"/*/ x */ y").0, b"y");
        assert_eq!(word(b"/*/**//* */*/ y").0, b"y");
        assert_eq!(word(b"/* * / ** /// **/ y").0, b"y");
        assert_eq!(word(b"a--b").0, b"a");
    }

    /// Pieces of which texts are made that are hard to read.
    fn piece() -> impl Strategy<Value = String> {
        const PIECES: [&str; 16] = [
            "COMMIT",
            "rollback",
            "TO",
            "AND",
            "CHAIN",
            "PREPARE",
            "TRANSACTION",
            "x",
            "/*",
            "*/",
            "--",
            "\n",
            " ",
            ";",
            "'",
            "\u{b}",
        ];
        prop_oneof![9 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned), 1 => "\\PC{0,3}"]
    }

    proptest! {
        #[test]
        fn noise_is_read_without_harm(
            pieces in prop::collection::vec(piece(), 0..20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut text = pieces.concat().into_bytes();
            for (at, byte) in changes {
                if !text.is_empty() {
                    let at = at.index(text.len());
                    text[at] = byte;
                }
            }
            let (first, rest) = word(&text);
            prop_assert!(first.len() + rest.len() <= text.len());
            prop_assert!(text.ends_with(rest));
            prop_assert!(!is_empty(&text) || is_single(&text) && ending(&text).is_none());
            prop_assert!(!chains(&text) || !is_empty(&text));
            // What ends with COMMIT commits, whatever else is there.
            prop_assert!(ending(&text) != Some(Ending::Commit) || commits(&text));
            prop_assert!(commits(&[b";COMMIT;", text.as_slice()].concat()));
            // Comments and empty statements before it change nothing.
            let later = [b" /* a; */ ; -- b\n".as_slice(), &text].concat();
            prop_assert_eq!(ending(&later), ending(&text));
            prop_assert_eq!(chains(&later), chains(&text));
            prop_assert_eq!(is_single(&later), is_single(&text));
        }
    }
}
