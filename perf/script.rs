//! Owns the bytes that the load generator sends and the counts it expects back: one script per run, the same for every
//! connection and every peer. It sends nothing itself. (pure)

use crate::{
    frames::{put, put_text},
    messages::startup_packet,
};

/// How a query is sent.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One Query message
    Simple,
    /// Bind, Execute, Sync of a statement parsed once under a name
    Prepared,
    /// Parse, Bind, Describe, Execute, Sync, all unnamed
    Extended,
}

/// Queries to send.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// How queries are sent
    #[arg(long, value_enum, default_value = "simple")]
    form: Form,
    /// Queries per round trip (extended forms share one Sync)
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Statement to send
    #[arg(long, default_value = "SELECT 1")]
    sql: String,
    /// Rows that the statement answers
    #[arg(long, default_value_t = 1)]
    rows: u64,
    /// Set something that the server reports and something that it does not, once after login
    #[arg(long)]
    settings: bool,
    /// User and database to log in with
    #[arg(long, default_value = "perf")]
    user: String,
}

/// The bytes of the run and what must come back for them.
pub(crate) struct Script {
    pub(crate) startup: &'static [u8],
    /// Sent once after login, and how many ReadyForQuery messages answer it.
    pub(crate) prepare: Option<(&'static [u8], u64)>,
    pub(crate) round: &'static [u8],
    /// ReadyForQuery messages per round.
    pub(crate) ready: u64,
    pub(crate) rows: u64,
    pub(crate) queries: u64,
}

/// One that the server reports, and one that it does not.
const SETTINGS: &str = "SET DateStyle = 'German'; SET work_mem = '8MB'";

/// The client's farewell.
pub(crate) const TERMINATE: &[u8] = &[b'X', 0, 0, 0, 4];

impl Script {
    pub(crate) fn new(arguments: &Arguments) -> Script {
        let simple = arguments.form == Form::Simple;
        let queries = arguments.depth as u64;
        Script {
            startup: startup_packet(&arguments.user, &arguments.user).leak(),
            prepare: prepare_bytes(arguments),
            round: round_bytes(arguments).leak(),
            ready: if simple { queries } else { 1 },
            rows: queries * arguments.rows,
            queries,
        }
    }
}

fn put_parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    put(out, b'P', |b| {
        put_text(b, name.as_bytes());
        put_text(b, sql.as_bytes());
        b.extend_from_slice(&[0; 2]);
    });
}

fn prepare_bytes(arguments: &Arguments) -> Option<(&'static [u8], u64)> {
    let (mut out, mut ready) = (Vec::new(), 0);
    if arguments.settings {
        put(&mut out, b'Q', |b| put_text(b, SETTINGS.as_bytes()));
        ready += 1;
    }
    if arguments.form == Form::Prepared {
        put_parse(&mut out, "s1", &arguments.sql);
        put(&mut out, b'S', |_| ());
        ready += 1;
    }
    (ready > 0).then(|| (&*out.leak(), ready))
}

fn round_bytes(arguments: &Arguments) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..arguments.depth {
        put_one(&mut out, arguments.form, &arguments.sql);
    }
    if arguments.form != Form::Simple {
        put(&mut out, b'S', |_| ());
    }
    out
}

fn put_one(out: &mut Vec<u8>, form: Form, sql: &str) {
    if form == Form::Simple {
        return put(out, b'Q', |b| put_text(b, sql.as_bytes()));
    }
    let name = if form == Form::Prepared { "s1" } else { "" };
    if form == Form::Extended {
        put_parse(out, name, sql);
    }
    put(out, b'B', |b| {
        put_text(b, b"");
        put_text(b, name.as_bytes());
        b.extend_from_slice(&[0; 6]);
    });
    if form == Form::Extended {
        put(out, b'D', |b| b.extend_from_slice(b"P\0"));
    }
    put(out, b'E', |b| b.extend_from_slice(&[0; 5]));
}
