//! `pgring lab`.

use std::process::ExitCode;

use super::LabArgs;

/// Runs a throw-away cluster.
pub(crate) fn run(args: &LabArgs) -> ExitCode {
    eprintln!("{args:?}");
    ExitCode::FAILURE
}
