//! Owns what the mock server says: one scripted PostgreSQL session that turns bytes into bytes, strict enough to notice a
//! proxy that loses a Parse, a Sync or a transaction. It runs no SQL and holds no socket. (pure)

use crate::{
    frames::{Frame, cut, cut_startup, put, put_text, take_text},
    messages::{
        BIG_ROW_BYTES, PROTOCOL_3_0, put_big_row, put_complete, put_error, put_parameter, put_row,
    },
    settings::{self, Settings},
};
use pgring::sql::catalog::{CHANGES_SQL, FUNCTIONS_SQL};
use std::{borrow::Cow, collections::HashMap};

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// Rows that leave in one send.
const BIG_ROWS_PER_CHUNK: usize = 64;

/// The parameters PostgreSQL 15 reports at login, in its order.
const PARAMETERS: [(&str, &str); 13] = [
    ("application_name", ""),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "on"),
    ("server_encoding", "UTF8"),
    ("server_version", "15.18 (Debian 15.18-0+deb12u1)"),
    ("session_authorization", "perf"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "Etc/UTC"),
];

/// Kind of statement, by what it does to the session and which answer it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Statement {
    Row {
        column: &'static str,
        value: Cow<'static, str>,
    },
    Big(usize),
    Begin,
    End(&'static str),
    /// SET, or set_config, of all of these.
    Set {
        pairs: Vec<(String, Option<String>)>,
        /// The functions have a row.
        is_query: bool,
    },
    Reset(String),
    /// The question for session state.
    StateQuery,
    Command(&'static str),
    Empty,
}

/// Whether the conversation goes on.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Verdict {
    Open,
    Closed,
}

/// One connection's conversation.
pub(crate) struct Session {
    started: bool,
    status: u8,
    skipping: bool,
    parameters: HashMap<String, String>,
    settings: Settings,
    statements: HashMap<Vec<u8>, Statement>,
    portals: HashMap<Vec<u8>, Statement>,
    /// Rows of a big result that are still owed; no further message is looked at before they are gone.
    owed_rows: usize,
    owed_sync: bool,
    partial: Vec<u8>,
    process_id: u32,
}

impl Session {
    pub(crate) fn new(process_id: u32) -> Session {
        Session {
            started: false,
            status: b'I',
            skipping: false,
            parameters: PARAMETERS
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            settings: Settings::default(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            owed_rows: 0,
            owed_sync: false,
            partial: Vec::new(),
            process_id,
        }
    }

    /// Takes bytes as they arrive, cut anywhere, and appends the answers to `out`.
    pub(crate) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Verdict {
        if self.partial.is_empty() && self.owed_rows == 0 {
            let (used, verdict) = self.consume(bytes, out);
            self.partial.extend_from_slice(&bytes[used..]);
            return verdict;
        }
        self.partial.extend_from_slice(bytes);
        self.go_on(out)
    }

    /// Rows of a big result still owed: the caller calls `pour` each time its last bytes have left.
    pub(crate) fn is_pouring(&self) -> bool {
        self.owed_rows > 0
    }

    /// Appends the next rows of a big result; after the last, its end and the answers to what arrived meanwhile.
    pub(crate) fn pour(&mut self, out: &mut Vec<u8>) -> Verdict {
        let rows = self.owed_rows.min(BIG_ROWS_PER_CHUNK);
        (0..rows).for_each(|_| put_big_row(out));
        self.owed_rows -= rows;
        if self.owed_rows > 0 {
            return Verdict::Open;
        }
        put_complete(out, "SELECT 1024");
        if std::mem::take(&mut self.owed_sync) {
            self.put_ready(out);
        }
        self.go_on(out)
    }

    fn go_on(&mut self, out: &mut Vec<u8>) -> Verdict {
        let mut partial = std::mem::take(&mut self.partial);
        let (used, verdict) = self.consume(&partial, out);
        partial.drain(..used);
        self.partial = partial;
        verdict
    }

    fn consume(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Verdict) {
        let mut used = 0;
        while self.owed_rows == 0 {
            match self.step(&bytes[used..], out) {
                Some((length, Verdict::Open)) => used += length,
                Some((length, Verdict::Closed)) => return (used + length, Verdict::Closed),
                None => break,
            }
        }
        (used, Verdict::Open)
    }

    fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<(usize, Verdict)> {
        if !self.started {
            return match cut_startup(bytes) {
                Ok(packet) => packet.map(|(body, length)| (length, self.start(body, out))),
                Err(_) => Some((bytes.len(), Verdict::Closed)),
            };
        }
        match cut(bytes) {
            Ok(frame) => frame.map(|(frame, length)| (length, self.answer(frame, out))),
            Err(bad) => {
                put_error(
                    out,
                    "08P01",
                    &format!("mock: invalid message length {}", bad.0),
                );
                Some((bytes.len(), Verdict::Closed))
            }
        }
    }

    fn start(&mut self, body: &[u8], out: &mut Vec<u8>) -> Verdict {
        let Some((code, mut rest)) = body.split_first_chunk::<4>() else {
            return Verdict::Closed;
        };
        match u32::from_be_bytes(*code) {
            SSL_REQUEST | GSSENC_REQUEST => out.push(b'N'),
            CANCEL_REQUEST => return Verdict::Closed,
            version => {
                while let Some((name, value, more)) = take_pair(rest) {
                    self.adopt(name, value);
                    rest = more;
                }
                self.put_welcome(version, out);
                self.started = true;
            }
        }
        Verdict::Open
    }

    fn adopt(&mut self, name: &str, value: &str) {
        if name == "user" {
            self.parameters
                .insert("session_authorization".into(), value.into());
        } else if let Some(known) = reported(name) {
            self.parameters.insert(known.into(), value.into());
        }
    }

    fn put_welcome(&self, version: u32, out: &mut Vec<u8>) {
        if version > PROTOCOL_3_0 {
            put(out, b'v', |b| b.extend_from_slice(&[0; 8]));
        }
        put(out, b'R', |b| b.extend_from_slice(&[0; 4]));
        for (name, _) in PARAMETERS {
            put_parameter(out, name, &self.parameters[name]);
        }
        put(out, b'K', |b| {
            b.extend_from_slice(&self.process_id.to_be_bytes());
            b.extend_from_slice(&self.process_id.wrapping_mul(0x9e37_79b9).to_be_bytes());
        });
        self.put_ready(out);
    }

    fn answer(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Verdict {
        match frame.tag {
            b'X' => return Verdict::Closed,
            b'S' => self.sync(out),
            b'Q' => self.query(frame.body, out),
            _ if self.skipping => (),
            tag => {
                if let Err((sqlstate, message)) = self.extended(tag, frame.body, out) {
                    self.fail(out, sqlstate, message);
                    self.skipping = true;
                }
            }
        }
        Verdict::Open
    }

    fn sync(&mut self, out: &mut Vec<u8>) {
        self.skipping = false;
        if self.status == b'I' {
            self.portals.clear();
        }
        self.put_ready(out);
    }

    fn query(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let text = body.strip_suffix(&[0]).unwrap_or(body);
        if put_catalog(text, out) {
            return self.put_ready(out);
        }
        for part in text
            .split(|byte| *byte == b';')
            .filter(|part| !part.trim_ascii().is_empty())
        {
            let statement = self.understand(part);
            if self.status == b'E' && !matches!(statement, Statement::End(_)) {
                self.fail(out, "25P02", "current transaction is aborted");
                break;
            }
            put_row_description(&statement, out);
            self.execute(&statement, out);
            if self.owed_rows > 0 {
                self.owed_sync = true;
                break;
            }
        }
        if text.trim_ascii().is_empty() {
            put(out, b'I', |_| ());
        }
        if !self.owed_sync {
            self.put_ready(out);
        }
    }

    fn extended(
        &mut self,
        tag: u8,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), (&'static str, &'static str)> {
        let malformed = ("08P01", "mock: malformed message");
        match tag {
            b'P' => {
                let (name, rest) = take_text(body).ok_or(malformed)?;
                let (text, _) = take_text(rest).ok_or(malformed)?;
                self.parse(name, text, out)?;
            }
            b'B' => {
                let (portal, rest) = take_text(body).ok_or(malformed)?;
                let (name, _) = take_text(rest).ok_or(malformed)?;
                let statement = self
                    .statements
                    .get(name)
                    .ok_or(("26000", "prepared statement does not exist"))?;
                self.portals.insert(portal.to_vec(), statement.clone());
                put(out, b'2', |_| ());
            }
            b'D' => self.describe(body, out)?,
            b'E' => {
                let (portal, _) = take_text(body).ok_or(malformed)?;
                let statement = self
                    .portals
                    .get(portal)
                    .ok_or(("34000", "portal does not exist"))?
                    .clone();
                self.execute(&statement, out);
            }
            b'C' => self.close(body, out).ok_or(malformed)?,
            b'H' => (),
            _ => return Err(("08P01", "mock: unknown message")),
        }
        Ok(())
    }

    fn parse(
        &mut self,
        name: &[u8],
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), (&'static str, &'static str)> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(("42P05", "prepared statement already exists"));
        }
        let statement = self.understand(text);
        self.statements.insert(name.to_vec(), statement);
        put(out, b'1', |_| ());
        Ok(())
    }

    fn describe(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), (&'static str, &'static str)> {
        let (kind, rest) = body
            .split_first()
            .ok_or(("08P01", "mock: malformed message"))?;
        let (name, _) = take_text(rest).ok_or(("08P01", "mock: malformed message"))?;
        let statement = match kind {
            b'S' => self
                .statements
                .get(name)
                .ok_or(("26000", "prepared statement does not exist"))?,
            _ => self
                .portals
                .get(name)
                .ok_or(("34000", "portal does not exist"))?,
        };
        if *kind == b'S' {
            put(out, b't', |b| b.extend_from_slice(&[0; 2]));
        }
        if !put_row_description(statement, out) {
            put(out, b'n', |_| ());
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (kind, rest) = body.split_first()?;
        let (name, _) = take_text(rest)?;
        let named = if *kind == b'S' {
            &mut self.statements
        } else {
            &mut self.portals
        };
        named.remove(name);
        put(out, b'3', |_| ());
        Some(())
    }

    fn execute(&mut self, statement: &Statement, out: &mut Vec<u8>) {
        match statement {
            Statement::Row { value, .. } => {
                put_row(out, &[value]);
                put_complete(out, "SELECT 1");
            }
            Statement::Big(bytes) => self.owed_rows = bytes.div_ceil(BIG_ROW_BYTES),
            Statement::Begin => {
                self.status = b'T';
                put_complete(out, "BEGIN");
            }
            Statement::End(tag) => {
                self.status = b'I';
                put_complete(out, tag);
            }
            Statement::Set { pairs, is_query } => {
                if *is_query {
                    put_row(out, &[""]);
                }
                for (name, value) in pairs {
                    match value {
                        Some(value) => self.set(name, value, out),
                        None => self.settings.reset(name),
                    }
                }
                put_complete(out, if *is_query { "SELECT 1" } else { "SET" });
            }
            Statement::Reset(name) => {
                self.settings.reset(name);
                put_complete(out, "RESET");
            }
            Statement::StateQuery => {
                let user = &self.parameters["session_authorization"];
                let rows = self.settings.rows(user);
                rows.for_each(|row| put_row(out, &row.each_ref().map(String::as_str)));
                put_complete(out, "SELECT 1");
            }
            Statement::Command("DISCARD ALL") => {
                self.statements.clear();
                self.settings.reset("ALL");
                put_complete(out, "DISCARD ALL");
            }
            Statement::Command(tag) => put_complete(out, tag),
            Statement::Empty => put(out, b'I', |_| ()),
        }
    }

    fn set(&mut self, name: &str, value: &str, out: &mut Vec<u8>) {
        self.settings.set(name, value);
        if let Some(name) = reported(name) {
            self.parameters.insert(name.into(), value.into());
            put_parameter(out, name, value);
        }
    }

    fn fail(&mut self, out: &mut Vec<u8>, sqlstate: &str, message: &str) {
        if self.status == b'T' {
            self.status = b'E';
        }
        put_error(out, sqlstate, message);
    }

    fn put_ready(&self, out: &mut Vec<u8>) {
        put(out, b'Z', |b| b.push(self.status));
    }

    /// Reads just enough of a statement to answer as PostgreSQL would.
    fn understand(&self, text: &[u8]) -> Statement {
        if text == b"SELECT 1" {
            return Statement::Row {
                column: "?column?",
                value: "1".into(),
            };
        }
        let text = String::from_utf8_lossy(text);
        let words: Vec<&str> = text
            .split([' ', '\t', '\n', '=', '\'', '"'])
            .filter(|word| !word.is_empty())
            .collect();
        let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
        let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
        match upper.as_slice() {
            [] => Statement::Empty,
            ["SELECT", "BIG", bytes, ..] => Statement::Big(bytes.parse().unwrap_or(0)),
            ["BEGIN", ..] | ["START", "TRANSACTION", ..] => Statement::Begin,
            ["COMMIT" | "END", ..] => Statement::End("COMMIT"),
            ["ROLLBACK" | "ABORT", ..] => Statement::End("ROLLBACK"),
            ["SET", "LOCAL" | "TRANSACTION", ..] => Statement::Command("SET"),
            ["SET", _, "TO", ..] => setting(words[1], &words[3..]),
            ["SET", "SESSION", ..] => {
                setting(words.get(2).unwrap_or(&""), words.get(3..).unwrap_or(&[]))
            }
            ["SET", _, ..] => setting(words[1], &words[2..]),
            ["RESET", ..] => Statement::Reset((*words.get(1).unwrap_or(&"")).into()),
            ["DISCARD", ..] => Statement::Command("DISCARD ALL"),
            ["DEALLOCATE", ..] => Statement::Command("DEALLOCATE"),
            ["LISTEN", ..] => Statement::Command("LISTEN"),
            ["UNLISTEN", ..] => Statement::Command("UNLISTEN"),
            ["CLOSE", ..] => Statement::Command("CLOSE CURSOR"),
            ["SHOW", ..] => self.show(words.get(1).unwrap_or(&"")),
            _ if settings::is_question(&text) => Statement::StateQuery,
            _ if settings::is_rest_of_question(&text) => Statement::Command("SELECT 0"),
            _ => match settings::configured(&text) {
                pairs if pairs.is_empty() => answer_row(&text.to_ascii_lowercase()),
                pairs => Statement::Set {
                    pairs,
                    is_query: true,
                },
            },
        }
    }

    fn show(&self, name: &str) -> Statement {
        let value = reported(name)
            .and_then(|name| self.parameters.get(name))
            .cloned();
        Statement::Row {
            column: "setting",
            value: value.map_or(Cow::Borrowed("on"), Cow::Owned),
        }
    }
}

fn setting(name: &str, value: &[&str]) -> Statement {
    Statement::Set {
        pairs: vec![(name.into(), Some(value.join(" ")))],
        is_query: false,
    }
}

fn answer_row(text: &str) -> Statement {
    if text.contains("version()") {
        return Statement::Row {
            column: "version",
            value: "PostgreSQL 15.18 (Debian 15.18-0+deb12u1), mock".into(),
        };
    }
    if text.contains("pg_is_in_recovery") {
        return Statement::Row {
            column: "pg_is_in_recovery",
            value: "f".into(),
        };
    }
    Statement::Row {
        column: "?column?",
        value: "1".into(),
    }
}

/// The server's spelling of a parameter that it reports.
/// Answers the questions about the database: whether anything has changed, and what there is, which is nothing.
fn put_catalog(text: &[u8], out: &mut Vec<u8>) -> bool {
    if text == CHANGES_SQL.as_bytes() {
        put_row(out, &["read committed", "0", ""]);
        put_complete(out, "SELECT 1");
        return true;
    }
    if !text.starts_with(FUNCTIONS_SQL.as_bytes()) {
        return false;
    }
    // Functions, relations, routines, uses.
    (0..4).for_each(|_| put_complete(out, "SELECT 0"));
    for answer in ["t", "0/1000000"] {
        put_row(out, &[answer]);
        put_complete(out, "SELECT 1");
    }
    true
}

fn reported(name: &str) -> Option<&'static str> {
    PARAMETERS
        .iter()
        .map(|(known, _)| *known)
        .find(|known| known.eq_ignore_ascii_case(name))
}

fn take_pair(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (name, rest) = take_text(bytes)?;
    let (value, rest) = take_text(rest)?;
    let name = str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name, str::from_utf8(value).ok()?, rest))
}

/// Describes the columns of a statement with rows; answers whether it has rows.
fn put_row_description(statement: &Statement, out: &mut Vec<u8>) -> bool {
    let (column, type_oid, type_bytes): (_, u32, i16) = match statement {
        Statement::Row {
            column: "?column?", ..
        } => ("?column?", 23, 4),
        Statement::Row { column, .. } => (*column, 25, -1),
        Statement::Big(_) => ("payload", 25, -1),
        Statement::Set { is_query: true, .. } => ("set_config", 25, -1),
        Statement::StateQuery => ("state", 25, -1),
        _ => return false,
    };
    let columns: u16 = if *statement == Statement::StateQuery {
        3
    } else {
        1
    };
    put(out, b'T', |b| {
        b.extend_from_slice(&columns.to_be_bytes());
        for _ in 0..columns {
            put_text(b, column.as_bytes());
            b.extend_from_slice(&[0; 6]);
            b.extend_from_slice(&type_oid.to_be_bytes());
            b.extend_from_slice(&type_bytes.to_be_bytes());
            b.extend_from_slice(&(-1_i32).to_be_bytes());
            b.extend_from_slice(&[0; 2]);
        }
    });
    true
}
