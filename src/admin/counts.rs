//! Tables of what happens rarely, counted since the start: cancel requests, pins, time limits. And the version. Pure.

use super::table::{Dialect, Listing, Row, Sources, int8, text};
use crate::cluster::report::{PinReport, Report, ReportKind, TimeoutReport};

/// `SHOW CANCELS`.
pub(super) const CANCELS: Listing = Listing {
    name: "cancels",
    doc: "A line for each core: the cancel requests of its clients and of its time limits.",
    dialect: Dialect::PgBouncer,
    columns: &[
        int8("worker", "The core."),
        int8("active", "Requests on their way to a server now."),
        int8("total_forwarded", "Requests sent to a server."),
        int8(
            "total_coalesced",
            "Requests joined with one for the same statement that was on its way.",
        ),
        int8(
            "total_dequeued",
            "Requests that took a client out of the queue for a server connection.",
        ),
        int8(
            "total_dropped",
            "Requests beyond what a core can have under way.",
        ),
    ],
    wants: Some(ReportKind::Cancels),
    rows: |sources| {
        let rows = sources.reports.iter().filter_map(|report| match report {
            Report::Cancels(worker, counts) => Some(vec![
                worker.0.into(),
                counts.active.into(),
                counts.forwarded.into(),
                counts.coalesced.into(),
                counts.dequeued.into(),
                counts.dropped.into(),
            ]),
            _ => None,
        });
        rows.collect()
    },
};

/// `SHOW PINS`.
pub(super) const PINS: Listing = Listing {
    name: "pins",
    doc: "A line for each reason for which a session keeps its server connection between transactions.",
    dialect: Dialect::PgBouncer,
    columns: &[
        text("reason", "The state that is kept there."),
        int8("sessions", "Sessions that are pinned by it now."),
        int8("total_pinned", "How often a session was."),
        int8(
            "total_refused",
            "How often that was refused (pin = \"refuse\").",
        ),
    ],
    wants: Some(ReportKind::Pins),
    rows: pin_rows,
};

/// `SHOW TIMEOUTS`.
pub(super) const TIMEOUTS: Listing = Listing {
    name: "timeouts",
    doc: "A line for each time limit.",
    dialect: Dialect::PgBouncer,
    columns: &[
        text("setting", "The setting that holds the limit."),
        int8("total", "How often it was reached."),
    ],
    wants: Some(ReportKind::Timeouts),
    rows: timeout_rows,
};

/// `SHOW VERSION`.
pub(super) const VERSION: Listing = Listing {
    name: "version",
    doc: "The version of pgring.",
    dialect: Dialect::PgBouncer,
    columns: &[text("version", "Name and version of the program.")],
    wants: None,
    rows: |_| vec![vec![version().into()]],
};

/// Name and version of the program.
pub(super) fn version() -> String {
    format!("pgring {}", env!("CARGO_PKG_VERSION"))
}

/// Every core reports the same reasons in the same order.
fn pin_rows(sources: &Sources<'_>) -> Vec<Row> {
    let mut merged: Vec<PinReport> = Vec::new();
    for report in sources.reports {
        let Report::Pins(pins) = report else { continue };
        if merged.is_empty() {
            merged.clone_from(pins);
            continue;
        }
        for (sum, other) in merged.iter_mut().zip(pins) {
            sum.sessions += other.sessions;
            sum.total += other.total;
            sum.refused += other.refused;
        }
    }
    let row = |pins: &PinReport| {
        vec![
            pins.reason.into(),
            pins.sessions.into(),
            pins.total.into(),
            pins.refused.into(),
        ]
    };
    merged.iter().map(row).collect()
}

/// Every core reports the same limits in the same order.
fn timeout_rows(sources: &Sources<'_>) -> Vec<Row> {
    let mut merged: Vec<TimeoutReport> = Vec::new();
    for report in sources.reports {
        let Report::Timeouts(timeouts) = report else {
            continue;
        };
        if merged.is_empty() {
            merged.clone_from(timeouts);
            continue;
        }
        for (sum, other) in merged.iter_mut().zip(timeouts) {
            sum.total += other.total;
        }
    }
    let row = |timeout: &TimeoutReport| vec![timeout.setting.into(), timeout.total.into()];
    merged.iter().map(row).collect()
}
