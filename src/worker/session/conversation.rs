//! The rules of one session: what becomes of each message of its client and of its server. Pure.
//!
//! Takes messages, answers what to do with them, and writes the answers that pgring itself gives. It never
//! sees a socket, a pool or a clock.

use super::{
    ledger::Ledger,
    limbo::{Limbo, Reply, is_request, lost_in_transaction},
    pin::Pin,
};
use crate::{
    cluster::settings::PoolMode,
    limits::OUTSTANDING_MESSAGES_MAX,
    protocol::{
        ErrorReport, Header, ProtocolError, Severity, SqlState, Tag, Writer,
        backend::{ErrorFields, TransactionStatus},
        tag::{backend, frontend},
    },
    worker::{
        cancel::Work,
        classify::{self, Ending},
    },
};

/// What becomes of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
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
}

/// The unnamed statement of the connection at hand, as far as this session knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unnamed {
    /// Whatever it is, it is not this session's.
    Foreign,
    /// Prepared by this session, and not used yet.
    Fresh,
    /// Prepared by this session, and used.
    Used,
}

/// What a lost server connection means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLoss {
    /// The client has been told what to be told, and goes on.
    GoesOn,
    /// State went with the connection: the session must end.
    Ends,
}

/// One session's conversation.
#[derive(Debug)]
pub struct Conversation {
    mode: PoolMode,
    ledger: Ledger,
    limbo: Option<Limbo>,
    pin: Option<Pin>,
    /// Everything is ignored up to the next Sync, which we answer.
    skipping: bool,
    unnamed: Unnamed,
    /// The unnamed statement is a COMMIT.
    unnamed_commits: bool,
    /// What was asked last is a ROLLBACK, and not answered yet.
    leaving: bool,
    /// The beginning of a statement was too short to tell whether it commits; it is not answered yet.
    unread: bool,
    /// What the next message is answered with, because no server can take it.
    refusal: Option<Box<ErrorReport>>,
    /// ReadyForQuery messages to come that answer what pgring itself sent.
    own_requests: u32,
}

impl Conversation {
    /// A client that has just logged in, in a pool of this mode.
    pub fn new(mode: PoolMode) -> Self {
        Self {
            mode,
            ledger: Ledger::default(),
            limbo: None,
            pin: None,
            skipping: false,
            unnamed: Unnamed::Foreign,
            unnamed_commits: false,
            leaving: false,
            unread: false,
            refusal: None,
            own_requests: 0,
        }
    }

    /// Judges a client's message. `body` may be only the beginning of a long one. `linked`: a server
    /// connection is at hand. Answers are appended to `out`.
    #[inline]
    pub fn client_message(
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
            _ if self.answers_itself() && self.answer_ourselves(header, body, out) => {
                return Ok(Verdict::Discard);
            }
            tag if !linked && uses_unnamed(tag, body) => {
                self.refuse(unnamed_is_gone());
                self.answer_ourselves(header, body, out);
                return Ok(Verdict::Discard);
            }
            tag if !linked => {
                return Ok(if is_request(tag) {
                    Verdict::NeedServer
                } else {
                    Verdict::Discard
                });
            }
            frontend::QUERY => self.look_at_query(header, body),
            frontend::PARSE => self.look_at_parse(header, body),
            frontend::EXECUTE if self.unnamed_commits => self.ledger.sends_commit(),
            frontend::BIND if self.unnamed == Unnamed::Fresh && uses_unnamed(header.tag, body) => {
                self.unnamed = Unnamed::Used;
            }
            _ => {}
        }
        self.ledger.sent(header.tag);
        Ok(Verdict::Forward)
    }

    /// A Query that goes to the server.
    fn look_at_query(&mut self, header: Header, text: &[u8]) {
        // It destroys the unnamed statement.
        self.unnamed = Unnamed::Foreign;
        if classify::commits(text) {
            self.ledger.sends_commit();
        }
        self.unread |= text.len() < header.body_bytes();
        self.leaving = leaves(text) && classify::is_single(without_zero(text));
        self.look_for_state(text);
    }

    /// An error: a Parse that it made the server skip has left no statement.
    #[cold]
    fn server_error(&mut self) {
        if self.ledger.owes_parse() {
            self.unnamed = Unnamed::Foreign;
        }
        self.ledger.received(backend::ERROR_RESPONSE);
    }

    /// A statement that leaves state behind which another session must not find.
    fn look_for_state(&mut self, text: &[u8]) {
        if let Some(state) = classify::session_state(text) {
            self.pin(state.into());
        }
    }

    /// Keeps the connection for this session until it leaves. The first reason is the one that is told.
    fn pin(&mut self, pin: Pin) {
        self.pin = self.pin.or(Some(pin));
    }

    /// Another server connection is at hand from now on.
    pub(crate) fn linked_anew(&mut self) {
        self.unnamed = Unnamed::Foreign;
    }

    /// A Parse that goes to the server. Its text holds one statement, so the first words tell.
    fn look_at_parse(&mut self, header: Header, body: &[u8]) {
        // Without the first byte it may have a name.
        if body.first() != Some(&0) {
            self.pin(Pin::PreparedStatement);
        }
        let (name, text) = split_name(body);
        let commits = classify::commits(text);
        if commits {
            self.ledger.sends_commit();
        }
        if name.is_empty() {
            self.unnamed_commits = commits;
            self.unnamed = Unnamed::Fresh;
        }
        let cut = body.len() < header.body_bytes();
        self.unread |= cut && classify::word(text).1.len() < FIRST_WORDS_BYTES;
        self.leaving = leaves(text);
        self.look_for_state(text);
    }

    fn answers_itself(&self) -> bool {
        self.limbo.is_some() || self.skipping || self.refusal.is_some()
    }

    /// A message that no server sees, unless the answer is no.
    #[cold]
    fn answer_ourselves(&mut self, header: Header, body: &[u8], out: &mut Vec<u8>) -> bool {
        if let Some(limbo) = &mut self.limbo {
            let reply = limbo.answer(header, body, out);
            if reply != Reply::Stays {
                self.limbo = None;
            }
            return reply != Reply::NotMine;
        }
        if self.skipping {
            if header.tag == frontend::SYNC {
                self.skipping = false;
                Writer::new(out).ready_for_query(TransactionStatus::Idle);
            }
            return true;
        }
        if is_request(header.tag)
            && let Some(report) = self.refusal.take()
        {
            self.answer_with(header.tag, &report, out);
        }
        true
    }

    /// A request gets an error.
    fn answer_with(&mut self, tag: Tag, report: &ErrorReport, out: &mut Vec<u8>) {
        Writer::new(out).error(report);
        self.skipping = !matches!(
            tag,
            frontend::QUERY | frontend::FUNCTION_CALL | frontend::SYNC
        );
        if !self.skipping {
            Writer::new(out).ready_for_query(TransactionStatus::Idle);
        }
    }

    /// The request that waited for a server gets `report` instead.
    pub fn refuse(&mut self, report: ErrorReport) {
        self.refusal = Some(Box::new(report));
    }

    /// Notes a request of our own whose answer the client must not see.
    pub fn sent_own_request(&mut self) {
        self.own_requests += 1;
    }

    /// Judges a server's message; `body` is whole for ErrorResponse and ReadyForQuery.
    #[inline]
    pub fn server_message(&mut self, tag: Tag, body: &[u8]) -> Result<Answer, ProtocolError> {
        if self.own_requests > 0 {
            return self.server_message_for_us(tag, body);
        }
        match tag {
            backend::READY_FOR_QUERY => {
                self.ledger.received_ready(TransactionStatus::read(body)?);
                self.leaving = false;
                self.unread &= !self.ledger.waits_for_client();
                return Ok(Answer::Ready);
            }
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            backend::ERROR_RESPONSE => self.server_error(),
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
    pub fn server_lost(&mut self, why: &str, mid_message: bool, out: &mut Vec<u8>) -> AfterLoss {
        let loss = self.loss();
        self.unnamed = Unnamed::Foreign;
        let already_skipping = self.ledger.is_skipping();
        let (owed, mid_pipeline) = self.ledger.abandon();
        (self.leaving, self.unread, self.unnamed_commits) = (false, false, false);
        self.own_requests = 0;
        if mid_message {
            return AfterLoss::Ends;
        }
        if self.mode == PoolMode::Session || self.pin.is_some() {
            Writer::new(out).error(&lost_with_state(why, self.pin, loss));
            return AfterLoss::Ends;
        }
        let report = loss.report(why);
        for _ in owed.iter().filter(|owed| owed.ends_with_ready()) {
            Writer::new(out).error(&report).ready_for_query(loss.status);
        }
        if mid_pipeline && !already_skipping {
            Writer::new(out).error(&report);
        }
        if loss.status == TransactionStatus::Failed {
            let told = mid_pipeline || !owed.is_empty();
            self.limbo = Some(Limbo::new(told, mid_pipeline));
        } else {
            self.skipping = mid_pipeline;
        }
        AfterLoss::GoesOn
    }

    /// What losing the server now would mean.
    fn loss(&self) -> Loss {
        let in_transaction = self.ledger.status() != TransactionStatus::Idle;
        let committing = self.ledger.is_committing();
        let failed = in_transaction && !committing && !self.leaving;
        Loss {
            in_transaction,
            perhaps_committed: committing || in_transaction && self.unread,
            status: if failed {
                TransactionStatus::Failed
            } else {
                TransactionStatus::Idle
            },
        }
    }

    /// True when the server connection may go back to its pool now.
    #[inline]
    pub fn is_releasable(&self) -> bool {
        self.mode != PoolMode::Session && self.pinned().is_none() && self.is_clean()
    }

    /// True when the server connection carries no unfinished work of this session.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.ledger.is_releasable() && self.own_requests == 0
    }

    /// True when nothing is owed to the client.
    pub fn is_at_rest(&self) -> bool {
        self.ledger.is_at_rest() && self.own_requests == 0
    }

    /// True when no ReadyForQuery is sure to come unless the client sends more.
    pub fn waits_for_client(&self) -> bool {
        self.own_requests == 0 && self.ledger.waits_for_client()
    }

    /// True when server and session disagree about what was asked.
    pub fn is_lost(&self) -> bool {
        self.ledger.is_lost()
    }

    /// What a cancel request would hit.
    pub(crate) fn work(&self) -> Work {
        if self.ledger.is_at_rest() {
            Work::Nothing
        } else if self.own_requests > 0 {
            Work::Own
        } else {
            Work::Request
        }
    }

    /// True when so much is outstanding that the client must wait.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.ledger.outstanding() >= OUTSTANDING_MESSAGES_MAX
    }

    /// Where the client's transaction stands, as far as the last ReadyForQuery says.
    pub fn status(&self) -> TransactionStatus {
        if self.limbo.is_some() {
            TransactionStatus::Failed
        } else {
            self.ledger.status()
        }
    }

    /// Why the session keeps its connection, if it does.
    pub fn pinned(&self) -> Option<Pin> {
        let fresh = self.unnamed == Unnamed::Fresh;
        self.pin.or(fresh.then_some(Pin::UnnamedStatement))
    }
}

/// Bytes behind the first word of a statement that surely hold its second.
const FIRST_WORDS_BYTES: usize = 64;

/// What a lost connection means for the client.
#[derive(Clone, Copy)]
struct Loss {
    in_transaction: bool,
    perhaps_committed: bool,
    /// Where the client stands afterwards.
    status: TransactionStatus,
}

impl Loss {
    fn report(self, why: &str) -> ErrorReport {
        let report = match self {
            Loss {
                perhaps_committed: true,
                ..
            } => lost_while_committing(),
            Loss {
                in_transaction: true,
                ..
            } => lost_in_transaction(),
            _ => lost_outside_transaction(),
        };
        report.with_detail(why.to_owned())
    }
}

/// True when the first statement ends the transaction without beginning another.
fn leaves(text: &[u8]) -> bool {
    classify::ending(text) == Some(Ending::Rollback) && !classify::chains(text)
}

/// The text of a Query whose end may be missing.
fn without_zero(body: &[u8]) -> &[u8] {
    body.strip_suffix(b"\0").unwrap_or(body)
}

/// True for a Bind or Describe of the unnamed statement. (One above what is held, and cut before its name, is
/// taken for a named one: the server then tells.)
fn uses_unnamed(tag: Tag, body: &[u8]) -> bool {
    match tag {
        frontend::BIND => {
            let portal_end = memchr::memchr(0, body).unwrap_or(body.len());
            body.get(portal_end + 1) == Some(&0)
        }
        frontend::DESCRIBE => body.starts_with(b"S\0"),
        _ => false,
    }
}

fn unnamed_is_gone() -> ErrorReport {
    let gone = ProtocolError::UnnamedStatementGone;
    ErrorReport::error(gone.sqlstate(), gone.to_string())
        .with_hint("Send Parse and Bind in one pipeline, or give the statement a name.")
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

fn lost_outside_transaction() -> ErrorReport {
    ErrorReport::error(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost while the statement was running",
    )
    .with_hint(
        "It is not known whether the statement took effect. The session goes on with another connection.",
    )
}

fn lost_while_committing() -> ErrorReport {
    ErrorReport::error(
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        "the server connection was lost, and it is not known whether the transaction was committed",
    )
    .with_hint("Find out whether it was committed before you repeat it.")
}

fn lost_with_state(why: &str, pin: Option<Pin>, loss: Loss) -> ErrorReport {
    let sqlstate = if loss.perhaps_committed {
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN
    } else {
        SqlState::CONNECTION_FAILURE
    };
    let report = ErrorReport::fatal(
        sqlstate,
        "the server connection was lost, and with it what this session kept there",
    );
    let kept = pin.map_or("session pooling mode", Pin::reason);
    report.with_detail(format!("{why}; kept: {kept}"))
}
