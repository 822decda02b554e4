//! What is known of one database, and up to when that holds.

use super::{catalog::Catalog, node::Lsn};

/// One database, as of one look of the control core at the primary.
#[derive(Debug, Default)]
pub struct DatabaseFacts {
    /// Its functions and relations.
    pub catalog: Catalog,
    /// Version of the schema, as the switchboard counts it, before the look. With another version nothing of this
    /// may be relied on.
    pub schema: u64,
    /// How far the log was written after the look: a standby that has not replayed so far may not have what is here.
    pub lsn: Lsn,
    /// A transaction that names no isolation level is READ COMMITTED, whoever begins it.
    pub read_committed: bool,
}
