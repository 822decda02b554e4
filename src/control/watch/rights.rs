//! The rights of the role of `[health]`: whoever has pgring replace a primary hears at the start what it will lack then.

use std::rc::Rc;

use super::{nodes::Watch, steps::line_to};
use crate::{
    cluster::settings::FailoverMode,
    control::{failover::rights::Right, rights::missing},
    ids::NodeId,
};

/// Has the primary asked when there is a new one, or the settings have changed.
pub(super) async fn run(watch: Rc<Watch>) {
    loop {
        watch.on_primary.heard().await;
        let snapshot = watch.dialer.publishing.current();
        let settings = &snapshot.settings;
        let needs_them = settings.failover.mode == FailoverMode::Sql;
        if let Some(primary) = snapshot
            .primary
            .filter(|_| needs_them && watch.dialer.is_on())
        {
            say_what_is_missing(&watch, primary).await;
        }
    }
}

async fn say_what_is_missing(watch: &Watch, primary: NodeId) {
    let snapshot = watch.dialer.publishing.current();
    let health = &snapshot.settings.health;
    let asked = async { missing(&mut line_to(watch, primary, health.timeout).await?).await };
    let Ok(missing) = asked.await else {
        // Whoever looks at the node says why it cannot be asked.
        return;
    };
    if missing.is_empty() {
        return;
    }
    let role = health.user.as_deref().unwrap_or_default();
    let grants: Vec<_> = missing
        .iter()
        .map(|right: &Right| right.granted_to(role))
        .collect();
    tracing::warn!(
        role,
        database = health.database,
        "failover and switchover will not be possible: the role of [health] lacks rights. As a superuser: {}",
        grants.join("; ")
    );
}
