//! A session's intake: bytes that its client sent and nobody has judged, and where its messages end.

use crate::{net::Chunk, protocol::buffer::Cutter, session::verdict::Verdict};

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

impl Intake {
    /// The beginning of a long message was judged, and the rest is to come. It is cut anew when it must be judged again.
    pub(super) fn begins(&mut self, verdict: Verdict) {
        if matches!(verdict, Verdict::NeedServer | Verdict::Wait) {
            self.cutter = Cutter::default();
        }
        self.forwards = matches!(verdict, Verdict::Forward | Verdict::Instead(_));
    }
}
