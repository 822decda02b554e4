//! Servers that are killed, stopped, frozen and started again under load: every transaction is accounted for, reads go
//! on, and nobody loses a connection.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use pgring::cli::postgres::{Postgres, Stop};

use crate::{
    load::Load,
    session::{Answer, Session},
    splitting::{Splitting, rows},
    support::{eventually, message::*},
};

/// Clients that only read, each read an answer of one piece; none of them may ever fail.
struct Readers {
    threads: Vec<JoinHandle<()>>,
    done: Arc<[AtomicU64]>,
    wrong: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
}

impl Readers {
    fn start(address: SocketAddr, count: usize) -> Self {
        let done: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let (done, wrong, stop) = (Arc::clone(&done), Arc::clone(&wrong), Arc::clone(&stop));
            thread::spawn(move || {
                let mut session = Session::login(address).unwrap();
                let mut is_over = false;
                while !is_over && !stop.load(SeqCst) {
                    let answer = read(&mut session, number);
                    if answer != Answer::Rows(vec![number.to_string()]) {
                        is_over = matches!(answer, Answer::Closed(_));
                        wrong.lock().unwrap().push(answer);
                    }
                    done[number].fetch_add(1, SeqCst);
                }
            })
        });
        Self {
            threads: threads.collect(),
            done,
            wrong,
            stop,
        }
    }

    fn wait_for_progress(&self, more: u64) {
        let wanted: Vec<_> = self.done.iter().map(|it| it.load(SeqCst) + more).collect();
        eventually("every reader had more answers", || {
            let done = self.done.iter().zip(&wanted);
            self.complain();
            done.into_iter()
                .all(|(done, wanted)| done.load(SeqCst) >= *wanted)
        });
    }

    #[track_caller]
    fn complain(&self) {
        let wrong = self.wrong.lock().unwrap().clone();
        assert!(wrong.is_empty(), "reads failed: {wrong:?}");
    }

    fn finish(self) {
        self.stop.store(true, SeqCst);
        let threads = self.threads.into_iter();
        threads.for_each(|thread| thread.join().unwrap());
        let wrong = self.wrong.lock().unwrap().clone();
        assert!(wrong.is_empty(), "reads failed: {wrong:?}");
    }
}

/// Each reader has its protocol. Each message of the answer comes once: whoever asks again on the client's behalf must
/// not answer twice.
fn read(session: &mut Session, number: usize) -> Answer {
    let text = format!("SELECT {number}");
    let parsed = [parse("", &text), bind("", "", &[])].concat();
    let (request, expected) = match number % 3 {
        0 => (query(&text), "TDCZ"),
        1 => ([parsed, execute(""), sync()].concat(), "12DCZ"),
        _ => {
            let described = [parsed, describe_portal(""), execute(""), sync()];
            (described.concat(), "12TDCZ")
        }
    };
    if let Err(closed) = session.send(&request) {
        return closed;
    }
    let (mut tags, mut value, mut error) = (String::new(), String::new(), None);
    while !tags.ends_with('Z') {
        let (tag, body) = match session.message() {
            Ok(message) => message,
            Err(closed) => return closed,
        };
        tags.push(char::from(tag.0));
        match tag.0 {
            b'D' => value = String::from_utf8_lossy(&body[6..]).into_owned(),
            b'E' => {
                let (sqlstate, text) = error_fields(&body);
                error = Some(Answer::Error(sqlstate, text));
            }
            _ => {}
        }
    }
    match error {
        Some(error) => error,
        None if tags == expected => Answer::Rows(vec![value]),
        None => Answer::Rows(vec![format!("{tags} in place of {expected}")]),
    }
}

/// Clients at work, and others that have nothing to do.
struct Crowd {
    writers: Load,
    readers: Readers,
    idle: Vec<Session>,
}

impl Crowd {
    fn gather(stage: &Splitting) -> Self {
        let mut session = stage.client();
        rows(session.query("CREATE TABLE numbers (n bigint)"));
        stage.wait_until_split_for(&mut session);
        let address = stage.stage.proxy.address();
        let crowd = Self {
            writers: Load::start_at(address, 6),
            readers: Readers::start(address, 6),
            idle: (0..4).map(|_| stage.client()).collect(),
        };
        crowd.wait_for_progress(10);
        crowd
    }

    /// Everybody goes on.
    fn wait_for_progress(&self, more: u64) {
        self.readers.wait_for_progress(more);
        self.writers.wait_for_progress(more);
    }

    /// Nobody has lost a connection, no read has failed, and the books are right. How many writes are uncertain.
    fn disperse(self, primary: &Postgres) -> usize {
        self.readers.finish();
        for mut session in self.idle {
            assert_eq!(session.query("SELECT 5").row(), "5");
        }
        self.writers
            .compare(|question| primary.sql("app", question).unwrap())
    }
}

/// A server whose processes stand still until this is dropped.
struct Frozen(String);

impl Frozen {
    /// Of the server that is to be as it is.
    fn none() -> Self {
        Self(String::new())
    }

    fn of(server: &Postgres) -> Self {
        let postmaster = server.process().unwrap().pid();
        let mut all = vec![postmaster];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            let parent: Option<u32> = parent.and_then(|parent| parent.parse().ok());
            let name = entry.file_name();
            if parent == Some(postmaster) {
                all.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
            }
        }
        let frozen = Self(all.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        frozen.signal("STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -s {signal} {} 2>/dev/null", self.0);
        let _some_may_be_gone = Command::new("sh").args(["-c", &kill]).status();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.signal("CONT");
        }
    }
}

fn stage() -> Splitting {
    Splitting::silent(&[1, 1, 1], |config| {
        config
            .set("pool", "size = 8")
            .set("pool", "connect_timeout = \"1s\"")
            .set("pool", "login_backoff = \"5ms\"")
            .set("pool", "login_backoff_max = \"50ms\"")
    })
}

fn wait_for_all(stage: &Splitting) {
    wait_for_nodes(stage, ["up primary", "up standby", "up standby"]);
}

/// Status and role of each node.
fn wait_for_nodes(stage: &Splitting, wanted: [&str; 3]) {
    eventually(&format!("the nodes were {wanted:?}"), || {
        let rows = stage.stage.columns(&["status", "role"]);
        rows.iter()
            .zip(wanted)
            .all(|(row, wanted)| row.replace("waiting", "up") == wanted)
    });
}

/// Reads that this node has answered.
fn reads(stage: &Splitting, node: usize) -> u64 {
    stage.stage.columns(&["select_cnt"])[node].parse().unwrap()
}

/// Which of two standbys has received more of the log of a primary that is gone: the other can follow it, and not the
/// other way round.
fn furthest(stage: &Splitting) -> usize {
    let asked = |text: &str| {
        let standbys = stage.stage.server.standbys.iter();
        standbys
            .map(|standby| standby.sql("postgres", text).unwrap())
            .collect::<Vec<_>>()
    };
    eventually("nobody received any more", || {
        asked("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")
            .iter()
            .all(|streaming| streaming == "0")
    });
    let received = asked("SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')");
    let received: Vec<u64> = received.iter().map(|it| it.parse().unwrap()).collect();
    usize::from(received[1] > received[0])
}

/// How a server ends.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped(Stop),
    Frozen,
}

fn end(server: &mut Postgres, how: End) -> Frozen {
    match how {
        End::Killed => server.kill().unwrap(),
        End::Stopped(how) => server.stop(how).unwrap(),
        End::Frozen => return Frozen::of(server),
    }
    Frozen::none()
}

/// It runs again.
fn begin(server: &mut Postgres, frozen: Frozen) {
    if frozen.0.is_empty() {
        server.start().unwrap();
    }
}

/// Ends a standby in some way, starts it again; nobody notices.
fn standby_goes_and_returns(how: End) {
    let mut stage = stage();
    let crowd = Crowd::gather(&stage);
    for standby in 0..2 {
        let frozen = end(&mut stage.stage.server.standbys[standby], how);
        crowd.wait_for_progress(20);
        eventually("it was out", || {
            stage.stage.columns(&["status"])[standby + 1] == "down"
        });
        crowd.wait_for_progress(20);
        begin(&mut stage.stage.server.standbys[standby], frozen);
        wait_for_all(&stage);
        let before = reads(&stage, standby + 1);
        eventually("it took reads again", || {
            reads(&stage, standby + 1) > before
        });
        crowd.wait_for_progress(10);
    }
    // Its death is nothing to those who write.
    assert_eq!(crowd.disperse(&stage.stage.server.primary), 0);
}

/// Ends the primary in some way, starts it again: writes wait, reads go on.
fn primary_goes_and_returns(how: End) {
    let mut stage = stage();
    let mut crowd = Crowd::gather(&stage);
    let frozen = end(&mut stage.stage.server.primary, how);
    crowd.readers.wait_for_progress(20);
    eventually("it was out", || {
        stage.stage.columns(&["status"])[0] == "down"
    });
    crowd.readers.wait_for_progress(20);
    // One that has been idle all the time writes now, and waits.
    let write = query("INSERT INTO numbers VALUES (0) RETURNING n");
    crowd.idle[0].send(&write).unwrap();
    begin(&mut stage.stage.server.primary, frozen);
    assert_eq!(crowd.idle[0].answer().row(), "0");
    rows(crowd.idle[0].query("DELETE FROM numbers WHERE n = 0"));
    wait_for_all(&stage);
    crowd.wait_for_progress(20);
    crowd.disperse(&stage.stage.server.primary);
}

mod alone {
    use super::*;

    #[test]
    fn a_standby_is_killed() {
        standby_goes_and_returns(End::Killed);
    }

    #[test]
    fn a_standby_is_shut_down_fast() {
        standby_goes_and_returns(End::Stopped(Stop::Fast));
    }

    #[test]
    fn a_standby_is_shut_down_immediately() {
        standby_goes_and_returns(End::Stopped(Stop::Immediate));
    }

    #[test]
    fn a_standby_stands_still() {
        standby_goes_and_returns(End::Frozen);
    }

    #[test]
    fn standbys_are_restarted() {
        let mut stage = stage();
        let crowd = Crowd::gather(&stage);
        for standby in [0, 1, 0, 1] {
            stage.stage.server.standbys[standby].restart().unwrap();
            crowd.wait_for_progress(20);
        }
        wait_for_all(&stage);
        assert_eq!(crowd.disperse(&stage.stage.server.primary), 0);
    }

    #[test]
    fn the_primary_is_killed() {
        primary_goes_and_returns(End::Killed);
    }

    #[test]
    fn the_primary_is_shut_down_fast() {
        primary_goes_and_returns(End::Stopped(Stop::Fast));
    }

    #[test]
    fn the_primary_is_shut_down_immediately() {
        primary_goes_and_returns(End::Stopped(Stop::Immediate));
    }

    #[test]
    fn the_primary_stands_still() {
        primary_goes_and_returns(End::Frozen);
    }

    #[test]
    fn the_primary_is_restarted() {
        let mut stage = stage();
        let crowd = Crowd::gather(&stage);
        for _ in 0..3 {
            stage.stage.server.primary.restart().unwrap();
            crowd.wait_for_progress(20);
        }
        wait_for_all(&stage);
        crowd.disperse(&stage.stage.server.primary);
    }

    /// The primary is killed, and somebody promotes a standby: writes wait for that, and go on there.
    #[test]
    fn a_standby_is_promoted_by_hand() {
        let mut stage = stage();
        // What was acknowledged must be there.
        let sql = |server: &Postgres, text: &str| server.sql("postgres", text).unwrap();
        sql(
            &stage.stage.server.primary,
            "ALTER SYSTEM SET synchronous_standby_names = 'standby1'",
        );
        stage.stage.server.primary.reload().unwrap();
        let mut crowd = Crowd::gather(&stage);
        stage.stage.server.primary.kill().unwrap();
        crowd.readers.wait_for_progress(20);
        stage.stage.wait_for_log("there is no primary");
        crowd.idle[0]
            .send(&query("INSERT INTO numbers VALUES (0) RETURNING n"))
            .unwrap();
        crowd.idle[1]
            .send(&query("BEGIN; INSERT INTO numbers VALUES (0)"))
            .unwrap();
        let furthest = furthest(&stage);
        let promoted = &stage.stage.server.standbys[furthest];
        let other = &stage.stage.server.standbys[1 - furthest];
        assert_eq!(sql(promoted, "SELECT pg_promote()"), "t");
        let follow = format!(
            "ALTER SYSTEM SET primary_conninfo = 'host={} port={} user=postgres application_name=standby{}'",
            promoted.socket_dir().display(),
            promoted.address().port(),
            2 - furthest
        );
        sql(other, &follow);
        other.reload().unwrap();
        assert_eq!(crowd.idle[0].answer().row(), "0");
        rows(crowd.idle[1].answer());
        rows(crowd.idle[1].query("ROLLBACK"));
        rows(crowd.idle[0].query("DELETE FROM numbers WHERE n = 0"));
        let mut wanted = ["down standby"; 3];
        wanted[1 + furthest] = "up primary";
        wanted[2 - furthest] = "up standby";
        wait_for_nodes(&stage, wanted);
        crowd.wait_for_progress(20);
        // The other standby follows, and takes reads.
        let before = reads(&stage, 2 - furthest);
        eventually("it took reads", || reads(&stage, 2 - furthest) > before);
        crowd.disperse(&stage.stage.server.standbys[furthest]);
    }
}
