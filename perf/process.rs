//! Owns the processes that the suite starts: where they run, as whom, their log, and that each of them ends with the
//! suite, whatever ends it. It ends nothing that it did not start.
#![allow(
    unsafe_code,
    reason = "what a child does between fork and exec; the block states its contract"
)]

use crate::procfs;
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often a waiting suite looks again.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a process may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(8);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Turns SIGINT and SIGTERM into an error of whatever the suite waits for, so that everything is cleaned up.
pub(crate) fn catch_interrupts() -> Result<(), String> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|error| format!("cannot catch signal {signal}: {error}"))?;
    }
    Ok(())
}

/// An error once SIGINT or SIGTERM has arrived.
pub(crate) fn check_interrupt() -> Result<(), String> {
    match INTERRUPTED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err("interrupted".into()),
        _ => Ok(()),
    }
}

/// Asks `probe` until it answers; an error when it does not within `limit`, or on Ctrl-C.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        check_interrupt()?;
        if begin.elapsed() > limit {
            return Err(format!("{what}: nothing after {} s", limit.as_secs()));
        }
        thread::sleep(PAUSE);
    }
}

/// Account for a process that refuses to run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Account {
    /// The unprivileged account to use: `postgres` or `nobody` when this is root, else nobody but oneself.
    pub(crate) fn unprivileged() -> Option<Account> {
        let metadata = fs::metadata("/proc/self").ok()?;
        if std::os::unix::fs::MetadataExt::uid(&metadata) != 0 {
            return None;
        }
        let text = fs::read_to_string("/etc/passwd").ok()?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Account::in_passwd(&text, name))
    }

    fn in_passwd(text: &str, name: &str) -> Option<Account> {
        let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = fields
            .into_iter()
            .find(|fields| fields.first() == Some(&name))?;
        Some(Account {
            user: entry.get(2)?.parse().ok()?,
            group: entry.get(3)?.parse().ok()?,
        })
    }
}

/// How a process is to run.
pub(crate) struct Spec {
    pub(crate) command: Command,
    /// One CPU, or all of them.
    pub(crate) cpu: Option<usize>,
    pub(crate) account: Option<Account>,
    /// Takes standard output and standard error.
    pub(crate) log: PathBuf,
    /// The signal that ends it soon and in good order.
    pub(crate) stop: i32,
}

/// A running process, ended when dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    stop: i32,
}

impl Process {
    pub(crate) fn start(mut spec: Spec) -> Result<Process, String> {
        let name = spec.command.get_program().to_string_lossy().into_owned();
        let failed = |error: io::Error| format!("cannot start {name}: {error}");
        let log = File::create(&spec.log).map_err(failed)?;
        spec.command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        spec.command.process_group(0);
        if let Some(account) = spec.account {
            spec.command.uid(account.user).gid(account.group);
        }
        let cpu = spec.cpu;
        // SAFETY: the closure runs in the child between fork and exec and makes plain system calls only: it takes no
        // lock and allocates nothing.
        unsafe {
            spec.command.pre_exec(move || {
                procfs::place(cpu)?;
                procfs::die_with_parent()
            })
        };
        let child = spec.command.spawn().map_err(failed)?;
        Ok(Process {
            child,
            log: spec.log,
            stop: spec.stop,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Standard input, to be closed when the process shall end by itself.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// An error, with the end of its log, when it has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("ended with {status}")),
            Err(error) => Err(format!("cannot be waited for: {error}")),
        }
    }

    /// Waits for its end; its output when that is a success.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<String, String> {
        let status = wait_for("still running", limit, || {
            self.child
                .try_wait()
                .map_err(|error| format!("cannot be waited for: {error}"))
        })?;
        let output = self.output();
        if status.success() {
            Ok(output)
        } else {
            Err(last_lines(&output))
        }
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(PAUSE);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            procfs::signal(self.child.id(), self.stop);
            if !self.ends_within(STOP_LIMIT) {
                procfs::signal_group(self.child.id(), libc::SIGKILL);
            }
        }
        // Waiting for a child that has ended, or was killed, does not block for long and cannot fail usefully.
        let _ = self.child.wait();
    }
}

/// The end of a log, as far as a sentence needs it.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

/// A command as a person would type it.
pub(crate) fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy());
    let quoted = words.map(|word| {
        if word.contains(' ') {
            format!("'{word}'")
        } else {
            word.into_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Gives a file or folder to the account that will use it.
pub(crate) fn give_to(path: &Path, account: Option<Account>) -> Result<(), String> {
    let Some(account) = account else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(account.user), Some(account.group))
        .map_err(|error| format!("cannot give {} away: {error}", path.display()))
}
