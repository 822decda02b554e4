//! Comments that say where a statement shall run: `/*NO LOAD BALANCE*/`, `/* pgring: node=primary */`. Never makes a
//! read of a write.

use memchr::memmem;

use super::token::{Kind, Reading, Tokens};

/// A node that a comment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint<'a> {
    /// The primary, whatever the statement is: `node=primary`, or Pgpool-II's `/*NO LOAD BALANCE*/`.
    Primary,
    /// A standby, if the statement is a read: `node=standby`.
    Standby,
    /// The node of this name, if the statement is a read: `node=<name>`.
    Node(&'a [u8]),
}

const NO_LOAD_BALANCE: &[u8] = b"NO LOAD BALANCE";

/// The hint in the comments of a text: the primary if any asks for it, else the first one that is a hint. Comments within
/// quotes are none.
pub fn hint(text: &[u8]) -> Option<Hint<'_>> {
    if !may_have_comment(text) {
        return None;
    }
    let mut first = None;
    for comment in Comments::new(text, Reading::Standard) {
        match of_comment(comment) {
            Some(Hint::Primary) => return Some(Hint::Primary),
            hint => first = first.or(hint),
        }
    }
    first
}

/// True when some comment asks for the primary, whichever way the text is read.
#[inline]
pub(super) fn wants_primary(text: &[u8]) -> bool {
    may_have_comment(text) && any_wants_primary(text)
}

/// True when this comment, with what it begins and ends with, does.
pub(super) fn asks_for_primary(comment: &[u8]) -> bool {
    let inside = comment.strip_prefix(b"/*");
    let inside = inside.and_then(|inside| inside.strip_suffix(b"*/"));
    inside.and_then(of_comment) == Some(Hint::Primary)
}

#[cold]
fn any_wants_primary(text: &[u8]) -> bool {
    let is_primary = |comment| of_comment(comment) == Some(Hint::Primary);
    let mut comments = Comments::new(text, Reading::Standard);
    comments.any(is_primary)
        || comments.tokens.is_doubtful() && Comments::new(text, Reading::Backslash).any(is_primary)
}

fn may_have_comment(text: &[u8]) -> bool {
    memmem::find(text, b"/*").is_some()
}

/// The insides of the block comments of a text.
struct Comments<'a> {
    tokens: Tokens<'a>,
    /// The rest of the gap before the token that was read last.
    gap: &'a [u8],
    over: bool,
}

impl<'a> Comments<'a> {
    fn new(text: &'a [u8], reading: Reading) -> Self {
        Self {
            tokens: Tokens::new(text, reading),
            gap: &[],
            over: false,
        }
    }

    /// Goes on to the next gap between tokens.
    fn advance(&mut self) {
        let start = self.tokens.offset();
        let token = self.tokens.next();
        self.over = token.is_none_or(|token| token.kind == Kind::Broken);
        let end = match token {
            Some(token) => self.tokens.offset() - token.text.len(),
            None => self.tokens.offset(),
        };
        self.gap = self.tokens.text().get(start..end).unwrap_or_default();
    }

    /// The next comment of the gap.
    fn in_gap(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = self
                .gap
                .iter()
                .position(|byte| matches!(byte, b'/' | b'-'))?;
            let is_block = self.gap.get(start) == Some(&b'/');
            let end = Tokens::new(self.gap, Reading::Standard).comment_end(start)?;
            let comment = self.gap.get(start..end).unwrap_or_default();
            self.gap = self.gap.get(end..).unwrap_or_default();
            if is_block {
                return comment.get(2..comment.len() - 2);
            }
        }
    }
}

impl<'a> Iterator for Comments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(comment) = self.in_gap() {
                return Some(comment);
            }
            if self.over {
                return None;
            }
            self.advance();
        }
    }
}

/// The hint that the inside of a comment is.
fn of_comment(comment: &[u8]) -> Option<Hint<'_>> {
    let comment = comment.trim_ascii();
    if comment.eq_ignore_ascii_case(NO_LOAD_BALANCE) {
        return Some(Hint::Primary);
    }
    let rest = without_prefix(comment, b"pgring:")?;
    let rest = without_prefix(rest, b"node")?;
    let node = without_prefix(rest, b"=")?;
    if node.eq_ignore_ascii_case(b"primary") {
        return Some(Hint::Primary);
    }
    if node.eq_ignore_ascii_case(b"standby") {
        return Some(Hint::Standby);
    }
    (!node.is_empty()).then_some(Hint::Node(node))
}

/// The text behind a prefix and space; `None` without that prefix.
fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| rest.trim_ascii_start())
}
