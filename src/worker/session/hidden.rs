//! Names of settings that no view of the server lists: those with a dot, which anybody may invent. Pure.
//!
//! Finds too many rather than too few: the server is asked for each, and does not mind names that nobody set.

use memchr::memmem;

use crate::limits::HIDDEN_SETTINGS_MAX;

/// Adds the names with a dot that `text` mentions; false when it may set one whose name cannot be seen.
pub(super) fn collect(text: &[u8], names: &mut Vec<Box<str>>) -> bool {
    let mut rest = text;
    while let Some(dot) = memchr::memchr(b'.', rest) {
        let (before, after) = rest.split_at(dot);
        let start = before
            .iter()
            .rposition(|byte| !belongs(*byte))
            .map_or(0, |at| at + 1);
        let dotted = |byte: &u8| belongs(*byte) || *byte == b'.';
        let end = after
            .iter()
            .position(|byte| !dotted(byte))
            .unwrap_or(after.len());
        add(&before[start..], &after[..end], names);
        rest = &after[end.max(1)..];
    }
    names.len() <= HIDDEN_SETTINGS_MAX && names_are_literal(text)
}

fn belongs(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'"' | 0x80..)
}

fn add(before: &[u8], from_dot: &[u8], names: &mut Vec<Box<str>>) {
    let bytes: Vec<_> = [before, from_dot].concat();
    let bytes: Vec<_> = bytes.into_iter().filter(|byte| *byte != b'"').collect();
    let Ok(name) = String::from_utf8(bytes) else {
        return;
    };
    let name = name.to_ascii_lowercase().into_boxed_str();
    let is_name = !name.starts_with('.') && !name.ends_with('.');
    let is_number = name.starts_with(|first: char| first.is_ascii_digit());
    if is_name && !is_number && !names.contains(&name) {
        names.push(name);
    }
}

/// True when each `set_config` says the name as a plain literal.
fn names_are_literal(text: &[u8]) -> bool {
    const FUNCTION: &[u8] = b"set_config";
    let lower = text.to_ascii_lowercase();
    memmem::find_iter(&lower, FUNCTION).all(|at| {
        let behind = lower[at + FUNCTION.len()..].trim_ascii_start();
        let behind = behind
            .strip_prefix(b"\"")
            .unwrap_or(behind)
            .trim_ascii_start();
        let Some(arguments) = behind.strip_prefix(b"(") else {
            return false;
        };
        let literal = arguments.trim_ascii_start().strip_prefix(b"'");
        let end = literal.and_then(|literal| memchr::memchr2(b'\'', b'\\', literal));
        literal.zip(end).is_some_and(|(literal, end)| {
            let behind = literal[end + 1..].trim_ascii_start();
            literal[end] == b'\'' && behind.starts_with(b",")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Box<str>>, bool) {
        let mut names = Vec::new();
        let all = collect(text.as_bytes(), &mut names);
        (names, all)
    }

    #[test]
    fn names_with_a_dot_are_found_however_they_are_written() {
        for text in [
            "SET my.var = 1",
            "SET \"My\".VAR TO 'x'",
            "SELECT set_config('my.var', $1, false)",
            "DO $$BEGIN PERFORM set_config ( 'my.var', 'x', false); END$$",
            "RESET my.var",
        ] {
            let (names, all) = read(text);
            assert!(all, "{text}");
            assert_eq!(names, ["my.var".into()], "{text}");
        }
        assert_eq!(read("SET a.b.c = 1.5; SET x = 'a'").0, ["a.b.c".into()]);
        assert_eq!(read("SET work_mem = '1MB'"), (vec![], true));
    }

    #[test]
    fn a_name_that_cannot_be_seen_is_admitted() {
        for text in [
            "SELECT set_config($1, $2, false)",
            "SELECT set_config('my.' || x, 'y', false)",
            "SELECT set_config(E'my\\.var', 'y', false)",
            "SELECT pg_catalog.set_config (name, 'y', false) FROM t",
        ] {
            assert!(!read(text).1, "{text}");
        }
    }

    #[test]
    fn too_many_names_are_admitted() {
        let text: String = (0..=HIDDEN_SETTINGS_MAX)
            .map(|number| format!("SET a.v{number} = 1;"))
            .collect();
        assert!(!read(&text).1);
    }
}
