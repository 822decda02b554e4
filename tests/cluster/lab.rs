//! `pgring lab` as a person uses it.

use std::process::Command;

use crate::support::tools::run;

fn lab(script: &str) -> String {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_pgring"));
    lab.args(["lab", "--standbys", "1", "--exec", script]);
    run(&mut lab)
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
