//! The account of a session with its server: what the server takes a message for, as far as it depends on those before it.
//! Pure.

/// State of a server that reads a client's messages.
#[derive(Debug, Default)]
pub(crate) struct ServerAccount {
    /// It ignores everything up to the next Sync.
    pub(super) skipping: bool,
    /// It takes data and ignores Sync.
    pub(super) copying_in: bool,
    /// The Execute that was answered last left rows in its portal.
    pub(super) suspended: bool,
    /// Syncs sent to a COPY that goes on: it ignores those that it reads.
    pub(super) swallowed: usize,
    /// Syncs sent to a COPY that failed. Whether it read them first nobody knows, so each may be answered or
    /// not. The server works in order: the first answer to anything later tells that no more will come.
    pub(super) doubtful: usize,
    /// A Sync of ours must be sent.
    pub(super) sync_due: bool,
    /// Messages and answers do not fit together: the connection is lost for good.
    pub(super) lost: bool,
}

impl ServerAccount {
    /// True when it would not understand a message as what it is: it skips, or waits for data.
    #[inline]
    pub(super) fn is_deaf(&self) -> bool {
        self.skipping || self.copying_in
    }
}
