//! What comes before a session: encryption requests, protocol versions, options, cancel keys that are wrong.

use super::bystander::Stage;
use crate::support::{message::*, peer::Client};
use pgring::protocol::{
    backend::NotificationResponse, startup::ProtocolVersion, tag::backend::NEGOTIATE_VERSION,
};

const APP: [(&str, &str); 2] = [("user", "app"), ("database", "app")];

fn gss_request() -> Vec<u8> {
    written(|to| {
        to.gss_request();
    })
}

#[test]
fn encryption_is_declined_once_for_each_kind() {
    let stage = Stage::set();
    for requests in [
        vec![ssl_request()],
        vec![gss_request()],
        vec![ssl_request(), gss_request()],
        vec![gss_request(), ssl_request()],
    ] {
        let mut client = Client::connect(stage.proxy.address());
        for request in &requests {
            assert_eq!(client.send(request).receive_byte(), b'N');
        }
        client.send(startup(&APP));
        client.expect_login();
    }
}

#[test]
fn encryption_is_not_declined_twice() {
    let stage = Stage::set();
    for request in [ssl_request(), gss_request()] {
        let mut client = Client::connect(stage.proxy.address());
        assert_eq!(client.send(&request).receive_byte(), b'N');
        client.send(&request).expect("E");
        client.expect_end();
    }
}

#[test]
fn a_client_may_send_everything_at_once() {
    let stage = Stage::set();
    let mut client = Client::connect(stage.proxy.address());
    client.send(all([startup(&APP), query("SELECT 1"), terminate()]));
    client.expect_login();
    let mut backend = stage.server.expect(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
    client.expect_end();
}

#[test]
fn protocol_3_2_gets_a_long_cancel_key_and_nothing_else() {
    let stage = Stage::set();
    let mut client = Client::connect(stage.proxy.address());
    client.send(startup_of(ProtocolVersion::V3_2, &APP));
    assert_eq!(
        client.receive().tag,
        pgring::protocol::tag::backend::AUTHENTICATION
    );
    client.expect_login();
    let (_, key) = client.key.clone().unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(stage.client().key.clone().unwrap().1.len(), 4);
}

#[test]
fn newer_protocols_and_options_are_negotiated_down() {
    let stage = Stage::set();
    let options = [("user", "app"), ("_pq_.x", "1"), ("_pq_.y", "")];
    let newest = ProtocolVersion {
        major: 3,
        minor: 99,
    };
    let unknown = b"\0\0\0\x02_pq_.x\0_pq_.y\0";
    let cases: [(_, &[_], Vec<u8>); 3] = [
        (newest, &APP, b"\0\x03\0\x02\0\0\0\0".to_vec()),
        (newest, &options, [&b"\0\x03\0\x02"[..], unknown].concat()),
        (
            ProtocolVersion::V3_0,
            &options,
            [&b"\0\x03\0\0"[..], unknown].concat(),
        ),
    ];
    for (version, parameters, expected) in cases {
        let mut client = Client::connect(stage.proxy.address());
        client.send(startup_of(version, parameters));
        let answer = client.receive();
        assert_eq!((answer.tag, answer.body), (NEGOTIATE_VERSION, expected));
        client.expect_login();
    }
}

/// A session's own notifications bear the number that it was told is its own.
#[test]
fn a_client_knows_its_own_notifications() {
    let stage = Stage::set();
    let (mut client, mut backend) = stage.in_transaction();
    let (own, _) = client.key.clone().unwrap();
    let other = backend.process_id() + 1;
    let from = |process| {
        written(|to| {
            to.notification(process, "channel", "payload");
        })
    };
    client.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    let both = all([from(backend.process_id()), from(other)]);
    backend.answer(all([command_complete("COMMIT"), both, ready()]));
    client.expect("C");
    for expected in [own, other] {
        let heard = client.receive();
        let notification = NotificationResponse::read(&heard.body).unwrap();
        assert_eq!(notification.process_id, expected);
        assert_eq!(
            (notification.channel, notification.payload),
            (&b"channel"[..], &b"payload"[..])
        );
    }
    client.expect("Z");
}

#[test]
fn clients_hear_what_the_server_said_at_login() {
    let stage = Stage::set();
    let told = |client: &Client| client.parameters.clone();
    let expected =
        crate::support::mock::PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(told(&stage.client()), expected);
    assert_eq!(told(&stage.client()), expected);
}

#[test]
fn a_cancel_request_with_a_wrong_key_does_nothing() {
    let stage = Stage::set();
    let (mut client, mut backend) = stage.in_transaction();
    let (process_id, key) = client.key.clone().unwrap();
    client.send(query("SELECT pg_sleep(9)"));
    backend.expect_message(query("SELECT pg_sleep(9)"));
    let wrong: Vec<u8> = key.iter().map(|byte| !byte).collect();
    for (process_id, key) in [
        (process_id, &wrong[..]),
        (process_id, b"longer than any key"),
        (process_id ^ 1, &key[..]),
        (-1, &key[..]),
        (i32::MIN, &key[..]),
        (0, &key[..]),
    ] {
        let mut other = Client::connect(stage.proxy.address());
        other.send(cancel_request(process_id, key)).expect_end();
    }
    // The right one is the first that the server hears of.
    Client::connect(stage.proxy.address())
        .send(cancel_request(process_id, &key))
        .expect_end();
    assert_eq!(stage.server.next_cancel().0, backend.process_id());
    backend.answer(all([
        error("57014", "canceling statement due to user request"),
        ready_failed(),
    ]));
    client.expect_error("57014");
    client.expect("Z");
    client.send(query("ROLLBACK"));
    backend.expect_message(query("ROLLBACK"));
    backend.answer(all([command_complete("ROLLBACK"), ready()]));
    client.expect("C Z");
}
