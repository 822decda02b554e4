//! Refusals: the server is made to refuse a message of pgring's in the client's place, so that the client's transaction
//! fails as it must, and the client reads an error of pgring's. Pure.
//!
//! The server is sent a Parse that it cannot understand; after its error it skips what follows up to the next Sync, and
//! a transaction block that is open has failed.

use super::state::pin::{self, Pin};
use crate::protocol::{ErrorReport, SqlState, Writer, tag::backend};

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The rows of its statement have another shape than the client was told.
    Shape,
    /// It would leave behind what cannot be carried, and that is not allowed.
    Pin(Pin),
    /// It needs the primary, and its transaction has its snapshot on a standby.
    Snapshot,
    /// It needs the primary, and its transaction has a portal on a standby from which there is more to come.
    Portal,
}

/// A refusal that the server has not told yet.
#[derive(Clone, Debug)]
pub(crate) struct Refusing {
    /// The ledger's number of the Parse that it cannot understand.
    pub(crate) ticket: u64,
    /// And that of its pipeline, the rest of which the server skips.
    pub(crate) pipeline: u64,
    pub(crate) why: Why,
    /// Messages that the client gets before the error.
    pub(crate) before: Vec<u8>,
}

/// The refusals of a session: by pgring itself, or by the server at its wish.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// The request that waited for a server gets this error, because none can take it.
    pub(crate) local: Option<Box<ErrorReport>>,
    /// The client has got an error: everything is ignored up to the next Sync, which pgring answers.
    pub(crate) skips: bool,
    /// The next message is refused for this.
    pub(crate) next: Option<Why>,
    /// The server is made to refuse this.
    pub(crate) at_server: Option<Refusing>,
}

impl Refusals {
    /// Everything is ignored up to the next Sync, or not.
    pub(crate) fn skip_to_sync(&mut self, skips: bool) {
        self.skips = skips;
    }

    /// True when pgring itself answers the next message.
    #[inline]
    pub(crate) fn answers(&self) -> bool {
        self.skips || self.local.is_some()
    }
}

/// PostgreSQL's error about the shape of rows. Drivers know it by the name of the routine, and prepare the statement
/// anew.
const SHAPE: &[u8] = b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0\
    Fplancache.c\0RRevalidateCachedQuery\0\0";

impl Why {
    /// Text of the Parse that the server refuses, and has in its log. It is no SQL.
    pub(crate) fn nonsense(self) -> &'static str {
        match self {
            Self::Shape => "cached plan must not change result type",
            Self::Pin(_) => "pgring refuses a statement that would pin its session",
            Self::Snapshot | Self::Portal => "pgring refuses a statement that needs the primary",
        }
    }

    /// Error that the client reads: a whole message.
    pub(crate) fn error(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        match self {
            Self::Shape => writer.message(backend::ERROR_RESPONSE, SHAPE),
            Self::Pin(pin) => writer.error(&pin::refusal(pin)),
            Self::Snapshot => writer.error(&snapshot_is_elsewhere()),
            Self::Portal => writer.error(&portal_is_elsewhere()),
        };
        out
    }
}

/// Error for a statement that needs the primary, in a transaction with its snapshot on a standby.
fn snapshot_is_elsewhere() -> ErrorReport {
    ErrorReport::error(
        SqlState::READ_ONLY_TRANSACTION,
        "this transaction runs on a standby, which cannot run this statement",
    )
    .with_detail("At REPEATABLE READ it must not go on at the primary, where its snapshot would be another one.")
    .with_hint(
        "Begin it without READ ONLY, or set read_only_transactions in [routing] to \"read_committed\".",
    )
}

/// Error for a statement that needs the primary, in a transaction with an open portal on a standby.
fn portal_is_elsewhere() -> ErrorReport {
    ErrorReport::error(
        SqlState::READ_ONLY_TRANSACTION,
        "this transaction runs on a standby, which cannot run this statement",
    )
    .with_detail("It cannot go on at the primary while a portal on the standby has more rows for the client.")
    .with_hint("Fetch all rows or close the portal first, or begin the transaction without READ ONLY.")
}
