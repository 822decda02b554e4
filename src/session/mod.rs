//! The rules of one client's session: what becomes of each message of the client and of a server, and what pgring says
//! of its own. Pure: nothing here has a socket, a clock or a pool.

pub(crate) mod answers;
pub mod context;
pub mod conversation;
pub(crate) mod ledger;
pub mod prepared;
pub(crate) mod questions;
pub(crate) mod refusal;
pub(crate) mod refuse;
pub(crate) mod request;
pub(crate) mod requests;
pub(crate) mod server_errors;
pub(crate) mod show;
pub(crate) mod show_messages;
pub mod state;
pub(crate) mod transaction;
pub mod verdict;
pub(crate) mod work;

#[cfg(test)]
mod tests;
