//! Settings whose value is the same on whichever node a session asks: those that clients set and pgring carries along,
//! and those with which a cluster is made. The others are each server's own.

use crate::sql::{
    token::{Kind, Token, Tokens},
    word::{TRUE, folded},
};

/// In small letters. Not `transaction_read_only` and `in_hot_standby`, by which clients look for the primary.
const SAME: [&[u8]; 33] = [
    b"application_name",
    b"block_size",
    b"bytea_output",
    b"client_encoding",
    b"client_min_messages",
    b"data_checksums",
    b"datestyle",
    b"default_transaction_isolation",
    b"escape_string_warning",
    b"extra_float_digits",
    b"idle_in_transaction_session_timeout",
    b"integer_datetimes",
    b"intervalstyle",
    b"is_superuser",
    b"lc_collate",
    b"lc_ctype",
    b"lc_messages",
    b"lc_monetary",
    b"lc_numeric",
    b"lc_time",
    b"lock_timeout",
    b"max_identifier_length",
    b"max_index_keys",
    b"row_security",
    b"search_path",
    b"server_encoding",
    b"server_version",
    b"server_version_num",
    b"standard_conforming_strings",
    b"statement_timeout",
    b"timezone",
    b"transaction_isolation",
    b"xmloption",
];

/// Settings under which every text means the same.
const HARMLESS: [&[u8]; 6] = [
    b"application_name",
    b"client_min_messages",
    b"idle_in_transaction_session_timeout",
    b"idle_session_timeout",
    b"lock_timeout",
    b"statement_timeout",
];

/// True for a setting that no constant and no name in a text depends on. Those with a dot in their names are invented by
/// clients, for their functions to look at.
pub(crate) fn is_harmless(name: &[u8]) -> bool {
    name.contains(&b'.') || HARMLESS.iter().any(|one| name.eq_ignore_ascii_case(one))
}

/// True when all nodes answer the same.
pub(in crate::sql) fn is_same_everywhere(name: &[u8]) -> bool {
    SAME.iter().any(|same| name.eq_ignore_ascii_case(same))
}

/// True when the argument of `current_setting` that begins with this token is such a setting, or one of those with
/// dots in their names, which clients invent.
pub(in crate::sql) fn is_same_argument(argument: Option<Token<'_>>) -> bool {
    let literal = argument.filter(|argument| argument.kind == Kind::Literal);
    let name = literal.and_then(|literal| literal.text.get(1..literal.text.len() - 1));
    name.is_some_and(|name| name.contains(&b'.') || is_same_everywhere(name))
}

/// True when the call of `set_config` whose arguments follow is for the transaction alone: its third argument is TRUE
/// itself.
pub(in crate::sql) fn is_local(mut rest: Tokens<'_>) -> bool {
    let (mut depth, mut commas) = (0_usize, 0);
    while let Some(token) = rest.next() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => return false,
            Kind::Close => depth -= 1,
            Kind::Semicolon => return false,
            Kind::Other if token.text == b"[" => depth += 1,
            Kind::Other if token.text == b"]" => depth = depth.saturating_sub(1),
            Kind::Comma if depth == 0 => commas += 1,
            _ => {}
        }
        if commas == 2 {
            let last = folded(rest.next()) == TRUE;
            return last && rest.next().is_some_and(|token| token.kind == Kind::Close);
        }
    }
    false
}
