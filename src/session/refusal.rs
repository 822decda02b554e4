//! What pgring has the server refuse in the client's place, so that the client's transaction fails as it must, and the
//! error that the client reads then. Pure.
//!
//! The server is sent a Parse that it cannot understand; after its error it skips what follows up to the next Sync, and
//! a transaction block that is open has failed.

use super::prepared::server::ServerName;
use super::{
    context::Desk,
    conversation::{Conversation, Verdict},
    ledger::owed::Owed,
    state::pin::{self, Pin},
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        ErrorReport, SqlState, Tag, Writer,
        backend::TransactionStatus,
        tag::{backend, frontend},
    },
    sql::effects::{self, StatementFlags},
};

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
    ticket: u64,
    /// And that of its pipeline, the rest of which the server skips.
    pipeline: u64,
    why: Why,
    /// What the client is told before the error.
    before: Vec<u8>,
}

/// PostgreSQL's error about the shape of rows. Drivers know it by the name of the routine, and prepare the statement
/// anew.
const SHAPE: &[u8] = b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0\
    Fplancache.c\0RRevalidateCachedQuery\0\0";

impl Why {
    /// What the server reads, and has in its log. It is no SQL.
    fn nonsense(self) -> &'static str {
        match self {
            Self::Shape => "cached plan must not change result type",
            Self::Pin(_) => "pgring refuses a statement that would pin its session",
            Self::Snapshot | Self::Portal => "pgring refuses a statement that needs the primary",
        }
    }

    /// What the client reads: a whole message.
    fn error(self) -> Vec<u8> {
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

impl Conversation {
    /// The server refuses the next message. False when it must wait, because a refusal of another pipeline has not
    /// been told.
    #[cold]
    pub(crate) fn have_refused(&mut self, why: Why, desk: &mut Desk<'_>) -> bool {
        let pipeline = self.ledger.pipeline();
        if self.is_refusing() {
            let before = self.refusing.as_ref().map(|before| before.pipeline);
            return before == Some(pipeline);
        }
        let server = desk.server.as_deref_mut().expect("a server is at hand");
        server.doubt_unnamed();
        let ticket = self.ledger.ticket();
        self.refusing = Some(Refusing {
            ticket,
            pipeline,
            why,
            before: Vec::new(),
        });
        Writer::new(desk.ahead)
            .parse("", why.nonsense(), [])
            .expect("the text has no NUL");
        self.ledger.owe(Owed::OwnParse);
        true
    }

    /// True while a refusal has not been told.
    #[inline]
    pub(crate) fn is_refusing(&self) -> bool {
        // One that was skipped together with what precedes it is over as well.
        self.refusing
            .as_ref()
            .is_some_and(|refusing| refusing.ticket >= self.ledger.settled())
    }

    /// The error that the client gets in place of the one about our nonsense, when that is what the server refuses.
    #[cold]
    pub(crate) fn refusal_error(&mut self) -> Option<Vec<u8>> {
        let settled = self.ledger.settled();
        let refused = self
            .refusing
            .take_if(|refusing| refusing.ticket == settled)?;
        let mut told = refused.before;
        told.append(&mut refused.why.error());
        Some(told)
    }

    /// A Describe of a statement is refused for its rows: its parameters the client is told all the same.
    #[cold]
    pub(crate) fn tell_parameters(&mut self, types: &[u8]) {
        if let Some(refusing) = &mut self.refusing
            && refusing.ticket + 1 == self.ledger.ticket()
        {
            Writer::new(&mut refusing.before).message(backend::PARAMETER_DESCRIPTION, types);
        }
    }

    /// Why a text must not be executed, if it must not: what it would leave behind.
    #[inline]
    pub(crate) fn forbidden(
        &self,
        facts: StatementFlags,
        text: &[u8],
        desk: &Desk<'_>,
    ) -> Option<Pin> {
        if !self.refuses_pins(desk) {
            return None;
        }
        let left = facts.leaves().map(Pin::from);
        let unseen = || facts.gains_state() && self.pending_state.has_unseen_setting(text);
        let pin = left.or_else(|| unseen().then_some(Pin::Setting))?;
        // In a failed transaction the server refuses it by itself.
        let fails = self.block_has_failed() && facts.is_single();
        (!fails).then_some(pin)
    }

    /// True when this session must not keep a server connection for its state.
    #[inline]
    pub(crate) fn refuses_pins(&self, desk: &Desk<'_>) -> bool {
        desk.bounds.refuses_pins && self.mode() != PoolMode::Session
    }

    /// The next message must not be executed, because its transaction cannot leave its standby, and needs the primary
    /// for it.
    #[cold]
    pub(crate) fn refuse_to_leave(&mut self, why: Why) {
        self.must_refuse = Some(why);
    }

    #[cold]
    pub(crate) fn refuse_next(&mut self, tag: Tag, desk: &mut Desk<'_>) -> Verdict {
        match self.must_refuse.take() {
            Some(why) => self.refuse_message(tag, why, desk),
            None => self.pass(tag),
        }
    }

    /// A message that would pin the session gets an error, and the transaction that it is in fails.
    #[cold]
    pub(crate) fn refuse_pin(&mut self, tag: Tag, pin: Pin, desk: &mut Desk<'_>) -> Verdict {
        self.refuse_message(tag, Why::Pin(pin), desk)
    }

    /// A message gets an error in place of being executed, and the transaction that it is in fails.
    #[cold]
    pub(crate) fn refuse_message(&mut self, tag: Tag, why: Why, desk: &mut Desk<'_>) -> Verdict {
        if !self.have_refused(why, desk) {
            return Verdict::Wait;
        }
        if let Why::Pin(pin) = why {
            self.refused_pin = Some(pin);
        }
        if tag == frontend::QUERY {
            self.drop_unnamed(Some(ServerName::UNNAMED));
        }
        if matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL) {
            Writer::new(desk.ahead).sync();
            self.ledger.sent(frontend::SYNC);
        }
        Verdict::Discard
    }

    /// The same for a Query outside a transaction block, which needs no server connection for that.
    pub(crate) fn refuse_query(&mut self, body: &[u8], desk: &mut Desk<'_>) -> bool {
        if self.deferred.is_some() || !self.refuses_pins(desk) {
            return false;
        }
        let text = body.strip_suffix(b"\0").unwrap_or(body);
        let Some(pin) = self.forbidden(effects::flags_of(text), text, desk) else {
            return false;
        };
        self.refused_pin = Some(pin);
        Writer::new(desk.out)
            .error(&pin::refusal(pin))
            .ready_for_query(TransactionStatus::Idle);
        self.forget_unnamed();
        true
    }

    /// True once when a message was refused for what it would have left behind.
    #[inline]
    pub(crate) fn take_refused_pin(&mut self) -> Option<Pin> {
        self.refused_pin.take()
    }
}

/// What a statement gets that a transaction with its snapshot on a standby cannot run.
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

/// The same for one with a portal there.
fn portal_is_elsewhere() -> ErrorReport {
    ErrorReport::error(
        SqlState::READ_ONLY_TRANSACTION,
        "this transaction runs on a standby, which cannot run this statement",
    )
    .with_detail("It cannot go on at the primary while a portal on the standby has more rows for the client.")
    .with_hint("Fetch all rows or close the portal first, or begin the transaction without READ ONLY.")
}
