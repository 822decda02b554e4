//! Everything that a statement is judged by beside its text. Pure; judges nothing itself.

use super::overrides::Overrides;
use crate::sql::catalog::Catalog;

/// Everything that texts are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'k> {
    /// The catalog of the database. Without it, whatever calls a function or names a relation is a write.
    pub catalog: Option<&'k Catalog>,
    /// Functions and patterns that the configuration names.
    pub overrides: &'k Overrides,
}
