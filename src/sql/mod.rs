//! SQL as PostgreSQL's scanner sees it: tokens and keywords. Pure; never says what a statement means.

pub mod body;
pub mod effects;
pub(crate) mod encoding;
pub mod raw;
pub(crate) mod token;
pub(crate) mod word;
