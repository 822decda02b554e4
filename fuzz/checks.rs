//! Properties that must hold of any bytes, by target: no panic, and those below. `tests/fuzz.rs` holds them against the
//! stored corpus, the programs in `targets/` against what libFuzzer makes of it.

use std::hint::black_box;

use pgring::{
    auth::{Credentials, MockSecret, ScramClient, ScramServer, Verifier},
    protocol::{
        Frames, Header,
        backend::{
            CommandComplete, DataRow, ErrorFields, NegotiateProtocolVersion, NotificationResponse,
            ParameterDescription, ParameterStatus, RowDescription,
        },
        buffer::{Cut, Cutter, Partial},
        frontend::{Bind, SaslInitialResponse, SaslResponse},
        startup::{Initial, ProtocolVersion},
    },
    sql::{
        body::Body,
        class::{Class, Knowledge, class, explain, overrides::Overrides},
        effects, hint, raw,
    },
};

type Check = fn(&[u8]);

/// Each target, by the name of its folder in `corpus/`.
pub(crate) const TARGETS: [(&str, Check); 4] = [
    ("frames", frames),
    ("startup", startup),
    ("scram", scram),
    ("sql", sql),
];

/// Messages after the startup packet: cut in two anywhere they are the same, and each body can be looked at.
pub(crate) fn frames(bytes: &[u8]) {
    let whole: Vec<_> = Frames::new(bytes).map_while(Result::ok).collect();
    for frame in &whole {
        let body = frame.body;
        black_box(
            ErrorFields::read(body)
                .map(|fields| fields.into_iter().count())
                .ok(),
        );
        black_box(RowDescription::read(body).map(Iterator::count).ok());
        black_box(DataRow::read(body).map(Iterator::count).ok());
        black_box(
            ParameterDescription::read(body)
                .map(|it| it.types.count())
                .ok(),
        );
        black_box(ParameterStatus::read(body).is_ok());
        black_box(NotificationResponse::read(body).is_ok());
        black_box(NegotiateProtocolVersion::read(body).is_ok());
        black_box(CommandComplete::read(body).is_ok());
        black_box(Bind::read(body).is_ok());
        black_box(SaslInitialResponse::read(body).is_ok());
        black_box(SaslResponse::read(body));
    }
    let expected: Vec<_> = whole
        .iter()
        .map(|frame| (frame.tag, frame.body.to_vec()))
        .collect();
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte)) % (bytes.len() + 1);
    let mut found = cut_in_two(bytes, cut);
    found.truncate(expected.len());
    assert_eq!(found, expected, "cut at {cut}");
}

/// The messages in two pieces, each held until it is whole.
fn cut_in_two(bytes: &[u8], cut: usize) -> Vec<(pgring::protocol::Tag, Vec<u8>)> {
    let mut cutter = Cutter::default();
    let mut found = Vec::new();
    let (first, second) = bytes.split_at(cut);
    let mut pending = first.to_vec();
    let mut rest = Some(second);
    loop {
        match cutter.next(&pending, |_: Header, _| Ok(Partial::Hold)) {
            Err(_) => return found,
            Ok(Cut::Whole(header, body)) => {
                found.push((header.tag, body.to_vec()));
                pending.drain(..header.frame_bytes());
            }
            Ok(Cut::Held(_, taken)) => pending = cutter.unite(&pending[taken..]),
            Ok(Cut::Begins(..) | Cut::Continues(_)) => unreachable!("everything is held"),
            Ok(Cut::Empty) => match rest.take() {
                Some(piece) => pending = piece.to_vec(),
                None => return found,
            },
        }
    }
}

/// A client's first packet: it is read as stated, and what is said of it agrees.
pub(crate) fn startup(bytes: &[u8]) {
    let Ok(Some((initial, length))) = Initial::read(bytes) else {
        return;
    };
    assert!(length <= bytes.len(), "more was read than there is");
    let Initial::Startup(packet) = initial else {
        return;
    };
    let (version, _) = packet.negotiate(ProtocolVersion::V3_2);
    assert!(
        version.minor <= ProtocolVersion::V3_2.minor,
        "newer than we are"
    );
    let options = packet.settings().count() + packet.protocol_options().count();
    assert!(options <= bytes.len(), "more options than bytes");
    black_box((packet.user(), packet.database()));
}

/// Either side of SCRAM, and verifiers: nobody gets in.
pub(crate) fn scram(bytes: &[u8]) {
    let credentials = Credentials::mock(&MockSecret::new([7; 32]), b"app", 4096);
    let first = ScramServer::new(credentials).client_first(b"SCRAM-SHA-256", bytes, [1; 18]);
    if let Ok((challenge, _)) = first {
        assert!(
            challenge.client_final(bytes).is_err(),
            "a mock let somebody in"
        );
    }
    black_box(ScramClient::new([1; 18]).server_first(bytes).is_ok());
    if let Ok(verifier) = std::str::from_utf8(bytes)
        .unwrap_or_default()
        .parse::<Verifier>()
    {
        let written = verifier.to_string();
        assert_eq!(
            written.parse::<Verifier>().map(|it| it.to_string()).ok(),
            Some(written)
        );
    }
}

/// A text: what it may do, and whether it reads.
pub(crate) fn sql(text: &[u8]) {
    let flags = effects::flags_of(text);
    black_box(effects::flags_of_beginning(text));
    black_box((effects::uses(text), hint::hint(text), raw::effects(text)));
    let body = Body::read(text);
    black_box(body.with_literals());
    let overrides = Overrides::default();
    let knowledge = Knowledge {
        catalog: None,
        overrides: &overrides,
    };
    let is_read = class(text, &knowledge) == Class::Read;
    assert_eq!(
        is_read,
        explain(text, &knowledge).0 == Class::Read,
        "both ways agree"
    );
    assert!(!is_read || !flags.commits(), "a read commits nothing");
    if effects::begin(text).is_some() {
        assert!(!is_read || flags.is_single(), "a BEGIN is one statement");
    }
}
