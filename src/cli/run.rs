//! `pgring run`: puts the planes together.

use std::process::ExitCode;

use super::{command_line::RunArgs, log};
use crate::{
    control::{self, Join, WorkerStart, config},
    worker::WorkerPlan,
};

/// Serves until told to stop.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    let settings = match config::load(&args.config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    log::start(&settings.log);
    if args.discard_status
        && let Err(error) = control::discard_status(&settings)
    {
        tracing::error!("[health] status_file cannot be removed: {error}");
        return ExitCode::FAILURE;
    }
    match control::run(settings, &args.config, start_worker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts a worker as the control plane orders it.
///
/// # Errors
/// Fails when its thread cannot be started; the text is for the log.
pub fn start_worker(start: WorkerStart) -> Result<Join, String> {
    let plan = WorkerPlan {
        id: start.id,
        cpu: start.cpu,
        buffers: start.buffers,
        listeners: start.listeners,
        operators: start.operators,
        wake: start.wake,
        shared: start.shared,
    };
    let thread = plan.start().map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        thread.join().map_err(|error| error.to_string())
    }))
}
