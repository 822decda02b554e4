//! A session's intake: bytes that its client sent and nobody has judged, and where its messages end.

use crate::{net::Chunk, protocol::buffer::Cutter};

/// The client's side of a session.
#[derive(Default)]
pub(super) struct Intake {
    /// Bytes that the client sent and nobody has judged.
    pub(super) pending: Chunk,
    /// Where the client's messages end.
    pub(super) cutter: Cutter,
    /// The message that streams from the client goes to the server.
    pub(super) forwards: bool,
    /// The next message waits for answers of the server.
    pub(super) stalled: bool,
    /// The client will send no more.
    pub(super) is_over: bool,
}
