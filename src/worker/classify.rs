//! What a statement is, as far as pooling must know: its first words. Pure, allocates nothing.

/// The few kinds of statement that end a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// COMMIT, END, PREPARE TRANSACTION, COMMIT PREPARED.
    Commit,
    /// ROLLBACK or ABORT of the whole transaction.
    Rollback,
}

/// How the first statement of `text` ends a transaction, if it does.
pub fn ending(text: &[u8]) -> Option<Ending> {
    let (first, rest) = word(text);
    let second = || word(rest).0;
    if is(first, "COMMIT") || is(first, "END") {
        return Some(Ending::Commit);
    }
    if is(first, "PREPARE") && is(second(), "TRANSACTION") {
        return Some(Ending::Commit);
    }
    if is(first, "ABORT") {
        return Some(Ending::Rollback);
    }
    (is(first, "ROLLBACK") && !rolls_back_to_savepoint(rest)).then_some(Ending::Rollback)
}

/// `ROLLBACK [WORK | TRANSACTION] TO ...`
fn rolls_back_to_savepoint(rest: &[u8]) -> bool {
    let (next, rest) = word(rest);
    if is(next, "WORK") || is(next, "TRANSACTION") {
        return is(word(rest).0, "TO");
    }
    is(next, "TO")
}

/// True when nothing but space and comments follows the first semicolon.
pub fn is_single(text: &[u8]) -> bool {
    match memchr::memchr(b';', text) {
        Some(end) => skip_space(&text[end + 1..]).is_empty(),
        None => true,
    }
}

/// True when there is no statement in `text` at all.
pub fn is_empty(text: &[u8]) -> bool {
    skip_space(text).is_empty()
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// The first word of `text`, and what follows it.
pub fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = skip_space(text);
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .unwrap_or(text.len());
    text.split_at(end)
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
    use super::*;

    #[test]
    fn tells_the_ends_of_a_transaction() {
        let table: [(&str, Option<Ending>); 16] = [
            ("COMMIT", Some(Ending::Commit)),
            ("  commit ; ", Some(Ending::Commit)),
            ("end", Some(Ending::Commit)),
            (
                "-- why\n/* a /* nested */ one */ EnD;",
                Some(Ending::Commit),
            ),
            ("PREPARE TRANSACTION 'x'", Some(Ending::Commit)),
            ("PREPARE x AS SELECT 1", None),
            ("rollback", Some(Ending::Rollback)),
            ("ROLLBACK WORK", Some(Ending::Rollback)),
            ("ROLLBACK AND CHAIN", Some(Ending::Rollback)),
            ("ROLLBACK TO s", None),
            ("ROLLBACK TRANSACTION TO SAVEPOINT s", None),
            ("abort", Some(Ending::Rollback)),
            ("SELECT 'commit'", None),
            ("committed", None),
            ("/* endless COMMIT", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(ending(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn tells_one_statement_from_many() {
        assert!(is_single(b"ROLLBACK"));
        assert!(is_single(b"ROLLBACK; -- done"));
        assert!(!is_single(b"ROLLBACK; SELECT 1"));
        assert!(is_empty(b" /* x */ -- y"));
        assert!(!is_empty(b"x"));
    }

    #[test]
    fn finds_words_past_comments() {
        assert_eq!(word(b"/**/select 1").0, b"select");
        assert_eq!(word(b"--\n").0, b"");
        assert_eq!(word(b"/*/ x */ y").0, b"y");
    }
}
