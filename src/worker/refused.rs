//! Why a login ends. Never tells the client itself.

use std::rc::Rc;

use super::{pool::waiter::CheckoutError, route};
use crate::{
    link::wire::WireError,
    protocol::{ErrorReport, Severity},
};

/// Why a login ends.
pub(super) enum Refused {
    /// The client is told.
    Report(ErrorReport),
    /// The client is told in the server's own words.
    Server(Rc<[u8]>),
    /// The client is gone, or speaks another protocol.
    Silently(WireError),
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Protocol(error) if !error.closes_silently() => Self::Report(error.report()),
            error => Self::Silently(error),
        }
    }
}

impl From<ErrorReport> for Refused {
    fn from(report: ErrorReport) -> Self {
        Self::Report(report)
    }
}

impl From<CheckoutError> for Refused {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Refused(body) => Self::Server(body),
            CheckoutError::Own(mut report) | CheckoutError::Unreachable(mut report) => {
                report.severity = Severity::Fatal;
                Self::Report(report)
            }
            CheckoutError::Moved => route::no_node().into(),
        }
    }
}
