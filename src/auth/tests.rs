//! Both sides of SCRAM against each other and against what PostgreSQL 15 stores; every malformed message; md5.
#![allow(clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::scram_message::MessageError;
use super::scram_server::{Challenge, Proven};
use super::*;
use crate::protocol::SqlState;

const SALT: &[u8] = b"0123456789abcdef";

/// One round: the tests are about messages, not about cost.
fn keys_of(password: &[u8]) -> SaltedKeys {
    derive_with_pbkdf2(password, SALT, 1)
}

fn credentials(password: &[u8]) -> Credentials {
    Credentials::of(Verifier::of(&keys_of(password)))
}

fn mock(user: &[u8]) -> Credentials {
    Credentials::mock(&MockSecret::new([7; 32]), user, 4096)
}

fn challenge(first: &[u8]) -> Result<(Challenge, Vec<u8>), ServerError> {
    ScramServer::new(credentials(b"pencil")).client_first(
        MECHANISM.as_bytes(),
        first,
        [1; NONCE_BYTES],
    )
}

/// Runs the whole exchange; the client derives its keys from `password`.
fn log_in(credentials: Credentials, password: &[u8]) -> Result<Proven, ServerError> {
    let client = ScramClient::new([2; NONCE_BYTES]);
    let first = client.client_first();
    let server = ScramServer::new(credentials);
    let (challenge, message) =
        server.client_first(MECHANISM.as_bytes(), &first, [1; NONCE_BYTES])?;
    let asked = client.server_first(&message).unwrap();
    let keys = derive_with_pbkdf2(password, asked.salt(), asked.iterations());
    let (last, answer) = asked.finish(&keys).unwrap();
    let proven = challenge.client_final(&answer)?;
    assert_eq!(last.verify(&proven.server_final), Ok(()));
    Ok(proven)
}

/// Passwords, and what PostgreSQL 15 stored for each (`select rolpassword from pg_authid`).
const STORED: [(&str, &str); 9] = [
    (
        "pencil",
        "SCRAM-SHA-256$4096:jJXLfnTc8KmChi3teT1m0Q==$1szm+9xQ53bKzZVofN0+gARdu8mGfnhwto12wU6xbbE=:\
         az0K3d7N2gQMAAAsAV9OICgINeOqlhK9/vYnqhEEvU4=",
    ),
    (
        // A soft hyphen is mapped to nothing.
        "I\u{ad}X",
        "SCRAM-SHA-256$4096:eIhwnuvKpgssegU3NEyPfA==$83P0/65QpyJH/6Lqj57dkAZxAqvIIWDBmmCXt22fYGo=:\
         iv5/WKXlJnXbWfeC6hCe68QosDEckE9U46Fcz5o7qhU=",
    ),
    (
        // The Roman numeral nine is normalized to "IX".
        "\u{2168}",
        "SCRAM-SHA-256$4096:WONt7J6cB384WTuCs6PSuw==$WfUS9jCWjBW86gRyQyQwGpdSSl+5A1nVtODiO21ZcrE=:\
         WibvZomshWNikkhxJXUqFkzec1pmDWXyZu11TE9G374=",
    ),
    (
        // Directions are mixed: refused, so taken as it is.
        "\u{627}1",
        "SCRAM-SHA-256$4096:cqYASvQuDLocdnYb64Sk7g==$E3t42SzS/bMRoWn89pql2bxrMyuoVvYJkEGe5dkuyDY=:\
         8C5sDw3qLOgjCovk3FUD8FGLQOu0TU6YETeLWuKWtyc=",
    ),
    (
        // Nothing would be left: taken as it is.
        "\u{ad}",
        "SCRAM-SHA-256$4096:SuPk1EDqMJMspY4bTFLCdg==$oNokn0iQcOjZJ+QRJ583pudlC3fOn9Nz5f6oPZKQgaY=:\
         pvucy7fdZOwMMo7RCJp+i7UifDybNHIWhZQb+cYzouQ=",
    ),
    (
        // Prohibited before normalization, not after it.
        "x\u{340}",
        "SCRAM-SHA-256$4096:SU8Jak+d5W/g8mvQVwznxw==$7K4/vGs3mkg8pqylyafg2GHrL2rP9y5isRm2t1fmzM8=:\
         Ye8RYdkTJRt+fqhlAZfiOp301RxQNUlcaXJulRJiMvE=",
    ),
    (
        // A control character: taken as it is.
        "a\tb",
        "SCRAM-SHA-256$4096:jFAl7eYBiYjf/zzmOfBPNw==$8klrZpXlJdbVIaU1zZPXsQ62YYAmnhLvuPb92gXvI5E=:\
         +pmbGR94TaPGxD5bVpGUSS0UcBJwcf7oQyF9GbKFMpM=",
    ),
    (
        // Spaces other than ASCII's become ASCII's.
        "p\u{a0}q\u{2000}r",
        "SCRAM-SHA-256$4096:pQnoDTX7NiGQXorARohSKA==$cgWxEVuHf1TE++7WIm0h/crOQ7vE750Z1QgwMxRZajY=:\
         +4DTxf/lZbDGNuCEk6Wmhm1s6U/WeI1fydjK+2ElKF4=",
    ),
    (
        // Not assigned in Unicode 3.2: taken as it is.
        "\u{221}",
        "SCRAM-SHA-256$4096:/h/H2MtoGZGwfbD1lIt9ug==$oZgAGhowtUNczDbBDYSG54J4/Ro4WhJ3hzAYfSY63FM=:\
         9YnbINcj47S+sK8ZSMZFJrY3XwQuV2ePklouIIhaXak=",
    ),
];

#[test]
fn verifiers_are_those_of_postgresql() {
    for (password, text) in STORED {
        let stored: Verifier = text.parse().unwrap();
        assert_eq!(stored.to_string(), text);
        let keys = derive_with_pbkdf2(password.as_bytes(), &stored.salt, stored.iterations);
        assert_eq!(
            Verifier::of(&keys).to_string(),
            text,
            "{}",
            password.escape_unicode()
        );
    }
}

#[test]
fn a_password_that_is_no_text_is_taken_as_it_is() {
    assert!(log_in(credentials(b"\xff\xfe"), b"\xff\xfe").is_ok());
    assert!(matches!(
        log_in(credentials(b"\xff\xfe"), b"\xff"),
        Err(ServerError::Proof)
    ));
}

#[test]
fn broken_verifiers_are_refused() {
    let key = "1szm+9xQ53bKzZVofN0+gARdu8mGfnhwto12wU6xbbE=";
    let stored = VerifierError::Key { key: "StoredKey" };
    let server = VerifierError::Key { key: "ServerKey" };
    let cases = [
        (String::new(), VerifierError::Prefix),
        (
            format!("scram-sha-256$1:YQ==${key}:{key}"),
            VerifierError::Prefix,
        ),
        ("SCRAM-SHA-256$".into(), VerifierError::Layout),
        (
            format!("SCRAM-SHA-256$1:YQ=={key}:{key}"),
            VerifierError::Layout,
        ),
        (
            format!("SCRAM-SHA-256$1YQ==${key}:{key}"),
            VerifierError::Layout,
        ),
        (
            format!("SCRAM-SHA-256$1:YQ==${key}{key}"),
            VerifierError::Layout,
        ),
        (
            format!("SCRAM-SHA-256$0:YQ==${key}:{key}"),
            VerifierError::Iterations,
        ),
        (
            format!("SCRAM-SHA-256$-1:YQ==${key}:{key}"),
            VerifierError::Iterations,
        ),
        (
            format!("SCRAM-SHA-256$+1:YQ==${key}:{key}"),
            VerifierError::Iterations,
        ),
        (
            format!("SCRAM-SHA-256$:YQ==${key}:{key}"),
            VerifierError::Iterations,
        ),
        (
            format!("SCRAM-SHA-256$1000001:YQ==${key}:{key}"),
            VerifierError::Iterations,
        ),
        (
            format!("SCRAM-SHA-256$99999999999:YQ==${key}:{key}"),
            VerifierError::Iterations,
        ),
        (format!("SCRAM-SHA-256$1:${key}:{key}"), VerifierError::Salt),
        (
            format!("SCRAM-SHA-256$1:YQ${key}:{key}"),
            VerifierError::Salt,
        ),
        (
            format!("SCRAM-SHA-256$1:{}${key}:{key}", "YWJj".repeat(342)),
            VerifierError::Salt,
        ),
        (format!("SCRAM-SHA-256$1:YQ==$YQ==:{key}"), stored),
        (format!("SCRAM-SHA-256$1:YQ==${key}:{key}x"), server),
        (
            format!("SCRAM-SHA-256$1:YQ==${key}:{}", key.replace('+', "-")),
            server,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Verifier>(), Err(expected), "{text}");
    }
}

#[test]
fn a_client_with_the_password_gets_in_and_leaves_its_key() {
    let proven = log_in(credentials(b"pencil"), b"pencil").unwrap();
    assert_eq!(proven.keys, keys_of(b"pencil"));
    // The recovered keys open a server that has the same verifier.
    let again = ScramClient::new([3; NONCE_BYTES]);
    let first = again.client_first();
    let server = ScramServer::new(credentials(b"pencil"));
    let (challenge, message) = server
        .client_first(MECHANISM.as_bytes(), &first, [4; NONCE_BYTES])
        .unwrap();
    let (last, answer) = again
        .server_first(&message)
        .unwrap()
        .finish(&proven.keys)
        .unwrap();
    let proven = challenge.client_final(&answer).unwrap();
    assert_eq!(last.verify(&proven.server_final), Ok(()));
}

#[test]
fn a_wrong_password_and_a_missing_user_look_alike() {
    let wrong = log_in(credentials(b"pencil"), b"pen").unwrap_err();
    let missing = log_in(mock(b"nobody"), b"pencil").unwrap_err();
    assert_eq!((wrong, missing), (ServerError::Proof, ServerError::Proof));
    let report = missing.report(b"nobody");
    assert_eq!(
        report.to_string(),
        "FATAL 28P01: password authentication failed for user \"nobody\""
    );
    assert_eq!(report, password_failed(b"nobody"));
}

#[test]
fn a_made_up_challenge_is_shaped_like_a_real_one_and_stays_the_same() {
    let ask = |credentials: Credentials| {
        let server = ScramServer::new(credentials);
        let (_, message) = server
            .client_first(MECHANISM.as_bytes(), b"n,,n=,r=x", [1; NONCE_BYTES])
            .unwrap();
        String::from_utf8(message).unwrap()
    };
    let real = Credentials::of(STORED[0].1.parse().unwrap());
    let (real, made_up) = (ask(real), ask(mock(b"ann")));
    let salt_at = real.find(",s=").unwrap();
    assert_eq!(
        (&real[..salt_at], real.len()),
        (&made_up[..salt_at], made_up.len())
    );
    assert!(made_up.ends_with(",i=4096"));
    assert_eq!(made_up, ask(mock(b"ann")));
    assert_ne!(made_up, ask(mock(b"bob")));
}

#[test]
fn only_the_offered_mechanism_is_taken() {
    for mechanism in [&b"SCRAM-SHA-256-PLUS"[..], b"", b"scram-sha-256", b"PLAIN"] {
        let server = ScramServer::new(credentials(b"x"));
        let error = server
            .client_first(mechanism, b"n,,n=,r=x", [1; NONCE_BYTES])
            .unwrap_err();
        assert_eq!(error, ServerError::Mechanism);
        assert_eq!(error.report(b"u").sqlstate, SqlState::PROTOCOL_VIOLATION);
    }
}

#[test]
fn first_messages_are_read_as_postgresql_reads_them() {
    let attribute = |expected| ServerError::Message(MessageError::Attribute { expected });
    let no_attribute = ServerError::Message(MessageError::NoAttribute);
    let cases: [(&[u8], ServerError); 16] = [
        (b"", MessageError::Empty.into()),
        (b"n", MessageError::Empty.into()),
        (b"n,", MessageError::Empty.into()),
        (b"n,,", MessageError::Empty.into()),
        (b"x,,n=,r=x", no_attribute),
        (b"nn,,n=,r=x", no_attribute),
        (b"n,x,n=,r=x", no_attribute),
        (
            b"p=tls-server-end-point,,n=,r=x",
            ServerError::ChannelBinding,
        ),
        (b"n,a=bob,n=,r=x", ServerError::AuthorizationIdentity),
        (b"n,,m=ext,n=,r=x", ServerError::Extension),
        (b"n,,r=x", attribute(b'n')),
        (b"n,,n=", attribute(b'r')),
        (b"n,,n=,x=x", attribute(b'r')),
        (b"n,,n=,r=x,5=y", no_attribute),
        (
            b"n,,n=,r=\x7f",
            MessageError::Value { attribute: b'r' }.into(),
        ),
        (b"n,,n=,r=a\0b", MessageError::ZeroByte.into()),
    ];
    for (message, expected) in cases {
        assert_eq!(
            challenge(message).unwrap_err(),
            expected,
            "{}",
            message.escape_ascii()
        );
    }
    for message in [
        &b"n,,n=,r=x"[..],
        b"y,,n=ann,r=x",
        b"n,,n=,r=x,e=ext,f=",
        b"n,,n=,r=",
    ] {
        assert!(challenge(message).is_ok(), "{}", message.escape_ascii());
    }
}

#[test]
fn refusals_have_the_codes_of_postgresql() {
    let code = |message| challenge(message).unwrap_err().sqlstate();
    assert_eq!(code(b"n,a=bob,n=,r=x"), SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(code(b"n,,m=ext,n=,r=x"), SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(code(b"p=tls-unique,,n=,r=x"), SqlState::PROTOCOL_VIOLATION);
    assert_eq!(code(b"garbage"), SqlState::PROTOCOL_VIOLATION);
}

#[test]
fn second_messages_are_read_as_postgresql_reads_them() {
    let nonce = "xAQEBAQEBAQEBAQEBAQEBAQEB";
    let proof = format!("{}=", "A".repeat(43));
    let attribute = |expected| ServerError::Message(MessageError::Attribute { expected });
    let value = ServerError::Message(MessageError::Value { attribute: b'p' });
    let cases = [
        (String::new(), MessageError::Empty.into()),
        ("garbage".into(), attribute(b'c')),
        ("c=biws".into(), attribute(b'r')),
        (
            format!("c=eSws,r={nonce},p={proof}"),
            ServerError::ChannelBindingChanged,
        ),
        (
            format!("c=,r={nonce},p={proof}"),
            ServerError::ChannelBindingChanged,
        ),
        (format!("c=biws,r=x,p={proof}"), ServerError::Nonce),
        (format!("c=biws,r={nonce}A,p={proof}"), ServerError::Nonce),
        (
            format!("c=biws,r={nonce}"),
            MessageError::NoAttribute.into(),
        ),
        (
            format!("c=biws,r={nonce},x=1"),
            MessageError::NoAttribute.into(),
        ),
        (format!("c=biws,r={nonce},p="), value),
        (format!("c=biws,r={nonce},p=YQ=="), value),
        (format!("c=biws,r={nonce},p={proof}="), value),
        (
            format!("c=biws,r={nonce},p={proof},x=1"),
            MessageError::Garbage.into(),
        ),
        (
            format!("c=biws,r={nonce},p={proof}\0"),
            MessageError::ZeroByte.into(),
        ),
        (format!("c=biws,r={nonce},p={proof}"), ServerError::Proof),
        (
            format!("c=biws,r={nonce},x=1,p={proof}"),
            ServerError::Proof,
        ),
    ];
    for (message, expected) in cases {
        let (challenge, server_first) = challenge(b"n,,n=,r=x").unwrap();
        assert!(server_first.starts_with(format!("r={nonce},").as_bytes()));
        assert_eq!(
            challenge.client_final(message.as_bytes()).unwrap_err(),
            expected,
            "{message}"
        );
    }
}

#[test]
fn challenges_of_a_server_are_checked() {
    let nonce = "AgICAgICAgICAgICAgICAgIC";
    let value = |attribute| ClientError::Message(MessageError::Value { attribute });
    let attribute = |expected| ClientError::Message(MessageError::Attribute { expected });
    let cases = [
        (String::new(), MessageError::Empty.into()),
        ("r=other,s=YQ==,i=1".into(), ClientError::Nonce),
        ("r=,s=YQ==,i=1".into(), ClientError::Nonce),
        (format!("r={nonce}\u{7f},s=YQ==,i=1"), ClientError::Nonce),
        (format!("m=x,r={nonce},s=YQ==,i=1"), attribute(b'r')),
        (format!("r={nonce}x"), attribute(b's')),
        (format!("r={nonce}x,s=YQ=="), attribute(b'i')),
        (format!("r={nonce}x,s=,i=1"), value(b's')),
        (format!("r={nonce}x,s=!,i=1"), value(b's')),
        (format!("r={nonce}x,s=YQ==,i=0"), value(b'i')),
        (format!("r={nonce}x,s=YQ==,i=1000001"), value(b'i')),
        (format!("r={nonce}x,s=YQ==,i=2147483648000"), value(b'i')),
        (
            format!("r={nonce}x,s=YQ==,i=1,?"),
            MessageError::NoAttribute.into(),
        ),
    ];
    for (message, expected) in cases {
        let client = ScramClient::new([2; NONCE_BYTES]);
        assert_eq!(client.client_first(), format!("n,,n=,r={nonce}").as_bytes());
        assert_eq!(
            client.server_first(message.as_bytes()).unwrap_err(),
            expected,
            "{message}"
        );
    }
}

#[test]
fn keys_for_another_verifier_are_not_used() {
    let message = b"r=AgICAgICAgICAgICAgICAgICx,s=YWJj,i=7";
    let ask = || {
        ScramClient::new([2; NONCE_BYTES])
            .server_first(message)
            .unwrap()
    };
    assert_eq!((ask().salt(), ask().iterations()), (&b"abc"[..], 7));
    assert!(ask().finish(&derive_with_pbkdf2(b"x", b"abc", 7)).is_ok());
    let other_salt = ask().finish(&derive_with_pbkdf2(b"x", b"abd", 7));
    assert_eq!(other_salt.err(), Some(ClientError::Keys));
    let other_count = ask().finish(&derive_with_pbkdf2(b"x", b"abc", 8));
    assert_eq!(other_count.err(), Some(ClientError::Keys));
}

#[test]
fn a_server_that_does_not_know_the_verifier_is_found_out() {
    let verify = |message: &[u8]| {
        let challenge = b"r=AgICAgICAgICAgICAgICAgICx,s=YWJj,i=1";
        let state = ScramClient::new([2; NONCE_BYTES])
            .server_first(challenge)
            .unwrap();
        let (last, _) = state.finish(&derive_with_pbkdf2(b"x", b"abc", 1)).unwrap();
        last.verify(message).unwrap_err()
    };
    let wrong = format!("v={}=", "A".repeat(43));
    assert_eq!(verify(wrong.as_bytes()), ClientError::Signature);
    let attribute = MessageError::Attribute { expected: b'v' };
    assert_eq!(verify(b"x=1"), attribute.into());
    assert_eq!(
        verify(b"v=YQ=="),
        MessageError::Value { attribute: b'v' }.into()
    );
    assert_eq!(verify(b"garbage"), MessageError::NoAttribute.into());
    assert_eq!(verify(b""), MessageError::Empty.into());
    let refused = verify(b"e=invalid-proof\nforged \xff");
    assert_eq!(
        refused,
        ClientError::Refused {
            reason: "invalid-proof?forged ?".into()
        }
    );
}

#[test]
fn secrets_are_not_printed() {
    let keys = keys_of(b"pencil");
    assert_eq!(
        format!("{:?} {:?}", keys.client, keys.server),
        "ClientKey(..) ServerKey(..)"
    );
    assert_eq!(
        format!("{:?}", Md5Hash::of(b"ann", b"pencil")),
        "Md5Hash(..)"
    );
    assert_eq!(format!("{:?}", MockSecret::new([1; 32])), "MockSecret(..)");
}

#[test]
fn md5_hashes_are_those_of_postgresql() {
    // As PostgreSQL 15 stored it for role ann with password pencil.
    let stored = "md528754acffc5400623f44a44d30b50393";
    assert_eq!(Md5Hash::of(b"ann", b"pencil").to_string(), stored);
    let hash: Md5Hash = stored.parse().unwrap();
    assert_eq!(hash.to_string(), stored);
    for text in [
        "",
        "md5",
        "28754acffc5400623f44a44d30b50393",
        &stored[..34],
        &stored.to_uppercase(),
    ] {
        assert!(text.parse::<Md5Hash>().is_err(), "{text}");
    }
    assert!(
        "md528754ACFFC5400623F44A44D30B50393"
            .parse::<Md5Hash>()
            .is_err()
    );
}

#[test]
fn md5_answers_fit_their_salt_only() {
    let hash = Md5Hash::of(b"ann", b"pencil");
    let answer = hash.answer(*b"salt");
    // md5sum of "28754acffc5400623f44a44d30b50393salt".
    assert_eq!(answer, "md54933d913ee8ea3c8d73c6322de31508f");
    assert!(hash.check(*b"salt", answer.as_bytes()));
    assert!(!hash.check(*b"sale", answer.as_bytes()));
    assert!(!hash.check(*b"salt", b""));
    assert!(!hash.check(*b"salt", &answer.as_bytes()[..34]));
    assert!(!hash.check(*b"salt", b"pencil"));
    assert!(!Md5Hash::of(b"bob", b"pencil").check(*b"salt", answer.as_bytes()));
}

proptest! {
    #[test]
    fn both_sides_agree_exactly_when_the_passwords_do(
        password in vec(any::<u8>(), 0..30),
        other in vec(any::<u8>(), 0..30),
    ) {
        prop_assert!(log_in(credentials(&password), &password).is_ok());
        let same = keys_of(&password) == keys_of(&other);
        prop_assert_eq!(log_in(credentials(&password), &other).is_ok(), same);
    }

    #[test]
    fn text_passwords_agree_too(password in "\\PC{0,20}") {
        prop_assert!(log_in(credentials(password.as_bytes()), password.as_bytes()).is_ok());
    }

    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..120)) {
        let _ = challenge(&noise);
        let _ = challenge(b"n,,n=,r=x").unwrap().0.client_final(&noise);
        let _ = ScramClient::new([2; NONCE_BYTES]).server_first(&noise);
        let _ = String::from_utf8_lossy(&noise).parse::<Verifier>();
        let _ = String::from_utf8_lossy(&noise).parse::<Md5Hash>();
    }

    #[test]
    fn a_changed_byte_never_lets_in(at in any::<prop::sample::Index>(), byte: u8) {
        let client = ScramClient::new([2; NONCE_BYTES]);
        let (challenge, message) = challenge(&client.client_first()).unwrap();
        let (_, mut answer) = client.server_first(&message).unwrap().finish(&keys_of(b"pencil")).unwrap();
        let at = at.index(answer.len());
        prop_assume!(answer[at] != byte);
        answer[at] = byte;
        prop_assert!(challenge.client_final(&answer).is_err());
    }

    #[test]
    fn verifiers_come_back(salt in vec(any::<u8>(), 1..40), rounds in 1..1_000_001_u32, key: [u8; 32]) {
        let verifier = Verifier {
            iterations: rounds,
            salt,
            stored: StoredKey::new(key),
            server: ServerKey::new(key.map(|byte| !byte)),
        };
        prop_assert_eq!(verifier.to_string().parse::<Verifier>(), Ok(verifier));
    }
}
