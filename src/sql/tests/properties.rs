//! Properties of every text: flags are there, the quick way finds what the slow one finds, space and comments change
//! nothing.

use proptest::{
    prelude::*,
    sample::{Index, select},
};

use super::table::{names, statements};
use crate::sql::{
    effects::{
        StatementFlags, begin, flags_of, flags_of_beginning, plain_ending, read, read_statement,
        statement, uses,
    },
    token::{Kind, Reading, Tokens},
};

/// Pieces of which hard texts are made.
const PIECES: [&str; 85] = [
    "SELECT",
    "select ",
    "INSERT",
    "insert",
    "MERGE",
    "INTO",
    "into",
    "TEMP",
    "set_config",
    "currval",
    "LASTVAL",
    "nextval",
    "setval",
    "setseed",
    "ts_stat",
    "ts_rewrite",
    "query_to_xml",
    "query_to_xmlschema",
    "Table_to_XML_and_xmlschema",
    "schema_to_xml",
    "database_to_xml",
    "pg_create_physical_replication_slot",
    "pg_copy_logical_replication_slot",
    "pg_replication_origin_session_setup",
    "SET_CONFIG",
    "pg_temp",
    "pg_temp_1",
    "pg_advisory_lock",
    "pg_try_advisory_lock",
    "pg_advisory_unlock",
    "now",
    "today",
    "tomorrow",
    "yesterday",
    "COMMIT",
    "END",
    "CREATE",
    "FUNCTION",
    "BEGIN",
    "ATOMIC",
    "CASE",
    "EXPLAIN",
    "EXECUTE",
    "PREPARE",
    "AS",
    "WITH",
    "true",
    "UESCAPE",
    "SET",
    "LOCAL",
    "x",
    "id",
    "no",
    "ow",
    "day",
    "_",
    "e",
    "E",
    "u",
    "U&",
    "n",
    "b",
    "X",
    "'",
    "'",
    "'",
    "\"",
    "\"",
    "$",
    "$$",
    "$a$",
    "$1",
    "1",
    "1.5",
    "\\",
    ";",
    "--",
    "\n",
    " ",
    " ",
    "/*",
    "*/",
    "(",
    ")",
    ",",
];

/// Texts that may stand between tokens.
const GAPS: [&str; 6] = [
    " ",
    "\t",
    "/* a; 'b */",
    " /* /* \" */ */",
    " -- c '\n",
    "\u{c}\r\n",
];

fn slowly(text: &[u8], reading: Reading) -> StatementFlags {
    let mut tokens = Tokens::new(text, reading);
    read(text, &mut tokens, statement::read_slowly)
}

fn quickly(text: &[u8], reading: Reading) -> StatementFlags {
    read(text, &mut Tokens::new(text, reading), read_statement)
}

fn golden() -> impl Strategy<Value = String> {
    select(statements().collect::<Vec<_>>())
}

/// Golden texts that have one reading, and behind which something may follow.
fn plain_golden() -> impl Strategy<Value = String> {
    let is_plain = |text: &String| {
        let mut tokens = Tokens::new(text.as_bytes(), Reading::Standard);
        tokens.all(|token| token.kind != Kind::Broken) && !tokens.is_doubtful()
    };
    select(statements().filter(is_plain).collect::<Vec<_>>())
}

/// Golden texts of which no body of a function may go on behind the end.
fn whole_golden() -> impl Strategy<Value = String> {
    plain_golden().prop_filter("ends with its text", |text| !text.contains("ATOMIC"))
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => select(&PIECES[..]).prop_map(str::to_owned),
        1 => "[ a-z]{0,80}",
        1 => "\\PC{0,3}",
    ];
    let query = |pieces: Vec<String>| format!("SELECT {}", pieces.concat()).into_bytes();
    prop::collection::vec(piece, 0..60).prop_map(query)
}

/// Golden statements cut or with another byte in them, noise, and bytes.
fn hard_text() -> impl Strategy<Value = Vec<u8>> {
    let cut = |(text, at): (String, Index)| text.as_bytes()[..at.index(text.len() + 1)].to_vec();
    let changed = |(text, at, byte): (String, Index, u8)| {
        let mut text = text.into_bytes();
        let length = text.len();
        if let Some(old) = text.get_mut(at.index(length + 1)) {
            *old = byte;
        }
        text
    };
    prop_oneof![
        6 => noise(),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (golden(), any::<Index>()).prop_map(cut),
        2 => (golden(), any::<Index>(), any::<u8>()).prop_map(changed),
    ]
}

fn is_number_end(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_quick_way_finds_what_the_slow_one_finds(text in hard_text()) {
        // An INSERT that begins in the midst of a number is missed, so that its INTO is feared.
        let glued = text.windows(2).any(|pair| is_number_end(pair[0]) && pair[1].is_ascii_alphabetic());
        for reading in [Reading::Standard, Reading::Backslash] {
            let (quick, slow) = (quickly(&text, reading), slowly(&text, reading));
            let expected = if glued { quick.union(slow) } else { slow };
            prop_assert_eq!(names(quick), names(expected), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn every_text_has_facts(text in hard_text()) {
        let flags = flags_of(&text);
        prop_assert!(!flags.is_empty() || flags.is_single());
        prop_assert!(!flags.is_shareable() || flags.is_single() && !flags.commits());
        prop_assert_eq!(flags.begins(), begin(&text).is_some());
        prop_assert!(!flags.rolls_back() || plain_ending(&text).is_some());
        prop_assert!(flags_of_beginning(&text).gains_state());
        let names_some = flags.prepares() || flags.executes() || flags.deallocates();
        prop_assert!(names_some || uses(&text).is_empty());
    }

    #[test]
    fn a_second_statement_adds_what_it_alone_may_do(first in whole_golden(), second in hard_text()) {
        let both = flags_of(&[first.as_bytes(), b"\n;", &second].concat());
        let parts = flags_of(first.as_bytes()).union(flags_of(&second));
        prop_assert_eq!(names(both.union(StatementFlags::NONE)), names(parts.union(StatementFlags::NONE)));
    }

    #[test]
    fn space_and_comments_change_nothing(
        text in plain_golden(),
        gaps in prop::collection::vec(select(&GAPS[..]), 1..20),
    ) {
        let mut wide = Vec::new();
        let tokens = Tokens::new(text.as_bytes(), Reading::Standard);
        for (token, gap) in tokens.zip(gaps.iter().cycle()) {
            wide.extend_from_slice(gap.as_bytes());
            wide.extend_from_slice(token.text);
        }
        let (wide_flags, wide) = (names(flags_of(&wide)), String::from_utf8_lossy(&wide));
        prop_assert_eq!(wide_flags, names(flags_of(text.as_bytes())), "{}", wide);
    }
}
