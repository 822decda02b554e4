//! Whole messages over a stream, for the conversations that are not a query's path: logins, checks, resets.

use std::io;

use crate::{
    limits::STARTUP_BYTES_MAX,
    net::{Chunk, Received, Stream},
    protocol::{Frame, Frames, Header, ProtocolError, Tag, startup::Initial},
};

/// Why no further message comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The peer closed.
    #[error("the peer closed the connection")]
    Ended,
    /// The peer closed in the middle of a message.
    #[error("the peer closed the connection in the middle of a message")]
    EndedEarly,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The peer sent what it must not.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Reads whole messages from a stream.
pub(crate) struct Wire<'a> {
    stream: &'a Stream,
    received: Vec<u8>,
    taken: usize,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(stream: &'a Stream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            taken: 0,
        }
    }

    /// Goes on where another reader stopped.
    pub(crate) fn with_rest(stream: &'a Stream, rest: &[u8]) -> Self {
        Self {
            stream,
            received: rest.to_vec(),
            taken: 0,
        }
    }

    async fn more(&mut self) -> Result<(), WireError> {
        self.received.drain(..std::mem::take(&mut self.taken));
        match self.stream.receive().await {
            Received::Bytes(chunk) => self.received.extend_from_slice(&chunk),
            Received::End if self.received.is_empty() => return Err(WireError::Ended),
            Received::End => return Err(WireError::EndedEarly),
            Received::Broken(error) => return Err(WireError::Broken(error)),
        }
        Ok(())
    }

    /// The first packet of a client: `judge` sees it once it is whole.
    pub(crate) async fn initial<T>(
        &mut self,
        judge: impl Fn(Initial<'_>) -> T,
    ) -> Result<T, WireError> {
        loop {
            let bytes = &self.received[self.taken..];
            if let Some((initial, count)) = Initial::read(bytes)? {
                let judged = judge(initial);
                self.taken += count;
                return Ok(judged);
            }
            debug_assert!(bytes.len() <= STARTUP_BYTES_MAX + 4);
            self.more().await?;
        }
    }

    /// The next message, if its body has at most `limit` bytes; `judge` sees it.
    pub(crate) async fn message<T>(
        &mut self,
        limit: usize,
        judge: impl FnOnce(Tag, &[u8]) -> T,
    ) -> Result<T, WireError> {
        loop {
            let bytes = &self.received[self.taken..];
            if let Some(header) = Header::read(bytes)? {
                header.check_length(limit)?;
            }
            let mut frames = Frames::new(bytes);
            if let Some(Frame { tag, body }) = frames.next().transpose()? {
                let judged = judge(tag, body);
                self.taken += Header::BYTES + body.len();
                return Ok(judged);
            }
            self.more().await?;
        }
    }

    /// True when the peer sent more than was asked for.
    pub(crate) fn has_more(&self) -> bool {
        self.taken < self.received.len()
    }

    /// Bytes that were received and not taken.
    pub(crate) fn into_rest(mut self) -> Chunk {
        self.received.drain(..self.taken);
        Chunk::from(self.received)
    }
}
