//! Transaction blocks as the client sees them: begun where no server knows of them, failed, lost with their server. Pure.

pub(crate) mod begin;
pub(crate) mod block;
pub(crate) mod failed_block;
pub(crate) mod local_answers;
pub(crate) mod loss;
