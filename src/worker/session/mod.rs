//! One client's session: the pure rules, and the task that applies them to two streams.

pub(crate) mod conversation;
mod ledger;
mod limbo;

#[cfg(test)]
mod tests;
