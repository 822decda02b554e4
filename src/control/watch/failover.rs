//! The steps of a failover, carried out by SQL as the role of `[health]`. Decides nothing: what is to be done, and what
//! follows from how it ended, is for the planner to say.

use std::{rc::Rc, time::Duration};

use super::nodes::Watch;
use crate::{
    cluster::settings::Failover,
    control::{
        failover::{conninfo, phase::Step, plan::Outcome},
        line::{Destination, Line, LineError},
        state::Event,
    },
    ids::NodeId,
    time,
};

/// How long an answer may take beyond what it waits for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long the status file may take to be on the disk before a step is not done for it.
const SAVE_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether it is.
const SAVE_LOOK: Duration = Duration::from_millis(1);

/// Makes a standby the primary, unless it is one, or hears one: `done`, `heard` or `slow`. The number is in seconds.
const PROMOTE: [&str; 2] = [
    "\
SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN 'done' \
WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming' \
AND (limits.ms = 0 OR last_msg_receipt_time > clock_timestamp() - (limits.ms / 2 + 1000) * interval '1 ms')) \
THEN 'heard' WHEN pg_catalog.pg_promote(true, ",
    ") THEN 'done' ELSE 'slow' END \
FROM (SELECT setting::bigint AS ms FROM pg_catalog.pg_settings WHERE name = 'wal_receiver_timeout') AS limits",
];

/// Carries out the steps as they come, for as long as pgring runs. The planner hears how each ended.
pub(super) async fn run(watch: Rc<Watch>) {
    loop {
        let step = watch.steps.borrow_mut().pop_front();
        let Some(step) = step else {
            watch.on_step.heard().await;
            continue;
        };
        let outcome = match saved(&watch).await {
            true => carry_out(&watch, &step).await,
            false => Outcome::Failed("the status file cannot be written".to_owned()),
        };
        watch.on(Event::StepEnded(step, outcome));
    }
}

/// Waits until it is on the disk that the step is to be done.
async fn saved(watch: &Watch) -> bool {
    let deadline = time::now() + SAVE_MAX;
    while !watch.is_saved() {
        if time::now() > deadline {
            return false;
        }
        watch.dialer.reactor.sleep(SAVE_LOOK).await;
    }
    true
}

async fn carry_out(watch: &Watch, step: &Step) -> Outcome {
    let outcome = match *step {
        // Its pools are closed, and nobody believes it: that is in the snapshot since the step began.
        Step::Fence(_) => Ok(Outcome::Done),
        Step::Promote(node) => promote(watch, node).await,
        Step::Follow(node, primary) => follow(watch, node, primary).await,
    };
    outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

fn rules(watch: &Watch) -> Failover {
    watch.dialer.publishing.current().settings.failover
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("its primary_conninfo is none: {0}")]
    Conninfo(#[from] conninfo::Unreadable),
}

async fn promote(watch: &Watch, node: NodeId) -> Result<Outcome, StepError> {
    let limit = rules(watch).promote_timeout;
    let mut line = line_to(watch, node, limit + ANSWER_MAX).await?;
    let sql = PROMOTE.join(&limit.as_secs().max(1).to_string());
    let answer = value(&mut line, &sql).await?;
    line.close();
    watch.node(node).ask.ring();
    Ok(match answer.as_str() {
        "done" => Outcome::Done,
        "heard" => Outcome::Heard,
        _ => Outcome::Failed(format!("it is still no primary after {limit:?}")),
    })
}

/// Has a standby follow the new primary: only where it connects to changes, and what it may need there is made.
async fn follow(watch: &Watch, node: NodeId, primary: NodeId) -> Result<Outcome, StepError> {
    let limit = rules(watch).follow_timeout;
    let mut line = line_to(watch, node, limit).await?;
    let before = value(&mut line, "SELECT current_setting('primary_conninfo')").await?;
    let slot = value(&mut line, "SELECT current_setting('primary_slot_name')").await?;
    if !slot.is_empty() {
        make_slot(watch, primary, &slot, limit).await?;
    }
    let (host, port) = place_of(watch, primary);
    let after = conninfo::redirected(&before, &host, port)?;
    if after != before {
        // In no transaction with anything else.
        let alter = format!("ALTER SYSTEM SET primary_conninfo = {}", literal(&after));
        line.ask(&alter, |_, _| Ok(())).await?;
        line.ask("SELECT pg_catalog.pg_reload_conf()", |_, _| Ok(()))
            .await?;
    }
    line.close();
    Ok(Outcome::Done)
}

async fn make_slot(
    watch: &Watch,
    primary: NodeId,
    slot: &str,
    limit: Duration,
) -> Result<(), StepError> {
    let mut line = line_to(watch, primary, limit).await?;
    let name = literal(slot);
    let make = format!(
        "SELECT pg_catalog.pg_create_physical_replication_slot({name}, true) \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = {name})"
    );
    line.ask(&make, |_, _| Ok(())).await?;
    line.close();
    Ok(())
}

async fn line_to(watch: &Watch, node: NodeId, limit: Duration) -> Result<Line, LineError> {
    let to = watch.destination(usize::from(node.0));
    let to = to.ok_or(LineError::Nonsense("nobody is to look any more"))?;
    let timeout = to.timeout.max(limit);
    watch.dialer.open(&Destination { timeout, ..to }).await
}

/// The one value that a query gives.
async fn value(line: &mut Line, sql: &str) -> Result<String, LineError> {
    let mut found = None;
    line.ask(sql, |_, mut row| {
        let value = row.next().flatten().unwrap_or_default();
        found = Some(String::from_utf8_lossy(value).into_owned());
        Ok(())
    })
    .await?;
    found.ok_or(LineError::Nonsense("no row"))
}

/// Where standbys find a node.
fn place_of(watch: &Watch, node: NodeId) -> (String, u16) {
    let snapshot = watch.dialer.publishing.current();
    let node = snapshot.node(node);
    let address = node.standby_address.as_ref().unwrap_or(&node.address);
    let (host, port) = address.host_and_port();
    (host, port.parse().unwrap_or(5432))
}

/// A text as SQL has it, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
