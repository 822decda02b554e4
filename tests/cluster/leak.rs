//! Clients that come and go in every unfriendly way: what they used comes back.

use std::{net::SocketAddr, thread};

use crate::{
    session::Session,
    stage::Stage,
    support::{eventually, message::*, proxy::Config},
};

const CLIENTS: usize = 2000;
const THREADS: usize = 4;

/// One client that leaves with a reset, at a point that depends on its number.
fn come_and_go(address: SocketAddr, number: usize) {
    let mut session = Session::connect(address).unwrap();
    let hello = startup(&[("user", "app"), ("database", "app")]);
    match number % 8 {
        0 => {}
        1 => session.send(&hello[..9]).unwrap(),
        2 => session.send(&hello).unwrap(),
        _ => {
            session.send(&hello).unwrap();
            session.answer();
            abuse(&mut session, number);
        }
    }
    session.reset();
}

/// What it does when it is logged in.
fn abuse(session: &mut Session, number: usize) {
    match number % 8 {
        3 => assert_eq!(session.query("SELECT 7").row(), "7"),
        4 => session
            .send(&query(
                "SELECT repeat('x', 1000) FROM generate_series(1, 2000)",
            ))
            .unwrap(),
        5 => {
            session.query("BEGIN");
            session.query("INSERT INTO t VALUES (1)");
        }
        6 => {
            let rows = copy_data(b"1\n2\n");
            session
                .send(&all([query("COPY t FROM STDIN"), rows]))
                .unwrap();
        }
        _ => session
            .send(&all([
                parse("named", "SELECT $1::int"),
                bind("", "named", &["1"]),
            ]))
            .unwrap(),
    }
}

fn storm(stage: &Stage) {
    let address = stage.proxy.address();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                (0..CLIENTS / THREADS).for_each(|number| come_and_go(address, number + thread));
            });
        }
    });
}

/// Sums of the console's columns `cl_active` and `cl_waiting`, for the pool of `app`.
fn busy_clients(stage: &Stage) -> String {
    let mut psql = stage.proxy.tool("psql");
    psql.env("PGDATABASE", "pgring");
    psql.args(["-X", "-A", "-t", "-c", "SHOW POOLS"]);
    let said = crate::support::tools::run(&mut psql);
    let row = said.lines().find(|line| line.starts_with("app|app|"));
    let fields = row
        .into_iter()
        .flat_map(|row| row.split('|').skip(2).take(2));
    fields.collect::<Vec<_>>().join("|")
}

mod alone {
    use super::*;

    #[test]
    fn a_storm_of_aborted_clients_leaves_nothing() {
        let stage = Stage::trusting(|config: Config| {
            config
                .set("pool", "size = 8")
                .set("admin", "users = [\"app\"]")
                .workers(2)
        });
        stage.sql("CREATE TABLE t (n int); GRANT ALL ON t TO app");
        let start = stage.proxy.descriptors();
        let mut memory = Vec::new();
        for _ in 0..3 {
            storm(&stage);
            assert_eq!(stage.proxy.psql("SELECT 1"), "1");
            stage.proxy.wait_for_descriptors(start + 8);
            eventually("no client was counted", || {
                matches!(&*busy_clients(&stage), "0|0" | "")
            });
            memory.push(stage.proxy.memory_kib());
        }
        assert!(memory[2] < memory[1] + 2 * 1024, "{memory:?} KiB");
        assert!(stage.server_connections() <= 8);
        assert_eq!(stage.proxy.psql("SELECT count(*) FROM t"), "0");
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        eventually("no transaction was left open", || stage.sql(open) == "0");
    }

    /// Databases that do not exist must not be remembered.
    #[test]
    fn refused_logins_leave_nothing() {
        let stage = Stage::trusting(|config: Config| config.set("pool", "login_backoff = \"1ms\""));
        let address = stage.proxy.address();
        let knock = |number: usize| {
            let mut session = Session::connect(address).unwrap();
            let database = format!("nowhere{number}");
            session
                .send(&startup(&[("user", "app"), ("database", &database)]))
                .unwrap();
            session.answer()
        };
        let start = stage.proxy.descriptors();
        (0..500).for_each(|number| drop(knock(number)));
        stage.proxy.wait_for_descriptors(start);
        let memory = stage.proxy.memory_kib();
        (500..1500).for_each(|number| drop(knock(number)));
        stage.proxy.wait_for_descriptors(start);
        let after = stage.proxy.memory_kib();
        assert!(after < memory + 1024, "{memory} KiB, then {after} KiB");
    }
}
