//! SQL as PostgreSQL's scanner sees it, and what follows from it alone: what a statement may leave behind, whether it is
//! proved to read, what a database's objects do. Pure; never knows a session or a node.

pub mod body;
pub mod catalog;
pub mod class;
pub mod effects;
pub(crate) mod encoding;
pub mod hint;
mod lanes;
mod quoted;
pub mod raw;
pub(crate) mod token;
pub(crate) mod word;

#[cfg(test)]
mod tests;
