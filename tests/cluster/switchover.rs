//! A switchover: another node becomes the primary while the one that is it lives, and clients notice a pause.

use std::{
    process::Output,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

use pgring::cli::postgres::{Postgres, Signal, Stop};

use crate::{
    failover::{CLIENTS, Stage, Told},
    session::{Answer, Session},
    support::{eventually, proxy::Proxy},
};

/// An operator's word in the virtual database.
fn order(stage: &Stage, text: &str) -> Output {
    let mut psql = stage.cluster.proxy.tool("psql");
    psql.args([
        "-X",
        "-A",
        "-t",
        "-d",
        "pgring",
        "-v",
        "VERBOSITY=verbose",
        "-c",
        text,
    ]);
    psql.output().unwrap()
}

fn switch_over(stage: &Stage, to: usize) {
    let output = order(stage, &format!("SWITCHOVER TO {}", name(to)));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The name of a server by its place.
fn name(place: usize) -> String {
    match place {
        0 => "pg1".to_owned(),
        place => format!("standby{place}"),
    }
}

fn server(stage: &Stage, place: usize) -> &Postgres {
    stage.cluster.server.servers().nth(place).unwrap()
}

fn ask(stage: &Stage, place: usize, sql: &str) -> String {
    server(stage, place).sql("app", sql).unwrap()
}

/// Waits until a switchover to this server is done.
fn wait_until_done(stage: &Stage, to: usize) {
    eventually(&format!("{} is the primary", name(to)), || {
        let [phase, _, _, chosen, ..] = &stage.failover()[..] else {
            return false;
        };
        phase == "done" && *chosen == name(to)
    });
    assert_eq!(stage.new_primary(), to);
}

/// Clients that write as fast as they can, and hear of no error.
struct Writers {
    told: Told,
    stop: AtomicBool,
}

impl Writers {
    fn new() -> Self {
        Self {
            told: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
        }
    }

    /// Runs them while `meanwhile` does.
    fn run(&self, stage: &Stage, meanwhile: impl FnOnce()) {
        thread::scope(|scope| {
            for (id, told) in self.told.iter().enumerate() {
                let mut session = stage.client();
                rows(session.query(&format!("INSERT INTO books VALUES ({id}, 0)")));
                let stop = &self.stop;
                scope.spawn(move || write(&mut session, id, told, stop));
            }
            self.wait_until_all_wrote(20);
            meanwhile();
            self.wait_until_all_wrote(20);
            self.stop.store(true, SeqCst);
        });
    }

    fn wait_until_all_wrote(&self, more: u64) {
        let before: Vec<_> = self.told.iter().map(|it| it.load(SeqCst)).collect();
        eventually("every client wrote", || {
            let mut pairs = self.told.iter().zip(&before);
            pairs.all(|(told, before)| told.load(SeqCst) >= before + more)
        });
    }
}

/// A client of short transactions, by turns with and without BEGIN.
fn write(session: &mut Session, id: usize, told: &AtomicU64, stop: &AtomicBool) {
    for value in 1.. {
        if stop.load(SeqCst) {
            return;
        }
        let update = format!("UPDATE books SET value = {value} WHERE id = {id}");
        if value % 2 == 0 {
            rows(session.query("BEGIN"));
            rows(session.query(&update));
            rows(session.query("COMMIT"));
        } else {
            rows(session.query(&update));
        }
        told.store(value, SeqCst);
    }
}

fn rows(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Rows(rows) => rows,
        other => panic!("{other:?}"),
    }
}

/// The old primary becomes a standby of the new one, by the commands that pgring names.
fn rejoin(stage: &mut Stage, old: usize, new: usize) {
    let address = server(stage, new).address();
    let source = format!(
        "host={} port={} user=postgres dbname=postgres",
        address.ip(),
        address.port()
    );
    // Before that the new primary says that it is on the old timeline.
    ask(stage, new, "CHECKPOINT");
    let cluster = &mut stage.cluster.server;
    let server = match old {
        0 => &mut cluster.primary,
        place => &mut cluster.standbys[place - 1],
    };
    server.stop(Stop::Fast).unwrap();
    let mut rewind = server.tool("pg_rewind");
    rewind.args([
        "--no-sync",
        "--write-recovery-conf",
        "--source-server",
        &source,
    ]);
    let output = rewind
        .arg("--target-pgdata")
        .arg(server.data())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    server.start().unwrap();
    stage.cluster.wait_for_columns(
        &["status", "role", "replication_state"],
        &[0, 1, 2].map(|place| match place == new {
            true => "waiting primary ",
            false => "waiting standby streaming",
        }),
    );
}

#[test]
fn clients_notice_a_pause_and_the_old_primary_is_fenced() {
    let stage = Stage::new(&[], |config, _| config);
    let writers = Writers::new();
    let mut idle = stage.client();
    rows(idle.query("SET work_mem = '5MB'"));
    writers.run(&stage, || {
        switch_over(&stage, 2);
        wait_until_done(&stage, 2);
    });
    assert_eq!(stage.missing(&writers.told), 0);
    assert_eq!(
        idle.query("SHOW work_mem").row(),
        "5MB",
        "who was idle goes on"
    );
    eventually(
        "the old primary is fenced, and the other standby follows",
        || {
            let columns = stage
                .cluster
                .columns(&["status", "role", "replication_state"]);
            columns
                == [
                    "quarantine standby ",
                    "waiting standby streaming",
                    "waiting primary ",
                ]
        },
    );
    stage.cluster.wait_for_log("pg_rewind");
    assert_eq!(ask(&stage, 0, "SHOW default_transaction_read_only"), "on");
    assert_eq!(ask(&stage, 2, "SHOW default_transaction_read_only"), "off");
}

/// Each primary is made a standby of its successor, and later its successor's successor.
#[test]
fn forth_and_back_ten_times() {
    let mut stage = Stage::new(
        &["wal_log_hints = on", "full_page_writes = on"],
        |config, _| config,
    );
    let mut primary = 0;
    for turn in 0..10 {
        let next = (primary + 1 + turn % 2) % 3;
        let writers = Writers::new();
        ask(&stage, primary, "TRUNCATE books");
        writers.run(&stage, || {
            switch_over(&stage, next);
            wait_until_done(&stage, next);
        });
        assert_eq!(stage.missing(&writers.told), 0);
        rejoin(&mut stage, primary, next);
        primary = next;
    }
}

/// It is ended, and its client is told why; nothing of it is there.
#[test]
fn a_transaction_that_does_not_end_is_ended() {
    let stage = Stage::new(&[], |config, _| {
        config.set("failover", "switchover_timeout = \"300ms\"")
    });
    let mut slow = stage.client();
    rows(slow.query("BEGIN"));
    rows(slow.query("INSERT INTO books VALUES (1, 1)"));
    switch_over(&stage, 1);
    wait_until_done(&stage, 1);
    match slow.query("INSERT INTO books VALUES (2, 2)") {
        Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "57P01"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(slow.query("SELECT 1"), Answer::Error(sqlstate, _) if sqlstate == "25P02"));
    rows(slow.query("ROLLBACK"));
    rows(slow.query("INSERT INTO books VALUES (3, 3)"));
    assert_eq!(
        ask(&stage, 1, "SELECT string_agg(id::text, ' ') FROM books"),
        "3"
    );
}

/// A transaction that ends in time is waited for.
#[test]
fn a_transaction_that_ends_is_waited_for() {
    let stage = Stage::new(&[], |config, _| config);
    let mut slow = stage.client();
    let mut direct = Session::login(stage.cluster.server.primary.address()).unwrap();
    for session in [&mut slow, &mut direct] {
        rows(session.query("BEGIN"));
        rows(session.query("SELECT count(*) FROM books"));
    }
    switch_over(&stage, 1);
    stage.wait_for_phase("holding");
    rows(slow.query("INSERT INTO books VALUES (1, 1)"));
    rows(slow.query("COMMIT"));
    assert_eq!(stage.failover()[0], "holding");
    rows(direct.query("INSERT INTO books VALUES (2, 2)"));
    rows(direct.query("COMMIT"));
    wait_until_done(&stage, 1);
    assert_eq!(ask(&stage, 1, "SELECT count(*) FROM books"), "2");
    // Who writes past pgring has been ended, and writes there no more.
    assert!(matches!(
        direct.query("SELECT 1"),
        Answer::Error(..) | Answer::Closed(_)
    ));
    let mut direct = Session::login(stage.cluster.server.primary.address()).unwrap();
    match direct.query("INSERT INTO books VALUES (3, 3)") {
        Answer::Error(sqlstate, _) => assert_eq!(sqlstate, "25006"),
        other => panic!("{other:?}"),
    }
}

/// A target that does not replay does not get there: all is as before, and nobody hears an error.
#[test]
fn what_does_not_succeed_is_undone() {
    let stage = Stage::new(&[], |config, _| {
        config.set("failover", "switchover_timeout = \"300ms\"")
    });
    let writers = Writers::new();
    writers.run(&stage, || {
        ask(&stage, 1, "SELECT pg_wal_replay_pause()");
        switch_over(&stage, 1);
        stage.cluster.wait_for_log("takes writes again");
        stage.wait_for_phase("steady");
    });
    assert_eq!(stage.new_primary(), 0);
    assert_eq!(stage.missing(&writers.told), 0);
    assert_eq!(ask(&stage, 0, "SHOW default_transaction_read_only"), "off");
    assert_eq!(ask(&stage, 1, "SELECT pg_is_in_recovery()"), "t");
    // It is tried again when it can be done.
    ask(&stage, 1, "SELECT pg_wal_replay_resume()");
    switch_over(&stage, 1);
    wait_until_done(&stage, 1);
}

/// An operator may change his mind until the new primary is made.
#[test]
fn an_operator_puts_an_end_to_it() {
    let stage = Stage::new(&[], |config, _| config);
    let mut slow = stage.client();
    rows(slow.query("BEGIN"));
    rows(slow.query("INSERT INTO books VALUES (1, 1)"));
    switch_over(&stage, 1);
    stage.wait_for_phase("holding");
    let again = order(&stage, "SWITCHOVER TO standby2");
    assert!(String::from_utf8_lossy(&again.stderr).contains("55000"));
    assert!(order(&stage, "ABORT SWITCHOVER").status.success());
    stage.wait_for_phase("steady");
    rows(slow.query("COMMIT"));
    assert_eq!(stage.new_primary(), 0);
    rows(stage.client().query("INSERT INTO books VALUES (2, 2)"));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let stage = Stage::new(&[], |config, _| config);
    for (command, sqlstate, why) in [
        ("SWITCHOVER TO nobody", "42704", "there is no node"),
        ("SWITCHOVER TO pg1", "55000", "it is the primary"),
        ("SWITCHOVER", "42601", "unknown command"),
        ("ABORT SWITCHOVER", "55000", "failover is steady"),
    ] {
        let said = order(&stage, command).stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.contains(sqlstate) && said.contains(why),
            "{command}: {said}"
        );
    }
    assert!(order(&stage, "DETACH NODE standby2").status.success());
    stage
        .cluster
        .wait_for(&["waiting primary", "waiting standby", "unused standby"]);
    let said = order(&stage, "SWITCHOVER TO standby2").stderr;
    assert!(String::from_utf8_lossy(&said).contains("it is not in use"));
    assert_eq!(stage.failover()[0], "steady");
    rows(stage.client().query("INSERT INTO books VALUES (1, 1)"));
}

/// pgring is killed at every step: there is one primary afterwards, which takes writes.
#[test]
fn a_pgring_that_is_killed_in_the_middle_leaves_one_primary_that_takes_writes() {
    for phase in ["holding", "stopping", "handover", "following"] {
        let mut stage = Stage::new(&[], |config, _| config);
        switch_over(&stage, 1);
        eventually("it has begun", || {
            let seen = stage.failover().swap_remove(0);
            seen == phase || seen == "done"
        });
        stage.cluster.proxy.process().signal(Signal::Kill);
        stage.cluster.proxy = Proxy::start(&stage.config);
        eventually("it takes writes", || {
            let text = "INSERT INTO books VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET value = 2";
            let answer = stage.client().query(text);
            matches!(answer, Answer::Rows(_))
        });
        let primary = stage.new_primary();
        assert_eq!(
            ask(&stage, primary, "SHOW default_transaction_read_only"),
            "off"
        );
        assert_eq!(ask(&stage, primary, "SELECT count(*) FROM books"), "1");
        assert_eq!(ask(&stage, 2, "SELECT pg_is_in_recovery()"), "t");
    }
}
