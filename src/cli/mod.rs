//! The commands of the binary: each has a file of its own, and `main` calls the one that was typed.

mod command_line;

pub(crate) mod check;
pub(crate) mod ctl;
pub(crate) mod lab;
pub(crate) mod log;
pub(crate) mod passwd;
pub mod postgres;
pub(crate) mod run;

use std::process::ExitCode;

use clap::Parser;

use command_line::{Command, CommandLine};
pub use run::start_worker;

/// Does what the command line says; a wrong command line exits with status 2.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Passwd(args) => passwd::run(&args),
        Command::Ctl(args) => ctl::run(&args),
    }
}
