//! What is known of one database: which functions only read, which relations standbys have. Pure.

/// One database, as of one look at its catalogs.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Version of the schema, as the switchboard counts it, before the look.
    pub schema: u64,
    /// A standby that has not replayed so far may not have what is known here.
    pub lsn: super::node::Lsn,
}
