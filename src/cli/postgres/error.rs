//! Why a PostgreSQL server or another child process could not be had. Never panics, never prints.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Each variant says what happened and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder holds the server programs.
    #[error(
        "no PostgreSQL server programs found; looked in {}. Install PostgreSQL {version_min} or newer \
         (Debian, Ubuntu: apt-get install postgresql), or name their folder in PGRING_POSTGRES_BIN",
        looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound {
        /// Every folder that was looked at.
        looked: Vec<PathBuf>,
        /// Oldest major version that serves.
        version_min: u32,
    },
    /// The newest one found is older than `version_min`.
    #[error(
        "PostgreSQL {found} in {} is too old: version {version_min} or newer is needed. Install one, or name \
         its folder in PGRING_POSTGRES_BIN",
        bin.display()
    )]
    TooOld {
        /// Where it was found.
        bin: PathBuf,
        /// Its major version.
        found: u32,
        /// Oldest major version that serves.
        version_min: u32,
    },
    /// PostgreSQL refuses to run as root and there is no account to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a `postgres` nor a `nobody` \
         account to run it as; add one with: useradd --system postgres"
    )]
    NoAccount,
    /// The system refused something about a file or folder.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// The verb, e.g. `create`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No TCP port of 127.0.0.1 could be bound.
    #[error("no free TCP port on 127.0.0.1 among {tried} tried")]
    NoPort {
        /// How many were tried.
        tried: u32,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// Its name or path.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed ({status}):\n{output}")]
    Tool {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its output.
        output: String,
    },
    /// A process that should have run on has ended.
    #[error("{name} ended ({status}) before it said \"{awaited}\"; its last words:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Words that were waited for.
        awaited: String,
        /// The last lines of its log.
        log: String,
    },
    /// A process neither said what was waited for nor ended.
    #[error("{name} has not said \"{awaited}\" within {} s; its last words:\n{log}", waited.as_secs())]
    Silent {
        /// Which process.
        name: String,
        /// Words that were waited for.
        awaited: String,
        /// For how long.
        waited: Duration,
        /// The last lines of its log.
        log: String,
    },
}

impl Error {
    /// For `map_err`: the file or folder that an I/O error is about.
    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
