//! libpq through psql: scripts that say the same through pgring as without it.

use std::process::Command;

use crate::support::{
    self,
    crowd::{self, Crowd},
    stage::Stage,
};

/// Everyday work.
const EVERYDAY: &str = r"
\set VERBOSITY verbose
\set SHOW_CONTEXT always
CREATE TABLE notes (id int PRIMARY KEY, text text);
\d notes
INSERT INTO notes VALUES (1, 'one'), (2, 'two');
INSERT INTO notes VALUES (1, 'again');
SELECT * FROM nowhere;
COPY notes FROM STDIN;
3	three
4	four
\.
COPY notes TO STDOUT;
\copy (SELECT text FROM notes ORDER BY id) TO STDOUT
SELECT id, text FROM notes ORDER BY id \gdesc
SELECT id, text FROM notes ORDER BY id \gx
SELECT 'SELECT ' || id || ' AS generated' FROM notes ORDER BY id \gexec
SELECT max(id) AS largest FROM notes \gset
\echo :largest
SELECT 1 \; SELECT 2 \; SELECT 3;
UPDATE notes SET text = upper(text);
TABLE notes;
DROP TABLE notes;
";

/// Transactions with a savepoint around each statement, and results by cursor.
const TRANSACTIONS: &str = r"
\set ON_ERROR_ROLLBACK on
\set FETCH_COUNT 7
BEGIN;
CREATE TABLE brief (n int);
SELECT 1/0;
INSERT INTO brief SELECT generate_series(1, 30);
SELECT n FROM brief ORDER BY n;
ROLLBACK;
SELECT to_regclass('brief');
\set ON_ERROR_ROLLBACK off
\set AUTOCOMMIT off
SELECT 1;
SELECT 1/0;
SELECT 2;
ROLLBACK;
SELECT 3;
COMMIT;
\set AUTOCOMMIT on
SELECT n FROM generate_series(1, 20) n;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SHOW transaction_isolation;
INSERT INTO items VALUES (-1, '');
END;
COMMIT;
";

/// What stays with the session.
const STATE: &str = r"
SET TIME ZONE 'Asia/Tokyo';
SET work_mem = '9MB';
SET my.var = $$it's mine$$;
SHOW ALL \g /dev/null
SELECT current_setting('TimeZone'), current_setting('work_mem'), current_setting('my.var');
\encoding LATIN1
\encoding
SHOW client_encoding;
RESET client_encoding;
\encoding
PREPARE p (int) AS SELECT $1 + 1;
EXECUTE p(41);
CREATE TEMP TABLE basket (n int);
\copy basket FROM PROGRAM 'seq 5'
SELECT sum(n) FROM basket;
DROP TABLE basket;
EXECUTE p(1);
DEALLOCATE p;
EXECUTE p(1);
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 5) n;
COMMIT;
FETCH 2 FROM c;
FETCH 2 FROM c;
CLOSE c;
SET ROLE reader;
SELECT current_user;
RESET ROLE;
SELECT current_user;
DISCARD ALL;
SHOW work_mem;
";

/// Large objects: functions by their number, in transactions that psql begins itself.
const LARGE: &str = r"
SELECT lo_from_bytea(4711, 'large');
\lo_list
\lo_export 4711 /dev/stdout
BEGIN;
\lo_export 4711 /dev/stdout
\lo_unlink 4711
ROLLBACK;
\lo_unlink 4711
\lo_unlink 4711
";

#[test]
fn everyday_work() {
    compare(11, EVERYDAY);
}

#[test]
fn transactions() {
    compare(12, TRANSACTIONS);
}

#[test]
fn state_of_the_session() {
    compare(13, STATE);
}

#[test]
fn large_objects() {
    compare(16, LARGE);
}

/// Notifications name the process that sent them, so they are compared without it.
#[test]
fn notifications() {
    compare(
        14,
        "LISTEN news;\nNOTIFY news, 'one';\nSELECT 1;\nNOTIFY news;\nUNLISTEN *;\nNOTIFY news;\n",
    );
}

/// Several psql at once, each with state of its own.
#[test]
fn side_by_side() {
    let stage = crowd::stage();
    let crowd = Crowd::gather(stage.proxy.address(), 15, crowd::USUAL);
    let expected = run(&stage, Stage::at_server, STATE);
    std::thread::scope(|scope| {
        let runs = [(); 8].map(|()| scope.spawn(|| run(&stage, Stage::at_proxy, STATE)));
        for run in runs {
            assert_same(&expected, &run.join().unwrap());
        }
    });
    let complaints = crowd.disperse();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn compare(seed: u64, script: &str) {
    let stage = crowd::stage();
    let direct = run(&stage, Stage::at_server, script);
    let crowd = Crowd::gather(stage.proxy.address(), seed, crowd::USUAL);
    for _ in 0..3 {
        let through = run(&stage, Stage::at_proxy, script);
        assert_same(&direct, &through);
    }
    let complaints = crowd.disperse();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Shows only the first difference.
fn assert_same(direct: &str, through: &str) {
    let pairs = direct.lines().zip(through.lines());
    for (number, (expected, found)) in pairs.enumerate() {
        assert_eq!(expected, found, "in line {}", number + 1);
    }
    assert_eq!(direct.lines().count(), through.lines().count(), "lines");
}

/// All that psql says, errors last, without process numbers.
fn run(stage: &Stage, to: fn(&Stage, Command) -> Command, script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script).unwrap();
    let mut psql = to(stage, support::installation().program("psql"));
    let output = psql.args(["-X", "-a", "-f"]).arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).replace(file.to_str().unwrap(), "script.sql");
    assert!(output.status.success(), "{said}");
    let without_process = |line: &str| line.split(" with PID ").next().unwrap().to_owned() + "\n";
    said.lines().map(without_process).collect()
}
