//! Programs in other languages: psycopg, asyncpg, node-postgres, JDBC. Owns how they are installed and run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::crowd::{self, Crowd};

/// What `install` answers when JDBC cannot be had.
const LEFT_OUT: i32 = 3;

fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
}

/// Where everything is installed; it stays from one run to the next.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients")
}

/// Installs what programs of this kind need; false when that is impossible and may be.
fn install(kind: &str) -> bool {
    let mut command = Command::new(sources().join("install"));
    let output = command.arg(cache()).arg(kind).output().unwrap();
    let may_be = kind == "java" && output.status.code() == Some(LEFT_OUT);
    if may_be {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(
        may_be || output.status.success(),
        "what the {kind} clients need cannot be installed:\n{}",
        said(&output)
    );
    !may_be
}

/// Runs a program, first against the server itself, then through pgring.
fn run(seed: u64, mut program: impl FnMut() -> Command) {
    let stage = crowd::stage();
    run_on(stage.at_server(program()), "without pgring");
    let crowd = Crowd::gather(stage.proxy.address(), seed, crowd::USUAL);
    run_on(stage.at_proxy(program()), "through pgring");
    let complaints = crowd.disperse();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn run_on(mut command: Command, how: &str) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{how}: {command:?}: {}\n{}",
        output.status,
        said(&output)
    );
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .concat()
}

fn python(file: &str) -> Command {
    let mut command = Command::new(cache().join("venv/bin/python"));
    command.arg("-W").arg("error").arg(sources().join(file));
    command
}

#[test]
fn psycopg() {
    install("python");
    run(1, || python("psycopg_sync.py"));
}

#[test]
fn psycopg_asynchronous() {
    install("python");
    run(2, || python("psycopg_async.py"));
}

#[test]
fn asyncpg_with_its_statement_cache() {
    install("python");
    run(3, || python("asyncpg_cached.py"));
}

#[test]
fn node_postgres() {
    install("node");
    run(4, || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", cache().join("node/node_modules"));
        command.arg(sources().join("app.js"));
        command
    });
}

#[test]
fn jdbc() {
    if !install("java") {
        return;
    }
    run(5, || {
        let classes = format!(
            "{}:/usr/share/java/postgresql.jar",
            cache().join("java").display()
        );
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &classes, "Jdbc"]);
        command
    });
}
