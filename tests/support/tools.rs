//! Running a program to its end. Never lets a failure pass.

use std::{
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

/// Tells a program by its environment where it shall connect, as `app` / `secret` to `app`.
pub fn pointed_at(address: SocketAddr, mut command: Command) -> Command {
    command
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string());
    command
        .env("PGUSER", "app")
        .env("PGDATABASE", "app")
        .env("PGPASSWORD", "secret");
    command
}

/// What it printed on standard output; fails the test, with everything it said, unless it succeeds and says
/// nothing of an error.
pub fn run(command: &mut Command) -> String {
    let output = finish(command);
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    let succeeded =
        output.status.success() && !complained.contains("ERROR") && !complained.contains("FATAL");
    assert!(
        succeeded,
        "{command:?}: {}\n{said}{complained}",
        output.status
    );
    said
}

/// What it said on standard error; fails the test when it succeeds.
pub fn run_in_vain(command: &mut Command) -> String {
    let output = finish(command);
    assert!(
        !output.status.success(),
        "{command:?} should have failed:\n{}",
        text(&output.stdout)
    );
    text(&output.stderr)
}

fn finish(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
