//! `cargo bench --bench perf -- SUBCOMMAND`: the whole proxy under load. Roles (mock server, load generator, floor) are this
//! same program started again, each on its own CPU; `run` starts them all and writes the record. Nothing here is a test.
#![expect(
    clippy::disallowed_methods,
    reason = "measuring needs the clock, and the suite waits for processes"
)]

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod answers;
mod chart;
mod floor;
mod frames;
mod handover;
mod histogram;
mod idle;
mod load;
mod machine;
mod messages;
mod mock;
mod pauses;
mod peers;
mod pgbench;
mod probe;
mod process;
mod procfs;
mod report;
mod ring;
mod sample;
mod scenarios;
mod script;
mod settings;
mod slots;
mod sockets;
mod suite;
mod targets;

#[derive(Parser)]
#[command(name = "perf", about = "Measures pgring, its floor and its peers")]
struct Command {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve canned answers as a PostgreSQL server would
    Mock(mock::Arguments),
    /// Pass bytes through untouched: the floor
    Floor(floor::Arguments),
    /// Send queries in a closed loop and print what was measured
    Load(load::Arguments),
    /// Open connections, one query each, and hold them until standard input ends
    Idle(load::Arguments),
    /// Measure what it costs that a server connection changes cores
    Handover(handover::Arguments),
    /// Measure how long a writer waits when its primary is killed, and when another one takes its place
    Pauses(pauses::Arguments),
    /// Measure pgring, the floor and the peers: `make perf`
    Run(suite::Arguments),
}

fn main() -> ExitCode {
    // Cargo adds `--bench` to the arguments of every bench target; without any other there is nothing to measure.
    let arguments: Vec<String> = std::env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    if arguments.len() < 2 {
        println!(
            "perf: nothing asked for; see `make perf` and `cargo bench --bench perf -- --help`"
        );
        return ExitCode::SUCCESS;
    }
    let outcome = match Command::parse_from(arguments).role {
        Role::Mock(arguments) => mock::run(&arguments).map_err(|error| format!("mock: {error}")),
        Role::Floor(arguments) => floor::run(&arguments).map_err(|error| format!("floor: {error}")),
        Role::Load(arguments) => load::run(&arguments),
        Role::Idle(arguments) => load::idle(&arguments),
        Role::Handover(arguments) => {
            handover::run(&arguments).map_err(|error| format!("perf: {error}"))
        }
        Role::Pauses(arguments) => {
            pauses::run(&arguments).map_err(|error| format!("perf: {error}"))
        }
        Role::Run(arguments) => suite::run(&arguments).map_err(|error| format!("perf: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
