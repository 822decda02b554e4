//! Logins: what clients must prove, what pgring proves to servers, and what becomes of a refusal on either side.

use pgring::auth::{
    Credentials, ITERATIONS, MECHANISM, Md5Hash, ScramClient, ScramServer, Verifier,
    derive_with_pbkdf2, scram_server::Challenge,
};
use pgring::protocol::{
    backend::Authentication,
    frontend::{Password, SaslInitialResponse, SaslResponse},
    startup::Initial,
    tag::backend::ERROR_RESPONSE,
};

use crate::support::{
    eventually,
    message::*,
    mock::{Backend, MockServer},
    peer::{Client, Message},
    proxy::{Config, Proxy},
};

const FAILED: &str = "password authentication failed for user";

fn verifier(password: &str) -> Verifier {
    Verifier::of(&derive_with_pbkdf2(
        password.as_bytes(),
        b"sixteen bytes...",
        ITERATIONS,
    ))
}

fn method(name: &str, server: &MockServer) -> Config {
    Config::default()
        .set("auth", &format!("method = \"{name}\""))
        .set("runtime", "workers = 1\npin = false")
        .node("pg1", server.address())
}

fn hello(proxy: &Proxy, user: &str) -> Client {
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", user), ("database", "app")]));
    client
}

/// Answers whatever the client is asked; the last message read is AuthenticationOk or an error.
fn prove(client: &mut Client, user: &str, password: &str) -> Message {
    let asked = client.expect("R").remove(0);
    match Authentication::read(&asked.body).unwrap() {
        Authentication::Md5 { salt } => {
            let answer = Md5Hash::of(user.as_bytes(), password.as_bytes()).answer(salt);
            client.send(crate::support::message::password(&answer));
            client.receive()
        }
        Authentication::Sasl { .. } => prove_with_scram(client, password),
        _ => asked,
    }
}

fn prove_with_scram(client: &mut Client, password: &str) -> Message {
    let scram = ScramClient::new([7; 18]);
    let first = scram.client_first();
    client.send(written(|to| {
        to.sasl_initial_response(MECHANISM, Some(&first)).unwrap()
    }));
    let asked = client.expect("R").remove(0);
    let Authentication::SaslContinue { data } = Authentication::read(&asked.body).unwrap() else {
        client.fail("expected a challenge")
    };
    let server_first = scram.server_first(data).unwrap();
    let keys = derive_with_pbkdf2(
        password.as_bytes(),
        server_first.salt(),
        server_first.iterations(),
    );
    let (server_final, answer) = server_first.finish(&keys).unwrap();
    client.send(written(|to| {
        to.sasl_response(&answer);
    }));
    let answer = client.receive();
    match Authentication::read(&answer.body) {
        Ok(Authentication::SaslFinal { data }) => {
            server_final.verify(data).unwrap();
            client.receive()
        }
        _ => answer,
    }
}

fn expect_failure(answer: &Message, user: &str) {
    assert_eq!(
        answer.error(),
        ("28P01".to_owned(), format!("{FAILED} \"{user}\""))
    );
}

#[test]
fn clients_prove_themselves_or_hear_the_same_thing() {
    let server = MockServer::bind();
    for name in ["md5", "scram-sha-256"] {
        let config = method(name, &server)
            .user("plain", "secret")
            .user("verified", &verifier("secret").to_string());
        let (config, users) = match name {
            "md5" => (
                config.user("hashed", &stored_md5("hashed", "secret")),
                &["plain", "verified", "hashed"][..],
            ),
            _ => (config, &["plain", "verified"][..]),
        };
        let proxy = Proxy::start(&config);
        for user in users {
            let answer = prove(&mut hello(&proxy, user), user, "secret");
            assert_eq!(answer.body, [0, 0, 0, 0], "{name} {user}");
            let mut client = hello(&proxy, user);
            expect_failure(&prove(&mut client, user, "wrong"), user);
            client.expect_end();
        }
        let mut client = hello(&proxy, "unknown");
        expect_failure(&prove(&mut client, "unknown", "secret"), "unknown");
        client.expect_end();
    }
}

/// As pg_authid stores it.
fn stored_md5(user: &str, password: &str) -> String {
    use md5::{Digest, Md5};
    let sum = Md5::digest(format!("{password}{user}"));
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("md5{digits}")
}

#[test]
fn passwords_are_the_only_answer_to_a_password_request() {
    let server = MockServer::bind();
    let proxy = Proxy::start(&method("scram-sha-256", &server).user("app", "secret"));
    let wrong = [
        query("SELECT 1"),
        b"p\0\0\0\x04".to_vec(),
        b"p\0\0\0\x05x".to_vec(),
        written(|to| to.sasl_initial_response("PLAIN", Some(b"x")).unwrap()),
        written(|to| {
            to.sasl_initial_response(MECHANISM, Some(b"n,,n=,r=\x80"))
                .unwrap()
        }),
        written(|to| to.sasl_initial_response(MECHANISM, None).unwrap()),
        [&b"p\0\x01\0\x05"[..], &[b'x'; 70_000]].concat(),
        b"p\xff\xff\xff\xff".to_vec(),
    ];
    for bytes in wrong {
        let mut client = hello(&proxy, "app");
        client.expect("R");
        client.send(&bytes);
        client.expect_error("08P01");
        client.expect_end();
    }
}

/// A pgring in front of `server`, whose clients need no password.
fn trusting(server: &MockServer, user: &str) -> Proxy {
    let config = method("trust", server).table("user", &format!("name = \"app\"\n{user}"));
    Proxy::start(&config)
}

/// A client logs in, the server asks; then pgring's login goes on with `ask`.
fn server_asks(user: &str, request: Vec<u8>) -> (Proxy, MockServer, Client, Backend) {
    let server = MockServer::bind();
    let proxy = trusting(&server, user);
    let client = hello(&proxy, "app");
    let mut backend = server.accept();
    backend.receive_initial();
    backend.answer(request);
    (proxy, server, client, backend)
}

fn asks_cleartext() -> Vec<u8> {
    written(|to| {
        to.authentication_cleartext();
    })
}

fn asks_md5() -> Vec<u8> {
    written(|to| {
        to.authentication_md5([1, 2, 3, 4]);
    })
}

fn asks_sasl(mechanism: &str) -> Vec<u8> {
    written(|to| {
        to.authentication_sasl([mechanism]);
    })
}

#[test]
fn a_server_may_ask_for_the_password() {
    for user in [
        "password = \"secret\"",
        "password = \"other\"\nserver_password = \"secret\"",
    ] {
        let (_proxy, _server, mut client, mut backend) = server_asks(user, asks_cleartext());
        let answer = backend.receive();
        assert_eq!(Password::read(&answer.body).unwrap().password, b"secret");
        backend.accept_login();
        client.expect_login();
    }
}

#[test]
fn a_server_may_ask_for_an_md5_password() {
    let hash = format!("password = \"{}\"", stored_md5("app", "secret"));
    for user in ["password = \"secret\"", &hash] {
        let server = MockServer::bind();
        let config = method("md5", &server).table("user", &format!("name = \"app\"\n{user}"));
        let proxy = Proxy::start(&config);
        let mut client = hello(&proxy, "app");
        assert_eq!(prove(&mut client, "app", "secret").body, [0; 4]);
        let mut backend = server.accept();
        backend.receive_initial();
        backend.answer(asks_md5());
        let answer = backend.receive();
        let expected = Md5Hash::of(b"app", b"secret").answer([1, 2, 3, 4]);
        assert_eq!(
            Password::read(&answer.body).unwrap().password,
            expected.as_bytes()
        );
        backend.accept_login();
        client.expect_login();
    }
}

/// The first half of the server's part of SCRAM.
fn challenge(backend: &mut Backend, verifier: Verifier) -> Challenge {
    backend.answer(asks_sasl(MECHANISM));
    let answer = backend.receive();
    let first = SaslInitialResponse::read(&answer.body).unwrap();
    let scram = ScramServer::new(Credentials::of(verifier));
    let data = first.data.unwrap_or_default();
    let (challenge, data) = scram.client_first(first.mechanism, data, [9; 18]).unwrap();
    backend.answer(written(|to| {
        to.authentication_sasl_continue(&data);
    }));
    challenge
}

/// The server's part of SCRAM; it must end well.
fn check_scram(backend: &mut Backend, verifier: Verifier) {
    let challenge = challenge(backend, verifier);
    let answer = backend.receive();
    let proven = challenge
        .client_final(SaslResponse::read(&answer.body).data)
        .unwrap();
    backend.answer(written(|to| {
        to.authentication_sasl_final(&proven.server_final);
    }));
}

#[test]
fn a_server_may_ask_for_scram() {
    let server = MockServer::bind();
    let proxy = trusting(&server, "password = \"secret\"");
    let mut client = hello(&proxy, "app");
    // A server whose password was changed has another salt.
    for salt in [&b"sixteen bytes..."[..], b"other bytes"] {
        let mut backend = server.accept();
        backend.receive_initial();
        check_scram(
            &mut backend,
            Verifier::of(&derive_with_pbkdf2(b"secret", salt, 1000)),
        );
        backend.accept_login();
        if salt.len() == 16 {
            client.expect_login();
            client.send(query("SELECT 1"));
        }
        backend.expect_message(query("SELECT 1"));
        backend.answer(fatal("57P01", "once more"));
        client.expect("E Z");
        client.send(query("SELECT 1"));
    }
}

#[test]
fn a_verifier_is_enough_when_the_client_proves_the_password() {
    let server = MockServer::bind();
    let verifier = verifier("secret");
    let proxy = Proxy::start(&method("scram-sha-256", &server).user("app", &verifier.to_string()));
    let mut client = hello(&proxy, "app");
    assert_eq!(prove(&mut client, "app", "secret").body, [0; 4]);
    let mut backend = server.accept();
    backend.receive_initial();
    check_scram(&mut backend, verifier);
    backend.accept_login();
    client.expect_login();
}

#[test]
fn a_server_that_cannot_prove_itself_gets_no_client() {
    let (_proxy, _server, mut client, mut backend) = server_asks("password = \"secret\"", vec![]);
    challenge(&mut backend, verifier("secret"));
    backend.receive();
    let forged = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    backend.answer(written(|to| {
        to.authentication_sasl_final(forged);
    }));
    client.expect("R");
    client.expect_error("57P03");
    client.expect_end();
    backend.expect_end();
}

#[test]
fn a_server_that_asks_for_what_is_not_there() {
    let gss = b"R\0\0\0\x08\0\0\0\x07".to_vec();
    let of_verifier = format!("password = \"{}\"", verifier("secret"));
    let cases = [
        ("", asks_cleartext(), "28000"),
        ("", asks_md5(), "28000"),
        (&of_verifier, asks_cleartext(), "28000"),
        (&of_verifier, asks_md5(), "28000"),
        ("password = \"secret\"", asks_sasl("SCRAM-SHA-1"), "57P03"),
        ("password = \"secret\"", gss, "57P03"),
        ("password = \"secret\"", query("SELECT 1"), "57P03"),
        (
            "password = \"secret\"",
            b"R\xff\xff\xff\xff".to_vec(),
            "57P03",
        ),
        (
            "password = \"secret\"",
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            "57P03",
        ),
    ];
    for (user, request, sqlstate) in cases {
        let (proxy, _server, mut client, mut backend) = server_asks(user, request);
        client.expect("R");
        client.expect_error(sqlstate);
        client.expect_end();
        while backend.try_receive().is_some() {}
        proxy
            .process()
            .wait_for("cannot open a server connection")
            .unwrap();
    }
}

#[test]
fn a_verifier_is_not_enough_when_the_client_proves_nothing() {
    let of_verifier = format!("password = \"{}\"", verifier("secret"));
    for user in ["", &of_verifier] {
        let (_proxy, _server, mut client, mut backend) = server_asks(user, vec![]);
        challenge(&mut backend, verifier("secret"));
        client.expect("R");
        client.expect_error("28000");
        client.expect_end();
        backend.expect_end();
    }
}

#[test]
fn what_the_server_says_at_login_reaches_the_client_unchanged() {
    let refusals = [
        fatal("3D000", "database \"app\" does not exist"),
        fatal("28000", "role \"app\" is not permitted to log in"),
        fatal("53300", "sorry, too many clients already"),
        fatal("57P03", "the database system is starting up"),
        written(|to| {
            to.message(
                ERROR_RESPONSE,
                b"SFATAL\0VFATAL\0C28000\0Mno\0Zunheard of\0\0",
            );
        }),
    ];
    for refusal in refusals {
        let (_proxy, _server, mut client, _backend) = server_asks("", refusal.clone());
        client.expect("R");
        client.expect_exactly(&refusal);
        client.expect_end();
    }
}

#[test]
fn a_storm_of_logins_at_a_server_that_refuses_is_not_passed_on() {
    let server = MockServer::bind();
    let config = Config::trust(server.address())
        .set("pool", "size = 5")
        .set("pool", "login_backoff = \"1min\"")
        .set("pool", "login_backoff_max = \"1min\"");
    let proxy = Proxy::start(&config);
    let attempts = server.refuse_everyone(fatal("57P03", "the database system is starting up"));
    let mut clients: Vec<_> = (0..200).map(|_| hello(&proxy, "app")).collect();
    for client in &mut clients {
        client.expect("R");
        client.expect_error("57P03");
        client.expect_end();
    }
    assert!((1..=5).contains(&attempts.count()), "{}", attempts.count());
}

#[test]
fn statements_wait_for_a_server_that_starts_up() {
    let server = MockServer::bind();
    let config = Config::trust(server.address()).set("pool", "login_backoff = \"1ms\"");
    let proxy = Proxy::start(&config);
    let mut client = hello(&proxy, "app");
    let mut backend = server.accept();
    backend.expect_login();
    client.expect_login();
    drop(backend);
    client.send(query("SELECT 1"));
    for _ in 0..3 {
        let mut backend = server.accept();
        backend.receive_initial();
        backend.answer(fatal("57P03", "the database system is starting up"));
    }
    let mut backend = server.accept();
    backend.expect_login();
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
}

#[test]
fn statements_do_not_wait_for_a_server_that_will_not_have_them() {
    let server = MockServer::bind();
    let proxy = Proxy::start(&Config::trust(server.address()));
    let descriptors = proxy.descriptors();
    let mut client = hello(&proxy, "app");
    let mut backend = server.accept();
    backend.expect_login();
    client.expect_login();
    drop(backend);
    proxy.wait_for_descriptors(descriptors + 1);
    client.send(query("SELECT 1"));
    let mut backend = server.accept();
    backend.receive_initial();
    backend.answer(fatal("28000", "role \"app\" is not permitted to log in"));
    assert!(client.expect_error("28000").contains("not permitted"));
    client.expect_exactly(ready());
}

#[test]
fn a_server_is_asked_for_the_user_and_the_database_of_the_client() {
    let server = MockServer::bind();
    let config = Config::trust(server.address())
        .table("database", "name = \"app\"\nserver_name = \"app_live\"");
    let proxy = Proxy::start(&config);
    let mut client = hello(&proxy, "joe");
    let mut backend = server.accept();
    let packet = backend.expect_login();
    let Some((Initial::Startup(packet), _)) = Initial::read(&packet).unwrap() else {
        panic!("expected a startup packet")
    };
    assert_eq!(
        (packet.user(), packet.database()),
        (&b"joe"[..], &b"app_live"[..])
    );
    client.expect_login();
    // Other databases are not served.
    let mut client = Client::connect(proxy.address());
    client.send(startup(&[("user", "joe"), ("database", "nonsense")]));
    client.expect("R");
    assert!(client.expect_error("3D000").contains("nonsense"));
    client.expect_end();
}

#[test]
fn names_that_clients_make_up_are_forgotten() {
    let server = MockServer::bind();
    let config = Config::trust(server.address())
        .set("pool", "login_backoff = \"1ms\"")
        .set("pool", "login_backoff_max = \"1ms\"");
    let proxy = Proxy::start(&config);
    let _attempts = server.refuse_everyone(fatal("3D000", "no such database"));
    for number in 0..20 {
        let mut client = Client::connect(proxy.address());
        client.send(startup(&[
            ("user", "app"),
            ("database", &format!("made_up_{number}")),
        ]));
        client.expect("R");
        client.expect_error("3D000");
        client.expect_end();
    }
    let mut console = super::pools::console(&proxy);
    eventually("no pool was left", || console.rows("SHOW POOLS").is_empty());
}

/// With `trust`, only those come in whom the file names, unless it says otherwise.
#[test]
fn trust_is_for_those_who_are_named() {
    let server = MockServer::bind();
    let proxy = trusting(&server, "");
    let mut client = hello(&proxy, "postgres");
    let text = client.expect_error("28000");
    assert!(text.contains("postgres"), "{text}");
    client.expect_end();
    let config = method("trust", &server).set("auth", "unknown_users = true");
    let proxy = Proxy::start(&config);
    let mut client = hello(&proxy, "postgres");
    client.expect("R");
}

/// What is asked does not tell which users there are.
#[test]
fn users_that_do_not_exist_are_asked_as_those_that_do() {
    let server = MockServer::bind();
    let asked = |config: Config| {
        let proxy = Proxy::start(&config);
        let kind = |user: String| {
            let mut client = hello(&proxy, &user);
            let asked = client.expect("R").remove(0);
            matches!(
                Authentication::read(&asked.body),
                Ok(Authentication::Md5 { .. })
            )
        };
        let twice = |number| {
            let first = kind(format!("stranger{number}"));
            assert_eq!(
                first,
                kind(format!("stranger{number}")),
                "the same each time"
            );
            first
        };
        (0..20).map(twice).filter(|is_md5| *is_md5).count()
    };
    let hashed = |config: Config, user: &str| config.user(user, &stored_md5(user, "secret"));
    let verified = |config: Config, user: &str| config.user(user, &verifier("secret").to_string());
    let config = method("md5", &server);
    assert_eq!(asked(hashed(config.clone(), "one")), 20);
    assert_eq!(asked(verified(config.clone(), "one")), 0);
    let both = asked(hashed(verified(config, "one"), "two"));
    assert!((1..20).contains(&both), "{both}");
}
