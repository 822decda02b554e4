//! Positions in the log that reads rely on: of standbys that crash, of primaries that may not be asked, and of
//! transactions that read on while others commit.

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    session::{Answer, Session},
    splitting::Splitting,
    support::eventually,
};

const OBJECTS: &str = "CREATE TABLE numbers (n int); GRANT ALL ON numbers TO app";

/// It takes a while to be replayed.
pub(crate) const BALLAST: &str =
    "CREATE TABLE ballast AS SELECT repeat('x', 500) AS t FROM generate_series(1, 100000)";

/// Reads go to the standby alone, while it can take them.
fn stage(lines: &[&str]) -> Splitting {
    let stage = Splitting::silent(&[0, 1], |config| {
        lines
            .iter()
            .fold(config, |config, line| config.set("routing", line))
    });
    stage.sql(OBJECTS);
    stage.wait_until_split();
    stage
}

/// An expression that is true on the standby, and may be asked of it.
fn is_standby(stage: &Splitting) -> String {
    let port = stage.stage.server.standbys[0].address().port();
    format!("inet_server_port() = {port}")
}

fn count(session: &mut Session) -> Answer {
    session.query("SELECT count(*) FROM numbers")
}

/// PostgreSQL answers a killed backend with a restart of all its processes, which begins where the last restart point was.
pub(crate) fn crash(stage: &Splitting) {
    let standby = &stage.stage.server.standbys[0];
    let look = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1";
    eventually("a backend was killed", || {
        let found = standby.sql("app", look).ok();
        let pid = found.and_then(|found| Pid::from_raw(found.parse().ok()?));
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    });
}

#[test]
fn a_standby_that_has_crashed_is_read_again_when_it_has_told_where_it_is() {
    let stage = stage(&[]);
    // What a restart has to replay again.
    stage.sql(BALLAST);
    let mut session = stage.client();
    let (mut written, mut at_standby) = (0, 0);
    for round in 0..5 {
        for step in 0..4000 {
            if step % 1000 == 0 {
                written += 1;
                assert_eq!(
                    session.query("INSERT INTO numbers VALUES (1)"),
                    Answer::Rows(vec![])
                );
            }
            let text = format!("SELECT count(*), {} FROM numbers", is_standby(&stage));
            match session.query(&text) {
                Answer::Rows(rows) => {
                    let (seen, place) = rows[0].split_once('|').unwrap();
                    assert_eq!(
                        seen,
                        written.to_string(),
                        "round {round}, step {step}: {place}"
                    );
                    at_standby += usize::from(place == "t");
                }
                // Its backend has ended with the others.
                Answer::Error(sqlstate, _) => {
                    assert!(sqlstate.starts_with("57P") || sqlstate == "08006")
                }
                other => panic!("{other:?}"),
            }
        }
        eventually("the standby was read", || {
            let place = session.query(&format!(
                "SELECT {} FROM numbers LIMIT 1",
                is_standby(&stage)
            ));
            matches!(place, Answer::Rows(rows) if rows == ["t"])
        });
        crash(&stage);
    }
    assert!(at_standby > 0, "it was never read");
}

#[test]
fn a_read_only_block_sees_what_others_commit_meanwhile() {
    let stage = stage(&["consistency = \"global\""]);
    let (mut reader, mut writer) = (stage.client(), stage.client());
    let mut written = 0;
    for begin in [
        "BEGIN READ ONLY",
        "BEGIN READ ONLY; DECLARE c CURSOR FOR SELECT 1; FETCH c",
    ] {
        for _ in 0..10 {
            stage.wait_until_split_for(&mut reader);
            reader.query(begin);
            for _ in 0..3 {
                assert_eq!(count(&mut reader).row(), written.to_string(), "{begin}");
                written += 1;
                writer.query("INSERT INTO numbers VALUES (1)");
            }
            assert_eq!(count(&mut reader).row(), written.to_string(), "{begin}");
            reader.query("COMMIT");
        }
    }
}

/// A hardened database: nobody is asked again and again for what he may not tell.
#[test]
fn a_primary_that_may_not_be_asked_is_left_alone() {
    let stage = stage(&[]);
    stage.sql(
        "REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC; \
         GRANT EXECUTE ON FUNCTION pg_current_wal_insert_lsn() TO watcher",
    );
    let (mut session, mut idle) = (stage.client(), stage.client());
    for number in 1..=5 {
        session.query("INSERT INTO numbers VALUES (1)");
        assert_eq!(count(&mut session).row(), number.to_string());
    }
    idle.query("SELECT pg_advisory_lock(1)");
    let failures = || -> u64 {
        let look = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'app'";
        stage.sql(look).parse().unwrap()
    };
    let before = failures();
    // What the control core hears of the primary has to do.
    let look = format!("SELECT {} FROM numbers LIMIT 1", is_standby(&stage));
    eventually("the standby was read", || session.query(&look).row() == "t");
    stage.sql("SELECT pg_sleep(1)");
    let count = failures() - before;
    assert!(count < 10, "{count} questions failed in a second");
}
