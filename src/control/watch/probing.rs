//! One task for each node that tries it: a new connection, a login, a query that answers.

use std::{rc::Rc, time::Duration};

use super::nodes::Watch;
use crate::{
    cluster::settings::Health,
    control::{
        line::LineError,
        state::{Event, Outcome},
    },
    time,
};

/// Probes the node at this place for as long as pgring runs.
pub(super) async fn run(watch: Rc<Watch>, place: usize) {
    let node = &watch.nodes[place];
    loop {
        let is_probed = watch.dialer.is_on() && watch.state.borrow().is_probed(node.id);
        if !is_probed {
            node.probe.heard().await;
            continue;
        }
        let outcome = probe(&watch, place).await;
        watch.on(Event::Probed(node.id, outcome));
        let due = time::now() + pause(&watch, place);
        // Whoever rings wants it now.
        let _rung = watch.dialer.reactor.deadline(due, node.probe.heard()).await;
    }
}

async fn probe(watch: &Watch, place: usize) -> Outcome {
    match try_once(watch, place).await {
        Ok(()) => Outcome::Well,
        Err(error) => outcome_of(&error),
    }
}

/// Outcome of a probe that ended with this error.
fn outcome_of(error: &LineError) -> Outcome {
    let text = error.to_string();
    match error.sqlstate().map(|code| code.class()) {
        // It is going down, coming up, or recovering: there is nothing to be had from it.
        Some([b'5', b'7']) | None => Outcome::Failed(text),
        Some(_) => Outcome::Refused(text),
    }
}

async fn try_once(watch: &Watch, place: usize) -> Result<(), LineError> {
    let Some(to) = watch.destination(place) else {
        return Ok(());
    };
    let mut line = watch.dialer.open(&to).await?;
    let mut rows = 0;
    let count = |_, _: crate::protocol::backend::DataRow<'_>| {
        rows += 1;
        Ok(())
    };
    line.ask("SELECT 1", count).await?;
    line.close();
    match rows {
        1 => Ok(()),
        _ => Err(LineError::Nonsense("SELECT 1 gave no row, or several")),
    }
}

/// How long to wait for the next probe.
fn pause(watch: &Watch, place: usize) -> Duration {
    let snapshot = watch.dialer.publishing.current();
    let failures = watch.state.borrow().failures(watch.nodes[place].id);
    pause_after(&snapshot.settings.health, failures)
}

/// A node that has just failed is tried again soon; one that is down less and less often, down to the usual
/// pace; `failures` in a row, and whether it is down.
fn pause_after(health: &Health, (failures, is_down): (u32, bool)) -> Duration {
    let growing = failures.saturating_sub(health.retries).min(16);
    match (failures, is_down) {
        (0, _) => health.period,
        (_, false) => health.retry_delay,
        (_, true) => health
            .retry_delay
            .saturating_mul(1 << growing)
            .min(health.period.max(health.retry_delay)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_down_is_tried_less_and_less_often() {
        let health = Health::default();
        let pause = |failures, is_down| pause_after(&health, (failures, is_down)).as_millis();
        assert_eq!(pause(0, false), 5000);
        assert_eq!(pause(1, false), 500);
        assert_eq!(pause(2, false), 500);
        assert_eq!(pause(3, true), 1000);
        assert_eq!(pause(4, true), 2000);
        assert_eq!(pause(6, true), 5000);
        assert_eq!(pause(u32::MAX, true), 5000);
    }
}
