//! Bytes of a text whose tokens nobody can tell: the middle of one, or one in an encoding in which parts of characters look
//! like ASCII. Looks for what would be there if something were set. Pure.

use super::effects::Effects;

/// Bytes that must be seen together.
pub const CONTEXT_BYTES: usize = 192;

/// Between SET and the end of the name that it sets, at most.
const NAME_BYTES_MAX: usize = 160;

/// Names of functions that leave what no reset takes away.
const LASTING: [&[u8]; 5] = [
    b"setseed",
    b"dblink_connect",
    b"replication_slot",
    b"replication_origin_session",
    b"dblink_open",
];

/// Effects that the bytes may spell: more than they have, most likely.
pub fn effects(bytes: &[u8]) -> Effects {
    let text = bytes.to_ascii_lowercase();
    let has = |part: &[u8]| memchr::memmem::find(&text, part).is_some();
    let mut effects = Effects::NONE;
    if has(b"set_config") || has(b"u&\"") || names_setting(&text) {
        effects = effects.and(Effects::UNNAMED);
    }
    if LASTING.into_iter().any(has) {
        effects = effects.and(Effects::LASTING);
    }
    effects
}

/// True when behind some SET there is a name with a dot.
fn names_setting(text: &[u8]) -> bool {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    memchr::memmem::find_iter(text, b"set").any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let rest = text.get(at + 3..).unwrap_or_default();
        let rest = rest.get(..NAME_BYTES_MAX).unwrap_or(rest);
        let end = rest
            .iter()
            .position(|byte| b"=;(,".contains(byte))
            .unwrap_or(rest.len());
        !is_part(before) && !is_part(rest.first()) && memchr::memchr(b'.', &rest[..end]).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_set_is_found() {
        for text in [
            "...; SET my.x = 1",
            "xx\u{3042}'; set/**/my . x TO 1",
            "select SET_CONFIG($1)",
            "SET U&\"x\" = 1",
        ] {
            assert_eq!(effects(text.as_bytes()), Effects::UNNAMED, "{text}");
        }
        assert_eq!(effects(b"select setseed(1)"), Effects::LASTING);
        for text in [
            "INSERT INTO a.b VALUES (1), (2)",
            "UPDATE a.b SET c = d.e",
            "a.offset b.c",
            "SET work_mem = 1.5",
        ] {
            assert_eq!(effects(text.as_bytes()), Effects::NONE, "{text}");
        }
    }
}
