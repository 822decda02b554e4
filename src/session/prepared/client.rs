//! The prepared statements of one client: its names and portals, SQL's own commands for them that are under way, and
//! whether its pipeline may have to run again. Pure.

use super::{names::Names, portals::Portals, rerun::Replan};
use crate::sql::effects::Use;

/// The prepared statements of one client.
#[derive(Debug, Default)]
pub(crate) struct ClientStatements {
    pub(crate) names: Names,
    pub(crate) portals: Portals,
    /// DEALLOCATE and its like, asked for and not answered.
    pub(crate) commands: Vec<Use>,
    /// The ledger's number of the message that asks for them.
    pub(crate) commands_ticket: u64,
    /// A statement that commits was prepared, under a name that nobody follows.
    pub(crate) prepared_commit: bool,
    pub(crate) replan: Replan,
}
