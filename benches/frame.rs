//! Cost of finding where messages end: per message and per byte, in the pieces in which they arrive.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgring::{
    limits::{HELD_MESSAGE_BYTES_MAX, SERVER_BUFFER_BYTES},
    protocol::{
        Frames, Header, ProtocolError,
        buffer::{Cut, Cutter, Partial},
        tag::{backend, frontend},
    },
};
use support::{complete, prepared_query, simple_query, written};

const ROWS: usize = 1000;

/// A result of four columns.
fn result() -> Vec<u8> {
    written(|to| {
        to.row_description_text(["aid", "bid", "abalance", "filler"]);
        for number in 0..ROWS {
            let aid = number.to_string();
            let values = [aid.as_str(), "1", "0", "                                "];
            to.data_row(values.map(Some));
        }
        complete(to);
    })
}

/// As sessions do: what is read is held whole, the rest may stream.
fn policy(header: Header, _: &[u8]) -> Result<Partial, ProtocolError> {
    let read = matches!(
        header.tag,
        frontend::QUERY | backend::ERROR_RESPONSE | backend::READY_FOR_QUERY
    );
    let hold = read && header.frame_bytes() <= HELD_MESSAGE_BYTES_MAX;
    Ok(if hold { Partial::Hold } else { Partial::Stream })
}

/// Cuts every piece; answers how many messages began.
fn cut(bytes: &[u8], piece_bytes: usize) -> usize {
    let mut cutter = Cutter::default();
    let mut messages = 0;
    for piece in bytes.chunks(piece_bytes) {
        let mut at = 0;
        loop {
            let taken = match cutter.next(&piece[at..], policy) {
                Ok(Cut::Whole(header, body)) => {
                    black_box(body);
                    messages += 1;
                    header.frame_bytes()
                }
                Ok(Cut::Begins(..)) => {
                    messages += 1;
                    piece.len() - at
                }
                Ok(Cut::Held(_, taken)) => {
                    messages += 1;
                    black_box(cutter.take_held());
                    taken
                }
                Ok(Cut::Continues(count)) => count,
                Ok(Cut::Empty) => break,
                Err(error) => panic!("the samples are well formed: {error}"),
            };
            at += taken;
        }
    }
    messages
}

fn frames(criterion: &mut Criterion) {
    let samples = [
        ("simple query", simple_query()),
        ("pipeline of 16", prepared_query().repeat(16)),
        ("1000 rows", result()),
    ];
    for (name, bytes) in &samples {
        let messages = Frames::new(bytes).count();
        assert_eq!(cut(bytes, SERVER_BUFFER_BYTES), messages);
        let mut group = criterion.benchmark_group(format!("frame/{name}, {messages} messages"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("headers", |bencher| {
            bencher.iter(|| headers(black_box(bytes)));
        });
        group.bench_function("cut", |bencher| {
            bencher.iter(|| cut(black_box(bytes), SERVER_BUFFER_BYTES));
        });
        group.finish();
    }
}

/// The least that can be done: five bytes looked at, the rest stepped over.
fn headers(mut bytes: &[u8]) -> usize {
    let mut messages = 0;
    while let Ok(Some(header)) = Header::read(bytes) {
        bytes = bytes.get(header.frame_bytes()..).unwrap_or_default();
        messages += 1;
    }
    messages
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    frames(&mut criterion);
    criterion.final_summary();
}
