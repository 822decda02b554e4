//! PostgreSQL in several versions: the one of this machine, and servers that `tests/clients/install` brings below
//! `target/`. Owns where they are; never lets a version be left out silently.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use pgring::cli::postgres::{Account, Installation, Workplace};

use super::{installation, tools};

/// Major versions that are brought, those of `tests/clients/postgres.txt`.
const BROUGHT: [u32; 3] = [16, 17, 18];

/// The installed version and the brought ones, the oldest first.
pub fn postgres_versions() -> Vec<Installation> {
    let own = installation();
    let others = BROUGHT.into_iter().filter(|&major| major != own.version());
    let mut all: Vec<_> = others.map(brought).collect();
    all.push(own);
    all.sort_by_key(Installation::version);
    all
}

/// The server of this major version.
pub fn postgres_version(major: u32) -> Installation {
    let own = installation();
    match own.version() == major {
        true => own,
        false => brought(major),
    }
}

/// Installs it when it is not there yet; the programs beside the server are those of this machine.
fn brought(major: u32) -> Installation {
    let kind = format!("postgres{major}");
    let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    tools::run(Command::new(sources.join("install")).arg(&cache).arg(&kind));
    let folder = within_reach(&cache.join(kind));
    Installation::of_server(&folder.join("bin"), &installation())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The folder, or a copy of it where the account that servers run as may go: a repository can lie where only its
/// owner may.
pub fn within_reach(folder: &Path) -> PathBuf {
    let account = Account::for_servers().unwrap_or_else(|error| panic!("{error}"));
    let mut look = Command::new(folder.join("bin/postgres"));
    look.arg("--version").current_dir("/");
    let reached = account.run(&mut look).output();
    if reached.is_ok_and(|output| output.status.success()) {
        return folder.to_owned();
    }
    // A static is never dropped, but the folder has a watcher that removes it when this process has ended.
    static COPIES: Mutex<Option<Workplace>> = Mutex::new(None);
    let mut copies = COPIES.lock().unwrap();
    let copies = copies.get_or_insert_with(|| {
        Workplace::create("pgring-postgres").unwrap_or_else(|error| panic!("{error}"))
    });
    tools::run(
        Command::new("cp")
            .args(["-R", "--preserve=mode,links", "--no-clobber"])
            .arg(folder)
            .arg(copies.path()),
    );
    copies.path().join(folder.file_name().unwrap())
}
