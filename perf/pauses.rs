//! Owns the measurement of the pauses that a writer sees: when its primary is killed, and when another one takes its place by
//! order. Each round has real servers of its own, a primary and two standbys, and one client that writes without rest. It
//! judges nothing.

use crate::{
    frames::{Scanner, put, put_text},
    messages::startup_packet,
    process::{catch_interrupts, check_interrupt},
    suite::pgring_beside,
};
use pgring::{
    cli::postgres::{Cluster, Installation, Options, Process, Signal, free_port},
    control::RIGHTS,
};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Writes before and after the event, so that all is warm.
const WRITES: usize = 200;
/// How long a writer may see nothing.
const LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `perf pauses`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Measured rounds of each kind
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// The pgring to measure; next to this program when not given
    #[arg(long)]
    pgring: Option<PathBuf>,
}

/// Milliseconds of each round, in order of size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pauses {
    /// From kill -9 of the primary to the first write that the new one committed.
    pub(crate) failover: Vec<f64>,
    /// The longest time between two writes while another primary took over.
    pub(crate) switchover: Vec<f64>,
}

impl Pauses {
    /// The line that `perf pauses` prints last.
    fn line(&self) -> String {
        let written = |all: &[f64]| {
            let all: Vec<_> = all.iter().map(|it| format!("{it:.1}")).collect();
            all.join(",")
        };
        format!(
            "pauses {} {}",
            written(&self.failover),
            written(&self.switchover)
        )
    }

    /// Reads what `perf pauses` printed.
    pub(crate) fn read(output: &str) -> Option<Pauses> {
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("pauses "))?;
        let (failover, switchover) = line.split_once(' ')?;
        let numbers = |text: &str| -> Option<Vec<f64>> {
            text.split(',').map(|it| it.parse().ok()).collect()
        };
        Some(Pauses {
            failover: numbers(failover)?,
            switchover: numbers(switchover)?,
        })
    }

    /// All of it, with names: smallest, median, largest.
    pub(crate) fn rows(&self) -> [(&'static str, [f64; 3]); 2] {
        let of = |all: &[f64]| {
            let at = |place: usize| all.get(place).copied().unwrap_or(f64::NAN);
            [at(0), at(all.len() / 2), at(all.len().saturating_sub(1))]
        };
        [
            ("the primary is killed", of(&self.failover)),
            ("a switchover", of(&self.switchover)),
        ]
    }
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    catch_interrupts()?;
    let pgring = arguments.pgring.clone().map_or_else(pgring_beside, Ok)?;
    let mut pauses = Pauses::default();
    for _ in 0..arguments.rounds {
        check_interrupt()?;
        pauses.failover.push(Stage::build(&pgring)?.failover()?);
        pauses.switchover.push(Stage::build(&pgring)?.switchover()?);
    }
    pauses.failover.sort_by(f64::total_cmp);
    pauses.switchover.sort_by(f64::total_cmp);
    println!("pauses of a writer, in milliseconds:");
    for (what, [least, median, most]) in pauses.rows() {
        println!("  {what:22} {least:7.1} to {most:7.1}, median {median:7.1}");
    }
    println!("{}", pauses.line());
    Ok(())
}

/// Servers and a pgring in front of them, as long as it lives.
struct Stage {
    proxy: Process,
    address: SocketAddr,
    cluster: Cluster,
}

/// Words for an error of the servers.
fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Stage {
    fn build(pgring: &Path) -> Result<Self, String> {
        let installation = Installation::find().map_err(failed)?;
        let options = Options {
            standbys: 2,
            host_auth: "trust".to_owned(),
            hba: vec!["host replication all 127.0.0.1/32 trust".to_owned()],
            ..Options::default()
        };
        let cluster = Cluster::start(&installation, "pgring-perf", &options).map_err(failed)?;
        let sql = |database: &str, text: &str| cluster.primary.sql(database, text).map_err(failed);
        sql("postgres", "CREATE ROLE watcher LOGIN")?;
        for right in RIGHTS {
            sql("postgres", &right.granted_to("watcher"))?;
        }
        sql("postgres", "CREATE ROLE app LOGIN")?;
        sql("postgres", "CREATE TABLE writes (n int)")?;
        sql("postgres", "GRANT ALL ON writes TO app")?;
        let port = free_port().map_err(failed)?;
        let file = cluster.workplace().path().join("pgring.toml");
        std::fs::write(&file, configuration(&cluster, port)).map_err(failed)?;
        let mut command = Command::new(pgring);
        command.args(["run", "-c"]).arg(&file);
        let proxy = cluster.workplace().spawn("pgring", command, Signal::Kill);
        let proxy = proxy.map_err(failed)?;
        proxy.wait_for(" ready").map_err(failed)?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        Ok(Self {
            proxy,
            address,
            cluster,
        })
    }

    fn failover(&self) -> Result<f64, String> {
        let killed = Mutex::new(None);
        let writes = self.write_through(|| {
            *killed.lock().map_err(failed)? = Some(Instant::now());
            let primary = self.cluster.primary.process();
            primary.ok_or("the primary is gone")?.signal(Signal::Kill);
            Ok(())
        })?;
        let killed = killed.into_inner().map_err(failed)?;
        let killed = killed.ok_or("nothing was killed")?;
        // Its backends live on for a moment, and commit: what counts is the end of the longest pause.
        let ends = writes
            .iter()
            .map(|(_, ended)| *ended)
            .filter(|ended| *ended > killed);
        let (mut before, mut longest) = (killed, (Duration::ZERO, killed));
        for ended in ends {
            longest = longest.max((ended.duration_since(before), ended));
            before = ended;
        }
        Ok(longest.1.duration_since(killed).as_secs_f64() * 1e3)
    }

    fn switchover(&self) -> Result<f64, String> {
        let writes = self.write_through(|| {
            let mut console = Client::login(self.address, "app", "pgring").map_err(failed)?;
            console.ask("SWITCHOVER TO standby1").map_err(failed)
        })?;
        let pairs = writes.iter().zip(writes.iter().skip(1));
        let longest = pairs
            .map(|((_, before), (_, after))| after.duration_since(*before))
            .max();
        Ok(longest.ok_or("nothing was written")?.as_secs_f64() * 1e3)
    }

    /// The writes of one client, each with when it was sent and when it was answered, while `event` happens. Those that are
    /// answered with an error are none.
    fn write_through(
        &self,
        event: impl FnOnce() -> Result<(), String>,
    ) -> Result<Vec<(Instant, Instant)>, String> {
        self.proxy.wait_for("is the primary").map_err(failed)?;
        let (writes, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let count = || {
            writes
                .lock()
                .map_or(0, |writes: std::sync::MutexGuard<'_, Vec<_>>| writes.len())
        };
        let wait_for = |more: usize| {
            let (before, begin) = (count(), Instant::now());
            while count() < before + more {
                check_interrupt()?;
                if begin.elapsed() > LIMIT {
                    return Err("the writer does not get on".to_owned());
                }
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        let mut client = Client::login(self.address, "app", "postgres").map_err(failed)?;
        let outcome = thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    if client.ask("INSERT INTO writes VALUES (1)").is_ok()
                        && let Ok(mut writes) = writes.lock()
                    {
                        writes.push((began, Instant::now()));
                    }
                }
            });
            let outcome = wait_for(WRITES)
                .and_then(|()| event())
                .and_then(|()| wait_for(WRITES));
            stop.store(true, Ordering::Relaxed);
            outcome
        });
        outcome?;
        writes.into_inner().map_err(failed)
    }
}

/// As an operator would set it who wants a lost primary replaced soon.
fn configuration(cluster: &Cluster, port: u16) -> String {
    let node = |server: &pgring::cli::postgres::Postgres| {
        format!(
            "[[node]]\nname = \"{}\"\naddress = \"{}\"\n",
            server.name(),
            server.address()
        )
    };
    let nodes: String = cluster.servers().map(node).collect();
    let folder = cluster.workplace().path().display();
    format!(
        "[listen]\naddresses = [\"127.0.0.1:{port}\"]\n\
         [auth]\nmethod = \"trust\"\nunknown_users = true\n\
         [health]\nuser = \"watcher\"\nperiod = \"200ms\"\ntimeout = \"1s\"\nretries = 1\nretry_delay = \"50ms\"\n\
         status_file = \"{folder}/pgring.status\"\n\
         [failover]\nmode = \"sql\"\n[admin]\nusers = [\"app\"]\n{nodes}"
    )
}

/// A client that is let in without a password.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn login(address: SocketAddr, user: &str, database: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&startup_packet(user, database))?;
        let mut client = Self { stream };
        client.until_ready()?;
        Ok(client)
    }

    /// Runs one statement; its error is one.
    fn ask(&mut self, sql: &str) -> io::Result<()> {
        let mut query = Vec::new();
        put(&mut query, b'Q', |body| put_text(body, sql.as_bytes()));
        self.stream.write_all(&query)?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> io::Result<()> {
        let (mut scanner, mut bytes) = (Scanner::default(), [0; 4096]);
        let (mut ready, mut failed) = (false, false);
        while !ready {
            let length = self.stream.read(&mut bytes)?;
            let scanned = scanner.scan(&bytes[..length], |tag, _| {
                ready |= tag == b'Z';
                failed |= tag == b'E';
            });
            if length == 0 || scanned.is_err() {
                return Err(io::Error::other("no proper answer"));
            }
        }
        match failed {
            true => Err(io::Error::other("an error")),
            false => Ok(()),
        }
    }
}
