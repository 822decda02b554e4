//! Servers that die under load: nothing is lost, nothing is done twice, and the sessions go on.

use pgring::cli::postgres::Stop;
use rustix::process::{Pid, Signal, kill_process};

use crate::{load::Load, stage::Stage, support::proxy::Config};

const CLIENTS: usize = 12;

fn few_connections(config: Config) -> Config {
    config.set("pool", "size = 5").workers(2)
}

/// A server process that is at work for `app`.
fn some_backend(stage: &Stage) -> i32 {
    let look = "SELECT pid FROM pg_stat_activity WHERE usename = 'app' ORDER BY random() LIMIT 1";
    stage.sql(look).parse().expect("the load has connections")
}

mod alone {
    use super::*;

    /// PostgreSQL answers this with a restart of all its processes.
    #[test]
    fn killed_backends() {
        let stage = Stage::trusting(few_connections);
        let load = Load::start(&stage, CLIENTS);
        for _ in 0..3 {
            load.wait_for_progress(20);
            let pid = Pid::from_raw(some_backend(&stage)).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        load.wait_for_progress(20);
        let uncertain = load.finish(&stage);
        assert!(uncertain > 0, "the kills were not noticed");
    }

    #[test]
    fn terminated_backends() {
        let stage = Stage::trusting(few_connections);
        let load = Load::start(&stage, CLIENTS);
        for _ in 0..20 {
            load.wait_for_progress(5);
            stage.sql(&format!(
                "SELECT pg_terminate_backend({})",
                some_backend(&stage)
            ));
        }
        load.wait_for_progress(5);
        load.finish(&stage);
        assert!(stage.server_connections() <= 5);
    }

    #[test]
    fn restarts() {
        let mut stage = Stage::trusting(few_connections);
        let load = Load::start(&stage, CLIENTS);
        for how in [Stop::Fast, Stop::Immediate, Stop::Fast] {
            load.wait_for_progress(20);
            stage.server.primary.stop(how).unwrap();
            stage.server.primary.start().unwrap();
        }
        load.wait_for_progress(20);
        load.finish(&stage);
    }

    #[test]
    fn a_killed_postmaster() {
        let mut stage = Stage::trusting(few_connections);
        let load = Load::start(&stage, CLIENTS);
        load.wait_for_progress(20);
        stage.server.primary.kill().unwrap();
        stage.server.primary.start().unwrap();
        load.wait_for_progress(20);
        load.finish(&stage);
    }
}

/// A statement that comes while the server is down waits for it.
#[test]
fn statements_wait_for_a_server_that_is_down() {
    let mut stage = Stage::trusting(|config| config);
    let mut client = stage.proxy.client();
    client.rows("SELECT 1");
    stage.server.primary.stop(Stop::Fast).unwrap();
    client.send(crate::support::message::query("SELECT 'back'"));
    client.wait_until_taken();
    stage.server.primary.start().unwrap();
    client.expect("T D C Z");
    client.terminate();
}
