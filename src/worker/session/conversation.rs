//! The rules of one session: what becomes of each message of its client and of its server. Pure.
//!
//! Takes messages, answers what to do with them, and writes the answers that pgring itself gives. It never
//! sees a socket, a pool or a clock.

use super::{
    ledger::Ledger,
    limbo::{Limbo, lost_in_transaction},
};
use crate::{
    cluster::settings::PoolMode,
    limits::OUTSTANDING_MESSAGES_MAX,
    protocol::{
        ErrorReport, Header, ProtocolError, Severity, SqlState, Tag, Writer,
        backend::{ErrorFields, TransactionStatus},
        tag::{backend, frontend},
    },
    worker::classify::{self, Ending},
};

/// What becomes of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes to the server.
    Forward,
    /// A server connection is needed first; ask again then.
    NeedServer,
    /// It is dropped; an answer may have been written.
    Discard,
    /// The client leaves.
    Terminate,
}

/// What becomes of a server's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
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
}

/// Why a session keeps its server connection between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// It prepared a named statement.
    PreparedStatement,
}

impl Pin {
    /// As SHOW CLIENTS says it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::PreparedStatement => "prepared statement",
        }
    }
}

/// What a lost server connection means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterLoss {
    /// The client has been told what to be told, and goes on.
    GoesOn,
    /// State went with the connection: the session must end.
    Ends,
}

/// One session's conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    mode: PoolMode,
    ledger: Ledger,
    limbo: Option<Limbo>,
    pin: Option<Pin>,
    /// Everything is ignored up to the next Sync, which we answer.
    skipping: bool,
    /// A statement that ends a transaction for good is on its way.
    committing: bool,
    /// What the next message is answered with, because no server can take it.
    refusal: Option<Box<ErrorReport>>,
    /// ReadyForQuery messages to come that answer what pgring itself sent.
    own_requests: u32,
}

impl Conversation {
    pub(crate) fn new(mode: PoolMode) -> Self {
        Self {
            mode,
            ledger: Ledger::default(),
            limbo: None,
            pin: None,
            skipping: false,
            committing: false,
            refusal: None,
            own_requests: 0,
        }
    }

    /// Judges a client's message. `body` may be only the beginning of a long one. `linked`: a server
    /// connection is at hand. Answers are appended to `out`.
    #[inline]
    pub(crate) fn client_message(
        &mut self,
        header: Header,
        body: &[u8],
        linked: bool,
        out: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        header.check_frontend()?;
        match header.tag {
            frontend::TERMINATE => return Ok(Verdict::Terminate),
            frontend::PASSWORD => return Err(ProtocolError::UnknownTag { tag: header.tag }),
            _ if self.limbo.is_some() || self.skipping || self.refusal.is_some() => {
                return self.answer_ourselves(header.tag, body, out);
            }
            tag if !linked => {
                return Ok(if is_request(tag) {
                    Verdict::NeedServer
                } else {
                    Verdict::Discard
                });
            }
            frontend::QUERY => self.look_at(body),
            frontend::PARSE => self.look_at_parse(body),
            _ => {}
        }
        self.ledger.sent(header.tag);
        Ok(Verdict::Forward)
    }

    /// A statement that goes to the server.
    fn look_at(&mut self, text: &[u8]) {
        self.committing |= classify::ending(text) == Some(Ending::Commit);
    }

    fn look_at_parse(&mut self, body: &[u8]) {
        let (name, text) = split_name(body);
        if !name.is_empty() {
            self.pin = self.pin.or(Some(Pin::PreparedStatement));
        }
        self.look_at(text);
    }

    /// A message that no server sees.
    #[cold]
    fn answer_ourselves(
        &mut self,
        tag: Tag,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        if let Some(limbo) = &mut self.limbo {
            if limbo.answer(tag, body, out)? {
                self.limbo = None;
            }
        } else if self.skipping {
            if tag == frontend::SYNC {
                self.skipping = false;
                Writer::new(out).ready_for_query(TransactionStatus::Idle);
            }
        } else if is_request(tag)
            && let Some(report) = self.refusal.take()
        {
            self.skipping = !matches!(
                tag,
                frontend::QUERY | frontend::FUNCTION_CALL | frontend::SYNC
            );
            Writer::new(out).error(&report);
            if !self.skipping {
                Writer::new(out).ready_for_query(TransactionStatus::Idle);
            }
        }
        Ok(Verdict::Discard)
    }

    /// The request that waited for a server gets `report` instead.
    pub(crate) fn refuse(&mut self, report: ErrorReport) {
        self.refusal = Some(Box::new(report));
    }

    /// Notes a request of our own whose answer the client must not see.
    pub(crate) fn sent_own_request(&mut self) {
        self.own_requests += 1;
    }

    /// Judges a server's message; `body` is whole for ErrorResponse and ReadyForQuery.
    #[inline]
    pub(crate) fn server_message(
        &mut self,
        tag: Tag,
        body: &[u8],
    ) -> Result<Answer, ProtocolError> {
        if self.own_requests > 0 {
            return self.server_message_for_us(tag, body);
        }
        match tag {
            backend::READY_FOR_QUERY => {
                self.ledger.received_ready(TransactionStatus::read(body)?);
                self.committing = false;
                return Ok(Answer::Ready);
            }
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            _ => self.ledger.received(tag),
        }
        Ok(Answer::Forward)
    }

    #[cold]
    fn server_message_for_us(&mut self, tag: Tag, body: &[u8]) -> Result<Answer, ProtocolError> {
        match tag {
            backend::READY_FOR_QUERY => self.own_requests -= 1,
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            backend::ERROR_RESPONSE => return Ok(Answer::SettingsRefused),
            backend::NOTIFICATION => return Ok(Answer::Forward),
            _ => {}
        }
        Ok(Answer::Swallow)
    }

    /// The server connection is gone. Writes what the client is owed: an error and ReadyForQuery for each
    /// request, and puts a transaction that was open into the failed state. `mid_message`: the client has
    /// got the beginning of a message.
    pub(crate) fn server_lost(
        &mut self,
        why: &str,
        mid_message: bool,
        out: &mut Vec<u8>,
    ) -> AfterLoss {
        let in_transaction = self.ledger.status() != TransactionStatus::Idle;
        let (owed, mid_pipeline) = self.ledger.abandon();
        let committing = std::mem::take(&mut self.committing);
        self.own_requests = 0;
        if mid_message {
            return AfterLoss::Ends;
        }
        if self.mode == PoolMode::Session || self.pin.is_some() {
            Writer::new(out).error(&lost_with_state(why, self.pin));
            return AfterLoss::Ends;
        }
        let failed = in_transaction && !committing;
        let report = match (committing, in_transaction) {
            (true, _) => lost_while_committing(why),
            (false, true) => lost_in_transaction().with_detail(why.to_owned()),
            (false, false) => lost_outside_transaction(why),
        };
        let status = if failed {
            TransactionStatus::Failed
        } else {
            TransactionStatus::Idle
        };
        for _ in owed.iter().filter(|owed| owed.ends_with_ready()) {
            Writer::new(out).error(&report).ready_for_query(status);
        }
        if mid_pipeline {
            Writer::new(out).error(&report);
        }
        let told = mid_pipeline || !owed.is_empty();
        if failed {
            self.limbo = Some(Limbo::new(told, mid_pipeline));
        } else {
            self.skipping = mid_pipeline;
        }
        AfterLoss::GoesOn
    }

    /// True when the server connection may go back to its pool now.
    #[inline]
    pub(crate) fn is_releasable(&self) -> bool {
        self.mode != PoolMode::Session && self.pin.is_none() && self.is_clean()
    }

    /// True when the server connection carries no unfinished work of this session.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        self.ledger.is_releasable() && self.own_requests == 0
    }

    /// True when nothing is owed to the client.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.ledger.is_at_rest() && self.own_requests == 0
    }

    /// True when no ReadyForQuery will come unless the client sends more.
    pub(crate) fn waits_for_client(&mut self) -> bool {
        self.own_requests == 0 && self.ledger.waits_for_client()
    }

    /// True when server and session disagree about what was asked.
    pub(crate) fn is_lost(&self) -> bool {
        self.ledger.is_lost()
    }

    /// True when so much is outstanding that the client must wait.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.ledger.outstanding() >= OUTSTANDING_MESSAGES_MAX
    }

    /// Where the client's transaction stands, as far as the last ReadyForQuery says.
    pub(crate) fn status(&self) -> TransactionStatus {
        if self.limbo.is_some() {
            TransactionStatus::Failed
        } else {
            self.ledger.status()
        }
    }

    /// Why the session keeps its connection, if it does.
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.pin
    }
}

/// Messages that ask the server for something and so need one.
fn is_request(tag: Tag) -> bool {
    matches!(
        tag,
        frontend::QUERY
            | frontend::PARSE
            | frontend::BIND
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::CLOSE
            | frontend::SYNC
            | frontend::FUNCTION_CALL
    )
}

/// Name and text of a Parse whose end may be missing.
fn split_name(body: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(0, body) {
        Some(end) => (&body[..end], &body[end + 1..]),
        None => (body, b""),
    }
}

/// True when the server closes the connection after this error.
fn is_fatal(body: &[u8]) -> bool {
    let severity = ErrorFields::read(body)
        .ok()
        .and_then(|fields| fields.severity());
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

fn lost_outside_transaction(why: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost while the statement was running",
    )
    .with_detail(why.to_owned())
    .with_hint("It is not known whether the statement took effect. The session goes on with another connection.")
}

fn lost_while_committing(why: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        "the server connection was lost while the transaction was being committed",
    )
    .with_detail(why.to_owned())
    .with_hint("Find out whether it was committed before you repeat it.")
}

fn lost_with_state(why: &str, pin: Option<Pin>) -> ErrorReport {
    let report = ErrorReport::fatal(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost, and with it what this session kept there",
    );
    let kept = pin.map_or("session pooling mode", Pin::reason);
    report.with_detail(format!("{why}; kept: {kept}"))
}
