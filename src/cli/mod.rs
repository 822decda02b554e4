//! The command line: what may be typed, and which command does it.

pub(crate) mod lab;
pub mod postgres;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// A PostgreSQL proxy: many clients share few server connections.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a throw-away PostgreSQL cluster with pgring in front.
    Lab(LabArgs),
}

/// Start a throw-away PostgreSQL cluster with pgring in front.
#[derive(Args, Debug)]
pub(crate) struct LabArgs {
    /// How many standbys follow the primary
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=16))]
    pub(crate) standbys: u16,
    /// How many worker cores pgring uses
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,
    /// Run this shell command against pgring, then stop
    #[arg(long, value_name = "CMD")]
    pub(crate) exec: Option<String>,
    /// Port of pgring on 127.0.0.1 [default: 6432, or a free one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

/// Does what the command line says; a wrong command line exits with status 2.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Lab(args) => lab::run(&args),
    }
}
