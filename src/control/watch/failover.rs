//! The steps of a failover, carried out by SQL as the role of `[health]`. Decides nothing: what is to be done, and what
//! follows from how it ended, is for the planner to say.

use std::{rc::Rc, time::Duration};

use super::{
    nodes::Watch,
    steps::{
        RELOAD, StepError, becomes_primary, line_to, literal, place_of, rules, tell, until, value,
    },
    switchover,
};
use crate::{
    control::{
        failover::{conninfo, phase::Step, plan::Outcome},
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

/// Has a standby become the primary, unless it is one, or hears one: `done`, `heard`, `told`, or something else.
const PROMOTE: &str = "\
SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN 'done' \
WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming' \
AND (limits.ms = 0 OR last_msg_receipt_time > clock_timestamp() - (limits.ms / 2 + 1000) * interval '1 ms')) \
THEN 'heard' WHEN clock_timestamp() > ";

/// The rest of it, behind the time until which it may: whoever reads this later because he stood still must not do it.
const PROMOTE_IN_TIME: &str = "::timestamptz THEN 'too late' \
WHEN pg_catalog.pg_promote(false) THEN 'told' ELSE 'not told' END \
FROM (SELECT setting::bigint AS ms FROM pg_catalog.pg_settings WHERE name = 'wal_receiver_timeout') AS limits";

/// Carries out the steps as they come, for as long as pgring runs. The planner hears how each ended.
pub(super) async fn run(watch: Rc<Watch>) {
    loop {
        let step = watch.steps.borrow_mut().pop_front();
        let Some(step) = step else {
            watch.on_step.heard().await;
            continue;
        };
        // Nothing is done while it is waited.
        let is_harmless = matches!(step, Step::Drain(_));
        let outcome = match is_harmless || saved(&watch).await {
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
        Step::Drain(node) => return switchover::drain(watch, node).await,
        Step::StopWrites(node) => switchover::stop_writes(watch, node).await,
        Step::HandOver(switch, at) => switchover::hand_over(watch, switch, at).await,
        Step::AllowWrites(switch) => switchover::allow_writes(watch, switch).await,
    };
    outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

async fn promote(watch: &Watch, node: NodeId) -> Result<Outcome, StepError> {
    let limit = rules(watch).promote_timeout;
    let mut line = line_to(watch, node, limit + ANSWER_MAX).await?;
    let until = until(&mut line).await?;
    let answer = value(&mut line, &[PROMOTE, &until, PROMOTE_IN_TIME].concat()).await?;
    if answer == "heard" {
        return Ok(Outcome::Heard);
    }
    let is_told = answer == "done" || answer == "told";
    let outcome = match is_told && becomes_primary(watch, &mut line, limit).await? {
        true => Outcome::Done,
        false => Outcome::Failed(format!("it is still no primary after {limit:?}")),
    };
    line.close();
    watch.node(node).ask.ring();
    Ok(outcome)
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
        let alter = format!("ALTER SYSTEM SET primary_conninfo = {}", literal(&after));
        tell(&mut line, &alter).await?;
        tell(&mut line, RELOAD).await?;
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
    tell(&mut line, &make).await?;
    line.close();
    Ok(())
}
