//! What people do in psql, through pgring.

use std::{
    io::Write,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    stage::Stage,
    support::{
        message::*,
        peer::Client,
        proxy::Config,
        tools::{run, run_in_vain},
    },
};

fn one_connection(config: Config) -> Config {
    config.set("pool", "size = 1")
}

fn session_mode(config: Config) -> Config {
    config.set("pool", "mode = \"session\"")
}

/// Feeds a script to psql; what it printed, notices and errors included.
fn script(stage: &Stage, text: &str) -> String {
    let file = stage.proxy.folder().join("script.sql");
    std::fs::write(&file, text).unwrap();
    let mut psql = stage.proxy.tool("psql");
    psql.args(["-X", "-q", "-A", "-t", "-f"]).arg(&file);
    let output = psql.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn statements_results_notices_and_errors() {
    let stage = Stage::new(one_connection);
    assert_eq!(stage.proxy.psql("SELECT 1; SELECT 2, 'b'"), "1\n2|b");
    let said = script(
        &stage,
        "DO $$ BEGIN RAISE NOTICE 'look here'; END $$;\n\
         SELECT nonsense;\n\
         SELECT 1/0;\n\
         CREATE TABLE t (n int PRIMARY KEY);\n\
         INSERT INTO t VALUES (1), (1);\n\
         SELECT count(*) FROM t;\n",
    );
    for expected in [
        "NOTICE:  look here",
        "column \"nonsense\" does not exist",
        "division by zero",
        "duplicate key value",
    ] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
    assert!(said.lines().any(|line| line == "0"), "{said}");
}

#[test]
fn several_statements_in_one_string_are_one_transaction() {
    let stage = Stage::new(one_connection);
    stage.proxy.psql("CREATE TABLE t (n int)");
    let mut psql = stage.proxy.tool("psql");
    psql.args(["-X", "-c", "INSERT INTO t VALUES (1); SELECT 1/0"]);
    assert!(run_in_vain(&mut psql).contains("division by zero"));
    assert_eq!(stage.proxy.psql("SELECT count(*) FROM t"), "0");
}

#[test]
fn descriptions_of_tables() {
    let stage = Stage::new(one_connection);
    stage
        .proxy
        .psql("CREATE TABLE described (n int PRIMARY KEY, t text NOT NULL)");
    let said = script(
        &stage,
        "\\t off\n\\d described\n\\dt\n\\df pg_sleep\n\\l app\n",
    );
    for expected in ["n|integer||not null|", "described_pkey", "pg_sleep"] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
}

#[test]
fn copy_to_and_from_a_file() {
    let stage = Stage::new(one_connection);
    let file = stage.proxy.folder().join("rows.tsv");
    let said = script(
        &stage,
        &format!(
            "CREATE TABLE t (n int, x text);\n\
             INSERT INTO t SELECT n, repeat('x', n % 100) FROM generate_series(1, 20000) n;\n\
             \\copy t TO '{file}'\n\
             CREATE TABLE u (LIKE t);\n\
             \\copy u FROM '{file}'\n\
             SELECT count(*) FROM (TABLE t EXCEPT TABLE u) AS missing;\n\
             SELECT count(*) FROM u;\n\
             COPY u FROM STDIN;\nnot a number\tx\n\\.\n\
             SELECT 'still here';\n",
            file = file.display()
        ),
    );
    assert!(said.contains("0\n20000\n"), "{said}");
    assert!(
        said.contains("invalid input syntax for type integer"),
        "{said}"
    );
    assert!(said.contains("still here"), "{said}");
}

#[test]
fn cursors_and_savepoints() {
    let stage = Stage::new(one_connection);
    let said = script(
        &stage,
        "BEGIN;\nDECLARE c CURSOR FOR SELECT generate_series(1, 1000);\n\
         FETCH 2 FROM c;\nMOVE 500 FROM c;\nFETCH 1 FROM c;\nCLOSE c;\nCOMMIT;\n\
         \\set ON_ERROR_ROLLBACK on\n\
         BEGIN;\nCREATE TABLE kept (n int);\nSELECT nonsense;\nINSERT INTO kept VALUES (7);\nCOMMIT;\n\
         SELECT 'kept', n FROM kept;\n",
    );
    assert!(said.contains("1\n2\n503\n"), "{said}");
    assert!(said.contains("kept|7"), "{said}");
}

#[test]
fn a_large_result() {
    let stage = Stage::new(one_connection);
    let mut psql = stage.proxy.tool("psql");
    let query = "SELECT n, md5(n::text) FROM generate_series(1, 300000) n";
    psql.args(["-X", "-A", "-t", "-c", query]);
    let through = run(&mut psql);
    let mut direct = stage.direct("psql");
    direct.args(["-X", "-A", "-t", "-c", query]);
    assert!(through == run(&mut direct), "the results differ");
    let wide = "SELECT length(repeat('x', 50000000)), repeat('y', 30000000)";
    let said = stage.proxy.psql(wide);
    assert_eq!(said.len(), "50000000|".len() + 30_000_000);
}

#[test]
fn rows_fetched_in_portions() {
    let stage = Stage::new(one_connection);
    let said = script(
        &stage,
        "\\set FETCH_COUNT 100\nSELECT n FROM generate_series(1, 1000) n;\nSELECT 'end';\n",
    );
    assert_eq!(said.lines().count(), 1001, "{said}");
}

#[test]
fn notifications_in_session_mode() {
    let stage = Stage::new(session_mode);
    let said = script(
        &stage,
        "LISTEN here;\nNOTIFY here, 'to myself';\nSELECT 1;\n",
    );
    assert!(
        said.contains("Asynchronous notification \"here\" with payload \"to myself\""),
        "{said}"
    );
}

#[test]
fn a_notification_reaches_an_idle_session() {
    let stage = Stage::trusting(session_mode);
    let mut client = stage.proxy.client();
    client.send(query("LISTEN here")).expect("C Z");
    stage.sql("NOTIFY here, 'hello'");
    let message = client.expect("A").remove(0);
    assert!(message.body.ends_with(b"here\0hello\0"));
    client.terminate();
    // The next session listens to nothing.
    let mut other = stage.proxy.client();
    assert_eq!(
        other.rows("SELECT count(*) FROM pg_listening_channels()"),
        ["0"]
    );
}

#[test]
fn a_session_leaves_nothing_behind_in_session_mode() {
    let stage = Stage::trusting(|config| {
        session_mode(one_connection(config)).set("pool", "greeting_age = 0")
    });
    let mut client = stage.proxy.client();
    let first = client.rows("SELECT pg_backend_pid()");
    client.rows("SET work_mem = '7MB'; PREPARE p AS SELECT 1");
    client.rows("SELECT pg_advisory_lock(1)");
    client.terminate();
    let mut other = stage.proxy.client();
    assert_eq!(other.rows("SELECT pg_backend_pid()"), first);
    assert_eq!(other.rows("SHOW work_mem"), ["4MB"]);
    let left = "SELECT count(*) FROM pg_prepared_statements UNION ALL \
                SELECT count(*) FROM pg_class WHERE relname = 't' UNION ALL \
                SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(other.rows(left), ["0", "0", "0"]);
    // The schema for temporary tables stays with its connection, which is closed.
    other.rows("CREATE TEMP TABLE t (n int)");
    other.terminate();
    let mut third = stage.proxy.client();
    assert_ne!(third.rows("SELECT pg_backend_pid()"), first);
    assert_eq!(third.rows(left), ["0", "0", "0"]);
    assert_eq!(third.rows("SELECT pg_my_temp_schema()"), ["0"]);
}

fn start(stage: &Stage, sql: &str) -> Child {
    let mut psql = stage.proxy.tool("psql");
    psql.args(["-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", "-c", sql]);
    psql.stdout(Stdio::piped()).stderr(Stdio::piped());
    psql.spawn().unwrap()
}

/// Two workers, so that the cancel request may come to the one that does not have the session.
#[test]
fn interrupting_psql_cancels_its_statement_and_no_other() {
    let stage = Stage::new(|config| config.workers(2));
    let bystander = start(
        &stage,
        "SELECT 'by', pg_sleep(1) FROM generate_series(1, 2)",
    );
    for _ in 0..8 {
        let psql = start(&stage, "SELECT 'mine', pg_sleep(60)");
        stage.wait_until_running("SELECT ''mine''");
        let pid = Pid::from_raw(psql.id() as i32).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let output = psql.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("57014"), "{said}");
    }
    let output = bystander.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"by|\nby|\n");
    assert_eq!(stage.proxy.psql("SELECT 1"), "1");
}

#[test]
fn an_interactive_input_that_ends_in_a_transaction() {
    let stage = Stage::new(one_connection);
    let mut psql = stage.proxy.tool("psql");
    psql.args(["-X", "-q", "-A", "-t"]);
    psql.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = psql.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"CREATE TABLE t (n int);\nBEGIN;\nINSERT INTO t VALUES (1);\nSELECT 'open';\n")
        .unwrap();
    drop(stdin);
    assert_eq!(child.wait_with_output().unwrap().stdout, b"open\n");
    assert_eq!(stage.proxy.psql("SELECT count(*) FROM t"), "0");
}

#[test]
fn extended_queries_with_parameters_and_portals() {
    let stage = Stage::trusting(one_connection);
    let mut client = stage.proxy.client();
    client.send(all([
        parse("", "SELECT n FROM generate_series(1, $1::int) n"),
        bind("", "", &["5"]),
        describe_portal(""),
        execute_rows("", 2),
        execute_rows("", 2),
        execute(""),
        sync(),
    ]));
    let answer = client.expect("1 2 T D D s D D s D C Z");
    assert_eq!(values(answer[9].frame()), [Some("5".to_owned())]);
    client.send(all([
        parse("", "SELECT 1/$1::int"),
        bind("", "", &["0"]),
        execute(""),
        bind("", "", &["1"]),
        execute(""),
        sync(),
    ]));
    client.expect("1");
    assert!(client.expect_error("22012").contains("division by zero"));
    client.expect("Z");
    let mut other = Client::login(stage.proxy.address());
    assert_eq!(other.rows("SELECT 1"), ["1"]);
}
