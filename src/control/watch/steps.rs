//! Steps of failovers and switchovers have this in common: how a server is asked, and how it becomes the primary.

use std::time::Duration;

use super::nodes::Watch;
use crate::{
    cluster::settings::Failover,
    control::{
        failover::conninfo,
        line::{Destination, Line, LineError},
    },
    ids::NodeId,
    time,
};

/// Has a server read its files again. An ALTER SYSTEM comes before it, in no transaction with anything else.
pub(super) const RELOAD: &str = "SELECT pg_catalog.pg_reload_conf()";

/// How often a server is asked whether it has done what it was told.
pub(super) const LOOK: Duration = Duration::from_millis(3);

/// How soon a server must do what it is told, or not at all.
pub(super) const PROMPTLY: Duration = Duration::from_secs(2);

/// `[failover]`.
pub(super) fn rules(watch: &Watch) -> Failover {
    watch.dialer.publishing.current().settings.failover
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("its primary_conninfo is none: {0}")]
    Conninfo(#[from] conninfo::Unreadable),
}

/// The time, by the server's clock and as SQL has it, until which it may do something promptly.
pub(super) async fn until(line: &mut Line) -> Result<String, LineError> {
    let seconds = PROMPTLY.as_secs();
    let ask = format!("SELECT (pg_catalog.clock_timestamp() + interval '{seconds} s')::text");
    Ok(literal(&value(line, &ask).await?))
}

/// A standby was told to become the primary: true once it is, and takes writes.
pub(super) async fn becomes_primary(
    watch: &Watch,
    line: &mut Line,
    limit: Duration,
) -> Result<bool, LineError> {
    const ASK: &str = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')";
    let deadline = time::now() + limit;
    loop {
        let mut found = (true, false);
        line.ask(ASK, |_, mut row| {
            let mut is = |word: &[u8]| row.next().flatten() == Some(word);
            found = (is(b"t"), is(b"on"));
            Ok(())
        })
        .await?;
        match found {
            // As whom it once was replaced it takes none.
            (false, true) => allow_writes(line).await?,
            (false, false) => return Ok(true),
            (true, _) if time::now() > deadline => return Ok(false),
            (true, _) => {}
        }
        watch.dialer.reactor.sleep(LOOK).await;
    }
}

/// Transactions of new sessions may write, unless the operator's own files say otherwise.
pub(super) async fn allow_writes(line: &mut Line) -> Result<(), LineError> {
    tell(line, "ALTER SYSTEM RESET default_transaction_read_only").await?;
    tell(line, RELOAD).await
}

/// A connection to a node, whose questions may take so long.
pub(super) async fn line_to(
    watch: &Watch,
    node: NodeId,
    limit: Duration,
) -> Result<Line, LineError> {
    let to = watch.destination(usize::from(node.0));
    let to = to.ok_or(LineError::Nonsense("nobody is to look any more"))?;
    let timeout = to.timeout.max(limit);
    watch.dialer.open(&Destination { timeout, ..to }).await
}

/// Has a server do something that gives nothing.
pub(super) async fn tell(line: &mut Line, sql: &str) -> Result<(), LineError> {
    line.ask(sql, |_, _| Ok(())).await
}

/// The one value that a query gives.
pub(super) async fn value(line: &mut Line, sql: &str) -> Result<String, LineError> {
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
pub(super) fn place_of(watch: &Watch, node: NodeId) -> (String, u16) {
    let snapshot = watch.dialer.publishing.current();
    let node = snapshot.node(node);
    let address = node.standby_address.as_ref().unwrap_or(&node.address);
    let (host, port) = address.host_and_port();
    (host, port.parse().unwrap_or(5432))
}

/// A text as SQL has it, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
