//! What was said in a conversation, message by message, as lines that can be compared. Owns what is not
//! compared: cancel keys, process numbers, the order of the settings at login, pgring's hint behind an error of `currval`,
//! and the numbers of tables and
//! types that a test made, of which only the order of first appearance stays. Never hides anything else.

use std::fmt::Write as _;

use pgring::protocol::{
    Tag,
    tag::backend::{
        BACKEND_KEY_DATA, ERROR_RESPONSE, NOTIFICATION, PARAMETER_DESCRIPTION, PARAMETER_STATUS,
        ROW_DESCRIPTION,
    },
};

use crate::support::session::Answer;

/// Objects below this number come with the server.
const FIRST_OWN_OID: u32 = 16384;

/// The line for an answer that did not come.
pub(crate) const SILENCE: &str = "silence";

/// Characters of a line that are shown.
const SHOWN: usize = 400;

/// Lines shown before the first difference.
const CONTEXT: usize = 7;

/// An error without what pgring adds to it: why a session does not know what a sequence gave to it.
fn without_hint(body: &[u8]) -> Vec<u8> {
    let ours = body.windows(5).position(|part| part == b"HIn t");
    match ours.filter(|_| body.windows(6).any(|part| part == b"C55000")) {
        Some(at) => [&body[..at], b"\0"].concat(),
        None => body.to_vec(),
    }
}

/// Everything that was said, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    lines: Vec<String>,
    own_oids: Vec<u32>,
    has_ended: bool,
}

impl Transcript {
    /// What the client did.
    pub(crate) fn note(&mut self, verb: &str, bytes: &[u8]) {
        self.lines.push(format!("{verb} {}", bytes.escape_ascii()));
    }

    /// What came.
    pub(crate) fn message(&mut self, tag: Tag, body: &[u8]) {
        let body = match tag {
            BACKEND_KEY_DATA => Vec::new(),
            NOTIFICATION => body[4..].to_vec(),
            ROW_DESCRIPTION => self.with_known_oids(body, row_description_oids(body)),
            PARAMETER_DESCRIPTION => self.with_known_oids(body, (2..body.len()).step_by(4)),
            ERROR_RESPONSE => without_hint(body),
            _ => body.to_vec(),
        };
        self.lines
            .push(format!("{} {}", char::from(tag.0), body.escape_ascii()));
    }

    /// The connection is gone, or nothing came for too long.
    pub(crate) fn end(&mut self, how: &Answer) {
        let Answer::Closed(how) = how else {
            panic!("only a closed connection ends a transcript, not {how:?}")
        };
        let silent = ["os error 11", "timed out"]
            .iter()
            .any(|text| how.contains(text));
        let line = if silent { SILENCE } else { "closed" };
        self.lines.push(line.to_owned());
        self.has_ended = true;
    }

    /// Whether something was waited for in vain.
    pub(crate) fn met_silence(&self) -> bool {
        self.lines.last().is_some_and(|line| line == SILENCE)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// All until now was the login; the order of its settings does not matter.
    pub(crate) fn end_login(&mut self) {
        let is_setting = |line: &String| line.starts_with(char::from(PARAMETER_STATUS.0));
        let settings = self.lines.iter().filter(|line| is_setting(line)).cloned();
        let mut settings: Vec<_> = settings.collect();
        settings.sort();
        let mut settings = settings.into_iter();
        for line in self.lines.iter_mut().filter(|line| is_setting(line)) {
            *line = settings.next().expect("as many as there were");
        }
    }

    /// Whether an error was met.
    pub(crate) fn has_error(&self) -> bool {
        let error = [char::from(ERROR_RESPONSE.0), ' '];
        let mut lines = self.lines.iter();
        lines.any(|line| line.starts_with(String::from_iter(error).as_str()))
    }

    /// The first difference and what came before it; nothing when they are equal.
    pub(crate) fn difference(&self, other: &Self, names: [&str; 2]) -> Option<String> {
        let longest = self.lines.len().max(other.lines.len());
        // Where in its source a server found a fault may be another place: pgring has it look elsewhere.
        let line =
            |of: &Self, at: usize| of.lines.get(at).map(|line| without_source(line).join(""));
        let at = (0..longest).find(|&at| line(self, at) != line(other, at))?;
        let mut text = String::new();
        for line in &self.lines[at.saturating_sub(CONTEXT)..at] {
            writeln!(text, "      {}", shown(line)).unwrap();
        }
        for (transcript, name) in [self, other].into_iter().zip(names) {
            let line = transcript.lines.get(at).map_or("nothing", String::as_str);
            writeln!(text, "    {name}: {}", shown(line)).unwrap();
        }
        Some(text)
    }

    /// The body with the numbers at these places replaced by the order in which they first came.
    fn with_known_oids(&mut self, body: &[u8], places: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let mut body = body.to_vec();
        for place in places {
            let bytes = &mut body[place..place + 4];
            let oid = u32::from_be_bytes(bytes.try_into().unwrap());
            if oid >= FIRST_OWN_OID {
                bytes.copy_from_slice(&self.first_seen(oid).to_be_bytes());
            }
        }
        body
    }

    fn first_seen(&mut self, oid: u32) -> u32 {
        let known = self.own_oids.iter().position(|&known| known == oid);
        let place = known.unwrap_or_else(|| {
            self.own_oids.push(oid);
            self.own_oids.len() - 1
        });
        FIRST_OWN_OID + place as u32
    }
}

/// An error without file, line and routine; anything else as it is.
fn without_source(line: &str) -> Vec<&str> {
    let is_error = line.starts_with("E ") || line.starts_with("N ");
    let fields = line.split("\\x00");
    fields
        .filter(|field| !is_error || !field.starts_with(['F', 'L', 'R']))
        .collect()
}

fn shown(line: &str) -> String {
    if line.len() <= SHOWN {
        return line.to_owned();
    }
    // Escaped bytes are ASCII.
    format!("{}... ({} characters)", &line[..SHOWN], line.len())
}

/// Where in a RowDescription the numbers of tables and types stand.
fn row_description_oids(body: &[u8]) -> Vec<usize> {
    const AFTER_NAME: usize = 18;
    const TYPE: usize = 6;
    let mut places = Vec::new();
    let mut at = 2;
    while at < body.len() {
        let name = body[at..].iter().position(|&byte| byte == 0).unwrap() + 1;
        places.extend([at + name, at + name + TYPE]);
        at += name + AFTER_NAME;
    }
    places
}
