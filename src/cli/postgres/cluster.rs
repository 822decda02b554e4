//! A primary and its streaming standbys, built from nothing. Never knows of the proxy in front.

use std::sync::Arc;

use super::{
    error::Error,
    install::Installation,
    server::{Access, Postgres, SUPERUSER},
    workplace::Workplace,
};

/// Settings of every server of ours: it is thrown away later, so nothing needs to survive a crash of
/// the machine, and shared memory files live in the folder that will be removed.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 64MB
dynamic_shared_memory_type = mmap
fsync = off
full_page_writes = off
max_wal_senders = 40
wal_keep_size = 512MB
wal_receiver_status_interval = 1s
logging_collector = off
log_destination = stderr
log_line_prefix = '%m [%p] '
log_min_messages = warning
";

/// How a cluster is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of streaming standbys.
    pub standbys: u8,
    /// Authentication method of TCP clients: that of the last line of `pg_hba.conf`, e.g. `trust`.
    pub host_auth: String,
    /// Lines of `pg_hba.conf` that come before it.
    pub hba: Vec<String>,
    /// Lines of `postgresql.conf` that come last, so that they win, e.g. `max_connections = 20`.
    pub settings: Vec<String>,
}

impl Default for Options {
    /// A primary alone, SCRAM.
    fn default() -> Self {
        Self {
            standbys: 0,
            host_auth: "scram-sha-256".to_owned(),
            hba: Vec::new(),
            settings: Vec::new(),
        }
    }
}

/// Servers that run until this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The standbys, `standby1` first. They go before the primary, so that they do not miss it.
    pub standbys: Vec<Postgres>,
    /// The primary.
    pub primary: Postgres,
    workplace: Arc<Workplace>,
}

impl Cluster {
    /// Builds and starts everything in a new folder, `<name>-XXXXXX`; each standby streams when this returns.
    pub fn start(
        installation: &Installation,
        name: &str,
        options: &Options,
    ) -> Result<Self, Error> {
        let workplace = Arc::new(Workplace::create(name)?);
        let configuration = options.configuration(&workplace);
        let mut primary = Postgres::primary(
            installation,
            &workplace,
            &configuration,
            &options.access(&workplace),
        )?;
        primary.start()?;
        let mut cluster = Self {
            standbys: Vec::new(),
            primary,
            workplace,
        };
        for _ in 0..options.standbys {
            cluster.add_standby()?;
        }
        Ok(cluster)
    }

    /// Adds one more standby to a running primary, and waits until it streams.
    pub fn add_standby(&mut self) -> Result<&mut Postgres, Error> {
        let name = format!("standby{}", self.standbys.len() + 1);
        let mut standby = Postgres::standby_of(&self.primary, &name)?;
        standby.start()?;
        if let Some(process) = standby.process() {
            process.wait_for("started streaming WAL from primary")?;
        }
        self.standbys.push(standby);
        Ok(self.standbys.last_mut().expect("one was added just now"))
    }

    /// Waits until every standby has what the primary has written up to now.
    pub fn wait_until_replayed(&self) -> Result<(), Error> {
        let written = self
            .primary
            .sql("postgres", "SELECT pg_current_wal_flush_lsn()")?;
        let look = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        for standby in &self.standbys {
            // Each look takes a moment of its own.
            while standby.sql("postgres", &look)? != "t" {}
        }
        Ok(())
    }

    /// The primary, then the standbys.
    pub fn servers(&self) -> impl Iterator<Item = &Postgres> {
        std::iter::once(&self.primary).chain(&self.standbys)
    }

    /// The folder that everything is in; other processes of the same undertaking may work there too.
    pub fn workplace(&self) -> &Arc<Workplace> {
        &self.workplace
    }
}

impl Options {
    fn configuration(&self, workplace: &Workplace) -> String {
        let sockets = format!(
            "unix_socket_directories = '{}'\n",
            workplace.path().display()
        );
        let own: String = self
            .settings
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        format!("{SETTINGS}{sockets}{own}")
    }

    fn access(&self, workplace: &Workplace) -> Access {
        let own: String = self.hba.iter().map(|line| format!("{line}\n")).collect();
        let names = workplace.account().names();
        let local = match names.is_empty() {
            true => "trust",
            false => "peer map=builders",
        };
        let method = &self.host_auth;
        Access {
            hba: format!(
                "local all,replication postgres {local}\n{own}\
                 local all all {method}\nhost all all 127.0.0.1/32 {method}\n"
            ),
            ident: names
                .iter()
                .map(|name| format!("builders {name} {SUPERUSER}\n"))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::server::Stop, *};

    fn cluster(options: &Options) -> Cluster {
        let installation = Installation::find().unwrap();
        Cluster::start(&installation, "pgring-test", options).unwrap()
    }

    #[test]
    fn what_the_primary_writes_arrives_at_its_standby() {
        let cluster = cluster(&Options {
            standbys: 1,
            ..Options::default()
        });
        cluster
            .primary
            .sql("postgres", "CREATE TABLE t AS SELECT 7 AS n")
            .unwrap();
        let standby = &cluster.standbys[0];
        let look = "SELECT to_regclass('t') IS NOT NULL, pg_is_in_recovery()";
        // Each look takes a moment of its own.
        let arrived = (0..1000).any(|_| standby.sql("postgres", look).unwrap() == "t|t");
        assert!(arrived, "the table did not arrive");
        let path = cluster.workplace().path().to_owned();
        drop(cluster);
        assert!(!path.exists());
    }

    #[test]
    fn a_killed_server_starts_again_with_its_data() {
        let mut cluster = cluster(&Options {
            settings: vec!["work_mem = 7MB".to_owned()],
            ..Options::default()
        });
        cluster.primary.create_login("o'app", "p'w").unwrap();
        cluster.primary.create_database("the app", "o'app").unwrap();
        cluster.primary.kill().unwrap();
        assert!(cluster.primary.sql("the app", "SELECT 1").is_err());
        cluster.primary.start().unwrap();
        assert_eq!(
            cluster.primary.sql("the app", "SHOW work_mem").unwrap(),
            "7MB"
        );
        cluster.primary.restart().unwrap();
        cluster.primary.stop(Stop::Smart).unwrap();
        assert!(cluster.primary.process().is_none());
    }

    #[test]
    fn a_failing_statement_is_quoted() {
        let cluster = cluster(&Options::default());
        let error = cluster
            .primary
            .sql("postgres", "SELECT nonsense")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("psql failed") && error.contains("\"nonsense\" does not exist"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_setting_is_told_in_the_servers_words() {
        let installation = Installation::find().unwrap();
        let options = Options {
            settings: vec!["max_connections = lots".to_owned()],
            ..Options::default()
        };
        let error = Cluster::start(&installation, "pgring-test", &options)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("primary ended") && error.contains("max_connections"),
            "{error}"
        );
    }
}
