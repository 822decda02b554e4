//! The others: clients of the same database and user that set, prepare, abort, listen, lock and leave, from a
//! seed. Owns their threads and their complaints; what one of them does is in `other`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use pgring::random::Seeded;

use crate::other::Other;

/// Rounds of work between a login and the end of a session, at most.
const ROUNDS_MAX: u64 = 12;

/// Clients at work.
pub(crate) struct Crowd {
    threads: Vec<JoinHandle<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// Starts them.
    pub(crate) fn gather(address: SocketAddr, seed: u64, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count as u64).map(|number| {
            let random = Seeded::new(seed << 16 | number);
            let stop = Arc::clone(&stop);
            thread::spawn(move || come_and_go(address, random, &stop))
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    /// Ends them; what they found wrong with their own sessions, one complaint for each kind of work.
    pub(crate) fn disperse(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let complaints = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap());
        let mut kinds = BTreeMap::new();
        for complaint in complaints.flatten() {
            let kind = complaint.split(':').next().unwrap_or_default().to_owned();
            kinds.entry(kind).or_insert(complaint);
        }
        let others = |complaint| format!("  another client: {complaint}");
        kinds.into_values().map(others).collect()
    }
}

/// One session after the other until it is told to stop.
fn come_and_go(address: SocketAddr, mut random: Seeded, stop: &AtomicBool) -> BTreeSet<String> {
    let mut complaints = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        if let Err(complaint) = one_session(address, &mut random, stop) {
            complaints.insert(complaint);
        }
    }
    complaints
}

fn one_session(address: SocketAddr, random: &mut Seeded, stop: &AtomicBool) -> Result<(), String> {
    let rounds = 1 + random.below(ROUNDS_MAX);
    let mut other = Other::login(address, random)?;
    for _ in 0..rounds {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        other.work()?;
    }
    other.leave()
}
