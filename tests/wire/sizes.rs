//! Messages of every size: around the lengths at which pgring's buffers and limits end, and far above them.

use std::thread;

use super::{bystander::Stage, pools::console};
use crate::support::{
    message::*,
    mock::Backend,
    peer::{Client, Wire},
};

/// Receive buffers of clients and of servers, and the longest message that is held whole.
const BOUNDS: [usize; 3] = [4 * 1024, 16 * 1024, 64 * 1024];

/// Bodies of these many bytes make frames that end at, just before and just after each bound.
fn sizes() -> Vec<usize> {
    let around = |bound: usize| (bound - 8)..(bound + 2);
    let mut sizes: Vec<_> = BOUNDS.into_iter().flat_map(around).collect();
    sizes.extend([1 << 20, 5_000_000]);
    sizes
}

fn filler(length: usize) -> String {
    (0..length)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect()
}

/// Both sides at once: what is large does not fit into the kernel's buffers.
fn pass(from: &mut Wire, to: &mut Wire, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| from.send(bytes));
        to.expect_exactly(bytes);
    });
}

fn stage() -> (Stage, Client, Backend) {
    let stage = Stage::set_with(|config| config.set("pool", "size = 1"));
    let (mut client, mut backend) = stage.in_transaction();
    client.send(query("COMMIT"));
    backend.expect_message(query("COMMIT"));
    backend.answer(all([command_complete("COMMIT"), ready()]));
    client.expect("C Z");
    (stage, client, backend)
}

#[test]
fn statements() {
    let (_stage, mut client, mut backend) = stage();
    for size in sizes() {
        pass(&mut client, &mut backend, &query(&filler(size - 1)));
        pass(&mut backend, &mut client, &one_value("1"));
        // Nobody knows what such a statement does.
        backend.take_state_query(&[]);
    }
}

#[test]
fn parameters() {
    let (_stage, mut client, mut backend) = stage();
    for size in sizes() {
        let value = filler(size);
        pass(
            &mut client,
            &mut backend,
            &all([
                parse("", &format!("SELECT $1 -- {size}")),
                bind("", "", &[&value]),
                execute(""),
                sync(),
            ]),
        );
        pass(
            &mut backend,
            &mut client,
            &all([
                parse_complete(),
                bind_complete(),
                row(&[&value]),
                command_complete("SELECT 1"),
                ready(),
            ]),
        );
    }
}

#[test]
fn rows_and_everything_else_a_server_says() {
    let (_stage, mut client, mut backend) = stage();
    for size in sizes() {
        client.send(query("SELECT 1"));
        backend.expect_message(query("SELECT 1"));
        let text: &'static str = filler(size).leak();
        pass(
            &mut backend,
            &mut client,
            &all([
                columns(&[text]),
                row(&[text]),
                command_complete(text),
                notice(text),
            ]),
        );
        pass(
            &mut backend,
            &mut client,
            &all([
                notification(text),
                parameter_status("server_version", text),
                error("XX000", text),
                ready(),
            ]),
        );
        // A setting was reported that nobody was seen to change.
        backend.take_state_query(&[]);
    }
}

#[test]
fn copied_data() {
    let (_stage, mut client, mut backend) = stage();
    client.send(query("COPY t FROM STDIN"));
    backend.expect_message(query("COPY t FROM STDIN"));
    backend.answer(copy_in());
    client.expect("G");
    for size in sizes() {
        pass(
            &mut client,
            &mut backend,
            &copy_data(filler(size).as_bytes()),
        );
    }
    pass(&mut client, &mut backend, &copy_done());
    pass(
        &mut backend,
        &mut client,
        &all([command_complete("COPY 1"), ready()]),
    );
}

/// The first piece of a long Parse may hold no more than its header: its name counts all the same.
#[test]
fn long_statements_have_names_too() {
    let (_stage, mut client, mut backend) = stage();
    for (number, cut) in [1, 4, 5, 6, 7, 9, 10, 11].into_iter().enumerate() {
        let text = format!("SELECT '{number}{}'", filler(100_000));
        let (theirs, ours) = (format!("name{number}"), format!("pgring_{:x}", number + 1));
        client
            .send_cut_at(&[cut], parse(&theirs, &text))
            .send(sync());
        backend.expect_message(all([parse_and_describe(&ours, &text), sync()]));
        backend.answer(all([parsed_and_described(), ready()]));
        client.expect("1 Z");
        client.send_cut_at(&[cut], all([bind("", &theirs, &[]), sync()]));
        backend.expect_message(all([bind("", &ours, &[]), sync()]));
        backend.answer(all([bind_complete(), ready()]));
        client.expect("2 Z");
    }
}

/// What is too long to be kept stays where it was parsed, under the client's own name.
#[test]
fn the_longest_statements_keep_their_connection() {
    let (stage, mut client, mut backend) = stage();
    let long = parse("name", &filler(17 << 20));
    pass(&mut client, &mut backend, &long);
    client.send(sync());
    backend.expect_message(sync());
    backend.answer(all([parse_complete(), ready()]));
    client.expect("1 Z");
    let clients = console(&stage.proxy).rows("SHOW CLIENTS");
    let mut pinned = clients.iter().filter(|row| row.ends_with("|odd statement"));
    assert!(pinned.next().is_some(), "{clients:?}");
    stage.client().send(query("SELECT 'other'"));
    let run = || all([bind("", "name", &[]), execute(""), sync()]);
    client.send(run());
    backend.expect_message(run());
}

/// A long COMMIT is a COMMIT, wherever it is cut.
#[test]
fn long_commits_are_commits() {
    let commit = query(&format!("COMMIT /* {} */", filler(100_000)));
    for cut in [1, 5, 6, 8, 11, 12] {
        let stage = Stage::set();
        let (mut client, mut backend) = stage.in_transaction();
        client.send_cut_at(&[cut], &commit);
        backend.expect_message(&commit);
        drop(backend);
        client.expect_error("08007");
        client.expect("Z");
    }
}

/// Names that no buffer holds, in every message that has one. Describe, Execute and Close may not have more than
/// 10,000 bytes, as with PostgreSQL itself.
#[test]
fn names_may_be_long() {
    let (_stage, mut client, mut backend) = stage();
    let sizes = [4_090, 4_096, 9_990, 16_384, 65_536, 1 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        // PostgreSQL tells names apart by their first 63 bytes.
        let name = format!("{number}{}", filler(size - 1));
        let text = format!("SELECT {number}");
        let ours = format!("pgring_{:x}", number + 1);
        pass_as(
            (&mut client, &all([parse(&name, &text), sync()])),
            (
                &mut backend,
                &all([parse_and_describe(&ours, &text), sync()]),
            ),
        );
        backend.answer(all([parsed_and_described(), ready()]));
        client.expect("1 Z");
        let small = size < 10_000;
        let run = |statement: &str| {
            let mut run = bind(&name, statement, &["1"]);
            if small {
                run.extend(all([describe_statement(statement), execute(&name)]));
            }
            run.extend(all([bind("", statement, &["2"]), sync()]));
            run
        };
        pass_as((&mut client, &run(&name)), (&mut backend, &run(&ours)));
        let mut answers = bind_complete();
        if small {
            answers.extend(all([no_data(), command_complete("SELECT 1")]));
        }
        answers.extend(all([bind_complete(), ready()]));
        backend.answer(&answers);
        client.expect_exactly(&answers);
        if small {
            client.send(all([close_statement(&name), sync()]));
            client.expect("3 Z");
        }
    }
}

/// Sent by one side and received by the other, in other words.
fn pass_as((from, said): (&mut Wire, &[u8]), (to, heard): (&mut Wire, &[u8])) {
    thread::scope(|scope| {
        scope.spawn(|| from.send(said));
        to.expect_exactly(heard);
    });
}

/// The names of a long Bind are in its first bytes, wherever they are cut; the rest streams.
#[test]
fn long_binds_have_names_too() {
    let (_stage, mut client, mut backend) = stage();
    let value = filler(100_000);
    client.send(all([parse("a name", "SELECT $1"), sync()]));
    backend.expect_message(all([parse_and_describe("pgring_1", "SELECT $1"), sync()]));
    backend.answer(all([parsed_and_described(), ready()]));
    client.expect("1 Z");
    let names = bind("portal", "a name", &[]).len();
    for cut in 1..=names {
        let said = all([bind("portal", "a name", &[&value]), sync()]);
        client.send_cut_at(&[cut, 50_000], said);
        backend.expect_message(all([bind("portal", "pgring_1", &[&value]), sync()]));
        backend.answer(all([bind_complete(), ready()]));
        client.expect("2 Z");
    }
}
