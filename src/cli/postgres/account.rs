//! The account that server processes run as: our own, or an unprivileged one when we are root.
//! Never gains a privilege, only drops it.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use super::error::Error;

/// Account that runs PostgreSQL and owns its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The account we run as.
    Own,
    /// Another one, because we are root and PostgreSQL refuses to be.
    Other {
        /// Its name.
        name: &'static str,
        /// User number.
        uid: u32,
        /// Number of its first group.
        gid: u32,
    },
}

impl Account {
    /// Our own account; `postgres`, else `nobody`, when that is root.
    pub fn for_servers() -> Result<Self, Error> {
        let own = fs::metadata("/proc/self").map_err(Error::file("read", "/proc/self"))?;
        if own.uid() != 0 {
            return Ok(Self::Own);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(Self::named)
            .ok_or(Error::NoAccount)
    }

    /// Asks the system, which also knows accounts that are not in `/etc/passwd`.
    fn named(name: &'static str) -> Option<Self> {
        let number = |option: &str| {
            let output = Command::new("id").args([option, name]).output().ok()?;
            String::from_utf8(output.stdout)
                .ok()?
                .trim()
                .parse::<u32>()
                .ok()
        };
        Some(Self::Other {
            name,
            uid: number("-u")?,
            gid: number("-g")?,
        })
    }

    /// Makes `command` run as this account; extra groups of root are dropped with it.
    pub fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match *self {
            Self::Own => command,
            Self::Other { uid, gid, .. } => command.uid(uid).gid(gid),
        }
    }

    /// Names of accounts that may be the superuser of a server that runs as this one: its own, and ours. Empty where the
    /// system has no name for us.
    pub fn names(&self) -> Vec<String> {
        let output = Command::new("id").arg("-un").output().ok();
        let own = output.filter(|output| output.status.success());
        let own = own.and_then(|output| String::from_utf8(output.stdout).ok());
        let Some(own) = own else { return Vec::new() };
        let mut names = vec![own.trim().to_owned()];
        if let Self::Other { name, .. } = self {
            names.push((*name).to_owned());
        }
        names
    }

    /// Gives a file or folder to this account.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        match *self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(uid), Some(gid)).map_err(Error::file("give away", path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_never_run_as_root() {
        let account = Account::for_servers().unwrap();
        let output = account.run(Command::new("id").arg("-u")).output().unwrap();
        assert_ne!(String::from_utf8(output.stdout).unwrap().trim(), "0");
    }

    #[test]
    fn an_account_that_does_not_exist_is_not_found() {
        assert_eq!(Account::named("no-such-account-here"), None);
    }
}
