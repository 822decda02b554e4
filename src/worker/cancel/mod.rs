//! Cancel requests: from the client's key to the statement that is cancelled, or to the queue that is left.

pub(crate) mod backend_key;
pub(crate) mod inbox;
mod request;
pub(crate) mod under_way;

pub(super) use request::{abandon, by_pool, cancelled, note_work, requested, run, timed_out};
