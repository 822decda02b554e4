//! Finding the PostgreSQL programs of this machine. Never installs any.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::Error;

/// Oldest major version that serves.
pub const VERSION_MIN: u32 = 15;

/// Programs a folder must hold to count.
const PROGRAMS: [&str; 5] = ["initdb", "postgres", "pg_basebackup", "psql", "pgbench"];

/// Folders of which each child may be a version: `<folder>/<version>/bin`.
const VERSION_FOLDERS: [&str; 2] = ["/usr/lib/postgresql", "/usr/lib64/postgresql"];

/// Programs that only suit the server of their own version; the others talk to older and newer ones.
const SERVER_PROGRAMS: [&str; 2] = ["initdb", "postgres"];

/// A folder with all programs of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    /// Where the programs are that `bin` lacks; the same folder, unless that has only a server.
    tools: PathBuf,
    version: u32,
}

impl Installation {
    /// The folder that `PGRING_POSTGRES_BIN` names, else the newest one found.
    pub fn find() -> Result<Self, Error> {
        match env::var_os("PGRING_POSTGRES_BIN") {
            Some(named) => Self::newest_of(vec![PathBuf::from(named)]),
            None => Self::newest_of(usual_folders()),
        }
    }

    /// The newest among these folders that is new enough.
    fn newest_of(folders: Vec<PathBuf>) -> Result<Self, Error> {
        let newest = folders
            .iter()
            .filter_map(|folder| Self::at(folder))
            .max_by_key(|found| found.version);
        match newest {
            None => Err(Error::NotFound {
                looked: folders,
                version_min: VERSION_MIN,
            }),
            Some(old) if old.version < VERSION_MIN => Err(Error::TooOld {
                bin: old.bin,
                found: old.version,
                version_min: VERSION_MIN,
            }),
            Some(found) => Ok(found),
        }
    }

    /// The installation in this folder; `None` unless all programs are there.
    fn at(bin: &Path) -> Option<Self> {
        Some(Self {
            bin: bin.to_owned(),
            tools: bin.to_owned(),
            version: version_at(bin, &PROGRAMS)?,
        })
    }

    /// A folder that needs to hold only what makes and runs a server; for the rest, `tools` serves. It can have
    /// no standbys: `pg_basebackup` does not copy a server that is newer than itself.
    pub fn of_server(bin: &Path, tools: &Self) -> Result<Self, Error> {
        let version = version_at(bin, &SERVER_PROGRAMS).ok_or_else(|| Error::NotFound {
            looked: vec![bin.to_owned()],
            version_min: VERSION_MIN,
        })?;
        Ok(Self {
            bin: bin.to_owned(),
            tools: tools.tools.clone(),
            version,
        })
    }

    /// The folder of the programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The major version, e.g. 15.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// A command for one of the programs, free of `PG...` variables that would steer it elsewhere.
    pub fn program(&self, name: &str) -> Command {
        let folder = match SERVER_PROGRAMS.contains(&name) {
            true => &self.bin,
            false => &self.tools,
        };
        let mut command = Command::new(folder.join(name));
        for (key, _) in env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(key);
            }
        }
        // Messages are waited for by their text, so they must not be translated.
        command.env("LC_ALL", "C");
        command
    }
}

/// The major version of the server in this folder; `None` unless it holds all these programs.
fn version_at(bin: &Path, programs: &[&str]) -> Option<u32> {
    let is_there = |program: &&str| is_executable(&bin.join(program));
    let complete = programs.iter().all(is_there);
    let output = complete
        .then(|| Command::new(bin.join("postgres")).arg("--version").output())?
        .ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

/// Where distributions and people put PostgreSQL.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for parent in VERSION_FOLDERS {
        let versions = fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    let configured = Command::new("pg_config").arg("--bindir").output();
    folders.extend(
        configured
            .ok()
            .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())),
    );
    folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    folders.push(PathBuf::from("/usr/local/pgsql/bin"));
    folders
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The 15 of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, of `... 18beta1` the 18.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of scripts that look like PostgreSQL of that version.
    fn pretend(version: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            let path = folder.path().join(program);
            fs::write(
                &path,
                format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("mysqld 8"), None);
    }

    #[test]
    fn the_newest_wins() {
        let (old, new) = (pretend("15.3"), pretend("17.1"));
        let folders = vec![old.path().to_owned(), new.path().to_owned()];
        assert_eq!(Installation::newest_of(folders).unwrap().bin(), new.path());
    }

    #[test]
    fn too_old_is_refused_by_number() {
        let old = pretend("13.4");
        let error = Installation::newest_of(vec![old.path().to_owned()]).unwrap_err();
        assert!(
            error.to_string().starts_with("PostgreSQL 13 in "),
            "{error}"
        );
    }

    #[test]
    fn a_server_alone_borrows_the_other_programs() {
        let (whole, server) = (pretend("15.3"), pretend("18.1"));
        for program in ["psql", "pgbench", "pg_basebackup"] {
            fs::remove_file(server.path().join(program)).unwrap();
        }
        let tools = Installation::at(whole.path()).unwrap();
        let found = Installation::of_server(server.path(), &tools).unwrap();
        assert_eq!(found.version(), 18);
        let path = |name| PathBuf::from(found.program(name).get_program());
        assert_eq!(path("initdb"), server.path().join("initdb"));
        assert_eq!(path("psql"), whole.path().join("psql"));
        fs::remove_file(server.path().join("initdb")).unwrap();
        assert!(Installation::of_server(server.path(), &tools).is_err());
    }

    #[test]
    fn a_folder_without_pgbench_does_not_count() {
        let partial = pretend("16.0");
        fs::remove_file(partial.path().join("pgbench")).unwrap();
        let error = Installation::newest_of(vec![partial.path().to_owned()]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&partial.path().display().to_string()),
            "{error}"
        );
    }
}
