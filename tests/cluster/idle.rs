//! An idle proxy uses no CPU.

use std::fs;

use crate::stage::Stage;

/// Clock ticks of the process so far, in user space and in the kernel.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let field = |number: usize| fields.split_whitespace().nth(number).unwrap();
    // Fields 14 and 15 of proc(5); the third is the first after the name.
    field(11).parse::<u64>().unwrap() + field(12).parse::<u64>().unwrap()
}

#[test]
fn idle_clients_cost_no_cpu() {
    let stage = Stage::trusting(|config| config.workers(2));
    let mut clients: Vec<_> = (0..200).map(|_| stage.proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.rows("SELECT 1"), ["1"]);
    }
    let pid = stage.proxy.process().pid();
    // What the last answers leave to be done is done some time: the catalog is being read, perhaps.
    let rests = || {
        let before = ticks(pid);
        stage.sql("SELECT pg_sleep(2)");
        ticks(pid) == before
    };
    assert!((0..5).any(|_| rests()), "it never rests");
    for client in &mut clients {
        assert_eq!(client.rows("SELECT 1"), ["1"]);
    }
}
