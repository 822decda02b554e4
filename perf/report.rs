//! Owns what a person reads: the full tables, the machine they were made on, and the record. It judges nothing; `targets`
//! does. (pure)

use crate::{
    chart::{Bar, thousands},
    handover::Handover,
    idle::{self, Idle},
    machine::Facts,
    pauses::Pauses,
    peers::Peer,
    sample::{Metric, Rounds},
    suite::{Finding, Findings},
    targets::put_targets,
};
use std::fmt::Write;

/// Output of `make perf`: all tables, the targets last, where the eye ends.
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
            label: if *peer == Peer::Floor {
                "bare pass-through"
            } else {
                peer.label()
            }
            .into(),
            value,
            color: color(*peer),
        })
    };
    Some(finding.rows.iter().filter_map(bar).collect())
}

fn color(peer: Peer) -> &'static str {
    match peer {
        Peer::Floor => "#9aa4ae",
        Peer::PgBouncer | Peer::PgBouncerSession => "#4a78b5",
        Peer::Pgpool => "#b0703c",
        _ => "#1a7f5a",
    }
}

fn put_tables(out: &mut String, findings: &Findings) {
    for finding in &findings.findings {
        put_finding(out, finding);
    }
    if !findings.idle.is_empty() {
        put_idle(out, findings);
    }
    if let Some(handover) = &findings.handover {
        put_handover(out, handover);
    }
    if let Some(pauses) = &findings.pauses {
        put_pauses(out, pauses);
    }
    if !findings.failures.is_empty() {
        out.push_str("## Failures\n\n");
        for (peer, reason) in &findings.failures {
            let _ = writeln!(out, "- {}, {reason}", peer.label());
        }
        out.push('\n');
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
}

fn put_idle(out: &mut String, findings: &Findings) {
    out.push_str("## 10,000 idle clients (`idle`)\n\n");
    let rows = findings.idle.iter().map(|(peer, outcome)| match outcome {
        Ok(idle) => idle_row(*peer, idle),
        Err(_) => vec![peer.label().into(), "failed".into()],
    });
    let head = [
        "proxy",
        "RSS before, KiB",
        "RSS after, KiB",
        "bytes per client (Pss)",
        "CPU while empty, ms",
        "CPU while idle, ms",
        "ticks of both",
    ];
    put_table(out, &head, rows.collect());
    let seconds = idle::watched_seconds();
    let _ = write!(
        out,
        "CPU is counted twice over {seconds} s: without clients, and with all of them silent.\n\n"
    );
}

fn put_handover(out: &mut String, handover: &Handover) {
    out.push_str("## Clients of two cores in turn on one server connection (`handover`)\n\n");
    let rows = handover
        .rows()
        .map(|(what, [p50, p99])| vec![what.into(), format!("{p50:.1}"), format!("{p99:.1}")]);
    put_table(
        out,
        &["the connection was", "p50 µs", "p99 µs"],
        rows.into(),
    );
    out.push_str("Both kinds of queries alternate. ");
    out.push_str(
        "Two threads that wake each other there and back do what no hand-over can do without.\n\n",
    );
}

fn put_pauses(out: &mut String, pauses: &Pauses) {
    out.push_str("## Pauses of a writer when its primary is replaced (`pauses`)\n\n");
    let rows = pauses.rows().map(|(what, figures)| {
        let figures = figures.map(|figure| format!("{figure:.0}"));
        std::iter::once(what.into()).chain(figures).collect()
    });
    put_table(
        out,
        &["when", "least ms", "median ms", "most ms"],
        rows.into(),
    );
    out.push_str(
        "From the kill to the first write that the new primary committed, probes 200 ms apart; ",
    );
    out.push_str("and the longest time between two writes around a switchover.\n\n");
}

fn idle_row(peer: Peer, idle: &Idle) -> Vec<String> {
    vec![
        peer.label().into(),
        idle.before.rss_kib.to_string(),
        idle.after.rss_kib.to_string(),
        format!("{:.0}", idle.bytes_per_client()),
        format!("{:.2}", idle.empty.cpu_ms),
        format!("{:.2}", idle.full.cpu_ms),
        (idle.empty.ticks + idle.full.ticks).to_string(),
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
        "Placement: proxy on CPU 0; mock server and load generator on CPU 1; for pgbench only the proxy is placed; \
          for cores-64 and the hand-over the proxy is not".into(),
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

/// The scenario of that name, when it was measured.
pub(crate) fn find<'a>(findings: &'a Findings, name: &str) -> Option<&'a Finding> {
    findings
        .findings
        .iter()
        .find(|finding| finding.name == name)
}

/// Rounds of one proxy in a scenario; `None` when it took no part.
pub(crate) fn row(finding: &Finding, peer: Peer) -> Option<&Rounds> {
    finding
        .rows
        .iter()
        .find(|(of, _)| *of == peer)
        .map(|(_, rounds)| rounds)
}

/// A table that reads well as text and renders as Markdown.
pub(crate) fn put_table(out: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
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
    for row in &rows {
        let cells = row.iter().map(String::as_str).chain(std::iter::repeat("-"));
        line(cells.take(head.len()).collect());
    }
    out.push('\n');
}
