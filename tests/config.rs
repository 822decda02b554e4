//! What people see of the configuration: the words for every mistake, `pgring check`,
//! `pgring passwd`, and what a reload takes over.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use pgring::{
    cluster::settings::{PoolMode, Settings},
    control::config::{changes, load, parse},
};

const FOLDER: &str = "tests/golden/config";

/// Every wrong file in the folder against the text beside it.
/// `INSTA_UPDATE=always cargo test --test config` writes the texts anew; read them before you commit.
#[test]
fn every_mistake_has_its_words() {
    let mut files: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 14, "{}", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden/config");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for file in files {
        let words = load(&file).unwrap_err().to_string();
        let name = file.file_stem().unwrap().to_str().unwrap();
        settings.bind(|| insta::assert_snapshot!(name, words));
    }
}

fn pgring(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgring"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may exit without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn check_says_ok_and_what_it_means() {
    for file in ["config/pgring.toml", "config/minimal.toml"] {
        let output = pgring(&["check", "-c", file], "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary = text(&output.stdout);
        assert!(summary.starts_with(&format!("{file}: ok\n")), "{summary}");
        assert!(
            summary.contains("listen   127.0.0.1:6432; at most 10000 clients"),
            "{summary}"
        );
        assert!(
            summary.contains("node     pg1 at 127.0.0.1:5432, weight 1"),
            "{summary}"
        );
        assert!(
            summary.contains("pool     transaction, 0 to 20 server connections"),
            "{summary}"
        );
    }
}

#[test]
fn check_fails_with_the_words_on_standard_error() {
    let file = "tests/golden/config/pool_min_size.toml";
    let output = pgring(&["check", "--config", file], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with(&format!("{file}:3: [pool] min_size: 6 is above")));
}

#[test]
fn a_missing_file_is_named() {
    let output = pgring(&["check", "-c", "no/such/file.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("no/such/file.toml: cannot be read: No such file"));
}

#[test]
fn a_wrong_command_line_is_status_2() {
    for arguments in [
        &["chekc"][..],
        &["check", "--file", "x"],
        &["passwd", "--method", "md5"],
    ] {
        let output = pgring(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains("Usage: pgring"),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_teaches_with_examples() {
    assert!(text(&pgring(&["--help"], "").stdout).contains("Examples:\n"));
    for command in ["check", "lab", "passwd"] {
        let output = pgring(&[command, "--help"], "");
        let example = format!("\n  pgring {command} ");
        assert!(text(&output.stdout).contains(&example), "{command}");
    }
}

#[test]
fn passwd_prints_what_the_configuration_takes() {
    let output = pgring(&["passwd"], "pencil\nignored\n");
    assert_eq!(output.status.code(), Some(0));
    let verifier = text(&output.stdout).trim_end();
    let node = "[[node]]\nname = \"a\"\naddress = \"127.0.0.1:5432\"\n";
    let config = format!("{node}[[user]]\nname = \"app\"\npassword = \"{verifier}\"");
    parse(&config, Path::new("test.toml")).unwrap();
    let again = pgring(&["passwd", "--user", "app"], "pencil");
    assert_ne!(
        text(&again.stdout).trim_end(),
        verifier,
        "the salt must differ"
    );
}

#[test]
fn passwd_takes_only_the_newline_away() {
    let hash = |input| {
        let output = pgring(&["passwd", "--method", "md5", "--user", "app"], input);
        text(&output.stdout).to_owned()
    };
    assert_eq!(hash("secret\n"), "md56a422f785c9e20873908ce25d1736ae2\n");
    assert_eq!(hash("secret\r\n"), hash("secret"));
    assert_ne!(hash(" secret"), hash("secret"));
    let output = pgring(&["passwd"], "\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the password is empty"));
}

/// A right configuration, with room for changes.
fn settings(pool: &str, rest: &str) -> Settings {
    let node = "[[node]]\nname = \"a\"\naddress = \"127.0.0.1:5432\"";
    let text = format!(
        "[pool]\n{pool}\n[auth]\nmethod = \"trust\"\nunknown_users = true\n{rest}\n{node}\n"
    );
    parse(&text, Path::new("test.toml")).unwrap()
}

#[test]
fn the_same_file_changes_nothing() {
    let old = settings("size = 5", "[[user]]\nname = \"eva\"");
    let reload = changes(&old, &old.clone());
    assert_eq!(reload.settings, old);
    assert!(
        reload.applied.is_empty() && reload.needs_restart.is_empty(),
        "{reload:?}"
    );
}

#[test]
fn pools_users_and_databases_are_taken_over() {
    let old = settings(
        "size = 5",
        "[[user]]\nname = \"eva\"\n[[user]]\nname = \"gone\"\n[[user]]\nname = \"same\"",
    );
    let new = settings(
        "size = 6\nmode = \"session\"",
        "[[database]]\nname = \"new\"\n[[user]]\nname = \"eva\"\nsize = 2\n[[user]]\nname = \"same\"",
    );
    let reload = changes(&old, &new);
    let applied = [
        "[pool] mode",
        "[pool] size",
        "[[database]] new",
        "[[user]] eva",
        "[[user]] gone",
    ];
    assert_eq!(reload.applied, applied);
    assert!(reload.needs_restart.is_empty(), "{reload:?}");
    assert_eq!(reload.settings, new);
    assert_eq!(reload.settings.pool.mode, PoolMode::Session);
}

/// A second node, and somebody to watch both.
fn second_node(address: &str, rest: &str) -> String {
    format!("[health]\nuser = \"w\"\n[[node]]\nname = \"b\"\naddress = \"{address}\"\n{rest}")
}

#[test]
fn what_a_node_may_change_while_running_and_what_not() {
    let old = settings("", &second_node("127.0.0.1:5433", "max_connections = 5"));
    let new = settings(
        "",
        &second_node("127.0.0.1:5434", "weight = 9\napplication_name = \"x\""),
    );
    let reload = changes(&old, &new);
    let applied = [
        "[[node]] b weight",
        "[[node]] b max_connections",
        "[[node]] b application_name",
    ];
    assert_eq!(reload.applied, applied);
    assert_eq!(reload.needs_restart, ["[[node]] b"]);
    let mut expected = old.clone();
    expected.nodes[0].max_connections = None;
    expected.nodes[0].weight = 9;
    expected.nodes[0].application_name = Some("x".to_owned());
    assert_eq!(reload.settings, expected);
}

#[test]
fn routing_and_health_change_while_running() {
    let old = settings("", "");
    let new = settings(
        "",
        "[routing]\nconsistency = \"global\"\nmax_lag = \"1s\"\n[failover]\nhold = 0\n\
         [[preference]]\nnode = \"primary\"\n[health]\nuser = \"w\"\nperiod = \"1s\"",
    );
    let reload = changes(&old, &new);
    let applied = [
        "[routing] consistency",
        "[routing] max_lag",
        "[[preference]]",
        "[health] user",
        "[health] period",
        "[failover] hold",
    ];
    assert_eq!(reload.applied, applied);
    assert!(reload.needs_restart.is_empty(), "{reload:?}");
    assert_eq!(reload.settings, new);
}

#[test]
fn the_rest_waits_for_a_restart_and_is_named() {
    let old = settings("", "");
    let new = settings(
        "size = 6",
        "[runtime]\nworkers = 77\npin = false\n[listen]\naddresses = [\"127.0.0.1:7000\"]\n\
         drain_timeout = \"1s\"\n[routing]\nread_write_split = false\n[admin]\nusers = []\n[log]\nlevel = \"debug\"\n\
         [[node]]\nname = \"b\"\naddress = \"127.0.0.1:5433\"",
    );
    let reload = changes(&old, &new);
    let waiting = [
        "[runtime] workers",
        "[runtime] pin",
        "[listen] addresses",
        "[listen] drain_timeout",
        "[[node]] b",
        "[admin] users",
        "[log] level",
    ];
    assert_eq!(reload.needs_restart, waiting);
    assert_eq!(
        reload.applied,
        ["[pool] size", "[routing] read_write_split"]
    );
    // Everything but these is as it was.
    let mut expected = old;
    expected.pool.capacity.size = 6;
    expected.routing.read_write_split = false;
    assert_eq!(reload.settings, expected);
}

#[test]
fn the_login_timeout_is_reloaded() {
    let old = settings("", "[listen]\nlogin_timeout = \"1s\"");
    let new = settings(
        "",
        "[listen]\nlogin_timeout = \"2s\"\ndrain_timeout = \"1s\"",
    );
    let reload = changes(&old, &new);
    assert_eq!(reload.applied, ["[listen] login_timeout"]);
    assert_eq!(reload.needs_restart, ["[listen] drain_timeout"]);
    let mut expected = old;
    expected.listen.login_timeout = new.listen.login_timeout;
    assert_eq!(reload.settings, expected);
}

#[test]
fn a_new_order_of_nodes_is_a_change() {
    let old = settings("", &second_node("127.0.0.1:5433", ""));
    let mut new = old.clone();
    new.nodes.reverse();
    assert_eq!(changes(&old, &new).needs_restart, ["[[node]], their order"]);
}
