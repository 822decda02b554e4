//! A primary, its standbys, and pgring in front of them that watches. Owns no test.

use std::collections::HashMap;

use pgring::cli::postgres::{Cluster, Options};

use super::{eventually, proxy::Config, proxy::Proxy, tools};

/// All of them, in the order in which they must go.
pub struct Replicated {
    pub proxy: Proxy,
    pub server: Cluster,
}

/// A row of `SHOW POOL_NODES`, by column.
pub type Row = HashMap<String, String>;

impl Replicated {
    /// So many standbys; nobody asks for a password, and all is looked at often. `adapt` changes the configuration.
    pub fn new(standbys: u8, adapt: impl FnOnce(Config) -> Config) -> Self {
        let options = Options {
            standbys,
            host_auth: "trust".to_owned(),
            ..Options::default()
        };
        let server = super::postgres(&options);
        let proxy = Proxy::start(&adapt(Self::config(&server)));
        Self { proxy, server }
    }

    /// The configuration for these servers: `primary`, `standby1` and so on, watched as `watcher`.
    pub fn config(server: &Cluster) -> Config {
        server
            .primary
            .sql(
                "postgres",
                "CREATE ROLE watcher LOGIN PASSWORD 'look' IN ROLE pg_monitor",
            )
            .unwrap();
        Self::watching(server)
    }

    /// The same for servers that have the role.
    pub fn watching(server: &Cluster) -> Config {
        let mut config = Config::trust(server.primary.address()).real();
        for standby in &server.standbys {
            config = config.node(standby.name(), standby.address());
        }
        config
            .set("admin", "users = [\"app\"]")
            .set("health", "user = \"watcher\"")
            .set("health", "password = \"look\"")
            .set("health", "period = \"200ms\"")
            .set("health", "timeout = \"1s\"")
            .set("health", "retries = 1")
            .set("health", "retry_delay = \"50ms\"")
            .set("routing", "replay_poll = \"20ms\"")
    }

    /// `SHOW POOL_NODES`.
    pub fn nodes(&self) -> Vec<Row> {
        let mut psql = self.proxy.tool("psql");
        psql.args(["-X", "-A", "-d", "pgring", "-P", "footer=off", "-c"]);
        let text = tools::run(psql.arg("SHOW POOL_NODES"));
        let mut lines = text.lines().map(|line| line.split('|'));
        let columns: Vec<_> = lines.next().unwrap().collect();
        lines
            .map(|values| {
                let named = columns.iter().zip(values);
                named.map(|(name, value)| (name.to_string(), value.to_owned()))
            })
            .map(Iterator::collect)
            .collect()
    }

    /// Of each node what these columns say, joined by a space. Whether a connection was made to a usable node
    /// already is no matter: it is `waiting`.
    pub fn columns(&self, names: &[&str]) -> Vec<String> {
        let value = |row: &Row, name: &str| match row[name].as_str() {
            "up" if name == "status" => "waiting".to_owned(),
            value => value.to_owned(),
        };
        let row = |row: Row| {
            let values: Vec<_> = names.iter().map(|name| value(&row, name)).collect();
            values.join(" ")
        };
        self.nodes().into_iter().map(row).collect()
    }

    /// Waits until each node's status and role are these.
    pub fn wait_for(&self, expected: &[&str]) {
        self.wait_for_columns(&["status", "role"], expected);
    }

    /// Waits until these columns are so.
    pub fn wait_for_columns(&self, names: &[&str], expected: &[&str]) {
        let mut seen = Vec::new();
        for _ in 0..3000 {
            seen = self.columns(names);
            if seen == expected {
                return;
            }
        }
        panic!("waited in vain for {expected:?}, it is {seen:?}");
    }

    /// Waits until the log has this line.
    pub fn wait_for_log(&self, needle: &str) {
        let has = || {
            self.proxy
                .process()
                .log()
                .iter()
                .any(|line| line.contains(needle))
        };
        eventually(&format!("the log said {needle:?}"), has);
    }
}
