//! Why there is no lab, or not any more. Never prints.

use std::process::ExitStatus;

use crate::cli::postgres;

/// Why there is no lab, or not any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A server, a file or the proxy could not be had.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// The system refused something else.
    #[error("cannot {what}: {source}")]
    System {
        /// The verb and its object.
        what: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// Somebody wanted an end before everything stood.
    #[error("interrupted")]
    Interrupted,
    /// One of its processes ended by itself.
    #[error("{name} ended by itself ({status}); its last words:\n{log}")]
    Lost {
        /// Which one.
        name: String,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
}

/// For `map_err` on an I/O error.
pub(super) fn cannot(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::System { what, source }
}
