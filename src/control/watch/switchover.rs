//! The steps of a switchover, carried out by SQL as the role of `[health]`. Decides nothing.
//!
//! The old primary takes no more writes once `default_transaction_read_only` is seen to hold there, every session that is
//! older than that has ended, and no transaction is left that may have written.

use std::time::{Duration, Instant};

use super::{
    nodes::Watch,
    steps::{
        self, LOOK, PROMPTLY, RELOAD, StepError, becomes_primary, line_to, literal, place_of,
        rules, tell, until, value,
    },
};
use crate::{
    cluster::{
        node::Lsn,
        report::{Report, ReportKind},
    },
    control::{
        failover::{phase::Switch, plan::Outcome},
        line::{Line, LineError},
    },
    ids::NodeId,
    time,
};

/// How long a server may take to end its sessions, and to write its log to the disk.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The sessions of clients, without pgring's own look at the server.
const SESSIONS: &str = "pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' \
AND pid <> pg_catalog.pg_backend_pid() AND NOT (application_name = 'pgring' AND usename = CURRENT_USER)";

/// True once something holds at a server; false when it does not in time.
async fn comes_true(
    watch: &Watch,
    line: &mut Line,
    sql: &str,
    deadline: Instant,
) -> Result<bool, LineError> {
    while value(line, sql).await? != "t" {
        if time::now() > deadline {
            return Ok(false);
        }
        watch.dialer.reactor.sleep(LOOK).await;
    }
    Ok(true)
}

/// Waits until the transactions have ended that were under way at the node, those of pgring's clients and all others, or
/// `switchover_timeout` is over. What is not done then is ended in the next step.
pub(super) async fn drain(watch: &Watch, node: NodeId) -> Outcome {
    let limit = rules(watch).switchover_timeout;
    let deadline = time::now() + limit;
    // Who has answered knows that the node takes nothing new: whatever begins later there is not waited for.
    let mut since = None;
    while is_busy(watch, node, since).await && time::now() < deadline {
        since = since.or_else(|| Some(time::now()));
        watch.dialer.reactor.sleep(LOOK).await;
    }
    // Nobody beside pgring need be there, and whoever is can be ended.
    let others = others_end(watch, node, deadline);
    let asked = watch.dialer.reactor.deadline(deadline, others).await;
    if let Ok(Err(error)) = asked {
        return Outcome::NotDone(error.to_string());
    }
    Outcome::Done
}

/// True while a session of a client has a transaction there; that has begun before `since`, where that is given.
async fn is_busy(watch: &Watch, node: NodeId, since: Option<Instant>) -> bool {
    let publishing = &watch.dialer.publishing;
    let shared = publishing.shared();
    let reactor = &watch.dialer.reactor;
    let kind = ReportKind::Transactions;
    let reports = watch.replies.reports(shared, reactor, kind, None).await;
    let since = since.map(|since| shared.budgets.micros(since));
    let is_old = |report: &Report| match report {
        Report::Transactions(oldest) => {
            let oldest = oldest.get(usize::from(node.0)).copied().flatten();
            oldest.is_some_and(|began| since.is_none_or(|since| began <= since))
        }
        _ => true,
    };
    reports.len() < shared.workers.len() || reports.iter().any(is_old)
}

/// Ends when no transaction is under way that is older than the question.
async fn others_end(watch: &Watch, node: NodeId, deadline: Instant) -> Result<(), StepError> {
    let mut line = line_to(watch, node, rules(watch).switchover_timeout).await?;
    let now = literal(&value(&mut line, "SELECT pg_catalog.clock_timestamp()::text").await?);
    let none =
        format!("SELECT NOT EXISTS (SELECT FROM {SESSIONS} AND xact_start <= {now}::timestamptz)");
    comes_true(watch, &mut line, &none, deadline).await?;
    line.close();
    Ok(())
}

/// The node takes no more writes, and its log is on the disk.
pub(super) async fn stop_writes(watch: &Watch, node: NodeId) -> Result<Outcome, StepError> {
    let deadline = time::now() + STOP_MAX;
    let mut line = line_to(watch, node, STOP_MAX).await?;
    tell(
        &mut line,
        "ALTER SYSTEM SET default_transaction_read_only = on",
    )
    .await?;
    tell(&mut line, RELOAD).await?;
    // This session hears of it from the postmaster: whoever comes now has heard of it as well.
    let holds = "SELECT pg_catalog.current_setting('default_transaction_read_only') = 'on'";
    if !comes_true(watch, &mut line, holds, deadline).await? {
        let why =
            "default_transaction_read_only has no effect: is it set for the role of [health]?";
        return Ok(Outcome::NotDone(why.to_owned()));
    }
    let now = literal(&value(&mut line, "SELECT pg_catalog.clock_timestamp()::text").await?);
    let ended = format!(
        "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) = 0 FROM {SESSIONS} \
         AND backend_start <= {now}::timestamptz"
    );
    if !comes_true(watch, &mut line, &ended, deadline).await? {
        let why = format!("sessions there did not end within {STOP_MAX:?}");
        return Ok(Outcome::NotDone(why));
    }
    let written =
        "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL)";
    if !comes_true(watch, &mut line, written, deadline).await? {
        let why = "somebody writes there in spite of default_transaction_read_only";
        return Ok(Outcome::NotDone(why.to_owned()));
    }
    let end = end_of_log(watch, &mut line, deadline).await?;
    line.close();
    Ok(match end {
        Some(end) => Outcome::Stopped(end),
        None => Outcome::NotDone(format!("its log was not written within {STOP_MAX:?}")),
    })
}

/// End of all that was written, once that is on the disk; `None` when it is not in time.
async fn end_of_log(
    watch: &Watch,
    line: &mut Line,
    deadline: Instant,
) -> Result<Option<Lsn>, LineError> {
    const ASK: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn, \
        pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_catalog.pg_lsn";
    loop {
        let (mut inserted, mut flushed) = (Lsn::MAX, 0);
        line.ask(ASK, |_, mut row| {
            let mut number = || -> Option<Lsn> {
                let text = std::str::from_utf8(row.next().flatten()?).ok()?;
                text.parse().ok()
            };
            (inserted, flushed) = number().zip(number()).ok_or("no position")?;
            Ok(())
        })
        .await?;
        if flushed >= without_page_header(inserted) {
            return Ok(Some(flushed));
        }
        if time::now() > deadline {
            return Ok(None);
        }
        watch.dialer.reactor.sleep(LOOK).await;
    }
}

/// The end of the log before a place to insert: at the start of a page that is behind the page's header, of 24 bytes or 40.
/// (PostgreSQL: `XLogPageHeaderData`; pages are of 8 KiB unless it was built otherwise.)
const fn without_page_header(inserted: Lsn) -> Lsn {
    const PAGE: Lsn = 8192;
    match inserted % PAGE {
        header @ (24 | 40) => inserted - header,
        _ => inserted,
    }
}

/// The new primary becomes it, once it has replayed all.
pub(super) async fn hand_over(
    watch: &Watch,
    switch: Switch,
    at: Lsn,
) -> Result<Outcome, StepError> {
    let rules = rules(watch);
    let mut line = match replays(watch, switch.to, at, rules.switchover_timeout).await {
        Ok(Ok(line)) => line,
        Ok(Err(why)) => return Ok(Outcome::NotDone(why)),
        Err(error) => return Ok(Outcome::NotDone(error.to_string())),
    };
    let until = until(&mut line).await?;
    let promote = format!(
        "SELECT NOT pg_catalog.pg_is_in_recovery() \
         OR pg_catalog.clock_timestamp() < {until}::timestamptz AND pg_catalog.pg_promote(false)"
    );
    let is_told = value(&mut line, &promote).await? == "t";
    let limit = rules.promote_timeout;
    if !is_told || !becomes_primary(watch, &mut line, limit).await? {
        return Ok(Outcome::Failed(format!(
            "it is still no primary after {limit:?}"
        )));
    }
    line.close();
    watch.node(switch.to).ask.ring();
    say_how_to_return(watch, switch);
    Ok(Outcome::Done)
}

/// Names the commands that make the old primary a standby of the new one.
fn say_how_to_return(watch: &Watch, switch: Switch) {
    let snapshot = watch.dialer.publishing.current();
    let name = |node| snapshot.node(node).name.as_str();
    let (host, port) = place_of(watch, switch.to);
    tracing::info!(
        "node {} is out of use until it is a standby. On its host: pg_ctl stop -D DATA -m fast && \
         psql 'host={host} port={port} user=postgres dbname=postgres' -c CHECKPOINT && \
         pg_rewind --target-pgdata DATA --write-recovery-conf \
         --source-server 'host={host} port={port} user=postgres dbname=postgres' && pg_ctl start -D DATA \
         (pg_rewind needs data checksums or wal_log_hints; else take a pg_basebackup of {})",
        name(switch.from),
        name(switch.to)
    );
}

/// The connection over which a standby has said that it has replayed the log up to there, or is the primary; or why it has
/// not.
async fn replays(
    watch: &Watch,
    node: NodeId,
    at: Lsn,
    limit: Duration,
) -> Result<Result<Line, String>, StepError> {
    let deadline = time::now() + limit;
    let mut line = line_to(watch, node, limit).await?;
    let has_all = format!(
        "SELECT NOT pg_catalog.pg_is_in_recovery() \
         OR pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_catalog.pg_lsn >= {at}"
    );
    if comes_true(watch, &mut line, &has_all, deadline).await? {
        return Ok(Ok(line));
    }
    Ok(Err(format!(
        "it has not replayed what was written within {limit:?}"
    )))
}

/// The old primary takes writes again. Where the new one may be it by now, that is asked first.
pub(super) async fn allow_writes(watch: &Watch, switch: Switch) -> Result<Outcome, StepError> {
    if switch.is_unsure {
        // What it may have been told it does by then, or never.
        watch.dialer.reactor.sleep(2 * PROMPTLY).await;
        let mut line = line_to(watch, switch.to, STOP_MAX).await?;
        let is_standby = value(&mut line, "SELECT pg_catalog.pg_is_in_recovery()").await? == "t";
        line.close();
        watch.node(switch.to).ask.ring();
        if !is_standby {
            return Ok(Outcome::NotDone(
                "the other node is the primary by now".to_owned(),
            ));
        }
    }
    let mut line = line_to(watch, switch.from, STOP_MAX).await?;
    steps::allow_writes(&mut line).await?;
    let holds = "SELECT pg_catalog.current_setting('default_transaction_read_only') = 'off'";
    let is_seen = comes_true(watch, &mut line, holds, time::now() + STOP_MAX).await?;
    line.close();
    Ok(match is_seen {
        true => Outcome::Done,
        false => Outcome::NotDone("ALTER SYSTEM RESET has no effect".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_header_is_no_record() {
        for (inserted, end) in [
            (8192, 8192),
            (8216, 8192),
            (8232, 8192),
            (8248, 8248),
            (100, 100),
        ] {
            assert_eq!(without_page_header(inserted), end);
        }
    }
}
