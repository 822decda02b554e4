//! The states of the nodes on disk, so that what was down or fenced is so after a restart. Whole or not at all: a new
//! file replaces the old one when it is safe on the disk, written by a thread of its own.

use std::{
    cell::{Cell, OnceCell},
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::{Deserialize, Serialize};

use super::{
    failover::{
        phase::{Chosen, Phase, Reason, Switch},
        plan::Planner,
    },
    state::{ClusterState, Remembered},
};
use crate::{
    cluster::{node::Status, settings::Settings},
    ids::NodeId,
    time,
};

/// Content of the file.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The newest timeline on which a primary was believed.
    timeline: u32,
    /// The last node that was believed to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    primary: Option<String>,
    /// Whose word its commits waited for (`synchronous_standby_names`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    synchronous: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failover: Option<Failover>,
    #[serde(default)]
    node: Vec<Entry>,
}

/// A failover that is under way, or was halted.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Failover {
    phase: String,
    lost: String,
    /// The standby that takes its place, how far it had received the log, and how much less that is than was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<String>,
    #[serde(default)]
    received: u64,
    #[serde(default)]
    lost_bytes: u64,
    /// Why it was halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The primary that was made to take no writes for a switchover, and who was to replace it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped: Option<Stopped>,
}

/// A switchover whose primary takes no writes.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Stopped {
    from: String,
    to: String,
    is_unsure: bool,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    status: String,
    since_us: u64,
}

const HEADER: &str =
    "# What pgring remembers of its nodes. pgring run --discard-status forgets it.\n";

/// A file longer than this was not written by pgring.
const BYTES_MAX: u64 = 1 << 20;

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is longer than any that pgring writes")]
    TooLong,
    #[error("it is not a status file: {0}")]
    Nonsense(String),
}

/// Forgets what was remembered.
///
/// # Errors
/// The file could not be removed; that there is none is no error.
pub fn discard(settings: &Settings) -> io::Result<()> {
    match &settings.health.status_file {
        None => Ok(()),
        Some(path) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// Gives the state what was remembered. A file that is of no use is reported and ignored.
pub(super) fn restore(settings: &Settings, state: &mut ClusterState) {
    let Some(path) = &settings.health.status_file else {
        return;
    };
    match read(path) {
        Ok(None) => {}
        Ok(Some(content)) => remember(settings, state, &content),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the status file is ignored: nodes are taken for usable");
        }
    }
}

fn read(path: &Path) -> Result<Option<Content>, Unusable> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, BYTES_MAX + 1), &mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Unusable::TooLong);
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Unusable::Nonsense("it is no text".to_owned()))?;
    let content: Content =
        toml::from_str(&text).map_err(|error| Unusable::Nonsense(error.message().to_owned()))?;
    for entry in &content.node {
        if read_status(&entry.status).is_none() {
            return Err(Unusable::Nonsense(format!(
                "{:?} is no status",
                entry.status
            )));
        }
    }
    Ok(Some(content))
}

fn read_status(word: &str) -> Option<Status> {
    [
        Status::Waiting,
        Status::Up,
        Status::Down,
        Status::Quarantine,
        Status::Unused,
    ]
    .into_iter()
    .find(|status| status.name() == word)
}

impl Failover {
    /// Entry about a phase, if it is to be remembered.
    fn of(planner: &Planner, name: impl Fn(NodeId) -> String) -> Option<Self> {
        let phase = planner.phase();
        let lost = phase
            .lost()
            .filter(|_| !matches!(phase, Phase::Done { .. }))?;
        let chosen = phase.chosen();
        let reason = match phase {
            Phase::Halted { reason, .. } => Some(reason.to_string()),
            _ => None,
        };
        Some(Self {
            phase: phase.name().to_owned(),
            lost: name(lost),
            chosen: chosen.map(|chosen| name(chosen.node)),
            received: chosen.map_or(0, |chosen| chosen.received),
            lost_bytes: chosen.map_or(0, |chosen| chosen.lost_bytes),
            reason,
            stopped: planner.stopped().map(|switch| Stopped {
                from: name(switch.from),
                to: name(switch.to),
                is_unsure: switch.is_unsure,
            }),
        })
    }

    /// The switchover whose primary takes no writes, as far as its nodes are still there.
    fn stopped(&self, place: impl Fn(&String) -> Option<NodeId>) -> Option<Switch> {
        let stopped = self.stopped.as_ref()?;
        Some(Switch {
            from: place(&stopped.from)?,
            to: place(&stopped.to)?,
            is_unsure: stopped.is_unsure,
        })
    }

    /// The phase, as far as its nodes are still there.
    fn phase(&self, place: impl Fn(&String) -> Option<NodeId>) -> Option<Phase> {
        if let Some(switch) = self.stopped(&place) {
            match self.phase.as_str() {
                "stopping" => return Some(Phase::Stopping(switch)),
                "handover" => return Some(Phase::HandingOver(switch, self.received)),
                "undoing" => return Some(Phase::Undoing(switch)),
                _ => {}
            }
        }
        let lost = place(&self.lost)?;
        let chosen = || {
            Some(Chosen {
                node: place(self.chosen.as_ref()?)?,
                received: self.received,
                lost_bytes: self.lost_bytes,
            })
        };
        Some(match self.phase.as_str() {
            "halted" => {
                let reason = self.reason.clone().unwrap_or_default();
                let reason = Reason::Failed(reason);
                Phase::Halted { lost, reason }
            }
            "promoting" => Phase::Promoting {
                lost,
                chosen: chosen()?,
            },
            // Nothing was done for it.
            "holding" => return None,
            "following" => {
                let chosen = chosen()?;
                Phase::Following {
                    lost,
                    chosen,
                    rest: Vec::new(),
                }
            }
            _ => Phase::Suspecting { lost },
        })
    }
}

/// Nodes are known by their names; one that the file does not have is new.
fn remember(settings: &Settings, state: &mut ClusterState, content: &Content) {
    state.remember_timeline(content.timeline);
    let place = |name: &String| {
        let place = settings.nodes.iter().position(|node| node.name == *name);
        place.map(|place| NodeId(place as u16))
    };
    let failover = content.failover.as_ref();
    let phase = failover.and_then(|failover| failover.phase(place));
    let stopped = failover.and_then(|failover| failover.stopped(place));
    let primary = content.primary.as_ref().and_then(&place);
    let stood = (phase.unwrap_or(Phase::Steady), stopped);
    state.remember_failover(primary, &content.synchronous, stood, time::unix_micros());
    for (place, node) in settings.nodes.iter().enumerate() {
        let entry = content.node.iter().find(|entry| entry.name == node.name);
        let Some(entry) = entry else { continue };
        let Some(status) = read_status(&entry.status) else {
            continue;
        };
        if !status.is_usable() {
            tracing::warn!(
                node = node.name,
                status = entry.status,
                "as it was before the restart"
            );
        }
        let since_us = entry.since_us;
        state.remember(NodeId(place as u16), &Remembered { status, since_us });
    }
}

/// The text of the file; `None` when no node is usable: then the last file, which says who took the last writes, is
/// worth more than a new one.
fn text(state: &ClusterState) -> Option<String> {
    let remembered = state.to_remember();
    if !remembered.iter().any(|(_, it)| it.status.is_usable()) {
        return None;
    }
    let node = remembered.into_iter().map(|(name, it)| Entry {
        name,
        status: it.status.name().to_owned(),
        since_us: it.since_us,
    });
    let name = |id: NodeId| state.name(id).to_owned();
    let content = Content {
        timeline: state.timeline(),
        primary: state.last_primary().map(name),
        synchronous: state.synchronous().to_owned(),
        failover: Failover::of(state.planner(), name),
        node: node.collect(),
    };
    let body = toml::to_string(&content).expect("numbers and texts have their form in TOML");
    Some(format!("{HEADER}{body}"))
}

/// The thread that writes, once there is something to write.
#[derive(Default)]
pub(super) struct Writer {
    thread: OnceCell<Option<Sender<Order>>>,
    /// Orders given.
    ordered: Cell<u64>,
    /// The newest order that is on the disk.
    written: Arc<AtomicU64>,
}

/// A text for a file, and the number of the order.
type Order = (PathBuf, String, u64);

impl Writer {
    /// Has the states written.
    pub(super) fn save(&self, settings: &Settings, state: &ClusterState) {
        let Some(path) = &settings.health.status_file else {
            return;
        };
        let Some(text) = text(state) else { return };
        let start = || start(Arc::clone(&self.written));
        if let Some(sender) = self.thread.get_or_init(start) {
            self.ordered.set(self.ordered.get() + 1);
            // It lives as long as the sender.
            let _sent = sender.send((path.clone(), text, self.ordered.get()));
        }
    }

    /// True when all that was to be written is on the disk.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire) >= self.ordered.get()
    }
}

fn start(written: Arc<AtomicU64>) -> Option<Sender<Order>> {
    let (sender, orders) = unbounded();
    let thread = thread::Builder::new().name("status".into());
    match thread.spawn(move || write_all(&orders, &written)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!(%error, "cannot start the thread that keeps the states of nodes");
            None
        }
    }
}

fn write_all(orders: &Receiver<Order>, written: &AtomicU64) {
    while let Ok(mut order) = orders.recv() {
        // Only the newest is worth a write.
        while let Ok(newer) = orders.try_recv() {
            order = newer;
        }
        let (path, text, number) = order;
        match write(&path, &text) {
            Ok(()) => written.store(number, Ordering::Release),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "the states of nodes cannot be kept");
            }
        }
    }
}

/// Another file beside it takes its place when it is on the disk, and the folder says so.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::state::{Event, Member, NodeAnswer, Outcome, Rules};

    fn state(names: &[&str]) -> ClusterState {
        let member = |name: &&str| Member {
            name: name.to_string(),
            application_name: None,
            priority: 1,
        };
        ClusterState::new(names.iter().map(member).collect(), Rules::default(), 7)
    }

    fn settings(names: &[&str], file: &Path) -> Settings {
        let node =
            |name: &&str| format!("[[node]]\nname = {name:?}\naddress = \"127.0.0.1:5432\"\n");
        let nodes: String = names.iter().map(node).collect();
        let file = file.display();
        let text = format!(
            "[auth]\nmethod = \"trust\"\nunknown_users = true\n[health]\nuser = \"w\"\nstatus_file = \"{file}\"\n{nodes}"
        );
        crate::control::config::parse(&text, Path::new("test.toml")).unwrap()
    }

    fn statuses(state: &ClusterState) -> Vec<Status> {
        state.views().iter().map(|view| view.status).collect()
    }

    #[test]
    fn what_was_written_is_remembered_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        let mut before = state(&["a", "b's \"x\"", "c"]);
        let fail = |node| Event::Probed(NodeId(node), Outcome::Failed("gone".to_owned()));
        before.on(fail(1), 1000);
        before.on(Event::Detach(NodeId(2), true), 2000);
        before.remember_timeline(9);
        write(&file, &text(&before).unwrap()).unwrap();
        let names = ["new", "c", "b's \"x\""];
        let mut after = state(&names);
        restore(&settings(&names, &file), &mut after);
        let expected = [Status::Waiting, Status::Unused, Status::Down];
        assert_eq!(statuses(&after), expected);
        assert_eq!(after.timeline(), 9);
        assert_eq!(after.views()[2].since_us, 1000);
    }

    /// Pgpool-II, 1.6: a node in quarantine was written as one that is down, and one that the file did not have was
    /// `unused` after a restart.
    #[test]
    fn quirk_a_fence_is_kept_and_a_new_node_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        let mut before = state(&["a", "b"]);
        let claims = |timeline| NodeAnswer {
            timeline,
            ..NodeAnswer::default()
        };
        before.on(Event::Answered(NodeId(0), claims(1)), 1);
        before.on(Event::Answered(NodeId(1), claims(2)), 2);
        assert_eq!(statuses(&before), [Status::Quarantine, Status::Waiting]);
        // Written for another reason, and again when the node is down as well.
        before.on(Event::Connected(NodeId(1)), 3);
        for _ in 0..2 {
            write(&file, &text(&before).unwrap()).unwrap();
            let names = ["a", "b", "c"];
            let mut after = state(&names);
            restore(&settings(&names, &file), &mut after);
            let expected = [Status::Quarantine, Status::Waiting, Status::Waiting];
            assert_eq!(statuses(&after), expected);
            // It still claims what it claimed: nobody believes it, though nobody else says otherwise.
            after.on(Event::Answered(NodeId(0), claims(1)), 4);
            assert_eq!(after.primary(), None);
            let gone = Outcome::Failed("gone".to_owned());
            before.on(Event::Probed(NodeId(0), gone), 5);
        }
    }

    #[test]
    fn when_all_are_down_the_last_file_stays() {
        let mut state = state(&["a"]);
        assert!(text(&state).is_some());
        let gone = Outcome::Failed("gone".to_owned());
        state.on(Event::Probed(NodeId(0), gone), 1);
        assert_eq!(text(&state), None);
    }

    #[test]
    fn a_bogus_file_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        let long = "#".repeat(BYTES_MAX as usize + 1);
        for bogus in [
            "",
            "up\ndown\n",
            "timeline = -1",
            "timeline = 1\nnode = 5",
            "timeline = 1\n[[node]]\nname = \"a\"\nstatus = \"dwon\"\nsince_us = 1",
            "timeline = 1\n[[node]]\nname = \"a\"\nstatus = \"down\"\nsince_us = 1\nmore = 2",
            &long,
        ] {
            fs::write(&file, bogus).unwrap();
            assert!(read(&file).is_err(), "{bogus:.40}");
            let mut state = state(&["a"]);
            restore(&settings(&["a"], &file), &mut state);
            assert_eq!(statuses(&state), [Status::Waiting]);
        }
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(read(&file).is_err());
        fs::remove_file(&file).unwrap();
        assert!(read(&file).unwrap().is_none());
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn a_new_file_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        write(&file, "old").unwrap();
        write(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("no/such/folder");
        assert!(write(&nowhere, "new").is_err());
        let settings = settings(&["a"], &file);
        discard(&settings).unwrap();
        assert!(!file.exists());
        discard(&settings).unwrap();
    }
}
