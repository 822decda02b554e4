//! A temporary folder and the processes at work in it; both are gone when it is dropped, and also when
//! we are killed, because a watcher process sees our end. Never removes a folder it did not create.

use std::{
    fs::Permissions,
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use tempfile::TempDir;

use super::{
    account::Account,
    error::Error,
    process::{Process, Signal},
};

/// Longest folder path: a Unix socket's address has 107 bytes, and its file name needs some.
const PATH_BYTES_MAX: usize = 80;

/// Shell script of the watcher. Its input ends when we do, however that happens; then it ends the processes it
/// was told about, as long as they still work in this folder, and removes the folder.
const WATCHER: &str = r#"
folder=$1
watched=
while read -r pid signal; do watched="$watched $pid:$signal"; done
works() { case "$(readlink "/proc/$1/cwd")" in "$folder" | "$folder"/*) true ;; *) false ;; esac; }
tell() { works "$1" && kill -s "$2" "$1"; }
for one in $watched; do tell "${one%:*}" "${one#*:}"; done
for one in $watched; do
    tries=0
    while works "${one%:*}" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
    tell "${one%:*}" KILL
done
rm -rf -- "$folder"
"#;

/// A folder of our own, owned by the account that servers run as.
#[derive(Debug)]
pub struct Workplace {
    // Dropped first to last: the folder goes before its watcher.
    _folder: TempDir,
    path: PathBuf,
    account: Account,
    watcher: Mutex<Watcher>,
}

#[derive(Debug)]
struct Watcher(Child);

impl Workplace {
    /// Creates `<name>-XXXXXX` in the system's temporary folder.
    pub fn create(name: &str) -> Result<Self, Error> {
        let account = Account::for_servers()?;
        let parent = short_temporary_folder();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            // Its servers believe whoever reaches their socket to be who he says he is.
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent);
        let folder = folder.map_err(Error::file("create a folder in", &parent))?;
        account.give(folder.path())?;
        let path = folder
            .path()
            .canonicalize()
            .map_err(Error::file("read", folder.path()))?;
        let watcher = Mutex::new(Watcher::start(&path)?);
        Ok(Self {
            _folder: folder,
            path,
            account,
            watcher,
        })
    }

    /// The folder; absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Account that owns it.
    pub fn account(&self) -> Account {
        self.account
    }

    /// Starts a process that works in this folder and logs to `<name>.log`. Should we be killed, it is
    /// sent `last`. The process must not leave the folder, for that is how it is known.
    pub fn spawn(&self, name: &str, mut command: Command, last: Signal) -> Result<Process, Error> {
        command.current_dir(&self.path);
        let process = Process::spawn(name, command, &self.log(name))?;
        let told = self
            .watcher
            .lock()
            .expect("no thread panics while it holds the lock")
            .watch(process.pid(), last);
        told.map_err(|source| Error::Spawn {
            program: "the watcher of the temporary folder".to_owned(),
            source,
        })?;
        Ok(process)
    }

    /// Where the process of that name logs to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join(name).with_extension("log")
    }
}

impl Watcher {
    fn start(folder: &Path) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHER, "pgring-watcher"])
            .arg(folder)
            .current_dir("/")
            .process_group(0);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Self).map_err(|source| Error::Spawn {
            program: "sh".to_owned(),
            source,
        })
    }

    fn watch(&mut self, pid: u32, last: Signal) -> std::io::Result<()> {
        let stdin = self
            .0
            .stdin
            .as_mut()
            .expect("its input is piped and only closed by drop");
        writeln!(stdin, "{pid} {}", last.name())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Waiting closes its input first.
        let _reaped = self.0.wait();
    }
}

/// The system's temporary folder, or `/tmp` when sockets in the former would have too long a name.
fn short_temporary_folder() -> PathBuf {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() > PATH_BYTES_MAX {
        PathBuf::from("/tmp")
    } else {
        usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_removes_the_folder() {
        let workplace = Workplace::create("pgring-test").unwrap();
        let path = workplace.path().to_owned();
        assert!(path.is_dir());
        drop(workplace);
        assert!(!path.exists());
    }

    /// Our own end is played by closing the watcher's input while folder and process still exist.
    #[test]
    fn the_watcher_ends_processes_and_removes_the_folder() {
        let workplace = Workplace::create("pgring-test").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo armed; exec tail -f /dev/null"]);
        let process = workplace.spawn("idle", command, Signal::Quit).unwrap();
        process.wait_for("armed").unwrap();
        workplace.watcher.lock().unwrap().0.wait().unwrap();
        assert!(!process.wait().unwrap().success());
        assert!(!workplace.path().exists());
    }

    #[test]
    fn nobody_else_enters_the_folder() {
        let workplace = Workplace::create("pgring-test").unwrap();
        let mode = std::fs::metadata(workplace.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn the_watcher_spares_a_process_that_is_elsewhere() {
        let workplace = Workplace::create("pgring-test").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "cd /; echo armed; exec tail -f /dev/null"]);
        let process = workplace.spawn("idle", command, Signal::Kill).unwrap();
        process.wait_for("armed").unwrap();
        workplace.watcher.lock().unwrap().0.wait().unwrap();
        assert!(process.is_running());
    }
}
