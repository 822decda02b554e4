//! Owns the messages that the mock server and the clients of the suite say, byte by byte. It answers nothing. (pure)

use crate::frames::{put, put_sized, put_text};

/// The protocol version that everybody here speaks.
pub(crate) const PROTOCOL_3_0: u32 = 196_608;
/// Bytes of one data row of a big result, header included.
pub(crate) const BIG_ROW_BYTES: usize = 1024;

pub(crate) fn put_parameter(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, b'S', |b| {
        put_text(b, name.as_bytes());
        put_text(b, value.as_bytes());
    });
}

pub(crate) fn put_complete(out: &mut Vec<u8>, tag: &str) {
    put(out, b'C', |b| put_text(b, tag.as_bytes()));
}

pub(crate) fn put_error(out: &mut Vec<u8>, sqlstate: &str, message: &str) {
    put(out, b'E', |b| {
        for (field, text) in [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', sqlstate),
            (b'M', message),
        ] {
            b.push(field);
            put_text(b, text.as_bytes());
        }
        b.push(0);
    });
}

pub(crate) fn put_row(out: &mut Vec<u8>, values: &[&str]) {
    put(out, b'D', |b| {
        b.extend_from_slice(&(values.len() as u16).to_be_bytes());
        values
            .iter()
            .for_each(|value| put_sized_value(b, value.as_bytes()));
    });
}

fn put_sized_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

pub(crate) fn put_big_row(out: &mut Vec<u8>) {
    const VALUE: [u8; BIG_ROW_BYTES - 11] = [b'x'; BIG_ROW_BYTES - 11];
    put(out, b'D', |b| {
        b.extend_from_slice(&1_u16.to_be_bytes());
        put_sized_value(b, &VALUE);
    });
}

/// The startup packet of a client that trusts and is trusted.
pub(crate) fn startup_packet(user: &str, database: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_sized(&mut out, |b| {
        b.extend_from_slice(&PROTOCOL_3_0.to_be_bytes());
        for text in [
            "user",
            user,
            "database",
            database,
            "application_name",
            "perf",
            "",
        ] {
            put_text(b, text.as_bytes());
        }
    });
    out
}
