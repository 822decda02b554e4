//! Everything that a statement is judged by beside its text. Pure; judges nothing itself.

use super::overrides::Overrides;
use crate::sql::catalog::Catalog;

/// What texts are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'k> {
    /// What the database has. Without it, whatever calls a function or names a relation is a write.
    pub catalog: Option<&'k Catalog>,
    /// What the configuration says.
    pub overrides: &'k Overrides,
}
