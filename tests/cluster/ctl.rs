//! `pgring ctl` and the admin socket, as operators and their scripts use them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Command, Output},
};

use pgring::cli::postgres::Account;

use crate::{
    failover::Stage,
    session::Answer,
    support::{eventually, proxy::Config},
};

/// A cluster whose pgring has an admin socket, in a folder that all may enter.
struct Desk {
    stage: Stage,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new(adapt: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let socket = folder.path().join("admin.sock");
        let line = format!("socket = {socket:?}");
        let stage = Stage::new(&[], |config, _| adapt(config.set("admin", &line)));
        Self {
            stage,
            socket,
            _folder: folder,
        }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgring"));
        command.args(["ctl", "--socket"]).arg(&self.socket);
        command.args(words.split_whitespace());
        command
    }

    /// The status, and all that was printed.
    fn ctl(&self, words: &str) -> (i32, String) {
        said(self.command(words).output().unwrap())
    }

    /// What it prints when it is done.
    fn done(&self, words: &str) -> String {
        let (status, text) = self.ctl(words);
        assert_eq!(status, 0, "{words}: {text}");
        text
    }
}

fn said(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn nodes_are_listed_for_people_and_for_scripts() {
    let desk = Desk::new(|config| config);
    let table = desk.done("node list");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[0].starts_with("name") && lines[1].starts_with("pg1 "),
        "{table}"
    );
    assert!(
        lines[1].contains("primary") && lines[2].contains("streaming"),
        "{table}"
    );
    let json = desk.done("node list --json");
    assert!(
        json.contains("\"name\":\"standby1\"") && json.contains("\"timeline\":1"),
        "{json}"
    );
    let status = desk.done("failover status");
    assert_eq!(status, desk.done("failover"));
    assert!(status.contains("steady"), "{status}");
    assert_eq!(fs::metadata(&desk.socket).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_switchover_is_waited_for() {
    let desk = Desk::new(|config| config);
    desk.done("switchover standby1 --wait");
    assert_eq!(desk.stage.new_primary(), 1);
    desk.done("node promote standby2 --wait");
    assert_eq!(desk.stage.new_primary(), 2);
    let inserted = desk.stage.client().query("INSERT INTO books VALUES (1, 1)");
    assert!(matches!(inserted, Answer::Rows(_)), "{inserted:?}");
}

#[test]
fn scripts_can_tell_by_the_status() {
    let desk = Desk::new(|config| config.set("failover", "switchover_timeout = \"300ms\""));
    for (words, status, why) in [
        ("switchover nobody", 1, "there is no node"),
        ("switchover pg1", 1, "it is the primary"),
        ("failover resume", 1, "failover is steady"),
        ("failover --accept-loss", 1, "failover is steady"),
        ("failover abort", 1, "failover is steady"),
        (
            "node attach nobody",
            1,
            "The nodes are pg1, standby1, standby2",
        ),
        ("node attach", 2, "NODE"),
        ("dance", 2, "unrecognized"),
    ] {
        let (found, text) = desk.ctl(words);
        assert_eq!(found, status, "{words}: {text}");
        assert!(text.contains(why), "{words}: {text}");
    }
    let nowhere = desk.socket.with_extension("nowhere");
    let (status, text) = said(
        Command::new(env!("CARGO_BIN_EXE_pgring"))
            .args(["ctl", "node", "list", "--socket"])
            .arg(nowhere)
            .output()
            .unwrap(),
    );
    assert_eq!(status, 3, "{text}");
    // One that does not come about.
    let standby = &desk.stage.cluster.server.standbys[0];
    standby.sql("app", "SELECT pg_wal_replay_pause()").unwrap();
    desk.stage
        .cluster
        .server
        .primary
        .sql("app", "INSERT INTO books VALUES (7, 7)")
        .unwrap();
    let (status, text) = desk.ctl("switchover standby1 --wait");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("has not become the primary"), "{text}");
    let mut client = desk.stage.client();
    assert!(matches!(
        client.query("INSERT INTO books VALUES (8, 8)"),
        Answer::Rows(_)
    ));
    assert!(matches!(client.query("BEGIN"), Answer::Rows(_)));
    assert!(matches!(
        client.query("INSERT INTO books VALUES (9, 9)"),
        Answer::Rows(_)
    ));
    let (status, text) = desk.ctl("switchover standby2 --wait --timeout 0");
    assert_eq!(status, 4, "{text}");
}

/// A node that is cut off loses what runs there; one that is left lets it end.
#[test]
fn nodes_are_detached_and_attached() {
    let desk = Desk::new(|config| config);
    for (words, ends) in [
        ("node detach pg1", false),
        ("node detach pg1 --gracefully", true),
    ] {
        let mut client = desk.stage.client();
        assert!(matches!(client.query("BEGIN"), Answer::Rows(_)));
        assert!(matches!(
            client.query("INSERT INTO books VALUES (1, 1)"),
            Answer::Rows(_)
        ));
        desk.done(words);
        if !ends {
            desk.done("node detach pg1 --wait");
        }
        match (client.query("SELECT count(*) FROM books"), ends) {
            (Answer::Rows(rows), true) => assert_eq!(rows, ["1"]),
            (Answer::Error(sqlstate, _), false) => assert_eq!(sqlstate, "08006"),
            other => panic!("{words}: {other:?}"),
        }
        assert!(matches!(client.query("ROLLBACK"), Answer::Rows(_)));
        assert!(desk.done("node list").contains("an operator detached it"));
        desk.done("node attach pg1 --wait");
        let inserted = desk.stage.client().query("DELETE FROM books");
        assert!(matches!(inserted, Answer::Rows(_)), "{inserted:?}");
    }
}

#[test]
fn a_file_is_read_again_and_a_wrong_one_is_refused() {
    let desk = Desk::new(|config| config);
    desk.done("reload");
    desk.stage.cluster.wait_for_log("configuration reloaded");
    let file = desk.stage.cluster.proxy.folder().join("pgring.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[nonsense]\n")).unwrap();
    let (status, said) = desk.ctl("reload");
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("nonsense"), "{said}");
    fs::write(&file, text).unwrap();
    desk.done("reload");
    // Where the socket is, the file says.
    let mut by_file = Command::new(env!("CARGO_BIN_EXE_pgring"));
    by_file.args(["ctl", "node", "list", "-c"]).arg(&file);
    assert_eq!(said_status(&mut by_file), 0);
}

fn said_status(command: &mut Command) -> i32 {
    said(command.output().unwrap()).0
}

/// Who may use the file is not let in for that alone.
#[test]
fn strangers_are_refused_whatever_the_mode_says() {
    let account = Account::for_servers().unwrap();
    if matches!(account, Account::Own) {
        // Nobody else can be asked to come.
        return;
    }
    let desk = Desk::new(|config| config.set("admin", "socket_mode = \"0666\""));
    let mut psql = Command::new("psql");
    psql.args(["-X", "-d", "pgring", "-h"])
        .arg(desk.socket.parent().unwrap());
    // libpq looks for a socket of its own naming.
    let as_libpq_looks = desk.socket.with_file_name(".s.PGSQL.5432");
    std::os::unix::fs::symlink(&desk.socket, as_libpq_looks).unwrap();
    psql.args(["-c", "SHOW FAILOVER"]);
    let (status, text) = said(account.run(&mut psql).output().unwrap());
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("may not order pgring about"), "{text}");
    desk.stage
        .cluster
        .wait_for_log("a stranger at the admin socket");
    desk.done("node list");
}

#[test]
fn it_is_stopped() {
    for words in ["stop --wait", "stop --now --wait"] {
        let desk = Desk::new(|config| config);
        desk.done(words);
        eventually("the process has ended", || {
            !desk.stage.cluster.proxy.process().is_running()
        });
        assert!(!desk.socket.exists());
        assert_eq!(desk.ctl("node list").0, 3);
    }
}
