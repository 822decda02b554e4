//! Verdicts of a session's rules on messages of the client and of the server, and on a lost server connection. Pure.

/// Verdict on a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the server.
    Forward,
    /// So many bytes of it are replaced by what was written ahead; the rest goes to the server.
    Instead(usize),
    /// A server connection is needed first; ask again then.
    NeedServer,
    /// It can be judged after the server's next answers; ask again then.
    Wait,
    /// The client has prepared more than it may.
    Full,
    /// It is a question to pgring, whose turn it is.
    Asks,
    /// It is dropped; an answer may have been written.
    Discard,
    /// The client leaves.
    Terminate,
}

/// Verdict on a server's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes to the client.
    Forward,
    /// It goes to the client, and the server is ready for the next request.
    Ready,
    /// It stays here: it belongs to something pgring asked.
    Swallow,
    /// It stays here: the server ends the connection.
    Fatal,
    /// It stays here: the settings pgring sent were refused.
    SettingsRefused,
    /// It stays here: the state query is complete.
    StateTold,
    /// It stays here: the primary has told how far its log was written.
    PositionTold,
    /// It goes to the client in other words.
    Renamed,
    /// It stays here until the settings are restored that the client came with.
    Restore,
    /// It stays here, and the settings are restored: the client is to hear so.
    Restored,
}

/// Whether the session outlives a lost server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLoss {
    /// The client has been told what to be told, and goes on.
    GoesOn,
    /// State went with the connection: the session must end.
    Ends,
}
