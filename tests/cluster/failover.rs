//! A primary that is lost for good: pgring makes a standby the primary, the other one follows it, and clients go on over
//! the connections that they have.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use pgring::{
    cli::postgres::{Cluster, Options, Signal, signal},
    control::RIGHTS,
};

use crate::{
    replicated::Replicated,
    session::{Answer, Session},
    support::{
        eventually,
        message::query,
        proxy::{Config, Proxy},
    },
};

/// A primary and two standbys that pgring replaces by SQL, as a role that has only the rights that it needs.
pub(crate) struct Stage {
    pub(crate) cluster: Replicated,
    pub(crate) config: Config,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new(settings: &[&str], adapt: impl FnOnce(Config, &Cluster) -> Config) -> Self {
        let options = Options {
            standbys: 2,
            host_auth: "trust".to_owned(),
            hba: vec!["host replication all 127.0.0.1/32 trust".to_owned()],
            settings: settings.iter().map(ToString::to_string).collect(),
        };
        let server = crate::support::postgres(&options);
        let role = "CREATE ROLE watcher LOGIN PASSWORD 'look'";
        server.primary.sql("postgres", role).unwrap();
        for right in RIGHTS {
            let grant = right.granted_to("watcher");
            server.primary.sql("postgres", &grant).unwrap();
        }
        let books = "CREATE TABLE books (id int PRIMARY KEY, value bigint NOT NULL)";
        for sql in [books, "GRANT ALL ON books TO app"] {
            server.primary.sql("app", sql).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("status");
        let config = Replicated::watching(&server)
            .set("health", &format!("status_file = {file:?}"))
            .set("failover", "mode = \"sql\"");
        let config = adapt(config, &server);
        let proxy = Proxy::start(&config);
        let cluster = Replicated { proxy, server };
        cluster.wait_for_columns(
            &["role", "replication_state"],
            &["primary ", "standby streaming", "standby streaming"],
        );
        Self {
            cluster,
            config,
            _folder: folder,
        }
    }

    /// How much of what clients were told is missing at the new primary.
    pub(crate) fn missing(&self, told: &Told) -> u64 {
        let told: Vec<_> = told.iter().map(|it| it.load(SeqCst)).collect();
        let new = self.new_primary();
        let server = self.cluster.server.servers().nth(new).unwrap();
        let rows = server
            .sql("app", "SELECT value FROM books WHERE id < 100 ORDER BY id")
            .unwrap();
        let values = rows.lines().map(|value| value.parse::<u64>().unwrap());
        values
            .zip(told)
            .map(|(value, told)| told.saturating_sub(value))
            .sum()
    }

    pub(crate) fn client(&self) -> Session {
        Session::login(self.cluster.proxy.address()).unwrap()
    }

    /// Waits until a failover has got so far; the columns of `SHOW FAILOVER`.
    pub(crate) fn wait_for_phase(&self, phase: &str) -> Vec<String> {
        let mut found = Vec::new();
        eventually(&format!("failover was {phase}"), || {
            found = self.failover();
            found[0] == phase
        });
        found
    }

    pub(crate) fn failover(&self) -> Vec<String> {
        let mut psql = self.cluster.proxy.tool("psql");
        psql.args(["-X", "-A", "-t", "-d", "pgring", "-c", "SHOW FAILOVER"]);
        let text = crate::support::tools::run(&mut psql);
        text.trim_end().split('|').map(str::to_owned).collect()
    }

    /// The standby that has become the primary, by its place; 1 or 2.
    pub(crate) fn new_primary(&self) -> usize {
        let roles = self.cluster.columns(&["role"]);
        roles.iter().position(|role| role == "primary").unwrap()
    }

    /// All that is needed after the primary has gone: one new primary, which the other standby follows.
    fn check_replaced(&self) {
        self.wait_for_phase("done");
        let new = self.new_primary();
        assert_ne!(new, 0, "the lost one takes no writes");
        let servers: Vec<_> = self.cluster.server.servers().collect();
        let other = 3 - new;
        let followers = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        eventually("the other standby streams from the new primary", || {
            servers[new].sql("postgres", followers).unwrap() == "1"
        });
        assert_eq!(
            servers[other]
                .sql("postgres", "SELECT pg_is_in_recovery()")
                .unwrap(),
            "t"
        );
        eventually("reads go to it", || {
            let columns = self
                .cluster
                .columns(&["status", "role", "replication_state"]);
            columns[other] == "waiting standby streaming"
        });
    }
}

/// What clients were told of their writes: the newest value of each one's row.
pub(crate) type Told = Vec<AtomicU64>;

pub(crate) const CLIENTS: usize = 6;

/// One client that writes until it is told to stop, and carries on over every error.
fn write(mut session: Session, id: usize, told: &AtomicU64, stop: &AtomicBool) {
    for value in 1.. {
        if stop.load(SeqCst) {
            return;
        }
        let update = format!("UPDATE books SET value = {value} WHERE id = {id}");
        match session.ask(&query(&update)) {
            Answer::Rows(_) => told.store(value, SeqCst),
            // What was under way is lost, or not; the connection is not.
            Answer::Error(sqlstate, message) => {
                let explains = ["08", "57"].contains(&&sqlstate[..2]);
                assert!(explains, "{sqlstate} {message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Runs clients while `harm` befalls the cluster, until each has written at the new primary. Answers what of their writes
/// is missing there, of all rows.
fn replace_under_load(stage: &Stage, harm: impl FnOnce(&Replicated)) -> u64 {
    let told: Told = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let mut idle = stage.client();
    assert_eq!(idle.query("SELECT 1").row(), "1");
    let all_have_written = |more: u64| {
        let before: Vec<_> = told.iter().map(|it| it.load(SeqCst)).collect();
        eventually("every client wrote", || {
            let pairs = told.iter().zip(&before);
            pairs
                .into_iter()
                .all(|(told, before)| told.load(SeqCst) >= before + more)
        });
    };
    let mut missing = 0;
    thread::scope(|scope| {
        for (id, told) in told.iter().enumerate() {
            let mut session = stage.client();
            session.query(&format!("INSERT INTO books VALUES ({id}, 0)"));
            let stop = &stop;
            scope.spawn(move || write(session, id, told, stop));
        }
        all_have_written(20);
        harm(&stage.cluster);
        stage.wait_for_phase("done");
        missing = stage.missing(&told);
        all_have_written(20);
        stop.store(true, SeqCst);
    });
    assert_eq!(idle.query("SELECT 2").row(), "2", "who was idle goes on");
    missing
}

fn kill(cluster: &Replicated) {
    cluster
        .server
        .primary
        .process()
        .unwrap()
        .signal(Signal::Kill);
}

#[test]
fn a_primary_that_is_killed_is_replaced_and_idle_clients_do_not_notice() {
    let stage = Stage::new(&[], |config, _| config);
    replace_under_load(&stage, kill);
    stage.check_replaced();
}

/// Nothing that a synchronous standby has acknowledged is lost.
#[test]
fn with_synchronous_standbys_nothing_is_lost() {
    for names in [
        "FIRST 1 (standby1, standby2)",
        "ANY 1 (standby1, standby2)",
        "FIRST 2 (standby1, standby2)",
    ] {
        let stage = Stage::new(&[], |config, _| config);
        let sql = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        stage.cluster.server.primary.sql("postgres", &sql).unwrap();
        stage.cluster.server.primary.reload().unwrap();
        stage.cluster.wait_for_columns(
            &["replication_sync_state"],
            &match names {
                "FIRST 1 (standby1, standby2)" => ["", "sync", "potential"],
                "ANY 1 (standby1, standby2)" => ["", "quorum", "quorum"],
                _ => ["", "sync", "sync"],
            },
        );
        // The new primary has nobody else to wait for when the set asks for two.
        let lost = match names.starts_with("FIRST 2") {
            true => {
                kill(&stage.cluster);
                stage.wait_for_phase("done");
                0
            }
            false => replace_under_load(&stage, kill),
        };
        assert_eq!(lost, 0, "{names}");
        stage.check_replaced();
    }
}

/// A primary that stands still says nothing; its standbys find that out by themselves.
#[test]
fn a_primary_that_stands_still_is_replaced_and_fenced_when_it_goes_on() {
    let stage = Stage::new(&["wal_receiver_timeout = 4s"], |config, _| config);
    let primary = stage.cluster.server.primary.process().unwrap();
    for pid in family(primary.pid()) {
        signal(pid, Signal::Stop);
    }
    stage.check_replaced();
    for pid in family(primary.pid()) {
        signal(pid, Signal::Continue);
    }
    eventually("the old primary is fenced", || {
        let columns = stage.cluster.columns(&["status", "pg_role"]);
        columns[0] == "quarantine primary"
    });
    assert_ne!(stage.new_primary(), 0);
    let mut client = stage.client();
    assert!(matches!(
        client.query("INSERT INTO books VALUES (77, 1)"),
        Answer::Rows(_)
    ));
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    std::iter::once(pid).chain(children).collect()
}

/// A way from pgring to the primary that can be cut.
struct Relay {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, streams) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let relay = Self {
            address,
            is_cut: Arc::clone(&is_cut),
            streams: Arc::clone(&streams),
        };
        // It ends with the process, as its listener does.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(target) else {
                    continue;
                };
                for (mut from, mut to) in [(&client, &server), (&server, &client)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    thread::spawn(move || {
                        let _ended = std::io::copy(&mut from, &mut to);
                        let _ended = to.shutdown(Shutdown::Both);
                    });
                }
                streams.lock().unwrap().extend([client, server]);
            }
        });
        relay
    }

    fn set_cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }
}

/// pgring is cut off from the primary, and its standbys hear it well: that is no death.
#[test]
fn a_primary_that_its_standbys_hear_is_not_replaced() {
    let mut relay = None;
    let stage = Stage::new(&[], |config, server| {
        let address = server.primary.address();
        let made = relay.insert(Relay::to(address));
        config.moved(address, made.address)
    });
    let relay = relay.unwrap();
    let primary = &stage.cluster.server.primary;
    relay.set_cut(true);
    stage.wait_for_phase("suspecting");
    for id in 0..20 {
        primary
            .sql("app", &format!("INSERT INTO books VALUES ({id}, 0)"))
            .unwrap();
        assert_eq!(stage.failover()[0], "suspecting");
    }
    eventually("it said why", || {
        stage.failover()[5].contains("still connected")
    });
    relay.set_cut(false);
    stage.wait_for_phase("steady");
    assert_eq!(stage.new_primary(), 0);
}

/// pgring is killed at every step, and started again by whoever looks after it.
#[test]
fn a_pgring_that_is_killed_in_the_middle_goes_on() {
    for phase in ["suspecting", "promoting", "following"] {
        let mut stage = Stage::new(&[], |config, _| config);
        kill(&stage.cluster);
        let mut seen = String::new();
        // It may be over before it is seen.
        eventually("failover has begun", || {
            seen = stage.failover().swap_remove(0);
            seen == phase || seen == "done"
        });
        stage.cluster.proxy.process().signal(Signal::Kill);
        stage.cluster.proxy = Proxy::start(&stage.config);
        eventually("there is one primary, and it is another one", || {
            let roles = stage.cluster.columns(&["role"]);
            let primaries = roles.iter().filter(|role| *role == "primary").count();
            primaries == 1 && roles[0] != "primary"
        });
        let new = stage.new_primary();
        let servers: Vec<_> = stage.cluster.server.servers().collect();
        eventually("the other one follows", || {
            let count = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            servers[new].sql("postgres", count).unwrap() == "1"
        });
        let in_recovery = "SELECT pg_is_in_recovery()";
        assert_eq!(
            servers[3 - new].sql("postgres", in_recovery).unwrap(),
            "t",
            "{phase}"
        );
    }
}
