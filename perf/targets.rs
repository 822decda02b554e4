//! Owns the targets of the project: which figure of which scenario is compared with whom, and what is wanted. (pure)

use crate::{
    idle::Idle,
    peers::Peer,
    report::{find, put_table, row},
    sample::Metric,
    suite::Findings,
};

/// Bytes of user-space memory that one idle client may cost.
const IDLE_CLIENT_BYTES_MAX: f64 = 4096.0;

/// One line of the table of targets.
struct Target {
    what: String,
    wanted: String,
    measured: Option<String>,
    /// That ratio for the floor, which no proxy can pass.
    floor: Option<String>,
    met: bool,
}

/// The bound of a ratio.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64, Option<f64>),
    AtMost(f64),
}

impl Bound {
    fn text(self) -> String {
        match self {
            Bound::AtLeast(bound, Some(aim)) => format!("at least {bound:.2} (aim {aim:.2})"),
            Bound::AtLeast(bound, None) => format!("at least {bound:.2}"),
            Bound::AtMost(bound) => format!("at most {bound:.2}"),
        }
    }

    fn holds(self, ratio: f64) -> bool {
        match self {
            Bound::AtLeast(bound, _) => ratio >= bound,
            Bound::AtMost(bound) => ratio <= bound,
        }
    }
}

const OF_FLOOR: Bound = Bound::AtLeast(0.92, Some(0.97));
const OF_PGBOUNCER: Bound = Bound::AtLeast(1.20, Some(1.30));

/// Least ratio of the figure with equal settings to the one without any.
const OF_PLAIN: Bound = Bound::AtLeast(0.98, None);
/// Least ratio of the figure with a node to look for to the one without.
const OF_ONE_NODE: Bound = Bound::AtLeast(0.97, None);
/// Microseconds in which a query is answered whose server connection has to change cores first, 99 times of 100.
const HANDOVER_P99_MAX: f64 = 50.0;

/// Scenario, who is measured, the rival, figure, bound.
type Ratio = (&'static str, Peer, Peer, Metric, Bound);

const RATIOS: [Ratio; 20] = [
    (
        "settings-64",
        Peer::PgringSettings,
        Peer::Pgring,
        Metric::QueriesPerSecond,
        OF_PLAIN,
    ),
    (
        "simple-16",
        Peer::Pgring,
        Peer::Floor,
        Metric::QueriesPerSecond,
        OF_FLOOR,
    ),
    (
        "simple-16",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        OF_PGBOUNCER,
    ),
    (
        "simple-64",
        Peer::Pgring,
        Peer::Floor,
        Metric::QueriesPerSecond,
        OF_FLOOR,
    ),
    (
        "simple-64",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        OF_PGBOUNCER,
    ),
    (
        "prepared-16",
        Peer::Pgring,
        Peer::Floor,
        Metric::QueriesPerSecond,
        OF_FLOOR,
    ),
    (
        "prepared-64",
        Peer::Pgring,
        Peer::Floor,
        Metric::QueriesPerSecond,
        OF_FLOOR,
    ),
    (
        "simple-1",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::P50Microseconds,
        Bound::AtMost(1.05),
    ),
    (
        "simple-64",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::P99Microseconds,
        Bound::AtMost(1.0),
    ),
    (
        "pgbench-splitting-select-simple",
        Peer::PgringSplits,
        Peer::Pgring,
        Metric::QueriesPerSecond,
        OF_ONE_NODE,
    ),
    (
        "pgbench-splitting-select-prepared",
        Peer::PgringSplits,
        Peer::Pgring,
        Metric::QueriesPerSecond,
        OF_ONE_NODE,
    ),
    (
        "pgbench-select-1-simple",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-16-simple",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-64-simple",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-1-extended",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-16-extended",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-64-extended",
        Peer::Pgring,
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-1-prepared",
        Peer::Pgring,
        Peer::PgBouncerSession,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-16-prepared",
        Peer::Pgring,
        Peer::PgBouncerSession,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-64-prepared",
        Peer::Pgring,
        Peer::PgBouncerSession,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
];

/// Writes one line per target: wanted, measured, met or missed.
pub(crate) fn put_targets(out: &mut String, findings: &Findings) {
    let mut targets: Vec<Target> = RATIOS
        .iter()
        .map(|ratio| ratio_target(findings, *ratio))
        .collect();
    targets.extend(idle_targets(findings));
    targets.push(handover_target(findings));
    let rows = targets.into_iter().map(|target| {
        let verdict = match (&target.measured, target.met) {
            (None, _) => "not measured",
            (Some(_), true) => "met",
            (Some(_), false) => "**missed**",
        };
        let or_dash = |figure: Option<String>| figure.unwrap_or_else(|| "-".into());
        vec![
            target.what,
            target.wanted,
            or_dash(target.measured),
            or_dash(target.floor),
            verdict.into(),
        ]
    });
    out.push_str("## Targets\n\n");
    put_table(
        out,
        &["target", "wanted", "measured", "floor", ""],
        rows.collect(),
    );
}

fn ratio_target(findings: &Findings, (name, ours, rival, metric, bound): Ratio) -> Target {
    let figure = match metric {
        Metric::P50Microseconds => "p50",
        Metric::P99Microseconds => "p99",
        _ => "queries/s",
    };
    let ratio = |own: Peer| {
        let finding = find(findings, name)?;
        row(finding, own)?.ratio(row(finding, rival)?, metric)
    };
    let (own, floor) = (ratio(ours), ratio(Peer::Floor));
    Target {
        what: format!("{name}: {figure}, {} / {}", ours.label(), rival.label()),
        wanted: bound.text(),
        measured: own.map(|ratio| format!("{ratio:.3}")),
        floor: floor.map(|ratio| format!("{ratio:.3}")),
        met: own.is_some_and(|ratio| bound.holds(ratio)),
    }
}

fn idle_targets(findings: &Findings) -> [Target; 2] {
    let own = findings.idle.iter().find(|(peer, _)| *peer == Peer::Pgring);
    let own = own.and_then(|(_, outcome)| outcome.as_ref().ok());
    let bytes = own.map(Idle::bytes_per_client);
    let rest = own.map(|idle| {
        (
            idle.empty.ticks + idle.full.ticks,
            idle.empty.cpu_ms + idle.full.cpu_ms,
        )
    });
    [
        Target {
            what: "idle: user-space memory per client".into(),
            wanted: format!("at most {IDLE_CLIENT_BYTES_MAX} bytes"),
            measured: bytes.map(|bytes| format!("{bytes:.0} bytes")),
            floor: None,
            met: bytes.is_some_and(|bytes| bytes <= IDLE_CLIENT_BYTES_MAX),
        },
        Target {
            what: "idle: CPU of an idle proxy, without clients and with them".into(),
            wanted: "0 ticks".into(),
            measured: rest.map(|(ticks, cpu_ms)| format!("{ticks} ticks, {cpu_ms:.2} ms")),
            floor: None,
            met: rest.is_some_and(|(ticks, _)| ticks == 0),
        },
    ]
}

fn handover_target(findings: &Findings) -> Target {
    let p99 = findings.handover.map(|handover| handover.added()[1]);
    Target {
        what: "handover: what it adds to a query's p99 that its connection changes cores".into(),
        wanted: format!("at most {HANDOVER_P99_MAX:.0} µs"),
        measured: p99.map(|p99| format!("{p99:.1} µs")),
        floor: findings
            .handover
            .map(|handover| format!("{:.1} µs", handover.bare[1])),
        met: p99.is_some_and(|p99| p99 <= HANDOVER_P99_MAX),
    }
}
