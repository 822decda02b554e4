//! First packets: valid ones, every cut of them, and everything PostgreSQL refuses.
#![allow(clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::{SqlState, Writer};

const V3_1: ProtocolVersion = ProtocolVersion { major: 3, minor: 1 };

fn startup(version: ProtocolVersion, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out)
        .startup(version, parameters.iter().copied())
        .unwrap();
    out
}

/// A packet around a body that the writer would refuse to write.
fn raw(code: u32, body: &[u8]) -> Vec<u8> {
    let length = 8 + u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn packet(bytes: &[u8]) -> StartupPacket<'_> {
    match Initial::read(bytes).unwrap() {
        Some((Initial::Startup(packet), taken)) if taken == bytes.len() => packet,
        other => panic!("a startup packet, not {other:?}"),
    }
}

fn refusal(bytes: &[u8]) -> ProtocolError {
    Initial::read(bytes).unwrap_err()
}

#[test]
fn parameters_are_found() {
    let bytes = startup(
        ProtocolVersion::V3_0,
        &[
            ("user", "ann"),
            ("database", "app"),
            ("options", "-c a=b"),
            ("_pq_.x", "1"),
            ("DateStyle", ""),
        ],
    );
    let packet = packet(&bytes);
    assert_eq!(
        (packet.user(), packet.database()),
        (&b"ann"[..], &b"app"[..])
    );
    assert_eq!(packet.version(), ProtocolVersion::V3_0);
    assert_eq!(packet.parameters().count(), 5);
    assert_eq!(packet.parameter(b"options"), Some(&b"-c a=b"[..]));
    assert_eq!(packet.parameter(b"DateStyle"), Some(&b""[..]));
    assert_eq!(packet.parameter(b"replication"), None);
    let settings: Vec<_> = packet.settings().map(|(name, _)| name).collect();
    assert_eq!(settings, [&b"options"[..], b"DateStyle"]);
    assert_eq!(
        packet.protocol_options().collect::<Vec<_>>(),
        [(&b"_pq_.x"[..], &b"1"[..])]
    );
}

#[test]
fn the_database_defaults_to_the_user_and_the_last_value_counts() {
    let bytes = startup(ProtocolVersion::V3_0, &[("user", "ann")]);
    assert_eq!(packet(&bytes).database(), b"ann");
    let bytes = startup(ProtocolVersion::V3_0, &[("user", "ann"), ("database", "")]);
    assert_eq!(packet(&bytes).database(), b"ann");
    let bytes = startup(ProtocolVersion::V3_0, &[("user", "ann"), ("user", "bob")]);
    assert_eq!(packet(&bytes).user(), b"bob");
}

#[test]
fn a_user_is_required() {
    for parameters in [
        &[][..],
        &[("database", "app")],
        &[("user", "")],
        &[("user", "a"), ("user", "")],
    ] {
        let error = refusal(&startup(ProtocolVersion::V3_0, parameters));
        assert_eq!(error, ProtocolError::MissingUser);
        let report = error.report();
        assert_eq!(
            report.to_string(),
            "FATAL 28000: no PostgreSQL user name specified in startup packet"
        );
    }
}

#[test]
fn the_list_must_end_with_the_packet() {
    let bodies: [&[u8]; 7] = [
        b"",
        b"user\0ann\0",
        b"user\0ann",
        b"user\0",
        b"user",
        b"user\0ann\0\0\0",
        b"user\0ann\0\0x",
    ];
    for body in bodies {
        let error = refusal(&raw(ProtocolVersion::V3_0.to_u32(), body));
        assert_eq!(
            error,
            ProtocolError::StartupLayout,
            "{}",
            body.escape_ascii()
        );
        assert_eq!(error.sqlstate(), SqlState::PROTOCOL_VIOLATION);
    }
}

#[test]
fn other_major_versions_are_refused() {
    for (version, text) in [
        (0x0002_0000, "2.0"),
        (0x0004_0000, "4.0"),
        (0, "0.0"),
        (0x04d2_0000, "1234.0"),
    ] {
        let error = refusal(&raw(version, b"anything"));
        assert_eq!(error.sqlstate(), SqlState::FEATURE_NOT_SUPPORTED);
        let expected = format!("unsupported frontend protocol {text}: server supports 3.0 to 3.2");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn versions_are_negotiated_as_postgresql_18_does() {
    let newer = ProtocolVersion {
        major: 3,
        minor: 9999,
    };
    let cases = [
        (ProtocolVersion::V3_0, ProtocolVersion::V3_0, false),
        (V3_1, V3_1, false),
        (ProtocolVersion::V3_2, ProtocolVersion::V3_2, false),
        (newer, ProtocolVersion::V3_2, true),
    ];
    for (requested, accepted, answered) in cases {
        let bytes = startup(requested, &[("user", "ann")]);
        let (version, negotiation) = packet(&bytes).negotiate(ProtocolVersion::V3_2);
        assert_eq!(
            (version, negotiation.is_some()),
            (accepted, answered),
            "{requested}"
        );
        assert!(negotiation.is_none_or(|answer| answer.version() == accepted));
    }
    assert!(ProtocolVersion::V3_2.has_long_cancel_keys());
    assert!(!V3_1.has_long_cancel_keys());
}

#[test]
fn unknown_protocol_options_are_named() {
    let bytes = startup(
        ProtocolVersion::V3_0,
        &[("_pq_.a", "1"), ("user", "ann"), ("_pq_.b", "")],
    );
    let (version, negotiation) = packet(&bytes).negotiate(ProtocolVersion::V3_2);
    let negotiation = negotiation.unwrap();
    assert_eq!(
        (version, negotiation.version()),
        (ProtocolVersion::V3_0, ProtocolVersion::V3_0)
    );
    assert_eq!(
        negotiation.unknown_options().collect::<Vec<_>>(),
        [b"_pq_.a", b"_pq_.b"]
    );
}

#[test]
fn encryption_requests_are_recognized() {
    let mut out = Vec::new();
    Writer::new(&mut out).ssl_request();
    assert_eq!(out, b"\0\0\0\x08\x04\xd2\x16\x2f");
    assert!(matches!(Initial::read(&out), Ok(Some((Initial::Ssl, 8)))));
    out.clear();
    Writer::new(&mut out).gss_request();
    assert_eq!(out, b"\0\0\0\x08\x04\xd2\x16\x30");
    assert!(matches!(Initial::read(&out), Ok(Some((Initial::Gss, 8)))));
    assert_eq!(
        refusal(&raw(80_877_103, b"x")),
        ProtocolError::TrailingBytes { count: 1 }
    );
    // What was pipelined behind the request is left to the caller, who must refuse it.
    let followed = [&out[..], b"more"].concat();
    assert!(matches!(
        Initial::read(&followed),
        Ok(Some((Initial::Gss, 8)))
    ));
}

#[test]
fn cancel_keys_have_4_to_256_bytes() {
    for length in [4, 32, 256] {
        let given = vec![7; length];
        let mut out = Vec::new();
        Writer::new(&mut out).cancel_request(-2, &given).unwrap();
        match Initial::read(&out).unwrap() {
            Some((
                Initial::Cancel {
                    process_id: -2,
                    key,
                },
                taken,
            )) => {
                assert_eq!((key, taken), (&given[..], 12 + length));
            }
            other => panic!("a cancel request, not {other:?}"),
        }
    }
    for length in [0, 3, 257] {
        let body = [&[0; 4][..], &vec![7; length]].concat();
        let expected = ProtocolError::CancelKeyLength {
            length,
            min: 4,
            max: 256,
        };
        assert_eq!(refusal(&raw(80_877_102, &body)), expected);
        let mut out = Vec::new();
        assert_eq!(
            Writer::new(&mut out).cancel_request(1, &vec![7; length]),
            Err(expected)
        );
        assert!(out.is_empty());
    }
    let cut = refusal(&raw(80_877_102, b"\0"));
    assert_eq!(cut, ProtocolError::Truncated { needed: 4, left: 1 });
}

#[test]
fn impossible_lengths_are_refused_at_the_fourth_byte() {
    for length in [0_u32, 4, 7, 10_005, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        let error = refusal(&length.to_be_bytes());
        assert_eq!(
            error,
            ProtocolError::StartupLength {
                length,
                min: 8,
                max: 10_004
            }
        );
        assert!(error.closes_silently());
    }
    assert!(matches!(Initial::read(&10_004_u32.to_be_bytes()), Ok(None)));
    assert!(matches!(Initial::read(&8_u32.to_be_bytes()), Ok(None)));
}

#[test]
fn strangers_are_recognized() {
    assert_eq!(
        refusal(b"\x16\x03\x01\x02\0\x01"),
        ProtocolError::TlsWithoutRequest
    );
    assert_eq!(refusal(b"GET / HTTP/1.1\r\n"), ProtocolError::HttpRequest);
    assert_eq!(refusal(b"POST /x HTTP/1.1\r\n"), ProtocolError::HttpRequest);
    assert!(ProtocolError::TlsWithoutRequest.closes_silently());
}

#[test]
fn every_cut_of_a_packet_waits() {
    let mut cancel = Vec::new();
    Writer::new(&mut cancel)
        .cancel_request(1, b"abcdefgh")
        .unwrap();
    for whole in [
        startup(V3_1, &[("user", "ann"), ("database", "app")]),
        cancel,
    ] {
        for cut in 0..whole.len() {
            assert!(
                matches!(Initial::read(&whole[..cut]), Ok(None)),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn a_packet_no_server_takes_is_not_written() {
    let mut out = Vec::new();
    let long = "x".repeat(10_000);
    let error = Writer::new(&mut out)
        .startup(ProtocolVersion::V3_0, [("user", &long)])
        .unwrap_err();
    assert_eq!(
        error,
        ProtocolError::StartupLength {
            length: 10_015,
            min: 8,
            max: 10_004
        }
    );
    let error = Writer::new(&mut out)
        .startup(ProtocolVersion::V3_0, [("", "x")])
        .unwrap_err();
    assert_eq!(error, ProtocolError::EmptyParameterName);
    assert!(out.is_empty());

    let longest = "x".repeat(10_000 - 4 - 1 - "user".len() - 2);
    let bytes = startup(ProtocolVersion::V3_0, &[("user", &longest)]);
    assert_eq!(bytes.len(), 10_004);
    assert_eq!(packet(&bytes).user(), longest.as_bytes());
}

proptest! {
    #[test]
    fn noise_in_a_packet_never_panics(code: u32, known in 0..5_usize, body in vec(any::<u8>(), 0..80)) {
        let codes = [0x0003_0000, 0x0003_0002, 80_877_102, 80_877_103, code];
        let bytes = raw(codes[known], &body);
        if let Ok(Some((Initial::Startup(packet), taken))) = Initial::read(&bytes) {
            prop_assert_eq!(taken, bytes.len());
            prop_assert!(!packet.user().is_empty() && !packet.database().is_empty());
            let parts = packet.settings().count() + packet.protocol_options().count();
            prop_assert!(parts <= packet.parameters().count());
        }
    }

    #[test]
    fn parameters_come_back(pairs in vec(("[a-z_.]{1,12}", "[^\0]{0,20}"), 0..12)) {
        let user = [("user".to_owned(), "ann".to_owned())];
        let given: Vec<_> = pairs.into_iter().chain(user).collect();
        let mut out = Vec::new();
        Writer::new(&mut out).startup(ProtocolVersion::V3_2, given.iter().map(|(n, v)| (n, v))).unwrap();
        let read: Vec<_> = packet(&out).parameters().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        let given: Vec<_> = given.into_iter().map(|(n, v)| (n.into_bytes(), v.into_bytes())).collect();
        prop_assert_eq!(read, given);
    }
}
