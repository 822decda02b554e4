//! Every message written and read back, cut short, lengthened and replaced by noise.
#![allow(clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::backend::*;
use super::frontend::*;
use super::startup::{Initial, ProtocolVersion};
use super::tag::{backend, frontend};
use super::*;

/// The one frame that `write` appends: its tag and its body.
fn written(
    write: impl for<'w, 'o> FnOnce(&'w mut Writer<'o>) -> &'w mut Writer<'o>,
) -> (Tag, Vec<u8>) {
    let mut out = b"before".to_vec();
    write(&mut Writer::new(&mut out));
    single(&out)
}

/// Same, for the methods that may refuse.
fn accepted(write: impl FnOnce(&mut Writer<'_>) -> Result<(), ProtocolError>) -> (Tag, Vec<u8>) {
    let mut out = b"before".to_vec();
    write(&mut Writer::new(&mut out)).unwrap();
    single(&out)
}

fn single(out: &[u8]) -> (Tag, Vec<u8>) {
    assert_eq!(&out[..6], b"before");
    let mut frames = Frames::new(&out[6..]);
    let frame = frames.next().expect("a message was written").unwrap();
    assert!(frames.next().is_none(), "one message was written");
    assert_eq!(frames.rest(), b"");
    (frame.tag, frame.body.to_vec())
}

/// A parser that walks everything it returns and says whether it accepted the body.
type Walk = fn(&[u8]) -> Result<(), ProtocolError>;

const WALKS: &[(&str, Walk)] = &[
    ("Query", |b| Query::read(b).whole().map(drop)),
    ("Parse", |b| {
        Parse::read(b)?
            .parameter_types()
            .map(|types| drop(types.collect::<Vec<_>>()))
    }),
    ("Bind", |b| Bind::read(b).map(drop)),
    ("Named", |b| Named::read(b).map(drop)),
    ("Execute", |b| Execute::read(b).map(drop)),
    ("FunctionCall", |b| FunctionCall::read(b).map(drop)),
    ("Password", |b| Password::read(b).map(drop)),
    ("SaslInitialResponse", |b| {
        SaslInitialResponse::read(b).map(drop)
    }),
    ("Authentication", |b| {
        Authentication::read(b).map(walk_authentication)
    }),
    ("ParameterStatus", |b| ParameterStatus::read(b).map(drop)),
    ("BackendKeyData", |b| BackendKeyData::read(b).map(drop)),
    ("ReadyForQuery", |b| TransactionStatus::read(b).map(drop)),
    ("ErrorFields", |b| ErrorFields::read(b).map(walk_fields)),
    ("CommandComplete", |b| CommandComplete::read(b).map(drop)),
    ("ParameterDescription", |b| {
        ParameterDescription::read(b).map(|m| assert_eq!(m.types.len(), m.types.count()))
    }),
    ("RowDescription", |b| {
        RowDescription::read(b).map(|m| assert_eq!(m.len(), m.count()))
    }),
    ("DataRow", |b| {
        DataRow::read(b).map(|m| assert_eq!(m.len(), m.count()))
    }),
    ("Notification", |b| NotificationResponse::read(b).map(drop)),
    ("NegotiateVersion", |b| {
        NegotiateProtocolVersion::read(b).map(|m| assert!(m.unknown_options.count() < b.len()))
    }),
    ("CopyResponse", |b| {
        CopyResponse::read(b)
            .map(|m| assert_eq!(m.column_formats().count(), usize::from(m.columns)))
    }),
    ("FunctionCallResponse", |b| {
        FunctionCallResponse::read(b).map(drop)
    }),
];

fn walk_authentication(request: Authentication<'_>) {
    if let Authentication::Sasl { mechanisms } = request {
        assert!(mechanisms.into_iter().all(|name| !name.is_empty()));
    }
}

fn walk_fields(fields: ErrorFields<'_>) {
    let _ = (fields.severity(), fields.sqlstate(), fields.message());
    assert!(fields.into_iter().all(|(code, _)| code != 0));
}

fn walk(name: &str) -> Walk {
    WALKS
        .iter()
        .find(|(given, _)| *given == name)
        .expect("a parser of that name")
        .1
}

/// A valid message of each kind whose body has a definite end: parser, tag and body.
fn closed_messages() -> Vec<(&'static str, Tag, Vec<u8>)> {
    let all = [client_messages(), login_messages(), answer_messages()].concat();
    all.into_iter()
        .map(|(name, (tag, body))| (name, tag, body))
        .collect()
}

/// Name of the parser, tag and body.
type Message = (&'static str, (Tag, Vec<u8>));

fn client_messages() -> Vec<Message> {
    vec![
        ("Query", accepted(|w| w.query("SELECT 1"))),
        ("Parse", accepted(|w| w.parse("s", "SELECT $1", [23, 25]))),
        ("Named", accepted(|w| w.describe(Target::Portal, "p"))),
        (
            "Named",
            accepted(|w| w.close_object(Target::Statement, "s")),
        ),
        ("Execute", accepted(|w| w.execute("p", 5))),
        ("Password", accepted(|w| w.password("secret"))),
        (
            "SaslInitialResponse",
            accepted(|w| w.sasl_initial_response("SCRAM-SHA-256", Some(b"n,,"))),
        ),
    ]
}

fn login_messages() -> Vec<Message> {
    vec![
        ("Authentication", written(|w| w.authentication_ok())),
        ("Authentication", written(|w| w.authentication_cleartext())),
        (
            "Authentication",
            written(|w| w.authentication_md5(*b"salt")),
        ),
        (
            "Authentication",
            written(|w| w.authentication_sasl(["SCRAM-SHA-256", "X"])),
        ),
        (
            "ParameterStatus",
            written(|w| w.parameter_status("TimeZone", "UTC")),
        ),
        (
            "ReadyForQuery",
            written(|w| w.ready_for_query(TransactionStatus::Failed)),
        ),
    ]
}

fn answer_messages() -> Vec<Message> {
    let text = ErrorReport::error(SqlState::SYNTAX_ERROR, "no")
        .with_detail("d")
        .with_hint("h");
    let options: [&[u8]; 2] = [b"_pq_.a", b"_pq_.b"];
    let fields = [
        Field::text(b"one"),
        Field {
            type_oid: 23,
            format: 1,
            ..Field::text(b"two")
        },
    ];
    vec![
        ("ErrorFields", written(|w| w.error(&text))),
        ("ErrorFields", written(|w| w.notice(&text))),
        (
            "CommandComplete",
            written(|w| w.command_complete("SELECT 1")),
        ),
        (
            "ParameterDescription",
            written(|w| w.parameter_description([23, 0])),
        ),
        ("RowDescription", written(|w| w.row_description(fields))),
        (
            "DataRow",
            written(|w| w.data_row([Some("a"), None, Some("")])),
        ),
        (
            "Notification",
            written(|w| w.notification(7, "channel", "payload")),
        ),
        (
            "NegotiateVersion",
            written(|w| w.negotiate_version(ProtocolVersion::V3_2, options)),
        ),
        ("CopyResponse", written(|w| w.copy_both(1, [1, 0]))),
        (
            "FunctionCallResponse",
            written(|w| w.function_call_response(Some(b"v"))),
        ),
    ]
}

#[test]
fn every_message_is_read_whole_and_refused_when_cut_or_lengthened() {
    for (name, tag, body) in closed_messages() {
        let read = walk(name);
        assert_eq!(read(&body), Ok(()), "{name}");
        for cut in 0..body.len() {
            assert!(read(&body[..cut]).is_err(), "{name} {tag} cut at {cut}");
        }
        let longer = [body.as_slice(), b"x"].concat();
        assert!(
            matches!(read(&longer), Err(ProtocolError::TrailingBytes { .. })),
            "{name} {tag}"
        );
    }
}

#[test]
fn a_message_that_is_not_whole_yet_waits() {
    for (name, tag, body) in closed_messages() {
        let mut whole = Vec::new();
        Writer::new(&mut whole).message(tag, &body);
        for cut in 0..whole.len() {
            let mut frames = Frames::new(&whole[..cut]);
            assert!(frames.next().is_none(), "{name} cut at {cut}");
            assert_eq!(frames.rest(), &whole[..cut]);
        }
    }
}

#[test]
fn client_messages_carry_their_fields() {
    let (tag, body) = accepted(|w| w.query("SELECT 1"));
    assert_eq!(
        (tag, Query::read(&body)),
        (
            frontend::QUERY,
            Query {
                text: b"SELECT 1",
                is_whole: true
            }
        )
    );

    let (tag, body) = accepted(|w| w.parse("s1", "SELECT $1", [23, 0]));
    let parse = Parse::read(&body).unwrap();
    assert_eq!(
        (tag, parse.name, parse.text().unwrap()),
        (frontend::PARSE, &b"s1"[..], &b"SELECT $1"[..])
    );
    assert_eq!(parse.parameter_types().unwrap().len(), 2);
    assert_eq!(
        parse.parameter_types().unwrap().collect::<Vec<_>>(),
        [23, 0]
    );

    let (tag, body) = accepted(|w| w.describe(Target::Statement, "s"));
    let expected = Named {
        target: Target::Statement,
        name: b"s",
    };
    assert_eq!(
        (tag, Named::read(&body)),
        (frontend::DESCRIBE, Ok(expected))
    );

    let (tag, body) = accepted(|w| w.close_object(Target::Portal, ""));
    let expected = Named {
        target: Target::Portal,
        name: b"",
    };
    assert_eq!((tag, Named::read(&body)), (frontend::CLOSE, Ok(expected)));

    let (tag, body) = accepted(|w| w.execute("p", -1));
    let expected = Execute {
        portal: b"p",
        max_rows: -1,
    };
    assert_eq!(
        (tag, Execute::read(&body)),
        (frontend::EXECUTE, Ok(expected))
    );

    let (tag, body) = accepted(|w| w.copy_fail("why"));
    assert_eq!((tag, &body[..]), (frontend::COPY_FAIL, &b"why\0"[..]));
}

#[test]
fn bind_and_function_call_pass_their_arguments_unread() {
    let (tag, body) = accepted(|w| w.bind("p", "s", [Some("1"), None]));
    let bind = Bind::read(&body).unwrap();
    assert_eq!(
        (tag, bind.portal, bind.statement),
        (frontend::BIND, &b"p"[..], &b"s"[..])
    );
    assert_eq!(bind.rest, b"\0\0\0\x02\0\0\0\x011\xff\xff\xff\xff\0\0");

    let (_, renamed) = accepted(|w| w.bind_raw("p", "other", bind.rest));
    assert_eq!(
        Bind::read(&renamed).unwrap(),
        Bind {
            statement: b"other",
            ..bind
        }
    );

    let (tag, body) = accepted(|w| w.function_call(2_000_000_000, [Some("x")]));
    let call = FunctionCall::read(&body).unwrap();
    assert_eq!(
        (tag, call.function),
        (frontend::FUNCTION_CALL, 2_000_000_000)
    );
    assert_eq!(call.rest, b"\0\0\0\x01\0\0\0\x01x\0\0");
}

#[test]
fn messages_without_a_body_have_five_bytes() {
    let mut out = Vec::new();
    Writer::new(&mut out).flush().sync().terminate();
    assert_eq!(out, b"H\0\0\0\x04S\0\0\0\x04X\0\0\0\x04");
    out.clear();
    Writer::new(&mut out)
        .parse_complete()
        .bind_complete()
        .close_complete()
        .no_data();
    assert_eq!(out, b"1\0\0\0\x042\0\0\0\x043\0\0\0\x04n\0\0\0\x04");
    out.clear();
    Writer::new(&mut out)
        .portal_suspended()
        .empty_query()
        .copy_done()
        .copy_data(b"row\n");
    assert_eq!(out, b"s\0\0\0\x04I\0\0\0\x04c\0\0\0\x04d\0\0\0\x08row\n");
}

#[test]
fn passwords_and_sasl_messages_share_a_tag() {
    let (tag, body) = accepted(|w| w.password("secret"));
    assert_eq!(
        (tag, Password::read(&body).unwrap().password),
        (frontend::PASSWORD, &b"secret"[..])
    );

    let (tag, body) = accepted(|w| w.sasl_initial_response("M", Some(b"n,,\0")));
    let first = SaslInitialResponse::read(&body).unwrap();
    assert_eq!(
        (tag, first.mechanism, first.data),
        (frontend::PASSWORD, &b"M"[..], Some(&b"n,,\0"[..]))
    );

    let (_, body) = accepted(|w| w.sasl_initial_response("M", None));
    assert_eq!(SaslInitialResponse::read(&body).unwrap().data, None);

    let (tag, body) = written(|w| w.sasl_response(b"c=biws"));
    assert_eq!(
        (tag, SaslResponse::read(&body).data),
        (frontend::PASSWORD, &b"c=biws"[..])
    );
}

#[test]
fn authentication_requests_are_told_apart() {
    let read = |(tag, body): (Tag, Vec<u8>)| {
        assert_eq!(tag, backend::AUTHENTICATION);
        format!("{:?}", Authentication::read(&body).unwrap())
    };
    assert_eq!(read(written(|w| w.authentication_ok())), "Ok");
    assert_eq!(read(written(|w| w.authentication_cleartext())), "Cleartext");
    let md5 = read(written(|w| w.authentication_md5([1, 2, 3, 4])));
    assert_eq!(md5, "Md5 { salt: [1, 2, 3, 4] }");
    let next = read(written(|w| w.authentication_sasl_continue(b"ab")));
    assert_eq!(next, "SaslContinue { data: [97, 98] }");
    let last = read(written(|w| w.authentication_sasl_final(b"v")));
    assert_eq!(last, "SaslFinal { data: [118] }");
    let gss = (backend::AUTHENTICATION, b"\0\0\0\x07".to_vec());
    assert_eq!(read(gss), "Other { code: 7 }");

    let (_, body) = written(|w| w.authentication_sasl(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]));
    let Ok(Authentication::Sasl { mechanisms }) = Authentication::read(&body) else {
        panic!("a SASL request");
    };
    let names: Vec<_> = mechanisms.collect();
    assert_eq!(names, [&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"]);
}

#[test]
fn session_messages_carry_their_fields() {
    let (tag, body) = written(|w| w.parameter_status("TimeZone", "Europe/Rome"));
    let expected = ParameterStatus {
        name: b"TimeZone",
        value: b"Europe/Rome",
    };
    assert_eq!(
        (tag, ParameterStatus::read(&body)),
        (backend::PARAMETER_STATUS, Ok(expected))
    );

    for length in [4, 32, 256] {
        let key = vec![9; length];
        let (tag, body) = written(|w| w.backend_key_data(-5, &key));
        let data = BackendKeyData::read(&body).unwrap();
        assert_eq!(
            (tag, data.process_id, data.key),
            (backend::BACKEND_KEY_DATA, -5, &key[..])
        );
    }
    for length in [0, 3, 257] {
        let (_, body) = written(|w| w.backend_key_data(1, &vec![9; length]));
        let error = BackendKeyData::read(&body).err().unwrap();
        assert_eq!(
            error,
            ProtocolError::CancelKeyLength {
                length,
                min: 4,
                max: 256
            }
        );
    }

    let (tag, body) = written(|w| w.notification(7, "c", "p"));
    let expected = NotificationResponse {
        process_id: 7,
        channel: b"c",
        payload: b"p",
    };
    assert_eq!(
        (tag, NotificationResponse::read(&body)),
        (backend::NOTIFICATION, Ok(expected))
    );

    let (tag, body) = written(|w| w.command_complete("INSERT 0 1"));
    let expected = CommandComplete {
        command: b"INSERT 0 1",
    };
    assert_eq!(
        (tag, CommandComplete::read(&body)),
        (backend::COMMAND_COMPLETE, Ok(expected))
    );

    let options: [&[u8]; 2] = [b"_pq_.x", b"_pq_.y"];
    let (tag, body) = written(|w| w.negotiate_version(ProtocolVersion::V3_2, options));
    let reply = NegotiateProtocolVersion::read(&body).unwrap();
    assert_eq!(
        (tag, reply.version),
        (backend::NEGOTIATE_VERSION, ProtocolVersion::V3_2)
    );
    assert_eq!(reply.unknown_options.collect::<Vec<_>>(), options);
}

#[test]
fn ready_for_query_knows_three_states() {
    for status in [
        TransactionStatus::Idle,
        TransactionStatus::InTransaction,
        TransactionStatus::Failed,
    ] {
        let (tag, body) = written(|w| w.ready_for_query(status));
        assert_eq!(
            (tag, TransactionStatus::read(&body)),
            (backend::READY_FOR_QUERY, Ok(status))
        );
    }
    let unknown = ProtocolError::UnknownTransactionStatus { status: Tag(b'Q') };
    assert_eq!(TransactionStatus::read(b"Q"), Err(unknown));
}

#[test]
fn rows_and_their_shape_are_walked() {
    let (tag, body) = written(|w| w.row_description_text(["a", "b"]));
    let shape = RowDescription::read(&body).unwrap();
    assert_eq!((tag, shape.len()), (backend::ROW_DESCRIPTION, 2));
    assert_eq!(
        shape.collect::<Vec<_>>(),
        [Field::text(b"a"), Field::text(b"b")]
    );

    let (tag, body) = written(|w| w.data_row([Some("1"), None, Some("")]));
    let row: Vec<_> = DataRow::read(&body).unwrap().collect();
    assert_eq!(
        (tag, row),
        (
            backend::DATA_ROW,
            vec![Some(&b"1"[..]), None, Some(&b""[..])]
        )
    );

    let (tag, body) = written(|w| w.parameter_description([23, 25]));
    let types: Vec<_> = ParameterDescription::read(&body).unwrap().types.collect();
    assert_eq!((tag, types), (backend::PARAMETER_DESCRIPTION, vec![23, 25]));

    let (tag, body) = written(|w| w.function_call_response(None));
    let expected = FunctionCallResponse { value: None };
    assert_eq!(
        (tag, FunctionCallResponse::read(&body)),
        (backend::FUNCTION_CALL_RESPONSE, Ok(expected))
    );
}

#[test]
fn copy_responses_carry_formats() {
    type Write = for<'w, 'o> fn(&'w mut Writer<'o>) -> &'w mut Writer<'o>;
    let writes: [(Tag, Write); 3] = [
        (backend::COPY_IN, |w| w.copy_in(0, [0, 1])),
        (backend::COPY_OUT, |w| w.copy_out(0, [0, 1])),
        (backend::COPY_BOTH, |w| w.copy_both(0, [0, 1])),
    ];
    for (expected, write) in writes {
        let (tag, body) = written(write);
        let response = CopyResponse::read(&body).unwrap();
        assert_eq!((tag, response.format, response.columns), (expected, 0, 2));
        assert_eq!(response.column_formats().collect::<Vec<_>>(), [0, 1]);
    }
}

#[test]
fn errors_carry_severity_code_message_detail_and_hint() {
    let report = ErrorReport::fatal(SqlState::TOO_MANY_CONNECTIONS, "full")
        .with_detail("20 of 20")
        .with_hint("wait");
    let (tag, body) = written(|w| w.error(&report));
    assert_eq!(tag, backend::ERROR_RESPONSE);
    assert_eq!(body, b"SFATAL\0VFATAL\0C53300\0Mfull\0D20 of 20\0Hwait\0\0");
    let fields = ErrorFields::read(&body).unwrap();
    assert_eq!(fields.severity(), Some(Severity::Fatal));
    assert_eq!(fields.sqlstate(), Some(SqlState::TOO_MANY_CONNECTIONS));
    assert_eq!(fields.message(), b"full");
    assert_eq!(
        (fields.field(b'D'), fields.field(b'X')),
        (Some(&b"20 of 20"[..]), None)
    );
    assert_eq!(fields.count(), 6);
    assert_eq!(report.to_string(), "FATAL 53300: full");
}

#[test]
fn the_untranslated_severity_wins() {
    let translated = ErrorFields::read(b"SERREUR\0VERROR\0Mnon\0\0").unwrap();
    assert_eq!(translated.severity(), Some(Severity::Error));
    assert_eq!(
        (translated.sqlstate(), translated.message()),
        (None, &b"non"[..])
    );
    let old = ErrorFields::read(b"SPANIC\0\0").unwrap();
    assert_eq!(
        (old.severity(), old.message()),
        (Some(Severity::Panic), &b""[..])
    );
    let foreign = ErrorFields::read(b"SERREUR\0\0").unwrap();
    assert_eq!(foreign.severity(), None);
}

#[test]
fn a_zero_byte_towards_a_server_is_refused_and_leaves_nothing() {
    type Write = fn(&mut Writer<'_>) -> Result<(), ProtocolError>;
    let refused: [Write; 9] = [
        |w| w.query("a\0b"),
        |w| w.parse("s", "a\0b", []),
        |w| w.bind("a\0b", "", [Some("")]),
        |w| w.bind_raw("", "a\0b", b""),
        |w| w.describe(Target::Portal, "a\0b"),
        |w| w.execute("a\0b", 0),
        |w| w.password("a\0b"),
        |w| w.sasl_initial_response("a\0b", None),
        |w| w.startup(ProtocolVersion::V3_0, [("user", "a\0b")]),
    ];
    for refuse in refused {
        let mut out = b"before".to_vec();
        let error = refuse(&mut Writer::new(&mut out)).unwrap_err();
        assert_eq!(error, ProtocolError::NulInString { position: 1 });
        assert_eq!(error.sqlstate(), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
        assert_eq!(out, b"before");
    }
}

#[test]
fn a_zero_byte_towards_a_client_cuts_the_text() {
    let report = ErrorReport::error(SqlState::INTERNAL_ERROR, "seen\0hidden");
    let (_, body) = written(|w| w.error(&report));
    assert_eq!(ErrorFields::read(&body).unwrap().message(), b"seen");
    let (_, body) = written(|w| w.parameter_status("a\0b", "c\0d"));
    assert_eq!(
        ParameterStatus::read(&body),
        Ok(ParameterStatus {
            name: b"a",
            value: b"c"
        })
    );
}

#[test]
fn lists_longer_than_their_count_are_refused() {
    let mut out = Vec::new();
    let error = Writer::new(&mut out)
        .parse("", "", std::iter::repeat_n(0, 65_536))
        .unwrap_err();
    assert_eq!(
        error,
        ProtocolError::TooMany {
            count: 65_536,
            max: 65_535
        }
    );
    assert!(out.is_empty());
    let (_, body) = accepted(|w| w.parse("", "", std::iter::repeat_n(7, 65_535)));
    assert_eq!(
        Parse::read(&body).unwrap().parameter_types().unwrap().len(),
        65_535
    );
}

#[test]
fn counts_that_exceed_the_message_are_refused() {
    let short = |needed, left| Err(ProtocolError::Truncated { needed, left });
    assert_eq!(walk("Parse")(b"\0\0\xff\xff\0\0\0\x17"), short(262_140, 4));
    assert_eq!(walk("CopyResponse")(b"\0\xff\xff\0\0"), short(131_070, 2));
    assert_eq!(
        walk("DataRow")(b"\0\x01\x7f\xff\xff\xffx"),
        short(2_147_483_647, 1)
    );
    let negative = Err(ProtocolError::NegativeCount { count: -2 });
    assert_eq!(walk("DataRow")(b"\0\x01\xff\xff\xff\xfe"), negative);
    assert_eq!(
        walk("SaslInitialResponse")(b"M\0\xff\xff\xff\xfe"),
        negative
    );
    let options = walk("NegotiateVersion")(b"\0\x03\0\x02\x7f\xff\xff\xffa\0");
    assert_eq!(options, Err(ProtocolError::MissingTerminator { left: 0 }));
    let options = walk("NegotiateVersion")(b"\0\x03\0\x02\xff\xff\xff\xff");
    assert_eq!(options, Err(ProtocolError::NegativeCount { count: -1 }));
}

#[test]
fn describe_of_something_else_is_refused() {
    let error = Named::read(b"Xname\0").unwrap_err();
    assert_eq!(error, ProtocolError::UnknownTarget { kind: Tag(b'X') });
    assert_eq!(error.sqlstate(), SqlState::PROTOCOL_VIOLATION);
}

#[test]
fn a_violation_becomes_a_fatal_report() {
    let error = ProtocolError::TooLong {
        tag: frontend::SYNC,
        length: 70_000,
        limit: 10_000,
    };
    let report = ErrorReport::from(error);
    assert_eq!(
        report.to_string(),
        "FATAL 08P01: message 'S' is too long: 70000 bytes, the limit is 10000"
    );
    assert!(!error.closes_silently());
    assert!(ProtocolError::HttpRequest.closes_silently());
}

/// Text that the protocol can carry.
fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8.., 0..40)
}

proptest! {
    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..200)) {
        for (_, read) in WALKS {
            let _ = read(&noise);
        }
        let _ = Header::read(&noise);
        let _ = Initial::read(&noise);
        let frames = Frames::new(&noise);
        prop_assert!(frames.count() <= noise.len());
    }

    #[test]
    fn a_changed_byte_never_panics(which in 0_usize..24, at in any::<prop::sample::Index>(), byte: u8) {
        let mut messages = closed_messages();
        let kind = which % messages.len();
        let (name, _, body) = &mut messages[kind];
        let at = at.index(body.len());
        body[at] = byte;
        let _ = walk(name)(body);
    }

    #[test]
    fn parse_comes_back(name in text(), sql in text(), types in vec(any::<u32>(), 0..20)) {
        let (_, body) = accepted(|w| w.parse(&name, &sql, types.iter().copied()));
        let parse = Parse::read(&body).unwrap();
        prop_assert_eq!((parse.name, parse.text().unwrap()), (&name[..], &sql[..]));
        prop_assert_eq!(parse.parameter_types().unwrap().collect::<Vec<_>>(), types);
    }

    #[test]
    fn bind_comes_back(portal in text(), statement in text(), rest in vec(any::<u8>(), 0..60)) {
        let (_, body) = accepted(|w| w.bind_raw(&portal, &statement, &rest));
        let expected = Bind { portal: &portal, statement: &statement, rest: &rest };
        prop_assert_eq!(Bind::read(&body), Ok(expected));
    }

    #[test]
    fn rows_come_back(row in vec(prop::option::of(vec(any::<u8>(), 0..40)), 0..20)) {
        let (_, body) = written(|w| w.data_row(row.iter().map(Option::as_ref)));
        let columns: Vec<_> = DataRow::read(&body).unwrap().map(|c| c.map(<[u8]>::to_vec)).collect();
        prop_assert_eq!(columns, row);
    }

    #[test]
    fn reports_come_back(message in "[^\0]{0,60}", detail in prop::option::of("[^\0]{0,60}")) {
        let mut report = ErrorReport::error(SqlState::QUERY_CANCELED, message.clone());
        report.detail = detail.clone().map(Into::into);
        let (_, body) = written(|w| w.notice(&report));
        let fields = ErrorFields::read(&body).unwrap();
        prop_assert_eq!(fields.message(), message.as_bytes());
        prop_assert_eq!(fields.field(b'D'), detail.as_deref().map(str::as_bytes));
    }

    #[test]
    fn a_stream_is_cut_alike_wherever_it_is_split(
        bodies in vec(vec(any::<u8>(), 0..30), 1..8),
        split in any::<prop::sample::Index>(),
    ) {
        let mut stream = Vec::new();
        for body in &bodies {
            Writer::new(&mut stream).message(backend::DATA_ROW, body);
        }
        let split = split.index(stream.len() + 1);
        let mut first = Frames::new(&stream[..split]);
        let mut seen: Vec<Vec<u8>> = first.by_ref().map(|frame| frame.unwrap().body.to_vec()).collect();
        let tail = [first.rest(), &stream[split..]].concat();
        seen.extend(Frames::new(&tail).map(|frame| frame.unwrap().body.to_vec()));
        prop_assert_eq!(seen, bodies);
    }
}
