//! Clients are spread over the cores, whatever the kernel's choice.

use super::{bystander::Stage, pools::console};
use crate::support::peer::Client;

/// Clients of each of two cores, those of the console among them.
fn by_worker(console: &mut Client) -> [usize; 2] {
    let rows = console.rows("SHOW CLIENTS");
    // Before the last column.
    let workers = rows.iter().map(|row| row.rsplit('|').nth(1).unwrap());
    let mut counts = [0; 2];
    for worker in workers {
        counts[worker.parse::<usize>().unwrap()] += 1;
    }
    counts
}

/// What a core may have beyond its half.
fn allowed(clients: usize) -> usize {
    let mean = clients.div_ceil(2);
    mean + (mean / 8).max(1)
}

#[test]
fn two_cores_have_about_the_same() {
    let stage = Stage::set_with(|config| config.workers(2));
    let mut console = console(&stage.proxy);
    let mut clients = Vec::new();
    for count in [10, 50, 500] {
        clients.resize_with(count, || stage.client());
        let counts = by_worker(&mut console);
        assert_eq!(counts.iter().sum::<usize>(), count + 1);
        assert!(
            counts.iter().all(|own| *own <= allowed(count + 1)),
            "{count} clients and the console: {counts:?}"
        );
    }
}

#[test]
fn who_leaves_makes_room() {
    let stage = Stage::set_with(|config| config.workers(2));
    let mut console = console(&stage.proxy);
    let mut clients: Vec<_> = (0..40).map(|_| stage.client()).collect();
    let mut clients_of = |worker: &str, clients: &[Client]| -> Vec<bool> {
        let rows = console.rows("SHOW CLIENTS");
        let is_there = |client: &Client| {
            let port = client.local_address().port().to_string();
            rows.iter().any(|row| {
                let fields: Vec<_> = row.split('|').collect();
                fields[5] == port && fields[fields.len() - 2] == worker
            })
        };
        clients.iter().map(is_there).collect()
    };
    // One core loses all of its clients; as many come again.
    let on_first = clients_of("0", &clients);
    let mut leaves = on_first.iter();
    let (left, stayed): (Vec<_>, Vec<_>) = clients.drain(..).partition(|_| *leaves.next().unwrap());
    let count = left.len();
    left.into_iter().for_each(Client::terminate);
    clients = stayed;
    clients.extend((0..count).map(|_| stage.client()));
    let counts = by_worker(&mut console);
    assert!(
        counts.iter().all(|own| *own <= allowed(41) + 1),
        "{counts:?}"
    );
}
