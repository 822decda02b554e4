//! One PostgreSQL server of ours: its data directory, its process, its port.
//! Never survives its handle, however that goes.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use super::{
    error::Error,
    install::Installation,
    port::free_port,
    process::{PATIENCE, Process, Signal},
    workplace::Workplace,
};

/// The superuser of every cluster we build: whoever is the servers' account, or built them, on the Unix socket.
pub(super) const SUPERUSER: &str = "postgres";

/// The files that say who may come in.
pub(super) struct Access {
    /// The text of `pg_hba.conf`.
    pub(super) hba: String,
    /// The text of `pg_ident.conf`.
    pub(super) ident: String,
}

/// How a server is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Waits for clients to leave.
    Smart,
    /// Ends the clients' sessions; rolls back.
    Fast,
    /// At once; recovery at the next start.
    Immediate,
}

/// A server; it is stopped, and its folder removed, when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    name: String,
    port: u16,
    data: PathBuf,
    process: Option<Process>,
    installation: Installation,
    // Last, so that the folder goes after the process that works in it.
    workplace: Arc<Workplace>,
}

impl Postgres {
    /// Builds an empty primary; `configuration` is added to the one that
    /// `initdb` writes.
    pub(super) fn primary(
        installation: &Installation,
        workplace: &Arc<Workplace>,
        configuration: &str,
        access: &Access,
    ) -> Result<Self, Error> {
        let primary = Self::new("primary", installation, workplace)?;
        let mut initdb = primary.tool("initdb");
        initdb.args([
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
            "--auth=peer",
            "--username",
            SUPERUSER,
            "-D",
        ]);
        run(initdb.arg(&primary.data), "")?;
        let path = primary.data.join("postgresql.conf");
        let written = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        fs::write(&path, written + configuration).map_err(Error::file("write", &path))?;
        for (file, text) in [
            ("pg_hba.conf", &access.hba),
            ("pg_ident.conf", &access.ident),
        ] {
            let path = primary.data.join(file);
            fs::write(&path, text).map_err(Error::file("write", &path))?;
        }
        Ok(primary)
    }

    /// Copies a running server into a streaming standby of it.
    pub(super) fn standby_of(source: &Self, name: &str) -> Result<Self, Error> {
        let standby = Self::new(name, &source.installation, &source.workplace)?;
        let mut copy = source.tool("pg_basebackup");
        copy.args([
            "--no-sync",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "-D",
        ])
        .arg(&standby.data);
        run(&mut copy, "")?;
        Ok(standby)
    }

    fn new(
        name: &str,
        installation: &Installation,
        workplace: &Arc<Workplace>,
    ) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            port: free_port()?,
            data: workplace.path().join(name),
            process: None,
            installation: installation.clone(),
            workplace: Arc::clone(workplace),
        })
    }

    /// Starts it and waits until clients may come.
    pub fn start(&mut self) -> Result<(), Error> {
        let mut command = self.tool("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-c")
            .arg(format!("port={}", self.port));
        command.arg("-c").arg(format!("cluster_name={}", self.name));
        let process = self.workplace.spawn(&self.name, command, Signal::Quit)?;
        process.wait_for(self.ready())?;
        self.process = Some(process);
        Ok(())
    }

    /// Words of its log when clients may come; asked anew each time, for a standby becomes a primary and the other
    /// way round.
    fn ready(&self) -> &'static str {
        match self.data.join("standby.signal").exists() {
            true => "ready to accept read-only connections",
            false => "ready to accept connections",
        }
    }

    /// Shuts it down and waits until it has ended; nothing happens when it does not run.
    pub fn stop(&mut self, how: Stop) -> Result<(), Error> {
        self.end(match how {
            Stop::Smart => Signal::Terminate,
            Stop::Fast => Signal::Interrupt,
            Stop::Immediate => Signal::Quit,
        })
    }

    /// Kills the postmaster (SIGKILL) and waits until its backends have noticed and are gone.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.end(Signal::Kill)
    }

    fn end(&mut self, signal: Signal) -> Result<(), Error> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        process.signal(signal);
        if process.wait_for_descendants() {
            return Ok(());
        }
        Err(Error::Silent {
            name: self.name.clone(),
            awaited: "its end".to_owned(),
            waited: PATIENCE,
            log: process.log().join("\n"),
        })
    }

    /// A fast shutdown and a start.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop(Stop::Fast)?;
        self.start()
    }

    /// Has it read its configuration files again, and waits until it has said so.
    pub fn reload(&self) -> Result<(), Error> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let mark = process.mark();
        process.signal(Signal::Hangup);
        process
            .wait_for_since(mark, "received SIGHUP, reloading configuration files")
            .map(drop)
    }

    /// Its name: `primary`, `standby1`, ...
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens for TCP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The folder of its Unix socket `.s.PGSQL.<port>`.
    pub fn socket_dir(&self) -> &Path {
        self.workplace.path()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.workplace.log(&self.name)
    }

    /// Its postmaster, while it runs.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Runs SQL as superuser over the Unix socket, stopping at the first error; returns the rows, columns
    /// parted by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, Error> {
        self.sql_with(database, sql, &[])
    }

    /// Runs SQL as [`Self::sql`] does, with `psql` variables, which the text quotes itself: `:'value'`, `:"name"`.
    pub fn sql_with(
        &self,
        database: &str,
        sql: &str,
        variables: &[(&str, &str)],
    ) -> Result<String, Error> {
        let mut psql = self.tool("psql");
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
        ]);
        for (name, value) in variables {
            psql.arg("-v").arg(format!("{name}={value}"));
        }
        run(&mut psql, sql).map(|rows| rows.trim_end().to_owned())
    }

    /// A role that may log in.
    pub fn create_login(&self, name: &str, password: &str) -> Result<(), Error> {
        let variables = [("name", name), ("password", password)];
        self.sql_with(
            SUPERUSER,
            r#"CREATE ROLE :"name" LOGIN PASSWORD :'password'"#,
            &variables,
        )
        .map(drop)
    }

    /// A database owned by `owner`.
    pub fn create_database(&self, name: &str, owner: &str) -> Result<(), Error> {
        let variables = [("name", name), ("owner", owner)];
        self.sql_with(
            SUPERUSER,
            r#"CREATE DATABASE :"name" OWNER :"owner""#,
            &variables,
        )
        .map(drop)
    }

    /// One of PostgreSQL's programs, as the server's account, meant for this server as superuser.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = self.installation.program(program);
        command
            .env("PGHOST", self.socket_dir())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER);
        command.current_dir(self.workplace.path());
        self.workplace.account().run(&mut command);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The folder is about to go: nothing is worth a checkpoint. Who ignores SIGQUIT is killed.
        if self.stop(Stop::Immediate).is_err() {
            eprintln!(
                "pgring: {} did not stop; its backends may still run",
                self.name
            );
        }
        release_shared_memory(&self.data);
    }
}

/// Gives back the one segment of System V shared memory that a killed postmaster leaves behind; its number
/// is the second one on the seventh line of `postmaster.pid`, a file that only an unclean end leaves.
fn release_shared_memory(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    let Some(segment) = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1))
    else {
        return;
    };
    // Failing means that it is gone already.
    let _gone = Command::new("ipcrm")
        .args(["-m", segment])
        .stderr(Stdio::null())
        .status();
}

/// Runs a program with this input; returns what it printed, or an error with everything it said.
fn run(command: &mut Command, input: &str) -> Result<String, Error> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let cannot = |source| Error::Spawn {
        program: program.clone(),
        source,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut stdin = child.stdin.take().expect("its input is piped");
    // A program that ends without reading says why itself.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(cannot)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let output_text = said + &String::from_utf8_lossy(&output.stderr);
    Err(Error::Tool {
        program,
        status: output.status,
        output: output_text,
    })
}
