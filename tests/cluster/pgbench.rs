//! pgbench in every protocol mode: no failed transaction, no error line, and books that balance.

use crate::{
    stage::Stage,
    support::{proxy::Config, tools::run},
};

const CLIENTS: usize = 16;

/// Runs pgbench; every transaction must have been done.
fn bench(stage: &Stage, each: usize, arguments: &str) {
    bench_with(stage, (CLIENTS, 2), each, arguments);
}

/// The same with another number of clients and of threads for them.
fn bench_with(stage: &Stage, (clients, threads): (usize, usize), each: usize, arguments: &str) {
    let all = format!("-n -c {clients} -j {threads} -t {each} {arguments}");
    let said = stage.proxy.pgbench(&all);
    let total = each * clients;
    let done = format!("number of transactions actually processed: {total}/{total}");
    let failed = "number of failed transactions: 0 (0.000%)";
    assert!(
        said.contains(&done) && said.contains(failed),
        "{all}: {said}"
    );
    let sums = stage.sql(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
         (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
    );
    let sums: Vec<_> = sums.split('|').collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{all}: {sums:?}");
}

/// Both transactions in one protocol mode.
fn bench_both(stage: &Stage, mode: &str) {
    bench(stage, 150, &format!("-S -M {mode}"));
    bench(stage, 30, &format!("-M {mode}"));
    let done = stage
        .sql("SELECT count(*) FROM pgbench_history")
        .parse::<usize>();
    assert_eq!(done.unwrap() % (30 * CLIENTS), 0);
}

fn prepared_stage(adapt: impl FnOnce(Config) -> Config) -> Stage {
    let stage = Stage::new(adapt);
    stage.proxy.pgbench("-i -s 2 -q");
    stage
}

fn pool(config: Config, mode: &str, size: usize, workers: u16) -> Config {
    config
        .set("pool", &format!("mode = \"{mode}\""))
        .set("pool", &format!("size = {size}"))
        .workers(workers)
}

mod alone {
    use super::*;

    #[test]
    fn fewer_connections_than_clients_serve_simple_and_extended() {
        for workers in [1, 2] {
            let stage = prepared_stage(|config| pool(config, "transaction", 5, workers));
            bench_both(&stage, "simple");
            bench_both(&stage, "extended");
            assert!(stage.server_connections() <= 5);
        }
    }

    #[test]
    fn prepared_statements_work_with_a_connection_each() {
        for workers in [1, 2] {
            let stage = prepared_stage(|config| pool(config, "transaction", CLIENTS, workers));
            bench_both(&stage, "prepared");
            assert!(stage.server_connections() <= CLIENTS);
        }
    }

    /// pgbench waits for the answer to each Parse and moves no other client of that thread meanwhile, also none
    /// that holds a connection; hence a thread for each client where there are transactions.
    #[test]
    fn two_hundred_clients_share_five_connections_with_prepared_statements() {
        const MANY: usize = 200;
        for workers in [1, 2] {
            let stage = prepared_stage(|config| pool(config, "transaction", 5, workers));
            bench_with(&stage, (MANY, 2), 40, "-S -M prepared");
            bench_with(&stage, (MANY, MANY), 3, "-M prepared");
            assert!(stage.server_connections() <= 5);
        }
    }

    #[test]
    fn twenty_clients_do_transactions_on_three_connections() {
        for workers in [1, 2] {
            let stage = prepared_stage(|config| pool(config, "transaction", 3, workers));
            bench_with(&stage, (20, 20), 60, "-M prepared");
            bench_with(&stage, (20, 20), 60, "-M extended");
            assert!(stage.server_connections() <= 3);
        }
    }

    #[test]
    fn session_mode_serves_every_protocol_mode() {
        for workers in [1, 2] {
            let stage = prepared_stage(|config| pool(config, "session", CLIENTS, workers));
            for mode in ["simple", "extended", "prepared"] {
                bench_both(&stage, mode);
            }
        }
    }

    #[test]
    fn statement_mode_serves_single_statements() {
        let stage = Stage::new(|config| pool(config, "statement", 3, 2));
        // It is set up in a transaction.
        run(stage.direct("pgbench").args(["-i", "-q"]));
        bench(&stage, 200, "-S -M simple");
        bench(&stage, 200, "-S -M extended");
    }

    #[test]
    fn a_connection_for_each_transaction_works() {
        for mode in ["transaction", "session"] {
            let stage = prepared_stage(|config| pool(config, mode, CLIENTS, 2));
            bench(&stage, 15, "-S -C -M simple");
            bench(&stage, 15, "-C -M extended");
            bench(&stage, 15, "-C -M prepared");
        }
    }

    /// In session mode with too few connections, clients that come and go take turns. Not with prepared
    /// statements: pgbench waits for those and moves no other of its clients meanwhile.
    #[test]
    fn sessions_take_turns() {
        let stage = prepared_stage(|config| pool(config, "session", 3, 2));
        bench(&stage, 15, "-C -S -M simple");
        bench(&stage, 15, "-C -S -M extended");
        assert!(stage.server_connections() <= 3);
    }
}
