//! Statements and what they are taken for.

use proptest::prelude::*;

use super::effects::*;

mod class_properties;
mod classes;
mod properties;
mod reference;
mod table;
mod tokens;

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
        assert!(flags_of(text.as_bytes()).commits(), "{text}");
    }
    for text in [
        "",
        "SELECT 1",
        "SELECT 1;",
        "ROLLBACK",
        "SELECT 1 -- ; x\n; ROLLBACK",
        "SELECT 'commit'",
    ] {
        assert!(!flags_of(text.as_bytes()).commits(), "{text}");
    }
    assert!(!flags_of(b"SELECT '; COMMIT'").commits());
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
    for text in ["", " ;\t; ", " /* x */ -- y"] {
        assert!(is_empty(text.as_bytes()), "{text}");
    }
    assert!(!is_empty(b"/* endless"), "the server refuses it");
    assert!(!is_empty(b"x"));
    assert!(!is_empty(b"-"));
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
        prop_assert!(!is_empty(&text) || is_single(&text) && ending(&text).is_none());
        prop_assert!(!chains(&text) || !is_empty(&text));
        // What ends with COMMIT commits, whatever else is there.
        prop_assert!(ending(&text) != Some(Ending::Commit) || flags_of(&text).commits());
        prop_assert!(flags_of(&[b";COMMIT;", text.as_slice()].concat()).commits());
        // Comments and empty statements before it change nothing.
        let later = [b" /* a; */ ; -- b\n".as_slice(), &text].concat();
        prop_assert_eq!(ending(&later), ending(&text));
        prop_assert_eq!(chains(&later), chains(&text));
        prop_assert_eq!(is_single(&later), is_single(&text));
    }
}
