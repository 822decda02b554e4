//! A primary and standbys behind a pgring that splits, and a witness at each of them: its log, which tells what it
//! ran. Owns no test.

use std::cell::Cell;

use pgring::cli::postgres::{Cluster, Options, Postgres};

use super::{
    eventually,
    proxy::{Config, Proxy},
    replicated::Replicated,
    session::{Answer, Session},
};

/// All of them, in the order in which they must go.
pub struct Splitting {
    pub stage: Replicated,
    /// Numbers for statements, so that each is another one.
    count: Cell<u64>,
}

/// How servers of a test are set.
pub struct Servers<'a> {
    /// Share of the reads: the primary's, then each standby's.
    pub weights: &'a [u32],
    /// Each statement is in the log of the server that ran it.
    pub logged: bool,
    /// More lines of `postgresql.conf`.
    pub settings: &'a [&'a str],
}

impl Splitting {
    /// Servers with these weights, whose logs tell what they ran; splitting has begun.
    pub fn new(weights: &[u32], adapt: impl FnOnce(Config) -> Config) -> Self {
        let servers = Servers {
            weights,
            logged: true,
            settings: &[],
        };
        Self::with(&servers, adapt)
    }

    /// The same with logs that tell nothing.
    pub fn silent(weights: &[u32], adapt: impl FnOnce(Config) -> Config) -> Self {
        let servers = Servers {
            weights,
            logged: false,
            settings: &[],
        };
        Self::with(&servers, adapt)
    }

    pub fn with(servers: &Servers<'_>, adapt: impl FnOnce(Config) -> Config) -> Self {
        let mut settings: Vec<_> = servers.settings.iter().map(ToString::to_string).collect();
        if servers.logged {
            settings.push("log_statement = all".to_owned());
        }
        let options = Options {
            standbys: u8::try_from(servers.weights.len() - 1).unwrap(),
            host_auth: "trust".to_owned(),
            settings,
            ..Options::default()
        };
        let server = super::postgres(&options);
        let sql = "CREATE ROLE watcher LOGIN PASSWORD 'look' IN ROLE pg_monitor";
        server.primary.sql("postgres", sql).unwrap();
        let proxy = Proxy::start(&adapt(Self::config(&server, servers.weights)));
        let splitting = Self {
            stage: Replicated { proxy, server },
            count: Cell::new(0),
        };
        splitting.wait_until_split();
        splitting
    }

    /// The configuration for these servers, each called by its name.
    pub fn config(server: &Cluster, weights: &[u32]) -> Config {
        let config = Config::default()
            .set("auth", "method = \"trust\"\nunknown_users = true")
            .workers(1)
            .set("runtime", "pin = false")
            .set("admin", "users = [\"app\"]")
            .set("health", "user = \"watcher\"")
            .set("health", "password = \"look\"")
            .set("health", "period = \"200ms\"")
            .set("health", "timeout = \"1s\"")
            .set("health", "retries = 1")
            .set("health", "retry_delay = \"50ms\"")
            .set("routing", "replay_poll = \"10ms\"");
        let nodes = server.servers().zip(weights);
        nodes.fold(config, |config, (server, weight)| {
            let (name, address) = (server.name(), server.address());
            let lines = format!("name = \"{name}\"\naddress = \"{address}\"\nweight = {weight}");
            config.table("node", &lines)
        })
    }

    /// Waits until pgring knows the database, and each standby is as far as that.
    pub fn wait_until_split(&self) {
        let mut session = self.client();
        self.wait_until_split_for(&mut session);
    }

    /// The same for what this session must not miss.
    pub fn wait_until_split_for(&self, session: &mut Session) {
        let mut rows = Vec::new();
        let mut looks = 0;
        eventually("reads could go to every node", || {
            looks += 1;
            assert!(looks < 20_000, "reads cannot go everywhere: {rows:?}");
            rows = self.routes(session, "SELECT lower('A')");
            let is_fit = |row: &String| {
                let columns: Vec<_> = row.split('|').collect();
                let weightless = columns[4] == "its weight is 0";
                columns[0] == "read" && (columns[4].is_empty() || weightless)
            };
            rows.iter().all(is_fit)
        });
    }

    /// `SHOW ROUTE` of a statement, in this session.
    pub fn routes(&self, session: &mut Session, statement: &str) -> Vec<String> {
        rows(session.query(&format!("SHOW ROUTE {statement}")))
    }

    /// A client of pgring.
    pub fn client(&self) -> Session {
        Session::login(self.stage.proxy.address()).unwrap()
    }

    /// A client of a server.
    pub fn direct(&self, server: &Postgres) -> Session {
        Session::login(server.address()).unwrap()
    }

    /// SQL as superuser at the primary, not through pgring, in the database `app`.
    pub fn sql(&self, text: &str) -> String {
        let done = self.stage.server.primary.sql("app", text);
        done.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A comment that no other statement has.
    pub fn mark(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("/* number {} */", self.count.get())
    }

    /// The servers that ran what bears this mark, by name, joined by a space.
    pub fn witnesses(&self, mark: &str) -> String {
        let names = self.stage.server.servers().filter(|server| {
            let process = server.process().expect("it runs");
            let fence = self.mark();
            let answer = self.direct(server).query(&format!("SELECT 1 {fence}"));
            assert!(matches!(answer, Answer::Rows(_)), "{answer:?}");
            process.wait_for(&fence).unwrap();
            process.log().iter().any(|line| line.contains(mark))
        });
        names.map(Postgres::name).collect::<Vec<_>>().join(" ")
    }

    /// Runs a statement in the session; its answer, and who ran it.
    pub fn watch(&self, session: &mut Session, text: &str) -> (Answer, String) {
        let mark = self.mark();
        let answer = session.query(&format!("{text} {mark}"));
        (answer, self.witnesses(&mark))
    }

    /// Runs a statement that must succeed; who ran it.
    pub fn runs_at(&self, session: &mut Session, text: &str) -> String {
        let (answer, place) = self.watch(session, text);
        assert!(matches!(answer, Answer::Rows(_)), "{text}: {answer:?}");
        place
    }

    /// Stops or resumes what a standby replays, and waits until it has done so.
    pub fn replay(&self, standby: usize, goes_on: bool) {
        let standby = &self.stage.server.standbys[standby];
        let (order, expected) = match goes_on {
            true => ("pg_wal_replay_resume", "not paused"),
            false => ("pg_wal_replay_pause", "paused"),
        };
        let sql = |text: &str| standby.sql("app", text).unwrap();
        sql(&format!("SELECT {order}()"));
        let state = "SELECT pg_get_wal_replay_pause_state()";
        eventually("its replay obeyed", || sql(state) == expected);
    }

    /// Waits until a standby has replayed all that the primary has written.
    pub fn catch_up(&self, standby: usize) {
        // What nobody has committed is flushed with what somebody commits.
        self.sql("SELECT pg_logical_emit_message(true, 'test', '')");
        let written = self.sql("SELECT pg_current_wal_lsn()");
        let standby = &self.stage.server.standbys[standby];
        let look = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        eventually("the standby caught up", || {
            standby.sql("app", &look).unwrap() == "t"
        });
    }
}

/// The SQLSTATE of an answer that is an error; fails the test for anything else.
pub fn error(answer: Answer) -> String {
    match answer {
        Answer::Error(sqlstate, _) => sqlstate,
        other => panic!("an error was expected, not {other:?}"),
    }
}

/// The rows of an answer; fails the test for anything else.
pub fn rows(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Rows(rows) => rows,
        other => panic!("rows were expected, not {other:?}"),
    }
}
