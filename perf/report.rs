//! Owns what a person reads: the targets of the project with what was measured, the full tables, and the record. It knows
//! which figure is wanted; it measures nothing.

use crate::{
    chart::{Bar, thousands},
    machine::Facts,
    peers::Peer,
    sample::{Metric, Rounds},
    suite::{Finding, Findings, Idle},
};
use std::fmt::Write;

/// Bytes of user-space memory that one idle client may cost.
const IDLE_CLIENT_BYTES_MAX: f64 = 4096.0;

/// One line of the table of targets.
struct Target {
    what: String,
    wanted: String,
    measured: Option<String>,
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

/// Scenario, pgring's rival in it, figure, bound.
const RATIOS: [(&str, Peer, Metric, Bound); 17] = [
    ("simple-16", Peer::Floor, Metric::QueriesPerSecond, OF_FLOOR),
    (
        "simple-16",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        OF_PGBOUNCER,
    ),
    ("simple-64", Peer::Floor, Metric::QueriesPerSecond, OF_FLOOR),
    (
        "simple-64",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        OF_PGBOUNCER,
    ),
    (
        "prepared-16",
        Peer::Floor,
        Metric::QueriesPerSecond,
        OF_FLOOR,
    ),
    (
        "prepared-64",
        Peer::Floor,
        Metric::QueriesPerSecond,
        OF_FLOOR,
    ),
    (
        "simple-1",
        Peer::PgBouncer,
        Metric::P50Microseconds,
        Bound::AtMost(1.05),
    ),
    (
        "simple-64",
        Peer::PgBouncer,
        Metric::P99Microseconds,
        Bound::AtMost(1.0),
    ),
    (
        "pgbench-select-1-simple",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-16-simple",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-64-simple",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-1-extended",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-16-extended",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-64-extended",
        Peer::PgBouncer,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-1-prepared",
        Peer::PgBouncerSession,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-16-prepared",
        Peer::PgBouncerSession,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
    (
        "pgbench-select-64-prepared",
        Peer::PgBouncerSession,
        Metric::QueriesPerSecond,
        Bound::AtLeast(1.0, None),
    ),
];

/// What `make perf` prints: all tables, the targets last, where the eye ends.
pub(crate) fn text(findings: &Findings, facts: &Facts) -> String {
    let mut out = String::from("\n");
    put_tables(&mut out, findings);
    put_machine(&mut out, findings, facts);
    put_targets(&mut out, findings);
    out
}

/// The record: the same, targets first, and every command.
pub(crate) fn record(findings: &Findings, facts: &Facts) -> String {
    let mut out = format!("# Performance, {}, commit {}\n\n", facts.date, facts.commit);
    put_machine(&mut out, findings, facts);
    put_targets(&mut out, findings);
    put_tables(&mut out, findings);
    put_commands(&mut out, findings);
    out
}

/// The bars of the chart, when the scenario that it shows was measured.
pub(crate) fn bars(findings: &Findings) -> Option<Vec<Bar>> {
    let finding = find(findings, "simple-64")?;
    let bar = |(peer, rounds): &(Peer, Rounds)| {
        let value = rounds.median(Metric::QueriesPerSecond)?;
        Some(Bar {
            label: peer.label().into(),
            value,
            color: color(*peer),
        })
    };
    Some(finding.rows.iter().filter_map(bar).collect())
}

fn color(peer: Peer) -> &'static str {
    match peer {
        Peer::Floor => "#9aa4ae",
        Peer::Pgring => "#1a7f5a",
        Peer::PgBouncer | Peer::PgBouncerSession => "#4a78b5",
        Peer::Pgpool => "#b0703c",
    }
}

fn put_targets(out: &mut String, findings: &Findings) {
    let mut targets: Vec<Target> = RATIOS
        .iter()
        .map(|ratio| ratio_target(findings, *ratio))
        .collect();
    targets.extend(idle_targets(findings));
    let rows = targets.into_iter().map(|target| {
        let verdict = match (&target.measured, target.met) {
            (None, _) => "not measured",
            (Some(_), true) => "met",
            (Some(_), false) => "**missed**",
        };
        vec![
            target.what,
            target.wanted,
            target.measured.unwrap_or_else(|| "-".into()),
            verdict.into(),
        ]
    });
    out.push_str("## Targets\n\n");
    put_table(out, &["target", "wanted", "measured", ""], rows.collect());
}

fn ratio_target(
    findings: &Findings,
    (name, rival, metric, bound): (&str, Peer, Metric, Bound),
) -> Target {
    let figure = match metric {
        Metric::P50Microseconds => "p50",
        Metric::P99Microseconds => "p99",
        _ => "queries/s",
    };
    let ratio = find(findings, name).and_then(|finding| {
        let (own, other) = (row(finding, Peer::Pgring)?, row(finding, rival)?);
        own.ratio(other, metric)
    });
    Target {
        what: format!("{name}: {figure}, pgring / {}", rival.label()),
        wanted: bound.text(),
        measured: ratio.map(|ratio| format!("{ratio:.3}")),
        met: ratio.is_some_and(|ratio| bound.holds(ratio)),
    }
}

fn idle_targets(findings: &Findings) -> Vec<Target> {
    let own = findings.idle.iter().find(|(peer, _)| *peer == Peer::Pgring);
    let own = own.and_then(|(_, outcome)| outcome.as_ref().ok());
    let bytes = own.map(Idle::bytes_per_client);
    let cpu = own.map(|idle| idle.empty_cpu_ms.max(idle.full_cpu_ms));
    vec![
        Target {
            what: "idle: user-space memory per client".into(),
            wanted: format!("at most {IDLE_CLIENT_BYTES_MAX} bytes"),
            measured: bytes.map(|bytes| format!("{bytes:.0} bytes")),
            met: bytes.is_some_and(|bytes| bytes <= IDLE_CLIENT_BYTES_MAX),
        },
        Target {
            what: "idle: CPU of an idle proxy, with and without clients".into(),
            wanted: "0 ms".into(),
            measured: cpu.map(|cpu| format!("{cpu:.2} ms")),
            met: cpu == Some(0.0),
        },
    ]
}

impl Idle {
    fn bytes_per_client(&self) -> f64 {
        let grown = self.after.pss_kib.saturating_sub(self.before.pss_kib);
        grown as f64 * 1024.0 / self.clients as f64
    }
}

fn put_tables(out: &mut String, findings: &Findings) {
    for finding in &findings.findings {
        put_finding(out, finding);
    }
    if !findings.idle.is_empty() {
        put_idle(out, findings);
    }
}

fn put_finding(out: &mut String, finding: &Finding) {
    let _ = write!(out, "## {} (`{}`)\n\n", finding.title, finding.name);
    let base = |peer| row(finding, peer);
    let rival = base(Peer::PgBouncer).or(base(Peer::PgBouncerSession));
    let rows = finding.rows.iter().map(|(peer, rounds)| {
        let figure = |metric, digits: usize| match rounds.median(metric) {
            Some(value) if value > 0.0 => format!("{value:.digits$}"),
            _ => "-".into(),
        };
        let ratio = |other: Option<&Rounds>| {
            let ratio = other.and_then(|other| rounds.ratio(other, Metric::QueriesPerSecond));
            ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"))
        };
        let rate = rounds.median(Metric::QueriesPerSecond);
        vec![
            peer.label().into(),
            rate.map_or_else(|| "failed".into(), thousands),
            ratio(base(Peer::Floor)),
            ratio(rival),
            figure(Metric::CpuMicroseconds, 2),
            figure(Metric::Busy, 2),
            figure(Metric::P50Microseconds, 0),
            figure(Metric::P99Microseconds, 0),
            figure(Metric::P999Microseconds, 0),
            figure(Metric::MegabytesPerSecond, 1),
        ]
    });
    let head = [
        "proxy",
        "queries/s",
        "of floor",
        "of PgBouncer",
        "CPU µs/query",
        "busy",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "MB/s",
    ];
    put_table(out, &head, rows.collect());
    for (peer, rounds) in &finding.rows {
        if let Some(reason) = rounds.failure() {
            let _ = write!(out, "{} failed: {reason}\n\n", peer.label());
        }
    }
}

fn put_idle(out: &mut String, findings: &Findings) {
    out.push_str("## 10,000 idle clients (`idle`)\n\n");
    let rows = findings.idle.iter().map(|(peer, outcome)| match outcome {
        Ok(idle) => idle_row(*peer, idle),
        Err(reason) => {
            let mut row = vec![String::from("-"); 7];
            row[0] = peer.label().into();
            row[1] = format!("failed: {reason}");
            row
        }
    });
    let head = [
        "proxy",
        "RSS before, KiB",
        "RSS after, KiB",
        "bytes per client (Pss)",
        "CPU while empty, ms",
        "CPU while idle, ms",
        "ticks while idle",
    ];
    put_table(out, &head, rows.collect());
    let measured = findings
        .idle
        .iter()
        .find_map(|(_, outcome)| outcome.as_ref().ok());
    let seconds = measured.map_or(0.0, |idle| idle.watched_seconds);
    let _ = write!(
        out,
        "CPU is counted over {seconds:.0} s without a query.\n\n"
    );
}

fn idle_row(peer: Peer, idle: &Idle) -> Vec<String> {
    vec![
        peer.label().into(),
        idle.before.rss_kib.to_string(),
        idle.after.rss_kib.to_string(),
        format!("{:.0}", idle.bytes_per_client()),
        format!("{:.2}", idle.empty_cpu_ms),
        format!("{:.2}", idle.full_cpu_ms),
        idle.full_ticks.to_string(),
    ]
}

fn put_machine(out: &mut String, findings: &Findings, facts: &Facts) {
    let pace = findings.pace;
    let mut lines = vec![
        format!("CPU: {}, {} CPUs, {} MiB of memory", facts.cpu, facts.cpus, facts.memory_mib),
        format!("Kernel: {}", facts.kernel),
        format!("Commit: {}", facts.commit),
        format!(
            "Rounds: {} alternating, {} s each after {} s of warm-up; medians, and medians of the ratios within a round",
            pace.rounds, pace.seconds, pace.warmup
        ),
        "Placement: proxy on CPU 0; mock server and load generator on CPU 1; for pgbench only the proxy is placed".into(),
    ];
    lines.extend(
        facts
            .versions
            .iter()
            .map(|(name, version)| format!("{name}: {version}")),
    );
    out.push_str("## Machine\n\n");
    lines.iter().for_each(|line| {
        let _ = writeln!(out, "- {line}");
    });
    out.push('\n');
}

fn put_commands(out: &mut String, findings: &Findings) {
    let mut seen: Vec<String> = Vec::new();
    for command in &findings.commands {
        let command = without_processes(command);
        if !seen.contains(&command) {
            seen.push(command);
        }
    }
    let _ = write!(
        out,
        "## Commands\n\n`make perf` ran, in this order:\n\n```\n{}\n```\n",
        seen.join("\n")
    );
}

/// The list of watched processes differs in every round and says nothing.
fn without_processes(command: &str) -> String {
    command
        .split_once(" --watch")
        .map_or(command, |(before, _)| before)
        .into()
}

fn find<'a>(findings: &'a Findings, name: &str) -> Option<&'a Finding> {
    findings
        .findings
        .iter()
        .find(|finding| finding.name == name)
}

fn row(finding: &Finding, peer: Peer) -> Option<&Rounds> {
    finding
        .rows
        .iter()
        .find(|(of, _)| *of == peer)
        .map(|(_, rounds)| rounds)
}

/// A table that reads well as text and renders as Markdown.
fn put_table(out: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        widths
            .iter_mut()
            .zip(row)
            .for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let gap = " ".repeat(width - cell.chars().count());
                if column == 0 {
                    format!("{cell}{gap}")
                } else {
                    format!("{gap}{cell}")
                }
            });
        let _ = writeln!(out, "| {} |", padded.collect::<Vec<_>>().join(" | "));
    };
    line(head.to_vec());
    let rules: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            if column == 0 {
                "-".repeat(*width)
            } else {
                format!("{}:", "-".repeat(width - 1))
            }
        })
        .collect();
    line(rules.iter().map(String::as_str).collect());
    rows.iter()
        .for_each(|row| line(row.iter().map(String::as_str).collect()));
    out.push('\n');
}
