//! What a read may miss while the cluster itself changes: servers crash and come back at an older position, primary and
//! standby change places, nobody may ask the primary how far it is, and pgring starts while there is no primary. Many
//! clients write and read back meanwhile, and carry on over every error.

use std::{
    fs::File,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
    thread::{self, JoinHandle},
};

use pgring::cli::postgres::{Postgres, Stop};

use crate::{
    consistency::{CLIENTS, Ledger},
    positions::{BALLAST, crash},
    session::{Answer, Session},
    splitting::{Servers, Splitting, rows},
    support::{eventually, message::*, proxy::Proxy},
};

/// Writes of each client between two changes.
const WRITES: u64 = 10;

/// One client, which is told of an error now and then and goes on.
struct Client {
    address: SocketAddr,
    number: usize,
    ledger: Arc<Ledger>,
    session: Session,
}

impl Client {
    fn run(mut self) {
        let mut value = 0;
        while !self.ledger.stop.load(SeqCst) {
            value += 1;
            // There may be nobody yet who takes writes.
            for way in 0..3 {
                self.read(way);
            }
            self.write(value);
        }
    }

    /// The answer, unless it is an error that a change of servers explains. What was sent before that may be committed
    /// later than what is sent next.
    fn ask(&mut self, request: &[u8]) -> Option<Vec<String>> {
        match self.session.ask(request) {
            Answer::Rows(rows) => Some(rows),
            Answer::Error(sqlstate, _) if matches!(&sqlstate[..2], "08" | "57" | "25") => {
                assert_ne!(sqlstate, "25006", "a write went to a standby");
                if self.session.is_in_block() {
                    rows(self.session.query("ROLLBACK"));
                }
                None
            }
            Answer::Closed(_) => {
                self.session = Session::login(self.address).unwrap();
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, value: u64) {
        let number = self.number;
        let update =
            format!("UPDATE books SET value = greatest(value, {value}) WHERE id = {number}");
        let is_told = match value % 3 {
            0 => self.ask(&query(&update)).is_some(),
            1 => self
                .ask(&query(&format!("SELECT set_value({number}, {value})")))
                .is_some(),
            _ => {
                let texts = ["BEGIN", &update, "COMMIT"];
                texts.iter().all(|text| self.ask(&query(text)).is_some())
            }
        };
        if is_told {
            self.ledger.told[number].store(value, SeqCst);
            self.ledger.rounds[number].fetch_add(1, SeqCst);
        }
    }

    fn read(&mut self, way: u32) {
        let before = self.ledger.told();
        let text = "SELECT value FROM books ORDER BY id";
        let answer = match way {
            0 => self.ask(&query(text)),
            1 => self.ask(&all([
                parse("", text),
                bind("", "", &[]),
                execute(""),
                sync(),
            ])),
            _ => self.ask(&query("BEGIN READ ONLY")).and_then(|_| {
                let answer = self.ask(&query(text))?;
                self.ask(&query("COMMIT"))?;
                Some(answer)
            }),
        };
        if let Some(rows) = answer {
            let seen: Vec<_> = rows.iter().map(|value| value.parse().unwrap()).collect();
            self.ledger.note_read(self.number, &before, &seen);
        }
    }
}

/// A cluster whose standbys are read, and the clients to be.
fn stage(consistency: &str) -> Splitting {
    let servers = Servers {
        weights: &[1, 4, 4],
        logged: false,
        settings: &[],
    };
    let stage = Splitting::with(&servers, |config| {
        let config = config.set("routing", &format!("consistency = \"{consistency}\""));
        config.set("pool", "size = 6").workers(2)
    });
    let mut session = stage.client();
    for text in [
        "CREATE TABLE books (id int PRIMARY KEY, value bigint NOT NULL)",
        &format!(
            "INSERT INTO books SELECT n, 0 FROM generate_series(0, {}) n",
            CLIENTS - 1
        ),
        "CREATE FUNCTION set_value(i int, v bigint) RETURNS void LANGUAGE sql AS \
         'UPDATE books SET value = greatest(value, v) WHERE id = i'",
    ] {
        rows(session.query(text));
    }
    stage.wait_until_split_for(&mut session);
    stage
}

fn start(address: SocketAddr) -> (Arc<Ledger>, Vec<JoinHandle<()>>) {
    let ledger = Ledger::new();
    let clients = (0..CLIENTS).map(|number| {
        let client = Client {
            address,
            number,
            ledger: Arc::clone(&ledger),
            session: Session::login(address).unwrap(),
        };
        thread::spawn(move || client.run())
    });
    let clients = clients.collect();
    (ledger, clients)
}

/// Runs the clients while `change` changes the cluster, and until they have all gone on after it. No read may have missed
/// what it must not, and every node is read in the end.
fn check(consistency: &str, stage: &mut Splitting, change: impl FnOnce(&mut Splitting, &Ledger)) {
    let (ledger, clients) = start(stage.stage.proxy.address());
    change(stage, &ledger);
    ledger.wait_for_rounds(WRITES);
    ledger.stop.store(true, SeqCst);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let mut session = stage.client();
    stage.wait_until_split_for(&mut session);
    let stale = (ledger.stale_own.load(SeqCst), ledger.stale_any.load(SeqCst));
    assert_eq!(
        stale.0,
        0,
        "{stale:?} of {} reads missed something",
        ledger.reads.load(SeqCst)
    );
    assert!(consistency == "session" || stale.1 == 0, "{stale:?}");
}

/// A backend of a standby is killed: the server begins again where its last restart point was.
fn standbys_crash(consistency: &str) {
    let mut stage = stage(consistency);
    stage.sql(BALLAST);
    check(consistency, &mut stage, |stage, ledger| {
        for _ in 0..4 {
            ledger.wait_for_rounds(WRITES);
            crash(stage);
        }
    });
}

/// Primary and first standby change places, and change back: nothing is lost, and all follow the new one.
fn primary_is_demoted(consistency: &str) {
    let mut stage = stage(consistency);
    check(consistency, &mut stage, |stage, ledger| {
        for turn in 0..2 {
            ledger.wait_for_rounds(WRITES);
            let cluster = &mut stage.stage.server;
            let (first, others) = cluster.standbys.split_first_mut().unwrap();
            let (old, new) = match turn {
                0 => (&mut cluster.primary, first),
                _ => (first, &mut cluster.primary),
            };
            change_places(old, new, &mut others[0]);
        }
    });
}

fn change_places(old: &mut Postgres, new: &mut Postgres, other: &mut Postgres) {
    // Who is not there when it stops misses the end of its log, and could follow nobody who has it.
    let followers = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    eventually("both standbys followed the primary", || {
        old.sql("postgres", followers).unwrap() == "2"
    });
    let (host, port) = (new.socket_dir().display(), new.address().port());
    let follow =
        format!("ALTER SYSTEM SET primary_conninfo = 'user=postgres host={host} port={port}'");
    old.sql("postgres", &follow).unwrap();
    old.stop(Stop::Fast).unwrap();
    new.sql("postgres", "SELECT pg_promote()").unwrap();
    other.sql("postgres", &follow).unwrap();
    other.reload().unwrap();
    File::create(old.data().join("standby.signal")).unwrap();
    old.start().unwrap();
}

/// The database is hardened under way: its clients may not ask the primary how far its log is.
fn positions_are_secret(consistency: &str) {
    let mut stage = stage(consistency);
    check(consistency, &mut stage, |stage, ledger| {
        ledger.wait_for_rounds(WRITES);
        stage.sql(
            "REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC; \
             GRANT EXECUTE ON FUNCTION pg_current_wal_insert_lsn() TO watcher",
        );
        ledger.wait_for_rounds(WRITES);
    });
}

/// pgring starts, and its clients come, while the primary is away.
fn there_is_no_primary_at_first(consistency: &str) {
    let mut stage = stage(consistency);
    stage.stage.server.primary.stop(Stop::Fast).unwrap();
    let config = Splitting::config(&stage.stage.server, &[1, 4, 4]);
    let config = config.set("routing", &format!("consistency = \"{consistency}\""));
    stage.stage.proxy = Proxy::start(&config.set("pool", "size = 6").workers(2));
    check(consistency, &mut stage, |stage, ledger| {
        eventually("standbys were read", || ledger.reads.load(SeqCst) > 0);
        stage.stage.server.primary.start().unwrap();
        ledger.wait_for_rounds(WRITES);
    });
}

/// The same in both consistencies.
macro_rules! in_both {
    ($($upheaval:ident)*) => {$(
        mod $upheaval {
            #[test]
            fn with_session() {
                super::$upheaval("session");
            }

            #[test]
            fn with_global() {
                super::$upheaval("global");
            }
        }
    )*};
}

in_both!(standbys_crash primary_is_demoted positions_are_secret there_is_no_primary_at_first);
