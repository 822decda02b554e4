//! Clients that insert numbers, each once, and keep books of every answer: a number that was acknowledged is
//! in the table exactly once, one that met an error at most once, and no other is there. Owns no test.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{eventually, message::*},
};

/// How a number is inserted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// One simple query.
    Simple,
    /// Parse, Bind, Execute and Sync in one piece.
    Extended,
    /// A transaction of three round trips.
    Transaction,
}

/// How an insert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Uncertain,
}

/// Running clients.
pub(crate) struct Load {
    threads: Vec<JoinHandle<Vec<(u64, Fate)>>>,
    acknowledged: Arc<[AtomicU64]>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts `count` clients of the proxy, each in its own way.
    pub(crate) fn start(stage: &Stage, count: usize) -> Self {
        stage.sql(Self::TABLE);
        Self::start_at(stage.proxy.address(), count)
    }

    /// What they need of the database.
    pub(crate) const TABLE: &str = "CREATE TABLE numbers (n bigint); GRANT ALL ON numbers TO app";

    /// The same, at this address, where the table is.
    pub(crate) fn start_at(address: SocketAddr, count: usize) -> Self {
        let acknowledged: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let client = Client {
                number,
                address,
                acknowledged: Arc::clone(&acknowledged),
                stop: Arc::clone(&stop),
            };
            thread::spawn(move || client.run())
        });
        Self {
            threads: threads.collect(),
            acknowledged,
            stop,
        }
    }

    /// Waits until every client has had this many more answers.
    pub(crate) fn wait_for_progress(&self, more: u64) {
        let counts = || {
            self.acknowledged
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
        };
        let wanted: Vec<_> = counts().map(|count| count + more).collect();
        eventually("every client had more answers", || {
            counts()
                .zip(&wanted)
                .all(|(count, wanted)| count >= *wanted)
        });
    }

    /// Ends the clients and compares their books with the table. The number of uncertain inserts.
    pub(crate) fn finish(self, stage: &Stage) -> usize {
        self.compare(|question| stage.sql(question))
    }

    /// The same with whoever can be asked for the table.
    pub(crate) fn compare(self, ask: impl FnOnce(&str) -> String) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let books: Vec<_> = self
            .threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let books: BTreeMap<u64, Fate> = books.into_iter().collect();
        let rows = ask("SELECT n, count(*) FROM numbers GROUP BY n");
        let mut found: BTreeMap<u64, u64> = rows.lines().map(parse_pair).collect();
        for (number, fate) in &books {
            match (fate, found.remove(number).unwrap_or(0)) {
                (Fate::Acknowledged, 1) | (Fate::Uncertain, 0 | 1) => {}
                (fate, count) => panic!("{number} is {fate:?} and {count} times in the table"),
            }
        }
        assert!(found.is_empty(), "nobody inserted {found:?}");
        books
            .values()
            .filter(|fate| **fate == Fate::Uncertain)
            .count()
    }
}

fn parse_pair(line: &str) -> (u64, u64) {
    let (number, count) = line.split_once('|').unwrap();
    (number.parse().unwrap(), count.parse().unwrap())
}

struct Client {
    number: usize,
    address: SocketAddr,
    acknowledged: Arc<[AtomicU64]>,
    stop: Arc<AtomicBool>,
}

impl Client {
    fn run(self) -> Vec<(u64, Fate)> {
        let way = [Way::Simple, Way::Extended, Way::Transaction][self.number % 3];
        let mut session = Session::login(self.address).unwrap();
        let mut book = Vec::new();
        let first = 1_000_000 * (self.number as u64 + 1);
        for number in first.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let fate = insert(&mut session, way, number);
            if fate == Fate::Acknowledged {
                self.acknowledged[self.number].fetch_add(1, Ordering::Relaxed);
            }
            book.push((number, fate));
        }
        book
    }
}

/// Inserts one number. The session must survive whatever happens to the server.
fn insert(session: &mut Session, way: Way, number: u64) -> Fate {
    let text = format!("INSERT INTO numbers VALUES ({number}) RETURNING n");
    match way {
        Way::Simple => fate(session.query(&text), number),
        Way::Extended => {
            let request = all([parse("", &text), bind("", "", &[]), execute(""), sync()]);
            fate(session.ask(&request), number)
        }
        Way::Transaction => insert_in_transaction(session, &text, number),
    }
}

fn insert_in_transaction(session: &mut Session, text: &str, number: u64) -> Fate {
    let begun = is_fine(&session.query("BEGIN"));
    let inserted = begun && fate(session.query(text), number) == Fate::Acknowledged;
    if inserted && is_fine(&session.query("COMMIT")) {
        return Fate::Acknowledged;
    }
    // Where the loss came before COMMIT the transaction is a failed one, whose end needs no server.
    if session.is_in_block() {
        assert!(is_fine(&session.query("ROLLBACK")), "ROLLBACK works always");
    }
    Fate::Uncertain
}

fn fate(answer: Answer, number: u64) -> Fate {
    if !is_fine(&answer) {
        return Fate::Uncertain;
    }
    assert_eq!(answer.row(), number.to_string(), "each answer is its own");
    Fate::Acknowledged
}

/// False for an error that a lost server explains; fails the test for any other.
fn is_fine(answer: &Answer) -> bool {
    match answer {
        Answer::Rows(_) => true,
        Answer::Error(sqlstate, _) if matches!(&sqlstate[..2], "08" | "57") => false,
        Answer::Error(sqlstate, _) if sqlstate == "25P02" => false,
        other => panic!("the session got {other:?}"),
    }
}
