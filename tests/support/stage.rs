//! A PostgreSQL with pgring in front, as most tests want it. Owns no test.

use std::process::Command;

use pgring::cli::postgres::{Cluster, Installation, Options};

use super::{
    eventually,
    proxy::{Config, Proxy},
};

/// Both, in the order in which they must go.
pub struct Stage {
    pub proxy: Proxy,
    pub server: Cluster,
}

impl Stage {
    /// SCRAM on both sides; `adapt` changes pgring's configuration.
    pub fn new(adapt: impl FnOnce(Config) -> Config) -> Self {
        Self::with(&Options::default(), adapt)
    }

    /// Nobody asks for a password on either side.
    pub fn trusting(adapt: impl FnOnce(Config) -> Config) -> Self {
        Self::trusting_of(&super::installation(), adapt)
    }

    /// The same in front of a chosen version, see [`super::versions`].
    pub fn trusting_of(installation: &Installation, adapt: impl FnOnce(Config) -> Config) -> Self {
        let options = Options {
            host_auth: "trust".to_owned(),
            ..Options::default()
        };
        let server = super::postgres_of(installation, &options);
        let proxy = Proxy::start(&adapt(Config::trust(server.primary.address()).real()));
        Self { proxy, server }
    }

    pub fn with(options: &Options, adapt: impl FnOnce(Config) -> Config) -> Self {
        let server = super::postgres(options);
        let proxy = Proxy::start(&adapt(Config::scram(server.primary.address()).real()));
        Self { proxy, server }
    }

    /// Another pgring in the place of this one, so that its connections are all new.
    pub fn renew(&mut self, adapt: impl FnOnce(Config) -> Config) {
        self.proxy = Proxy::start(&adapt(Config::trust(self.server.primary.address()).real()));
    }

    /// SQL as superuser, not through pgring, in the database `app`.
    pub fn sql(&self, text: &str) -> String {
        self.server
            .primary
            .sql("app", text)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// One of PostgreSQL's programs, pointed at the server itself, as `app`.
    pub fn direct(&self, program: &str) -> Command {
        self.at_server(super::installation().program(program))
    }

    /// A program, pointed at the server itself, as `app`.
    pub fn at_server(&self, program: Command) -> Command {
        super::tools::pointed_at(self.server.primary.address(), program)
    }

    /// A program, pointed at pgring, as `app`.
    pub fn at_proxy(&self, program: Command) -> Command {
        super::tools::pointed_at(self.proxy.address(), program)
    }

    /// Server connections of the role `app`, but for the one over which pgring itself looks at the catalogs.
    pub fn server_connections(&self) -> usize {
        let look = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND application_name <> 'pgring'";
        self.sql(look).parse().unwrap()
    }

    /// Waits until some connection of `app` runs a statement that begins so.
    pub fn wait_until_running(&self, statement: &str) {
        let look = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE usename = 'app' AND state = 'active' AND query LIKE '{statement}%'"
        );
        eventually("the statement ran", || self.sql(&look) != "0");
    }
}
