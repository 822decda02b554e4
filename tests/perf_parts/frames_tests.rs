//! Frames are cut the same wherever the stream is split, and no impossible length passes.

use crate::frames::*;

fn stream() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, b'Q', |b| put_text(b, b"SELECT 1"));
    put(&mut out, b'S', |_| ());
    put(&mut out, b'D', |b| b.extend_from_slice(&[7; 300]));
    out
}

#[test]
fn whole_frames_are_cut_in_order() {
    let bytes = stream();
    let (query, used) = cut(&bytes).unwrap().unwrap();
    assert_eq!(
        query,
        Frame {
            tag: b'Q',
            body: b"SELECT 1\0"
        }
    );
    let (sync, more) = cut(&bytes[used..]).unwrap().unwrap();
    assert_eq!(
        sync,
        Frame {
            tag: b'S',
            body: b""
        }
    );
    let (row, last) = cut(&bytes[used + more..]).unwrap().unwrap();
    assert_eq!((row.tag, row.body.len()), (b'D', 300));
    assert_eq!(used + more + last, bytes.len());
}

#[test]
fn a_frame_is_cut_only_when_whole() {
    let bytes = stream();
    for end in 0..14 {
        assert_eq!(cut(&bytes[..end]), Ok(None), "cut at {end}");
    }
    assert!(cut(&bytes[..14]).unwrap().is_some());
}

#[test]
fn startup_packets_have_no_tag() {
    let mut bytes = Vec::new();
    put_sized(&mut bytes, |b| {
        b.extend_from_slice(&80_877_103_u32.to_be_bytes())
    });
    assert_eq!(cut_startup(&bytes[..7]), Ok(None));
    assert_eq!(cut_startup(&bytes), Ok(Some((&bytes[4..8], 8))));
}

#[test]
fn impossible_lengths_are_refused() {
    assert_eq!(cut(&[b'Q', 0, 0, 0, 3]), Err(BadLength(3)));
    assert_eq!(cut(&[b'Q', 0xff, 0xff, 0xff, 0xff]), Err(BadLength(-1)));
    assert_eq!(
        cut(&[b'Q', 0x7f, 0xff, 0xff, 0xff]),
        Err(BadLength(0x7fff_ffff))
    );
    assert_eq!(cut_startup(&[0, 0, 0, 0]), Err(BadLength(0)));
}

#[test]
fn the_scanner_sees_the_same_tags_at_every_split() {
    let bytes = stream();
    for at in 0..=bytes.len() {
        let (mut scanner, mut tags) = (Scanner::default(), Vec::new());
        scanner.scan(&bytes[..at], |tag, _| tags.push(tag)).unwrap();
        assert_eq!(
            scanner.at_boundary(),
            [0, 14, 19, bytes.len()].contains(&at),
            "split at {at}"
        );
        scanner.scan(&bytes[at..], |tag, _| tags.push(tag)).unwrap();
        assert_eq!(tags, b"QSD", "split at {at}");
        assert!(scanner.at_boundary());
    }
}

#[test]
fn the_scanner_sees_the_same_tags_byte_by_byte() {
    let (mut scanner, mut tags) = (Scanner::default(), Vec::new());
    for byte in stream() {
        scanner.scan(&[byte], |tag, _| tags.push(tag)).unwrap();
    }
    assert_eq!(tags, b"QSD");
}

#[test]
fn the_scanner_refuses_a_stream_out_of_step() {
    assert_eq!(
        Scanner::default().scan(&[b'D', 0, 0, 0, 0, 1], |_, _| ()),
        Err(BadLength(0))
    );
}

#[test]
fn texts_end_at_their_zero() {
    assert_eq!(take_text(b"s1\0rest"), Some((&b"s1"[..], &b"rest"[..])));
    assert_eq!(take_text(b"s1"), None);
}
