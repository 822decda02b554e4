//! The value of a quoted token: of a literal, as far as it is told without escapes that make letters, and of a name in
//! double quotes. Pure; never says where in a text such a token is.

use super::token::{Kind, Token};

/// The value of a literal, as far as that is told without its escapes; `None` when they may change what it says.
pub(super) fn content(token: Token<'_>) -> Option<Vec<u8>> {
    let text = token.text;
    match token.kind {
        Kind::Literal => joined(text.get(1..text.len().checked_sub(1)?)?, false),
        Kind::EscapeLiteral => escaped(text.get(2..text.len().checked_sub(1)?)?),
        Kind::DollarLiteral => {
            let tag = 2 + memchr::memchr(b'$', text.get(1..)?)?;
            Some(text.get(tag..text.len().checked_sub(tag)?)?.to_vec())
        }
        _ => None,
    }
}

/// The value of a literal by what is between its quotes. It may go on in other lines: `'a'` and `'b'` below it are `'ab'`;
/// `None` where there are comments between. `escapes`: a backslash has the byte behind it, whatever that is.
fn joined(text: &[u8], escapes: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\'' {
            out.push(*byte);
            if escapes && *byte == b'\\' {
                out.push(*bytes.next()?);
            }
            continue;
        }
        match bytes.next()? {
            b'\'' => out.push(b'\''),
            space if space.is_ascii_whitespace() || *space == 0x0b => {
                let next = bytes
                    .by_ref()
                    .find(|byte| !byte.is_ascii_whitespace() && **byte != 0x0b)?;
                if *next != b'\'' {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(out)
}

/// Two of these quotes stand for one.
pub(crate) fn undoubled(text: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().peekable();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == quote && bytes.peek() == Some(&&quote) {
            bytes.next();
        }
    }
    out
}

/// The value of `E'...'` by what is between its quotes: escapes that make space are one, others of signs the sign; `None`
/// for those that make letters.
fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = joined(text, true)?.into_iter();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next()? {
            b'n' | b'r' | b't' | b'b' | b'f' | b'v' => out.push(b' '),
            sign if !sign.is_ascii_alphanumeric() => out.push(sign),
            _ => return None,
        }
    }
    Some(out)
}
