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

use super::{other::Other, proxy::Config, stage::Stage};

/// What they need of the database.
const OBJECTS: &str = "
CREATE ROLE reader; CREATE ROLE writer; GRANT reader, writer TO app; GRANT CREATE ON SCHEMA public TO app;
CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price numeric(8,2) DEFAULT 1);
INSERT INTO items SELECT n, 'item ' || n, n FROM generate_series(1, 100) n;
GRANT ALL ON items TO app, reader, writer;
";

/// How many there are, usually.
pub const USUAL: usize = 16;

/// Server connections of the pool that they press upon.
pub const POOL: usize = 3;

/// PostgreSQL, and pgring with a small pool in transaction mode on two cores. Nobody asks for passwords.
pub fn stage() -> Stage {
    stage_with(&[])
}

/// The same, with these lines more about the pool.
pub fn stage_with(lines: &[&str]) -> Stage {
    stage_of(POOL, lines)
}

/// The same, with so many server connections.
pub fn stage_of(size: usize, lines: &[&str]) -> Stage {
    let small = |config: Config| {
        let config = config
            .set("pool", &format!("size = {size}"))
            .set("pool", "greeting_age = 0")
            .workers(2);
        lines
            .iter()
            .fold(config, |config, line| config.set("pool", line))
    };
    let stage = Stage::trusting(small);
    stage.sql(OBJECTS);
    stage
}

/// Rounds of work between a login and the end of a session, at most.
const ROUNDS_MAX: u64 = 12;

/// Clients at work.
pub struct Crowd {
    threads: Vec<JoinHandle<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// Starts them.
    pub fn gather(address: SocketAddr, seed: u64, count: usize) -> Self {
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
    pub fn disperse(self) -> Vec<String> {
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
