//! What a read may miss. Many clients write and read back through pgring, while the standbys lag by turns; each client
//! keeps books of what it, and what everybody, was told to be committed before its read began. The checker is known to
//! see, because with `eventual` it does find stale reads.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use pgring::random::Seeded;

use crate::{
    session::{Answer, Session},
    splitting::{Servers, Splitting, error, rows},
    support::{eventually, message::*},
};

/// How many clients there are; each has a row of its own.
pub(crate) const CLIENTS: usize = 12;

/// Writes of each client between two turns of the standbys.
const WRITES: u64 = 15;

/// What is known to be committed, by the row.
pub(crate) struct Ledger {
    pub(crate) told: Vec<AtomicU64>,
    /// Rounds that each client has done.
    pub(crate) rounds: Vec<AtomicU64>,
    pub(crate) stop: AtomicBool,
    /// Reads that missed what their own client, or anybody, had been told.
    pub(crate) stale_own: AtomicU64,
    pub(crate) stale_any: AtomicU64,
    pub(crate) reads: AtomicU64,
}

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        let zeros = || (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            told: zeros(),
            rounds: zeros(),
            stop: AtomicBool::new(false),
            stale_own: AtomicU64::new(0),
            stale_any: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        })
    }

    /// Waits until every client has done so many rounds more.
    pub(crate) fn wait_for_rounds(&self, more: u64) {
        let wanted: Vec<_> = self
            .rounds
            .iter()
            .map(|it| it.load(SeqCst) + more)
            .collect();
        eventually("every client did more", || {
            let done = self.rounds.iter().zip(&wanted);
            done.into_iter()
                .all(|(done, wanted)| done.load(SeqCst) >= *wanted)
        });
    }
    /// Everything that anybody was told, by the row.
    pub(crate) fn told(&self) -> Vec<u64> {
        self.told.iter().map(|it| it.load(SeqCst)).collect()
    }

    /// Client `number` has read these values, when that had been told `before`.
    pub(crate) fn note_read(&self, number: usize, before: &[u64], seen: &[u64]) {
        self.reads.fetch_add(1, SeqCst);
        if seen[number] < before[number] {
            self.stale_own.fetch_add(1, SeqCst);
        }
        if seen.iter().zip(before).any(|(seen, before)| seen < before) {
            self.stale_any.fetch_add(1, SeqCst);
        }
    }
}

/// How a value is committed.
const WAYS: u64 = 10;

/// One client.
struct Checker {
    address: SocketAddr,
    number: usize,
    random: Seeded,
    ledger: Arc<Ledger>,
    session: Session,
    /// What one session was told must be seen by all.
    for_everybody: bool,
}

impl Checker {
    fn run(mut self) {
        let mut value = 0;
        while !self.ledger.stop.load(SeqCst) {
            value += 1;
            self.write(value);
            for _ in 0..1 + self.random.below(3) {
                self.read();
            }
            self.ledger.rounds[self.number].fetch_add(1, SeqCst);
        }
    }

    /// Commits the value in some way; returns when the client has been told so.
    fn write(&mut self, value: u64) {
        let number = self.number;
        let update = format!("UPDATE books SET value = {value} WHERE id = {number}");
        let one = |text: &str| [parse("", text), bind("", "", &[]), execute("")].concat();
        match self.random.below(WAYS) {
            0 => drop(rows(self.session.query(&update))),
            1 => {
                for text in ["BEGIN", &update, "COMMIT"] {
                    rows(self.session.query(text));
                }
            }
            2 => drop(rows(self.session.ask(&[one(&update), sync()].concat()))),
            3 => {
                let all = [one("BEGIN"), one(&update), one("COMMIT"), sync()].concat();
                rows(self.session.ask(&all));
            }
            4 => drop(rows(
                self.session.query(&format!("BEGIN; {update}; COMMIT")),
            )),
            5 => drop(rows(
                self.session
                    .query(&format!("SELECT set_value({number}, {value})")),
            )),
            6 => {
                rows(self.session.query("BEGIN"));
                rows(self.session.query(&update));
                rows(self.session.query("COMMIT AND CHAIN"));
                rows(self.session.query("ROLLBACK"));
            }
            7 => self.write_and_leave(&update),
            8 => self.write_and_be_killed(&update),
            _ => {
                // Two pipelines in one piece, the second a read: told when the first is answered.
                self.session
                    .send(&[query(&update), query("SELECT 1")].concat())
                    .unwrap();
                rows(self.session.answer());
                rows(self.session.answer());
            }
        }
        self.ledger.told[number].store(value, SeqCst);
    }

    /// The session ends with the commit.
    fn write_and_leave(&mut self, update: &str) {
        let mut session = Session::login(self.address).unwrap();
        rows(session.query(update));
        session.send(&terminate()).unwrap();
        if !self.for_everybody {
            // Another session's: nothing was told to this one.
            rows(self.session.query(update));
        }
    }

    /// The server connection is gone before anybody can ask it how far it has written.
    fn write_and_be_killed(&mut self, update: &str) {
        let text =
            format!("BEGIN; {update}; COMMIT; SELECT pg_terminate_backend(pg_backend_pid())");
        match self.session.query(&text) {
            Answer::Error(sqlstate, _) => assert!(sqlstate.starts_with("08"), "{sqlstate}"),
            other => panic!("{other:?} of a connection that was to be closed"),
        }
    }

    fn read(&mut self) {
        let before = self.ledger.told();
        let text = "SELECT value FROM books ORDER BY id";
        let answer = match self.random.below(3) {
            0 => self.session.query(text),
            1 => {
                let ask = [parse("", text), bind("", "", &[]), execute(""), sync()].concat();
                self.session.ask(&ask)
            }
            _ => {
                rows(self.session.query("BEGIN READ ONLY"));
                let answer = self.session.query(text);
                rows(self.session.query("COMMIT"));
                answer
            }
        };
        let seen: Vec<u64> = rows(answer)
            .iter()
            .map(|value| value.parse().unwrap())
            .collect();
        self.ledger.note_read(self.number, &before, &seen);
    }
}

/// Standbys that lag by turns, under clients that write and read back; how many reads were stale to their own client,
/// to anybody, and how many the standbys answered.
fn check(consistency: &str, workers: u16) -> (u64, u64, u64) {
    let servers = Servers {
        weights: &[1, 4, 4],
        logged: false,
        settings: &[],
    };
    let stage = Splitting::with(&servers, |config| {
        config
            .set("routing", &format!("consistency = \"{consistency}\""))
            .set("pool", "size = 6")
            .workers(workers)
    });
    let mut session = stage.client();
    for text in [
        "CREATE TABLE books (id int PRIMARY KEY, value bigint NOT NULL)".to_owned(),
        format!(
            "INSERT INTO books SELECT n, 0 FROM generate_series(0, {}) n",
            CLIENTS - 1
        ),
        "CREATE FUNCTION set_value(i int, v bigint) RETURNS void LANGUAGE sql AS \
         'UPDATE books SET value = v WHERE id = i'"
            .to_owned(),
    ] {
        rows(session.query(&text));
    }
    stage.wait_until_split_for(&mut session);
    let ledger = Ledger::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let checker = Checker {
                address: stage.stage.proxy.address(),
                number,
                random: Seeded::new(4711 + number as u64),
                ledger: Arc::clone(&ledger),
                session: stage.client(),
                for_everybody: consistency == "global",
            };
            thread::spawn(move || checker.run())
        })
        .collect();
    ledger.wait_for_rounds(WRITES);
    for paused in [&[0][..], &[1], &[0, 1]] {
        paused
            .iter()
            .for_each(|standby| stage.replay(*standby, false));
        ledger.wait_for_rounds(WRITES);
        paused
            .iter()
            .for_each(|standby| stage.replay(*standby, true));
        ledger.wait_for_rounds(WRITES);
    }
    delay(&stage, "20ms");
    ledger.wait_for_rounds(WRITES);
    delay(&stage, "0");
    ledger.stop.store(true, SeqCst);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let answered = stage.stage.columns(&["select_cnt"]);
    let by_standbys: u64 = answered[1..]
        .iter()
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    (
        ledger.stale_own.load(SeqCst),
        ledger.stale_any.load(SeqCst),
        by_standbys,
    )
}

/// Standbys replay what is so old.
fn delay(stage: &Splitting, delay: &str) {
    for standby in &stage.stage.server.standbys {
        let set = format!("ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'");
        standby.sql("app", &set).unwrap();
        standby.reload().unwrap();
    }
}

#[test]
fn with_session_nobody_misses_what_it_has_committed_itself() {
    let (own, any, by_standbys) = check("session", 1);
    assert_eq!(own, 0);
    // The standbys lagged, and were read all the same.
    assert!(any > 0, "nothing was stale to anybody");
    assert!(by_standbys > 50, "the standbys answered {by_standbys}");
}

#[test]
fn with_session_nobody_misses_it_on_two_cores() {
    let (own, _, by_standbys) = check("session", 2);
    assert_eq!(own, 0);
    assert!(by_standbys > 50, "the standbys answered {by_standbys}");
}

#[test]
fn with_global_nobody_misses_what_anybody_was_told() {
    let (own, any, _) = check("global", 2);
    assert_eq!((own, any), (0, 0));
}

#[test]
fn with_eventual_the_checker_finds_stale_reads() {
    let (own, any, by_standbys) = check("eventual", 1);
    assert!(own > 0 && any > 0, "{own} and {any} were stale");
    assert!(by_standbys > 50, "the standbys answered {by_standbys}");
}

/// With `global` a session that leaves at once after its commit, or loses its server connection with it, is not
/// forgotten; and reads come back to standbys once those have it.
#[test]
fn with_global_the_last_words_of_a_session_count() {
    let stage = Splitting::new(&[0, 1], |config| {
        config.set("routing", "consistency = \"global\"")
    });
    let mut session = stage.client();
    rows(session.query("CREATE TABLE t AS SELECT 0 AS n"));
    stage.wait_until_split_for(&mut session);
    stage.replay(0, false);
    for n in 1..=5 {
        let mut other = stage.client();
        rows(other.query(&format!("UPDATE t SET n = {n}")));
        match n % 3 {
            0 => other.reset(),
            1 => other.send(&terminate()).unwrap(),
            _ => {
                let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                            WHERE usename = 'app' AND pid <> pg_backend_pid()";
                stage.sql(kill);
            }
        }
        assert_eq!(session.query("SELECT n FROM t").row(), n.to_string());
    }
    is_read_once_replayed(&stage, &mut session, "5");
}

/// The standby goes on, and this is what the session reads there.
fn is_read_once_replayed(stage: &Splitting, session: &mut Session, expected: &str) {
    stage.replay(0, true);
    stage.wait_until_split_for(session);
    let (answer, place) = stage.watch(session, "SELECT n FROM t");
    assert_eq!(
        (answer.row().as_str(), place.as_str()),
        (expected, "standby1")
    );
}

/// What only reads at the primary does not make the reads behind it wait for the standbys.
#[test]
fn with_session_a_commit_is_read_at_the_primary_until_a_standby_has_it() {
    let stage = Splitting::new(&[0, 1], |config| config);
    let mut session = stage.client();
    rows(session.query("CREATE TABLE t AS SELECT 0 AS n"));
    stage.wait_until_split_for(&mut session);
    let mut other = stage.client();
    stage.replay(0, false);
    rows(session.query("UPDATE t SET n = 1"));
    let (answer, place) = stage.watch(&mut session, "SELECT n FROM t");
    assert_eq!((answer.row().as_str(), place.as_str()), ("1", "primary"));
    // Who has not written reads what the standby has.
    let (answer, place) = stage.watch(&mut other, "SELECT n FROM t");
    assert_eq!((answer.row().as_str(), place.as_str()), ("0", "standby1"));
    // Rolled back, refused: nothing more is missed, but nothing less is seen.
    rows(session.query("BEGIN"));
    rows(session.query("UPDATE t SET n = 2"));
    rows(session.query("ROLLBACK"));
    assert_eq!(session.query("SELECT n FROM t").row(), "1");
    let routes = stage.routes(&mut session, "SELECT n FROM t");
    assert!(routes[1].contains("it has replayed up to"), "{routes:?}");
    is_read_once_replayed(&stage, &mut session, "1");
}

/// The primary dies between a COMMIT and its answer. The commit is in its log, and will be there when it is back: no
/// standby has it, and nobody who can have heard of it reads there meanwhile.
fn loses_an_answer(consistency: &str) -> (Splitting, Session, Session) {
    let servers = Servers {
        weights: &[0, 1],
        logged: true,
        // A commit that asks for more than the local log waits for ever.
        settings: &[
            "synchronous_standby_names = 'nobody'",
            "synchronous_commit = local",
        ],
    };
    let stage = Splitting::with(&servers, |config| {
        config.set("routing", &format!("consistency = \"{consistency}\""))
    });
    let (mut session, other) = (stage.client(), stage.client());
    rows(session.query("CREATE TABLE t AS SELECT 0 AS n"));
    rows(session.query("SET synchronous_commit = on"));
    stage.wait_until_split_for(&mut session);
    stage.replay(0, false);
    rows(session.query("BEGIN"));
    rows(session.query("UPDATE t SET n = 1"));
    session.send(&query("COMMIT")).unwrap();
    eventually("it was written and not answered", || {
        stage.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
    });
    (stage, session, other)
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_missed_by_its_session() {
    let (mut stage, mut session, mut other) = loses_an_answer("session");
    stage.stage.server.primary.kill().unwrap();
    assert_eq!(error(session.answer()), "08007");
    // It waits for who knows; others, who were told nothing, go on.
    session.send(&query("SELECT n FROM t")).unwrap();
    assert_eq!(other.query("SELECT n FROM t").row(), "0");
    stage.stage.server.primary.start().unwrap();
    assert_eq!(session.answer().row(), "1");
    let (answer, place) = stage.watch(&mut session, "SELECT n FROM t");
    assert_eq!((answer.row().as_str(), place.as_str()), ("1", "primary"));
    is_read_once_replayed(&stage, &mut session, "1");
}

/// Whose commit it was can find it, and tell the others.
#[test]
fn with_global_a_commit_whose_answer_was_lost_is_missed_by_nobody() {
    let (mut stage, mut session, mut other) = loses_an_answer("global");
    stage.stage.server.primary.kill().unwrap();
    assert_eq!(error(session.answer()), "08007");
    for waiting in [&mut session, &mut other] {
        waiting.send(&query("SELECT n FROM t")).unwrap();
    }
    stage.stage.server.primary.start().unwrap();
    assert_eq!(session.answer().row(), "1");
    assert_eq!(other.answer().row(), "1");
    let (answer, place) = stage.watch(&mut other, "SELECT n FROM t");
    assert_eq!((answer.row().as_str(), place.as_str()), ("1", "primary"));
    is_read_once_replayed(&stage, &mut other, "1");
}
