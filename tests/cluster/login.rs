//! The server's own refusals, as psql shows them.

use std::process::Command;

use pgring::{
    cli::postgres::{Process, Signal, Stop},
    protocol::startup::ProtocolVersion,
};

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{
        eventually,
        message::startup_of,
        peer::Client,
        proxy::Config,
        tools::{run, run_in_vain},
    },
};

fn psql(stage: &Stage) -> Command {
    let mut psql = stage.proxy.tool("psql");
    psql.args(["-X", "-q", "-A", "-t", "-c", "SELECT 1"]);
    psql
}

fn refusal(command: &mut Command) -> String {
    run_in_vain(command)
}

#[test]
fn a_database_that_does_not_exist() {
    let stage = Stage::new(|config| config);
    for _ in 0..3 {
        let said = refusal(psql(&stage).env("PGDATABASE", "nowhere"));
        assert!(
            said.contains("FATAL:  database \"nowhere\" does not exist"),
            "{said}"
        );
    }
    assert_eq!(run(&mut psql(&stage)), "1\n");
}

#[test]
fn a_password_that_the_client_does_not_know() {
    let stage = Stage::new(|config| config);
    for user in ["app", "nobody"] {
        let said = refusal(psql(&stage).env("PGUSER", user).env("PGPASSWORD", "wrong"));
        let expected = format!("FATAL:  password authentication failed for user \"{user}\"");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn a_password_that_the_server_does_not_accept() {
    let stage = Stage::new(|config| config);
    stage.sql("ALTER ROLE app PASSWORD 'changed'");
    let said = refusal(&mut psql(&stage));
    assert!(
        said.contains("FATAL:  password authentication failed for user \"app\""),
        "{said}"
    );
    stage.sql("ALTER ROLE app PASSWORD 'secret'");
    eventually("the server was tried again", || {
        psql(&stage).output().unwrap().status.success()
    });
}

#[test]
fn a_role_that_may_not_log_in() {
    let stage = Stage::new(|config| config);
    stage.sql("ALTER ROLE app NOLOGIN");
    let said = refusal(&mut psql(&stage));
    assert!(
        said.contains("FATAL:  role \"app\" is not permitted to log in"),
        "{said}"
    );
}

#[test]
fn a_role_that_the_server_does_not_have() {
    let stage = Stage::trusting(|config| config);
    let said = refusal(psql(&stage).env("PGUSER", "stranger"));
    assert!(
        said.contains("FATAL:  role \"stranger\" does not exist"),
        "{said}"
    );
}

#[test]
fn a_role_with_too_many_connections() {
    let stage = Stage::new(|config| config);
    stage.sql("ALTER ROLE app CONNECTION LIMIT 0");
    let said = refusal(&mut psql(&stage));
    assert!(
        said.contains("FATAL:  too many connections for role \"app\""),
        "{said}"
    );
}

/// Fewer connections than the pool may have: those that exist serve everybody.
#[test]
fn a_limit_below_the_pools_size() {
    let stage = Stage::new(|config| config.workers(2));
    stage.proxy.pgbench("-i -q");
    stage.sql("ALTER ROLE app CONNECTION LIMIT 2");
    let said = stage.proxy.pgbench("-n -S -c 12 -j 2 -t 100");
    assert!(said.contains("actually processed: 1200/1200"), "{said}");
}

#[test]
fn a_server_that_is_starting_up() {
    let mut stage = Stage::new(|config: Config| config);
    stage.server.primary.stop(Stop::Fast).unwrap();
    let starting = start_for_ever(&stage);
    let said = refusal(&mut psql(&stage));
    assert!(
        said.contains("FATAL:  the database system is starting up"),
        "{said}"
    );
    starting.signal(Signal::Quit);
    assert!(starting.wait_for_descendants());
    std::fs::remove_file(stage.server.primary.data().join("recovery.signal")).unwrap();
    stage.server.primary.start().unwrap();
    eventually("the server was tried again", || {
        psql(&stage).output().unwrap().status.success()
    });
}

/// Starts the server so that it waits for WAL that nobody brings.
fn start_for_ever(stage: &Stage) -> Process {
    let primary = &stage.server.primary;
    std::fs::write(primary.data().join("recovery.signal"), "").unwrap();
    let mut command = primary.tool("postgres");
    command.arg("-D").arg(primary.data());
    command
        .arg("-c")
        .arg(format!("port={}", primary.address().port()));
    command.args(["-c", "restore_command=echo asked for WAL >&2; sleep 1000"]);
    let workplace = stage.server.workplace();
    let process = workplace.spawn("starting", command, Signal::Quit).unwrap();
    process.wait_for("asked for WAL").unwrap();
    process
}

#[test]
fn the_servers_greeting_is_passed_on() {
    let stage = Stage::new(|config| config);
    let version = stage.sql("SHOW server_version");
    assert_eq!(stage.proxy.psql("SHOW server_version"), version);
    let mut psql = stage.proxy.tool("psql");
    psql.args(["-X", "-A", "-t", "-c", "\\echo :SERVER_VERSION_NAME"]);
    assert_eq!(run(&mut psql).trim_end(), version);
}

/// A client that asks for a protocol or options that the server does not have is told so, as by the server itself.
#[test]
fn the_protocol_is_negotiated_as_the_server_would() {
    let stage = Stage::trusting(|config| config);
    // Who comes first finds out which version the servers have.
    drop(Client::login(stage.proxy.address()));
    let who = [("user", "app"), ("database", "app")];
    let with_option = [who[0], who[1], ("_pq_.unknown", "1")];
    let newer = ProtocolVersion {
        major: 3,
        minor: 99,
    };
    for (version, parameters) in [
        (ProtocolVersion::V3_0, &who[..]),
        (ProtocolVersion::V3_2, &who),
        (newer, &who),
        (ProtocolVersion::V3_0, &with_option),
        (newer, &with_option),
    ] {
        let addresses = [stage.proxy.address(), stage.server.primary.address()];
        let [told, by_server] = addresses.map(|address| {
            let mut client = Client::connect(address);
            client.send(startup_of(version, parameters));
            let first = client.receive();
            (first.tag, first.body)
        });
        assert_eq!(told, by_server, "{version:?} {parameters:?}");
    }
}

/// What a server says of a login now counts, whatever it said of the same one before.
#[test]
fn a_login_that_the_server_would_refuse_by_now_is_refused() {
    let stage = Stage::trusting(|config| config);
    stage.sql("CREATE ROLE guest LOGIN; CREATE DATABASE visited");
    let enter = || Session::login_as(stage.proxy.address(), "guest", "visited");
    for (change, expected, back) in [
        (
            "ALTER ROLE guest NOLOGIN",
            "28000",
            "ALTER ROLE guest LOGIN",
        ),
        (
            "REVOKE CONNECT ON DATABASE visited FROM PUBLIC",
            "42501",
            "GRANT CONNECT ON DATABASE visited TO PUBLIC",
        ),
        (
            "DROP DATABASE visited WITH (FORCE)",
            "3D000",
            "CREATE DATABASE visited",
        ),
    ] {
        eventually("it was let in", || enter().is_ok());
        stage.sql(change);
        eventually("it was refused", || match enter() {
            Err(Answer::Error(sqlstate, _)) => sqlstate == expected,
            Ok(_) => false,
            Err(other) => panic!("{other:?}"),
        });
        stage.sql(back);
    }
}
