//! Many clients on few server connections.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    session::Session,
    stage::Stage,
    support::{message::query, proxy::Config},
};

const CLIENTS: usize = 5000;
const CONNECTIONS: usize = 20;
const THREADS: usize = 10;
const ROUNDS: usize = 3;

/// Each client is a descriptor here, too.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// All of a thread's clients ask before the first answer is read, so all of them wait at once.
fn ask_together(sessions: &mut [Session], first: usize, round: usize) {
    for (number, session) in sessions.iter_mut().enumerate() {
        let number = first + number;
        let text = format!("SELECT {number} + {round} FROM pg_sleep(0)");
        session.send(&query(&text)).unwrap();
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        let expected = (first + number + round).to_string();
        assert_eq!(session.answer().row(), expected);
    }
}

fn crowd(address: SocketAddr, logged_in: &AtomicUsize) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let count = CLIENTS / THREADS;
                let login = |_| Session::login(address).unwrap();
                let mut sessions: Vec<_> = (0..count).map(login).collect();
                logged_in.fetch_add(count, Ordering::Relaxed);
                for round in 0..ROUNDS {
                    ask_together(&mut sessions, thread * count, round);
                }
            });
        }
    });
}

/// The greatest number of server connections seen while `work` runs.
fn watch_connections(stage: &Stage, work: impl FnOnce() + Send) -> usize {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            work();
            done.store(true, Ordering::Relaxed);
        });
        let mut most = 0;
        while !done.load(Ordering::Relaxed) {
            most = most.max(stage.server_connections());
        }
        most
    })
}

mod alone {
    use super::*;

    #[test]
    fn five_thousand_clients_share_twenty_connections() {
        raise_descriptor_limit();
        let stage = Stage::trusting(|config: Config| {
            config
                .set("pool", &format!("size = {CONNECTIONS}"))
                .workers(2)
        });
        let start = stage.proxy.descriptors();
        let logged_in = AtomicUsize::new(0);
        let address = stage.proxy.address();
        let most = watch_connections(&stage, || crowd(address, &logged_in));
        assert_eq!(logged_in.into_inner(), CLIENTS);
        assert!(
            (1..=CONNECTIONS).contains(&most),
            "{most} server connections"
        );
        stage.proxy.wait_for_descriptors(start + CONNECTIONS);
        let full = stage.proxy.memory_kib();
        let most = watch_connections(&stage, || crowd(address, &AtomicUsize::new(0)));
        assert!(most <= CONNECTIONS, "{most} server connections");
        stage.proxy.wait_for_descriptors(start + CONNECTIONS);
        let again = stage.proxy.memory_kib();
        assert!(again < full + 4 * 1024, "{full} KiB, then {again} KiB");
    }
}
