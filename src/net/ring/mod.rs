//! The ring of one core as the kernel sees it: entries and completions, the buffers lent to it, the event
//! descriptor that it watches. Knows no socket and no task.

pub(super) mod buffers;
pub(super) mod descriptors;
pub(super) mod gather;
pub(super) mod operation;
pub(super) mod probe;
pub(super) mod uring;
pub(super) mod wake;
