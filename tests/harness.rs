//! The test bench itself: each peer against something known to be right, and each check shown to fail.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, io::Read, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, thread};

use pgring::cli::postgres::{Account, Cluster, Options, Workplace};
use support::{
    message::*,
    mock::{Backends, MockServer},
    peer::Client,
    proxy::{Config, Proxy},
    tools, versions,
};

fn trusting_postgres() -> Cluster {
    support::postgres(&Options {
        host_auth: "trust".to_owned(),
        ..Options::default()
    })
}

fn mock() -> Backends {
    MockServer::bind().log_in_everyone()
}

#[test]
fn a_client_talks_to_a_real_server() {
    let server = trusting_postgres();
    let mut client = Client::login(server.primary.address());
    assert!(
        client
            .parameter("server_version")
            .is_some_and(|version| version.starts_with("1"))
    );
    assert_eq!(client.rows("SELECT 1, NULL, 'x'; SELECT 2"), ["1||x", "2"]);
    client.send(all([
        parse("s", "SELECT $1::int + 1"),
        bind("", "s", &["41"]),
        execute(""),
        sync(),
    ]));
    let answer = client.expect("1 2 D C Z");
    assert_eq!(values(answer[2].frame()), [Some("42".to_owned())]);
    client.send(query("SELECT nonsense"));
    assert!(client.expect_error("42703").contains("nonsense"));
    client.expect("Z");
    client.terminate();
}

#[test]
fn each_version_of_postgres_is_at_hand() {
    let versions = versions::postgres_versions();
    assert!(versions.len() >= 3, "{versions:?}");
    let options = Options::default();
    for installation in versions {
        let server = support::postgres_of(&installation, &options);
        let says = server
            .primary
            .sql("app", "SHOW server_version_num")
            .unwrap();
        assert_eq!(says.len(), 6, "{says}");
        assert_eq!(says[..2], installation.version().to_string());
    }
}

#[test]
fn programs_that_servers_cannot_reach_are_copied() {
    let mut folder = versions::postgres_version(17).bin().to_owned();
    folder.pop();
    assert_eq!(versions::within_reach(&folder), folder);
    let own = tempfile::tempdir().unwrap();
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o700)).unwrap();
    tools::run(Command::new("cp").arg("-R").arg(&folder).arg(own.path()));
    let hidden = own.path().join(folder.file_name().unwrap());
    let reached = versions::within_reach(&hidden);
    let are_hidden = Account::for_servers().unwrap() != Account::Own;
    assert_eq!(reached != hidden, are_hidden);
    assert!(reached.join("bin/postgres").exists());
}

#[test]
fn a_client_may_cut_a_message_anywhere() {
    let server = trusting_postgres();
    let mut client = Client::login(server.primary.address());
    let message = query("SELECT 1");
    for cut in 1..message.len() {
        client.send_cut_at(&[cut], &message).expect("T D C Z");
    }
    let everywhere: Vec<_> = (1..message.len()).collect();
    client.send_cut_at(&everywhere, &message).expect("T D C Z");
}

#[test]
fn a_script_reads_like_a_transcript() {
    let server = mock();
    let mut client = Client::login(server.address());
    assert_eq!(client.parameter("server_version"), Some("18.0 (mock)"));

    client.send(query("SELECT 1"));
    let mut backend = server.expect(query("SELECT 1"));
    assert_eq!(
        client.key.as_ref().map(|key| key.0),
        Some(backend.process_id())
    );
    backend.answer(one_value("1"));
    client.expect("T D C Z");

    client.send(all([parse("", "SELECT 2"), sync()]));
    backend.expect_message(all([parse("", "SELECT 2"), sync()]));
    let answer = all([parse_complete(), ready()]);
    backend.send_cut_at(&[], &answer[..3]);
    backend.send(&answer[3..]);
    client.expect("1 Z");

    backend.reset();
    client.expect_end();
}

#[test]
fn a_cut_is_received_before_what_follows() {
    let server = MockServer::bind();
    let mut client = Client::connect(server.address());
    let backend = server.accept();
    let reader = thread::spawn(move || {
        let read = || backend.stream().read(&mut [0; 64]).unwrap();
        [read(), read()]
    });
    client.send_cut_at(&[1], b"abc");
    assert_eq!(reader.join().unwrap(), [1, 2]);
}

#[test]
fn cancel_requests_are_heard() {
    let server = mock();
    let mut client = Client::connect(server.address());
    client.send(cancel_request(7, &[9, 9, 9, 9]));
    assert_eq!(server.next_cancel(), (7, vec![9, 9, 9, 9]));
    client.expect_end();
}

#[test]
#[should_panic(expected = "expected Q\\x00\\x00\\x00\\rSELECT 1\\x00; on this connection so far:")]
fn another_message_than_expected_fails() {
    let server = mock();
    Client::login(server.address()).send(query("SELECT 2"));
    server.expect(query("SELECT 1"));
}

#[test]
#[should_panic(expected = "expected D of T D C Z")]
fn another_answer_than_expected_fails() {
    let server = mock();
    let mut client = Client::login(server.address());
    client.send(query("SELECT 1"));
    server.next().answer(all([
        columns(&["a"]),
        command_complete("SELECT 0"),
        ready(),
    ]));
    client.expect("T D C Z");
}

#[test]
#[should_panic(expected = "closed where a message was expected")]
fn an_early_end_fails() {
    let server = mock();
    let mut client = Client::login(server.address());
    client.send(query("SELECT 1"));
    drop(server.next());
    client.receive();
}

#[test]
#[should_panic(expected = "a message came where the other side should have closed")]
fn a_message_instead_of_an_end_fails() {
    let server = mock();
    let mut client = Client::login(server.address());
    client.send(query("SELECT 1"));
    server.next().answer(ready());
    client.expect_end();
}

/// A program that behaves like pgring as far as the bench can see.
fn pretender(workplace: &Workplace, script: &str) -> PathBuf {
    let path = workplace.path().join("pretender");
    fs::write(
        &path,
        format!("#!/bin/sh\n{script}\nexec tail -f /dev/null\n"),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_proxy_gets_its_configuration_and_is_observed() {
    let workplace = Workplace::create("pgring-test").unwrap();
    let program = pretender(&workplace, "cat \"$3\"; echo INFO ready >&2");
    let node = "127.0.0.1:5432".parse().unwrap();
    let config = Config::trust(node)
        .set("pool", "size = 3")
        .workers(2)
        .user("app", "secret");
    let proxy = Proxy::start_program(&program, &config);
    let log = proxy.process().log().join("\n");
    assert!(log.contains("[pool]\nsize = 3\n"), "{log}");
    assert!(
        log.contains("[runtime]\npin = false\nworkers = 2\n"),
        "{log}"
    );
    assert!(
        log.contains("[[node]]\nname = \"pg1\"\naddress = \"127.0.0.1:5432\"\n"),
        "{log}"
    );
    assert!(proxy.memory_kib() > 0);
    proxy.wait_for_descriptors(proxy.descriptors());
}

#[test]
#[should_panic(expected = "pgring panicked")]
fn a_panic_in_the_log_fails() {
    let workplace = Workplace::create("pgring-test").unwrap();
    let program = pretender(
        &workplace,
        "echo \"thread 'worker' panicked at src/x.rs\"; echo INFO ready >&2",
    );
    Proxy::start_program(&program, &Config::default());
}

#[test]
#[should_panic(expected = "pgring ended (exit status: 1) before it said")]
fn a_proxy_that_does_not_start_fails() {
    let workplace = Workplace::create("pgring-test").unwrap();
    let program = pretender(&workplace, "echo 'Address already in use' >&2; exit 1");
    Proxy::start_program(&program, &Config::default());
}

#[test]
#[should_panic(expected = "ERROR:  division by zero")]
fn a_tool_that_complains_fails() {
    let server = trusting_postgres();
    tools::run(server.primary.tool("psql").args(["-X", "-c", "SELECT 1/0"]));
}

#[test]
fn a_failure_can_be_expected() {
    assert!(
        tools::run_in_vain(Command::new("sh").args(["-c", "echo no >&2; exit 1"])).contains("no")
    );
}
