//! `pgring lab` as a person uses it.

use std::process::Command;

use pgring::cli::postgres::free_port;

use crate::support::tools::run;

fn lab(script: &str) -> String {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_pgring"));
    // Two of them may find the usual one free.
    let port = free_port().unwrap().to_string();
    lab.args(["lab", "--standbys", "1", "--port", &port, "--exec", script]);
    run(&mut lab)
}

#[test]
fn reads_go_to_its_standby() {
    // Until the standby is known to have all that the primary had written, reads go there.
    let script = "until psql -X -A -t -c 'SELECT 1' -c 'SHOW POOL_NODES' | tail -1 | cut -d '|' -f 9 | grep -qv '^0$'; \
                  do :; done; \
                  for i in $(seq 300); do echo 'SELECT 1;'; done | psql -X -q -o /dev/null; \
                  psql -X -A -t -c 'SHOW POOL_NODES'";
    let said = lab(script);
    let counts: Vec<_> = said
        .lines()
        .map(|line| line.split('|').collect::<Vec<_>>())
        .map(|row| (row[6].to_owned(), row[8].parse::<u32>().unwrap()))
        .collect();
    let [(primary, of_primary), (standby, of_standby)] = &counts[..] else {
        panic!("{said}");
    };
    assert_eq!((primary.as_str(), standby.as_str()), ("primary", "standby"));
    // By chance, each about half of them.
    assert!(*of_primary > 50 && *of_standby > 50, "{said}");
}

/// A block runs at the primary, whose backends are children of its first process.
#[test]
fn its_primary_may_be_killed() {
    let said = lab(
        "printf '%s\\n' 'BEGIN;' 'SELECT pg_backend_pid() AS pid \\gset' '\\setenv BACKEND :pid' \
             '\\! kill -9 $(ps -o ppid= -p $BACKEND)' | psql -X -q && \
         psql -X -q -c 'CREATE TABLE t ()' && \
         psql -X -A -t -c 'SHOW POOL_NODES' && psql -X -A -t -d pgring -c 'SHOW FAILOVER'",
    );
    let lines: Vec<Vec<_>> = said.lines().map(|line| line.split('|').collect()).collect();
    let [lost, chosen, failover] = &lines[..] else {
        panic!("{said}");
    };
    assert_eq!((lost[6], chosen[6]), ("standby", "primary"), "{said}");
    assert!(
        failover[0] == "done" || failover[0] == "following",
        "{said}"
    );
    assert_eq!(failover[2..4], ["primary", "standby1"]);
}

mod alone {
    use super::*;

    #[test]
    fn it_runs_pgbench() {
        let said = lab(
            "pgbench -i -s 1 && pgbench -S -c 16 -T 2 -M prepared && pgbench -c 16 -T 2 && psql -c '\\d'",
        );
        let failed: Vec<_> = said
            .lines()
            .filter(|line| line.contains("failed transactions"))
            .collect();
        assert_eq!(failed, ["number of failed transactions: 0 (0.000%)"; 2]);
        assert!(said.contains("pgbench_accounts"), "{said}");
    }
}
