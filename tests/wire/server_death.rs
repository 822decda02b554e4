//! A server connection that dies, at every point of a session: what its client hears, and whether the session
//! goes on with another one.

use super::bystander::{Stage, round_trip};
use crate::support::{
    message::*,
    mock::Backend,
    peer::{Client, Message},
};

/// The ways in which a server connection dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    Closes,
    Resets,
    SaysSo,
}
use Death::{Closes, Resets, SaysSo};

const DEATHS: [Death; 3] = [Closes, Resets, SaysSo];

const LAST_WORDS: &str = "terminating connection due to administrator command";

fn die(mut backend: Backend, how: Death) {
    match how {
        Closes => drop(backend),
        Resets => backend.reset(),
        SaysSo => drop(backend.answer(fatal("57P01", LAST_WORDS))),
    }
}

/// The error must be an ordinary one, and repeat what the server said: as the error itself, unless something may have
/// been committed.
fn expect_loss(client: &mut Client, sqlstate: &str, how: Death) {
    let error = client.expect("E").remove(0);
    let (told, message) = error.error();
    assert_eq!(field(&error, b'V'), "ERROR");
    match (how, sqlstate) {
        (SaysSo, "08006") => assert_eq!((&*told, &*message), ("57P01", LAST_WORDS)),
        (SaysSo, _) => assert!(field(&error, b'D').contains(LAST_WORDS), "{message}"),
        _ => assert_eq!(told, sqlstate, "{how:?}: {message}"),
    }
}

fn field(error: &Message, code: u8) -> String {
    let fields = pgring::protocol::backend::ErrorFields::read(&error.body).unwrap();
    let value = fields.field(code).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// The session works, over a connection that is not the one that died.
fn goes_on(stage: &Stage, client: &mut Client) -> Backend {
    client.send(query("SELECT 'again'"));
    let mut backend = stage.server.expect(query("SELECT 'again'"));
    backend.answer(one_value("again"));
    client.expect("T D C Z");
    backend
}

/// A session that has been served, and the connection that went back to the pool.
fn served(stage: &Stage) -> (Client, Backend) {
    let mut client = stage.client();
    let backend = goes_on(stage, &mut client);
    (client, backend)
}

#[test]
fn idle_in_the_pool() {
    let stage = Stage::set();
    let (mut client, mut backend) = served(&stage);
    for how in DEATHS {
        let descriptors = stage.proxy.descriptors();
        die(backend, how);
        stage.proxy.wait_for_descriptors(descriptors - 1);
        backend = goes_on(&stage, &mut client);
    }
}

#[test]
fn before_the_answer() {
    let stage = Stage::set();
    let mut client = stage.client();
    for how in DEATHS {
        client.send(query("SELECT 1"));
        die(stage.server.expect(query("SELECT 1")), how);
        expect_loss(&mut client, "08006", how);
        client.expect_exactly(ready());
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn between_the_messages_of_an_answer() {
    let stage = Stage::set();
    let answer = [
        columns(&["value"]),
        row(&["1"]),
        command_complete("SELECT 1"),
    ];
    for how in DEATHS {
        for count in 1..=answer.len() {
            let mut client = stage.client();
            client.send(query("SELECT 1"));
            let mut backend = stage.server.expect(query("SELECT 1"));
            backend.answer(answer[..count].concat());
            client.expect_exactly(answer[..count].concat());
            die(backend, how);
            expect_loss(&mut client, "08006", how);
            client.expect_exactly(ready());
            drop(goes_on(&stage, &mut client));
        }
    }
}

#[test]
fn in_the_middle_of_a_message() {
    let stage = Stage::set();
    for how in [Closes, Resets] {
        let mut client = stage.client();
        client.send(query("SELECT 1"));
        let mut backend = stage.server.expect(query("SELECT 1"));
        let big = row(&[&"x".repeat(100_000)]);
        backend.answer(columns(&["value"])).answer(&big[..50_000]);
        client.expect("T");
        backend.wait_until_taken();
        die(backend, how);
        // The client has a part of the row: nothing can be said any more.
        assert!(client.try_receive().is_none());
    }
}

#[test]
fn in_the_header_of_a_message() {
    let stage = Stage::set();
    for cut in 1..5 {
        let mut client = stage.client();
        client.send(query("SELECT 1"));
        let mut backend = stage.server.expect(query("SELECT 1"));
        backend
            .answer(columns(&["value"]))
            .answer(&row(&["1"])[..cut]);
        client.expect("T");
        backend.wait_until_taken();
        die(backend, Closes);
        expect_loss(&mut client, "08006", Closes);
        client.expect_exactly(ready());
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn in_the_middle_of_a_held_message() {
    let stage = Stage::set();
    let mut client = stage.client();
    client.send(query("SELECT 1"));
    let mut backend = stage.server.expect(query("SELECT 1"));
    let failed = error("22012", "division by zero");
    backend
        .answer(&failed[..failed.len() - 1])
        .wait_until_taken();
    die(backend, Closes);
    expect_loss(&mut client, "08006", Closes);
    client.expect_exactly(ready());
    goes_on(&stage, &mut client);
}

/// A server that breaks the protocol is as good as dead.
#[test]
fn nonsense_instead_of_an_answer() {
    let stage = Stage::set();
    for nonsense in [
        &b"T\xff\xff\xff\xff"[..],
        b"Z\0\0\0\0",
        b"Z\0\0\0\x05?",
        b"Z\0\0\0\x04",
    ] {
        let mut client = stage.client();
        client.send(query("SELECT 1"));
        let mut backend = stage.server.expect(query("SELECT 1"));
        backend.answer(nonsense);
        expect_loss(&mut client, "08006", Closes);
        client.expect_exactly(ready());
        backend.expect_end();
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn idle_in_a_transaction() {
    let stage = Stage::set();
    for how in DEATHS {
        let descriptors = stage.proxy.descriptors();
        let (mut client, backend) = stage.in_transaction();
        let with_both = stage.proxy.descriptors();
        assert!(with_both >= descriptors);
        die(backend, how);
        stage.proxy.wait_for_descriptors(with_both - 1);
        // Nothing is said before the client asks.
        client.send(query("INSERT INTO t VALUES (1)"));
        expect_loss(&mut client, "08006", how);
        client.expect_exactly(ready_failed());
        stays_failed_until_rollback(&stage, &mut client);
    }
}

#[test]
fn while_a_statement_of_a_transaction_runs() {
    let stage = Stage::set();
    for how in DEATHS {
        let (mut client, mut backend) = stage.in_transaction();
        client.send(query("INSERT INTO t VALUES (1)"));
        backend.expect_message(query("INSERT INTO t VALUES (1)"));
        die(backend, how);
        expect_loss(&mut client, "08006", how);
        client.expect_exactly(ready_failed());
        stays_failed_until_rollback(&stage, &mut client);
    }
}

fn stays_failed_until_rollback(stage: &Stage, client: &mut Client) {
    client.send(query("SELECT 1"));
    client.expect_error("25P02");
    client.expect_exactly(ready_failed());
    client.send(all([
        parse("", "SELECT 1"),
        bind("", "", &[]),
        execute(""),
        sync(),
    ]));
    client.expect_error("25P02");
    client.expect_exactly(ready_failed());
    client.send(query("ROLLBACK"));
    client.expect_exactly(all([command_complete("ROLLBACK"), ready()]));
    drop(goes_on(stage, client));
}

#[test]
fn idle_in_a_transaction_that_the_client_then_commits() {
    let stage = Stage::set();
    let (mut client, backend) = stage.in_transaction();
    let descriptors = stage.proxy.descriptors();
    die(backend, Closes);
    stage.proxy.wait_for_descriptors(descriptors - 1);
    client.send(query("COMMIT"));
    client.expect_error("08006");
    client.expect_exactly(ready());
    goes_on(&stage, &mut client);
}

#[test]
fn a_lost_transaction_is_rolled_back_in_the_extended_protocol_too() {
    let stage = Stage::set();
    let (mut client, mut backend) = stage.in_transaction();
    client.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    die(backend, Closes);
    client.expect_error("08006");
    client.expect_exactly(ready_failed());
    client.send(all([
        parse("", "ROLLBACK"),
        bind("", "", &[]),
        describe_portal(""),
        execute(""),
        sync(),
    ]));
    client.expect_exactly(all([
        parse_complete(),
        bind_complete(),
        no_data(),
        command_complete("ROLLBACK"),
        ready(),
    ]));
    goes_on(&stage, &mut client);
}

#[test]
fn while_a_commit_is_under_way() {
    let stage = Stage::set();
    for how in DEATHS {
        let (mut client, mut backend) = stage.in_transaction();
        client.send(query("COMMIT"));
        backend.expect_message(query("COMMIT"));
        die(backend, how);
        expect_loss(&mut client, "08007", how);
        client.expect_exactly(ready());
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn while_a_prepared_commit_is_under_way() {
    let stage = Stage::set();
    let commit = || all([parse("", "COMMIT"), bind("", "", &[]), execute(""), sync()]);
    for answered in 0..4 {
        let (mut client, mut backend) = stage.in_transaction();
        client.send(commit());
        backend.expect_message(commit());
        let answer = [
            parse_complete(),
            bind_complete(),
            command_complete("COMMIT"),
        ][..answered]
            .concat();
        backend.answer(&answer);
        client.expect_exactly(&answer);
        die(backend, Closes);
        expect_loss(&mut client, "08007", Closes);
        client.expect_exactly(ready());
        drop(goes_on(&stage, &mut client));
    }
}

fn group(text: &str) -> Vec<u8> {
    all([parse("", text), bind("", "", &[]), execute(""), sync()])
}

#[test]
fn in_a_pipeline() {
    let stage = Stage::set();
    let mut texts = (0..).map(|number| format!("SELECT {number}"));
    let answer = [
        parse_complete(),
        bind_complete(),
        row(&["1"]),
        command_complete("SELECT 1"),
        ready(),
    ];
    for how in DEATHS {
        for count in 0..answer.len() {
            let mut client = stage.client();
            let [first, second] = [(); 2].map(|()| group(&texts.next().unwrap()));
            client.send(all([first.clone(), second.clone(), query("SELECT 2")]));
            let mut backend = stage.server.next();
            backend.expect_message(all([first, second, query("SELECT 2")]));
            backend.answer(answer[..count].concat());
            client.expect_exactly(answer[..count].concat());
            die(backend, how);
            for _ in 0..3 {
                expect_loss(&mut client, "08006", how);
                client.expect_exactly(ready());
            }
            drop(goes_on(&stage, &mut client));
        }
    }
}

#[test]
fn in_a_pipeline_before_its_sync() {
    let stage = Stage::set();
    for how in DEATHS {
        let mut client = stage.client();
        let said = || all([parse("", &format!("SELECT '{how:?}'")), flush()]);
        client.send(said());
        let text = format!("SELECT '{how:?}'");
        let heard = all([parse_and_describe("", &text), flush()]);
        let mut backend = stage.server.expect(heard);
        backend.answer(parsed_and_described());
        client.expect("1");
        die(backend, how);
        expect_loss(&mut client, "08006", how);
        client.send(all([bind("", "", &[]), execute(""), flush()]));
        client.send(sync());
        client.expect_exactly(ready());
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn while_data_is_copied_in() {
    let stage = Stage::set();
    for how in DEATHS {
        let mut client = stage.client();
        client.send(query("COPY t FROM STDIN"));
        let mut backend = stage.server.expect(query("COPY t FROM STDIN"));
        backend.answer(copy_in());
        client.expect("G");
        client.send(copy_data(b"1\n"));
        backend.expect_message(copy_data(b"1\n"));
        die(backend, how);
        expect_loss(&mut client, "08006", how);
        client.expect_exactly(ready());
        // What the client had under way is ignored.
        client.send(all([copy_data(b"2\n"), copy_done()]));
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn while_a_long_copy_message_is_on_its_way() {
    let stage = Stage::set();
    let mut client = stage.client();
    client.send(query("COPY t FROM STDIN"));
    let mut backend = stage.server.expect(query("COPY t FROM STDIN"));
    backend.answer(copy_in());
    client.expect("G");
    let long = copy_data(&vec![b'x'; 100_000]);
    client.send(&long[..50_000]);
    client.wait_until_taken();
    die(backend, Closes);
    expect_loss(&mut client, "08006", Closes);
    client.expect_exactly(ready());
    client.send(&long[50_000..]);
    goes_on(&stage, &mut client);
}

#[test]
fn while_data_is_copied_out() {
    let stage = Stage::set();
    for how in DEATHS {
        let mut client = stage.client();
        client.send(query("COPY t TO STDOUT"));
        let mut backend = stage.server.expect(query("COPY t TO STDOUT"));
        let begun = all([copy_out(), copy_data(b"1\n")]);
        backend.answer(&begun);
        client.expect_exactly(&begun);
        die(backend, how);
        expect_loss(&mut client, "08006", how);
        client.expect_exactly(ready());
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn a_session_of_session_mode_ends_with_its_connection() {
    let stage = Stage::set_with(|config| config.set("pool", "mode = \"session\""));
    for how in DEATHS {
        let (mut client, mut backend) = served(&stage);
        client.send(query("SELECT 1"));
        backend.expect_message(query("SELECT 1"));
        die(backend, how);
        let error = client.expect("E").remove(0);
        assert_eq!(
            (error.error().0.as_str(), &*field(&error, b'V')),
            (if let SaysSo = how { "57P01" } else { "08006" }, "FATAL")
        );
        client.expect_end();
        // Also when the client asks for nothing.
        let (mut client, backend) = served(&stage);
        die(backend, how);
        assert_eq!(field(&client.expect("E").remove(0), b'V'), "FATAL");
        client.expect_end();
    }
}

#[test]
fn a_prepared_statement_outlives_its_connection() {
    let stage = Stage::set();
    let mut client = stage.client();
    client.send(all([parse("s", "SELECT 1"), sync()]));
    let prepared = || all([parse_and_describe("pgring_1", "SELECT 1"), sync()]);
    let mut backend = stage.server.expect(prepared());
    backend.answer(all([parsed_and_described(), ready()]));
    client.expect("1 Z");
    let run = |name: &str| all([bind("", name, &[]), execute(""), sync()]);
    let answer = || {
        all([
            bind_complete(),
            row(&["1"]),
            command_complete("SELECT 1"),
            ready(),
        ])
    };
    // While nobody looks, and in the middle of its use.
    for how in DEATHS {
        let descriptors = stage.proxy.descriptors();
        die(backend, how);
        stage.proxy.wait_for_descriptors(descriptors - 1);
        let again = |client: &mut Client| {
            client.send(run("s"));
            let ahead = parse_and_describe("pgring_1", "SELECT 1");
            let mut backend = stage.server.expect(all([ahead, flush()]));
            backend.answer(parsed_and_described());
            backend.expect_message(run("pgring_1"));
            backend
        };
        die(again(&mut client), how);
        expect_loss(&mut client, "08006", how);
        client.expect_exactly(ready());
        backend = again(&mut client);
        backend.answer(answer());
        client.expect_exactly(answer());
    }
}

#[test]
fn a_session_that_listens_ends_with_its_connection() {
    let stage = Stage::set();
    let mut client = stage.client();
    client.send(query("LISTEN channel"));
    let mut backend = stage.server.expect(query("LISTEN channel"));
    backend.answer(all([command_complete("LISTEN"), ready()]));
    client.expect("C Z");
    backend.expect_state_query();
    backend.answer(state_query("app", &[], "l"));
    round_trip(&mut client, &mut backend);
    die(backend, SaysSo);
    let error = client.expect("E").remove(0);
    assert_eq!(field(&error, b'V'), "FATAL");
    assert!(field(&error, b'D').contains("listen"));
    client.expect_end();
}

/// Nobody can tell what state is gone: the session goes on, as one that nothing is known of.
#[test]
fn while_the_state_is_asked_for() {
    let stage = Stage::set();
    for how in DEATHS {
        let mut client = stage.client();
        client.send(query("SET work_mem = '1MB'"));
        let mut backend = stage.server.expect(query("SET work_mem = '1MB'"));
        backend.answer(all([command_complete("SET"), ready()]));
        client.expect("C Z");
        backend.expect_state_query();
        let descriptors = stage.proxy.descriptors();
        die(backend, how);
        stage.proxy.wait_for_descriptors(descriptors - 1);
        drop(goes_on(&stage, &mut client));
    }
}

/// What a server says without being asked makes its connection useless for the next client.
#[test]
fn a_server_that_speaks_out_of_turn_in_the_pool_is_left() {
    let stage = Stage::set();
    for words in [
        ready(),
        one_value("1"),
        notification("channel"),
        error("XX000", "ill"),
        b"Z".to_vec(),
    ] {
        let (mut client, mut backend) = served(&stage);
        backend.answer(words).expect_end();
        drop(goes_on(&stage, &mut client));
    }
}

#[test]
fn a_server_that_answers_too_much_is_not_used_again() {
    let stage = Stage::set();
    for too_much in [
        all([one_value("1"), ready()]),
        all([parse_complete(), one_value("1")]),
        all([one_value("1"), one_value("2")]),
        all([copy_in(), one_value("1")]),
    ] {
        let mut client = stage.client();
        client.send(query("SELECT 1"));
        let mut backend = stage.server.expect(query("SELECT 1"));
        backend.answer(&too_much).wait_until_taken();
        client.send(terminate());
        client.expect_exactly(&too_much).expect_end();
        backend.expect_end();
    }
}
