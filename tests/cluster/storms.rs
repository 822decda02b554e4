//! A storm for each store that a client fills: pgring's memory ends where the store's bound says, whoever sent how much,
//! and everybody else is served.

use std::thread;

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{message::*, proxy::Config},
};

const MIB: usize = 1024 * 1024;

/// What pgring may grow by beside the bound of the store: buffers of messages under way, and what the allocator keeps.
const SLACK_KIB: u64 = 48 * 1024;

/// A pool of two on one core; `adapt` sets the bound.
fn stage(adapt: impl FnOnce(Config) -> Config) -> Stage {
    Stage::trusting(|config| adapt(config.workers(1).set("pool", "size = 2")))
}

/// Lets the storm come, which sends `sent` bytes, and compares.
fn stays_below(stage: &Stage, bound_kib: u64, sent: usize, storm: impl FnOnce()) {
    let mut bystander = Session::login(stage.proxy.address()).unwrap();
    assert_eq!(bystander.query("SELECT 1").row(), "1");
    let before = stage.proxy.memory_kib();
    storm();
    assert_eq!(bystander.query("SELECT 1").row(), "1");
    let grown = stage.proxy.memory_kib().saturating_sub(before);
    let most = bound_kib + SLACK_KIB;
    assert!((sent as u64) / 1024 > 2 * most, "this was no storm");
    assert!(grown < most, "it grew by {grown} KiB, of {most}");
}

/// A text that no other has.
fn text(number: usize, bytes: usize) -> String {
    format!("SELECT length('{number}{}')", "x".repeat(bytes))
}

fn is_refused(answer: &Answer) -> bool {
    match answer {
        Answer::Rows(_) => false,
        Answer::Error(sqlstate, _) if sqlstate == "53400" => true,
        other => panic!("{other:?}"),
    }
}

#[test]
fn statements_of_clients_that_have_left() {
    let stage = stage(|config| config);
    let (clients, statements) = (40, 10);
    // What is kept for those who may come with it again, and what two connections have.
    let bound = 16 * 1024 + 2 * 8 * 1024;
    stays_below(&stage, bound, clients * statements * MIB, || {
        for client in 0..clients {
            let mut session = Session::login(stage.proxy.address()).unwrap();
            for number in 0..statements {
                let name = format!("s{number}");
                let text = text(client * statements + number, MIB);
                let ask = all([
                    parse(&name, &text),
                    bind("", &name, &[]),
                    execute(""),
                    sync(),
                ]);
                assert!(session.ask(&ask).row().parse::<usize>().unwrap() > MIB);
            }
        }
    });
}

#[test]
fn texts_without_a_name() {
    let stage = stage(|config| config);
    let mut session = Session::login(stage.proxy.address()).unwrap();
    let bound = 16 * 1024 + 2 * 8 * 1024;
    stays_below(&stage, bound, 400 * MIB, || {
        for number in 0..400 {
            let text = text(number, MIB);
            let ask = all([parse("", &text), bind("", "", &[]), execute(""), sync()]);
            assert!(session.ask(&ask).row().parse::<usize>().unwrap() > MIB);
        }
    });
}

#[test]
fn names_in_a_pipeline_that_does_not_end() {
    let stage = stage(|config| config.set("pool", "statement_bytes_per_client = \"1MiB\""));
    let mut session = Session::login(stage.proxy.address()).unwrap();
    stays_below(&stage, 1024, 120 * MIB, || {
        for number in 0..120 {
            let sent = session.send(&parse(&format!("s{number}"), &text(number, MIB)));
            if sent.is_err() {
                break;
            }
        }
        assert!(is_refused(&session.answer()));
        assert!(matches!(session.answer(), Answer::Closed(_)));
    });
}

/// The server refuses each Bind; what its portal would have been called is charged all the same, until the block ends.
#[test]
fn portals_of_a_failed_block() {
    let stage = stage(|config| config.set("pool", "statement_bytes_per_client = \"1MiB\""));
    let mut session = Session::login(stage.proxy.address()).unwrap();
    assert_eq!(
        session.ask(&all([parse("one", "SELECT 1"), sync()])),
        Answer::Rows(vec![])
    );
    session.query("BEGIN");
    session.query("SELECT 1/0");
    stays_below(&stage, 1024, 160 * MIB, || {
        for number in 0..2600 {
            let portal = format!("{number}{}", "p".repeat(64 * 1024 - 100));
            let ask = all([bind(&portal, "one", &[]), sync()]);
            match session.ask(&ask) {
                Answer::Error(sqlstate, _) if sqlstate == "25P02" => {}
                answer => {
                    assert!(is_refused(&answer));
                    break;
                }
            }
        }
    });
}

/// The same where pgring itself answers, because the block's server is gone.
#[test]
fn portals_of_a_block_without_a_server() {
    let stage = stage(|config| config.set("pool", "statement_bytes_per_client = \"1MiB\""));
    let mut session = Session::login(stage.proxy.address()).unwrap();
    session.query("BEGIN");
    session.query("SELECT 1");
    stage.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'");
    assert!(matches!(session.query("SELECT 1"), Answer::Error(..)));
    stays_below(&stage, 1024, 160 * MIB, || {
        for number in 0..2600 {
            let name = format!("{number}{}", "p".repeat(64 * 1024 - 100));
            let ask = all([parse(&name, "SELECT 1"), bind(&name, &name, &[]), sync()]);
            match session.ask(&ask) {
                Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "25P02"),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn settings_that_nobody_else_has() {
    let stage = stage(|config| config);
    let value = |number: usize| format!("{number}{}", "v".repeat(9000));
    // So many sets of settings are kept.
    stays_below(&stage, 1024 * 10, 24_000 * 9000, || {
        for number in 0..8_000 {
            for setting in 0..3 {
                let name = format!("my.s{setting}");
                let who = [
                    ("user", "app"),
                    ("database", "app"),
                    (&*name, &*value(number * 3 + setting)),
                ];
                let mut session = Session::login_with(stage.proxy.address(), &who).unwrap();
                if number % 100 == 0 {
                    assert_eq!(session.query("SELECT 1").row(), "1");
                }
            }
        }
    });
}

/// Each is within its bound, and all together are not. Those beyond it go to the server as they come, and end like an idle
/// transaction.
#[test]
fn statements_that_do_not_end() {
    let limit = "idle_in_transaction_timeout = \"200ms\"";
    let stage = stage(|config| config.set("pool", limit));
    let (clients, bytes) = (24, 15 * MIB);
    let beginning = &parse("name", &text(0, bytes + 1000))[..bytes];
    let mut waiting = Vec::new();
    stays_below(&stage, 64 * 1024, clients * bytes, || {
        thread::scope(|scope| {
            let send = || {
                let mut session = Session::login(stage.proxy.address()).unwrap();
                // Those that were ended do not take all of it.
                let _sent = session.send(beginning);
                session
            };
            let all: Vec<_> = (0..clients).map(|_| scope.spawn(send)).collect();
            waiting.extend(all.into_iter().map(|one| one.join().unwrap()));
        });
        // Those that are within the bound are there yet.
        assert!(stage.proxy.memory_kib() > 50 * 1024);
    });
    let rest = &parse("name", &text(0, bytes + 1000))[bytes..];
    let ends = |mut session: Session| {
        session.send(&[rest, &sync()].concat()).is_ok() && session.answer() == Answer::Rows(vec![])
    };
    let finished = waiting.into_iter().map(ends).filter(|ends| *ends).count();
    assert!((3..=4).contains(&finished), "{finished}");
}
