//! `pgring run`.

use std::process::ExitCode;

use super::{RunArgs, log};
use crate::control::config;

/// Serves until told to stop.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    match config::load(&args.config) {
        Ok(settings) => {
            log::start(&settings.log);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
