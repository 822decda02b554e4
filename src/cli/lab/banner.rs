//! Text that a lab prints for the person who started it. Never decides anything.

use std::fmt::Write;

use super::stage::{NAME, Stage};
use crate::cli::postgres::Process;

/// How to connect, what runs where, what to try.
pub(super) fn text(stage: &Stage) -> String {
    let (uri, console) = (stage.uri(NAME), stage.uri("pgring"));
    let folder = stage.cluster.workplace().path().display();
    let superuser = stage.cluster.primary.address().port();
    let (processes, configuration) = (processes(stage), stage.configuration());
    let (configuration, pid) = (configuration.display(), stage.proxy.pid());
    let splitting = splitting(stage, &uri, &console);
    format!(
        "
The lab is up; Ctrl-C removes everything. Connect from another terminal:

  psql {uri}

What runs
{processes}
  configuration  {configuration}
  read it again  kill -HUP {pid}

To try
  pgbench -i -s 10 {uri}
  pgbench -S -c 16 -T 10 -M prepared {uri}
  psql {console} -c 'SHOW POOLS'
{splitting}  kill -9 PID                                   # of a server; type its name here to start it again
  psql -h {folder} -p {superuser} -U postgres     # past pgring, as superuser

"
    )
}

/// How to see that reads go to standbys, and that one replaces the primary, where there are any.
fn splitting(stage: &Stage, uri: &str, console: &str) -> String {
    if stage.cluster.standbys.is_empty() {
        return String::new();
    }
    let pid = stage.cluster.primary.process().map_or(0, Process::pid);
    let program = std::env::current_exe().unwrap_or_else(|_| "pgring".into());
    let (program, socket) = (program.display(), stage.admin_socket());
    let socket = socket.display();
    format!(
        "
Reads go to the standbys, writes to the primary
  psql {uri} -c 'SHOW POOL_NODES'
  psql {uri} -c 'SHOW ROUTE SELECT lower(relname) FROM pg_class'
  psql {uri} -c 'SELECT inet_server_port()'       # again and again

A standby becomes the primary, and clients notice a pause
  {program} ctl --socket {socket} switchover standby1 --wait
  {program} ctl --socket {socket} node list

The primary may be lost: a standby takes its place
  kill -9 {pid}                                 # the primary; what is idle stays connected
  psql {console} -c 'SHOW FAILOVER'
  psql {uri} -c 'SHOW POOL_NODES'               # type primary here: it comes back, and is fenced
"
    )
}

/// One line for each process: name, address, process number, log.
fn processes(stage: &Stage) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, port: u16, pid: u32, log: std::path::PathBuf| {
        let address = format!("127.0.0.1:{port}");
        writeln!(
            lines,
            "  {name:<9}  {address:<15}  pid {pid:<7}  {}",
            log.display()
        )
        .expect("a String takes every text");
    };
    line(
        "pgring",
        stage.port,
        stage.proxy.pid(),
        stage.cluster.workplace().log("pgring"),
    );
    for server in stage.cluster.servers() {
        let pid = server.process().map_or(0, |process| process.pid());
        line(server.name(), server.address().port(), pid, server.log());
    }
    lines
}
