//! What is too large, too many or malformed: the server's own answer, bounded memory, and nobody else disturbed.

#![expect(clippy::too_many_lines, reason = "tables of conversations")]

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    conversation::{Conversation, Step, ask, q, talk, unnamed, use_statement},
    proof::{prove, stage},
    support::{
        crowd::POOL,
        message::*,
        session::{Answer, Session},
    },
};

const NAMES: usize = 100_000;

/// Names prepared before the answers are read.
const BATCH: usize = 500;

/// What a hundred thousand names may cost, in KiB.
const NAMES_KIB_MAX: u64 = 128 * 1024;

const MIB: usize = 1 << 20;

#[test]
fn huge_and_malformed() {
    prove(901, conversations());
}

fn conversations() -> Vec<Conversation> {
    let statement = format!("SELECT length('{}'), $1::int", "x".repeat(10 * MIB));
    let name = "n".repeat(MIB);
    let other = format!("{name}o");
    let value = "v".repeat(MIB);
    let settings: String = (0..300)
        .map(|n| format!("SET my.v{n} = 'value {n}';"))
        .collect();
    let malformed = |tag: u8, body: &[u8]| {
        let length = (body.len() + 4) as u32;
        [&[tag], length.to_be_bytes().as_slice(), body].concat()
    };
    vec![
        talk(
            "a statement of 10 MB",
            [
                ask([parse("s", &statement), describe_statement("s"), sync()]),
                ask([bind("", "s", &["1"]), execute(""), sync()]),
                q("SELECT 'in between'"),
                ask([
                    bind("", "s", &["2"]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]),
                ask([close_statement("s"), sync()]),
                ask([bind("", "s", &["3"]), execute(""), sync()]),
            ],
        ),
        talk(
            "a query of 10 MB",
            [
                Step::Ask(query(&statement.replace("$1", "7"))),
                q("SELECT 1"),
            ],
        ),
        talk(
            "a SET of 10 MB",
            [
                Step::Ask(query(&format!(
                    "/*{}*/ SET work_mem = '9MB'",
                    "x".repeat(10 * MIB)
                ))),
                q("SHOW work_mem"),
            ],
        ),
        talk(
            "names of 1 MB",
            [
                ask([
                    parse(&name, "SELECT 'long'"),
                    parse(&other, "SELECT 'longer'"),
                    sync(),
                ]),
                ask([use_statement(&name), use_statement(&other), sync()]),
                ask([use_statement(&format!("{name}x")), sync()]),
                ask([use_statement(&other), sync()]),
                Step::Ask(query(&format!("DEALLOCATE {other}"))),
                Step::Ask(query(&format!("PREPARE {name} AS SELECT 'cut'"))),
                Step::Ask(query(&format!("EXECUTE {other}"))),
                ask([parse("s", "SELECT 's'"), bind(&name, "s", &[]), sync()]),
            ],
        ),
        talk(
            "a setting of 1 MB",
            [
                Step::Ask(query(&format!("SET my.var = '{value}'"))),
                q("SELECT length(current_setting('my.var'))"),
                ask([
                    parse("", "SELECT length(set_config('my.other', $1, false))"),
                    bind("", "", &[&value]),
                    execute(""),
                    sync(),
                ]),
                q("SELECT length(current_setting('my.other')), length(current_setting('my.var'))"),
                q("RESET ALL"),
                q("SELECT length(current_setting('my.var'))"),
            ],
        ),
        talk(
            "three hundred settings",
            [
                Step::Ask(query(&settings)),
                q("SELECT current_setting('my.v0'), current_setting('my.v299')"),
                q("SHOW my.v150"),
                q("DISCARD ALL"),
                q("SELECT coalesce(current_setting('my.v150', true), '')"),
            ],
        ),
        talk(
            "zero bytes in a query",
            [
                Step::Ask(malformed(b'Q', b"SET work_mem = '9MB'\0; SELECT 2\0")),
                q("SHOW work_mem"),
                Step::Ask(malformed(b'Q', b"SET my.var = 'a\0b'\0")),
                q("SELECT coalesce(current_setting('my.var', true), '')"),
            ],
        ),
        talk(
            "zero bytes in a Parse",
            [
                ask([
                    malformed(b'P', b"s\0SELECT 1\0SELECT 2\0\0\0"),
                    parse("s1", "SELECT 1"),
                    sync(),
                ]),
                ask([use_statement("s1"), sync()]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a Bind that is cut short",
            [
                ask([
                    parse("s", "SELECT 's'"),
                    malformed(b'B', b"\0s\0\0"),
                    execute(""),
                    sync(),
                ]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "a Describe of neither",
            [
                ask([parse("s", "SELECT 's'"), malformed(b'D', b"Xs\0"), sync()]),
                ask([malformed(b'C', b"Xs\0"), sync()]),
                ask([use_statement("s"), sync()]),
            ],
        ),
        talk(
            "bytes that are no text",
            [
                Step::Ask(malformed(b'Q', b"SET my.var = '\xff\xfe'\0")),
                Step::Ask(malformed(b'Q', b"SELECT '\xc3'\0")),
                ask([malformed(b'P', b"\xff\0SELECT 'odd name'\0\0\0"), sync()]),
                ask([
                    malformed(b'B', b"\0\xff\0\0\0\0\0\0\0"),
                    execute(""),
                    sync(),
                ]),
                ask([unnamed("SELECT 1"), sync()]),
            ],
        ),
    ]
}

/// The answer to a pipeline that must succeed.
fn fine(session: &mut Session, request: &[u8]) -> Vec<String> {
    match session.ask(request) {
        Answer::Rows(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn prepare_names(session: &mut Session) {
    for first in (0..NAMES).step_by(BATCH) {
        let names = first..first + BATCH;
        let parse = |n| parse(&format!("name {n}"), &format!("SELECT {n}"));
        let mut request: Vec<u8> = names.flat_map(parse).collect();
        request.extend(sync());
        fine(session, &request);
    }
}

/// Works with a statement of its own until it is told to stop; how often.
fn work(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut session = Session::login(address).unwrap();
    fine(
        &mut session,
        &all([parse("name 7", "SELECT 'mine'"), sync()]),
    );
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = all([bind("", "name 7", &[]), execute(""), sync()]);
        assert_eq!(fine(&mut session, &request), ["mine"]);
        count += 1;
    }
    count
}

/// Stops the others, also when a test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

mod alone {
    use super::*;

    #[test]
    fn a_hundred_thousand_names() {
        let stage = stage();
        let address = stage.proxy.address();
        let stop = &AtomicBool::new(false);
        let before = stage.proxy.memory_kib();
        thread::scope(|scope| {
            let others = [(); POOL - 1].map(|()| scope.spawn(|| work(address, stop)));
            let end = StopAtEnd(stop);
            let mut session = Session::login(address).unwrap();
            prepare_names(&mut session);
            for n in (0..NAMES).step_by(997) {
                let request = all([bind("", &format!("name {n}"), &[]), execute(""), sync()]);
                assert_eq!(fine(&mut session, &request), [n.to_string()]);
            }
            let mut on_server = Session::login(address).unwrap();
            let count = on_server
                .query("SELECT count(*) FROM pg_prepared_statements")
                .row();
            assert!(
                count.parse::<usize>().unwrap() < NAMES / 2,
                "{count} on one connection"
            );
            let grown = stage.proxy.memory_kib().saturating_sub(before);
            assert!(grown < NAMES_KIB_MAX, "{grown} KiB more");
            drop(end);
            for other in others {
                assert!(other.join().unwrap() > 100, "the others worked meanwhile");
            }
        });
    }
}
