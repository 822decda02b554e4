//! A child process whose log lines and end can be waited for, without polling.
//! Never decides what to run; never outlives its handle.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, PipeReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use super::error::Error;

/// Longest wait for a server or a proxy to start, stop or say something: a loaded machine may need
/// tens of seconds, and past this the process is stuck rather than slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a log kept in memory; the file has them all.
const LINES_KEPT_MAX: usize = 10_000;

/// Lines of a log that an error message quotes.
const LINES_QUOTED: usize = 20;

/// Signals that a process can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Hangup,
    /// SIGINT: PostgreSQL's fast shutdown, pgring's "now".
    Interrupt,
    /// SIGQUIT: PostgreSQL's immediate shutdown.
    Quit,
    /// SIGTERM: PostgreSQL's smart shutdown, pgring's drain.
    Terminate,
    /// SIGKILL: cannot be caught.
    Kill,
    /// SIGSTOP: stands still until `Continue`.
    Stop,
    /// SIGCONT.
    Continue,
}

impl Signal {
    /// The name that the shell's `kill -s` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hangup => "HUP",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A place in a process's log: lines after it are newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

/// A running child in a process group of its own, so that Ctrl-C in a terminal does not reach it.
/// Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    shared: Arc<Shared>,
}

/// Waits for a process's end without owning it.
#[derive(Clone, Debug)]
pub struct Ended(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The newest lines of standard output and standard error.
    lines: VecDeque<String>,
    /// How many older lines were let go.
    forgotten: usize,
    /// No process holds the log any more, grandchildren included.
    silent: bool,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; what it prints goes to the file `log` and can be waited for.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self, Error> {
        let file = File::options()
            .append(true)
            .create(true)
            .open(log)
            .map_err(Error::file("create", log))?;
        let cannot = |source| Error::Spawn {
            program: name.to_owned(),
            source,
        };
        let (reader, writer) = io::pipe().map_err(cannot)?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(cannot)?)
            .stderr(writer);
        let child = command.process_group(0).spawn().map_err(cannot)?;
        // The command holds the pipe's other end: the log would never end while it lives.
        drop(command);
        let shared = Arc::new(Shared::default());
        let process = Self {
            name: name.to_owned(),
            pid: child.id(),
            shared: Arc::clone(&shared),
        };
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.follow(reader, file)
        });
        thread::spawn(move || shared.reap(child));
        Ok(process)
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.shared.lock().exit.is_none()
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&self, which: Signal) {
        let state = self.shared.lock();
        if state.exit.is_none() {
            signal(self.pid, which);
        }
    }

    /// Waits until a line contains `needle`, from the start of its log, and returns that line.
    pub fn wait_for(&self, needle: &str) -> Result<String, Error> {
        self.wait_for_since(Mark::default(), needle)
    }

    /// Waits until a line after `mark` contains `needle`, and returns that line.
    pub fn wait_for_since(&self, mark: Mark, needle: &str) -> Result<String, Error> {
        let mut found = None;
        let mut next = mark.0;
        let state = self.shared.wait_while(PATIENCE, |state| {
            found = found.take().or_else(|| state.find(&mut next, needle));
            found.is_none() && !state.is_over()
        });
        found.ok_or_else(|| self.unheard(&state, needle))
    }

    /// The place after the newest line so far.
    pub fn mark(&self) -> Mark {
        let state = self.shared.lock();
        Mark(state.forgotten + state.lines.len())
    }

    /// The newest lines so far, at most 10,000.
    pub fn log(&self) -> Vec<String> {
        self.shared.lock().lines.iter().cloned().collect()
    }

    /// A handle that waits for its end from another thread.
    pub fn ended(&self) -> Ended {
        Ended(Arc::clone(&self.shared))
    }

    /// Waits for its end; `None` when it still runs after [`PATIENCE`].
    pub fn wait(&self) -> Option<ExitStatus> {
        self.shared
            .wait_while(PATIENCE, |state| state.exit.is_none())
            .exit
    }

    /// Waits until it and every process that inherited its log have ended; false when one still runs
    /// after [`PATIENCE`]. PostgreSQL's backends outlive a killed postmaster by a moment.
    pub fn wait_for_descendants(&self) -> bool {
        let state = self.shared.wait_while(PATIENCE, |state| !state.is_over());
        state.is_over()
    }

    /// The error that says why `awaited` did not come.
    fn unheard(&self, state: &State, awaited: &str) -> Error {
        let (name, awaited) = (self.name.clone(), awaited.to_owned());
        let log = state.quote();
        if let Some(status) = state.exit.filter(|_| state.silent) {
            return Error::Ended {
                name,
                status,
                awaited,
                log,
            };
        }
        Error::Silent {
            name,
            awaited,
            waited: PATIENCE,
            log,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
        self.wait();
    }
}

impl Ended {
    /// Waits as long as it takes.
    pub fn wait(&self) -> ExitStatus {
        let mut state = self.0.lock();
        loop {
            if let Some(status) = state.exit {
                return status;
            }
            state = self
                .0
                .changed
                .wait(state)
                .expect("no thread panics while it holds the lock");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the lock")
    }

    fn wait_while(
        &self,
        at_most: Duration,
        waiting: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'_, State> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), at_most, waiting);
        waited.expect("no thread panics while it holds the lock").0
    }

    /// Copies the log until its last holder closes it.
    fn follow(&self, reader: PipeReader, mut file: File) {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            // The copy in memory is what is waited for: a full disk must not stop that.
            let written = file.write_all(&line);
            self.add(text);
            if let Err(error) = written {
                self.add(format!("(this line is missing in the log file: {error})"));
            }
            line.clear();
        }
        self.lock().silent = true;
        self.changed.notify_all();
    }

    fn add(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() == LINES_KEPT_MAX {
            state.lines.pop_front();
            state.forgotten += 1;
        }
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Waits for the child's end, so that it never stays a zombie.
    fn reap(&self, mut child: Child) {
        let status = child
            .wait()
            .expect("the child is ours and nobody else waits for it");
        self.lock().exit = Some(status);
        self.changed.notify_all();
    }
}

impl State {
    /// It has ended, and so has everyone who inherited its log.
    fn is_over(&self) -> bool {
        self.silent && self.exit.is_some()
    }

    /// The first line from `next` on that contains `needle`; `next` moves past what was looked at.
    fn find(&self, next: &mut usize, needle: &str) -> Option<String> {
        let skipped = next.saturating_sub(self.forgotten);
        *next = self.forgotten + self.lines.len();
        self.lines
            .iter()
            .skip(skipped)
            .find(|line| line.contains(needle))
            .cloned()
    }

    /// The last lines, as a block for an error message.
    fn quote(&self) -> String {
        let skipped = self.lines.len().saturating_sub(LINES_QUOTED);
        let lines: Vec<_> = self
            .lines
            .iter()
            .skip(skipped)
            .map(|line| format!("    {line}"))
            .collect();
        if lines.is_empty() {
            "    (it said nothing)".to_owned()
        } else {
            lines.join("\n")
        }
    }
}

/// Sends a signal to a process number, ours or a server backend's; nothing happens when it has ended.
pub fn signal(pid: u32, which: Signal) {
    kill(&pid.to_string(), which);
}

/// Sends a signal to every process of a group that we started.
pub(crate) fn signal_group(leader: u32, which: Signal) {
    kill(&format!("-- -{leader}"), which);
}

fn kill(target: &str, which: Signal) {
    let kill = format!("kill -s {} {target}", which.name());
    // Failing means that the process is gone, which is what every caller can live with.
    let _gone = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("script", command, &folder.path().join("log")).unwrap()
    }

    #[test]
    fn a_line_is_found_once_it_is_printed() {
        let process = shell("echo one; echo two >&2; exec tail -f /dev/null");
        assert_eq!(process.wait_for("tw").unwrap(), "two");
        assert!(process.is_running());
    }

    #[test]
    fn a_mark_hides_what_came_before() {
        let process = shell("echo one; echo two");
        process.wait();
        process.wait_for("two").unwrap();
        assert!(process.wait_for_since(process.mark(), "two").is_err());
    }

    #[test]
    fn an_end_is_told_with_the_last_words() {
        let error = shell("echo help; exit 3")
            .wait_for("ready")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("before it said \"ready\"") && error.contains("    help"),
            "{error}"
        );
    }

    #[test]
    fn signals_arrive_and_the_end_is_seen() {
        let process = shell("trap 'echo caught; exit 7' TERM; echo armed; while :; do :; done");
        process.wait_for("armed").unwrap();
        process.signal(Signal::Terminate);
        assert_eq!(process.wait().unwrap().code(), Some(7));
        process.wait_for("caught").unwrap();
    }

    #[test]
    fn dropping_kills() {
        let process = shell("echo armed; exec tail -f /dev/null");
        process.wait_for("armed").unwrap();
        let ended = process.ended();
        drop(process);
        assert!(!ended.wait().success());
    }

    #[test]
    fn old_lines_are_let_go_and_marks_still_count() {
        let process = shell("seq 1 10500; echo end");
        process.wait_for("end").unwrap();
        assert_eq!(process.log().len(), LINES_KEPT_MAX);
        assert_eq!(process.mark(), Mark(10_501));
    }
}
