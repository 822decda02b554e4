//! What tests of the whole process stand on: the proxy itself, peers that follow a script, PostgreSQL and
//! its tools. Owns no test; each test binary uses a part of it.

#![allow(
    unreachable_pub,
    reason = "it is public to each test binary that includes it"
)]
#![allow(dead_code, reason = "no test binary uses everything")]
#![allow(
    clippy::unwrap_used,
    reason = "a broken test bench shall fail the test"
)]

pub mod actor;
pub mod crowd;
pub mod message;
pub mod mock;
pub mod other;
pub mod peer;
pub mod proxy;
pub mod replicated;
pub mod session;
pub mod snapshot;
pub mod splitting;
pub mod stage;
pub mod tools;
pub mod versions;

use std::{thread, time::Duration};

use pgring::cli::postgres::{Cluster, Installation, Options};

/// Longest wait for a peer. It is never reached unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A pause between two looks in [`eventually`].
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until it is so, for facts that nothing announces (a descriptor count, a kernel queue); fails the
/// test when it does not become so. `what` completes the sentence "waited in vain until ...".
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if is_so() {
            return;
        }
        // Nobody unparks this thread: it gives the processor to those who are waited for.
        thread::park_timeout(PAUSE);
    }
    panic!("waited in vain until {what}");
}

/// A real PostgreSQL with the user and database `app` (password `secret`), gone when it is dropped.
pub fn postgres(options: &Options) -> Cluster {
    postgres_of(&installation(), options)
}

/// The same of a chosen version, see [`versions`].
pub fn postgres_of(installation: &Installation, options: &Options) -> Cluster {
    let cluster = Cluster::start(installation, "pgring-test", options)
        .unwrap_or_else(|error| panic!("{error}"));
    cluster.primary.create_login("app", "secret").unwrap();
    cluster.primary.create_database("app", "app").unwrap();
    cluster.wait_until_replayed().unwrap();
    cluster
}

/// The PostgreSQL programs of this machine.
pub fn installation() -> Installation {
    Installation::find().unwrap_or_else(|error| panic!("{error}"))
}
