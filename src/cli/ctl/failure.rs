//! Failures of `pgring ctl`, and their exit statuses.

use super::connection::CtlError;

/// Statuses for scripts, beside 0 and clap's 2.
const FAILED: u8 = 1;
const UNREACHABLE: u8 = 3;
const TOO_LATE: u8 = 4;

/// Why the command line cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    NoSocket(String),
    #[error(transparent)]
    Ctl(#[from] CtlError),
    #[error("{0}")]
    NotDone(String),
    #[error("it is not over after {0} seconds; it goes on")]
    TooLate(u64),
}

impl Failure {
    /// Exit status.
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::NoSocket(_) | Self::Ctl(CtlError::Connect(..)) => UNREACHABLE,
            Self::Ctl(_) | Self::NotDone(_) => FAILED,
            Self::TooLate(_) => TOO_LATE,
        }
    }
}
