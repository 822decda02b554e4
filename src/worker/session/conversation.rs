//! The rules of one session: what becomes of each message of its client and of its server. Pure.
//!
//! Takes messages, answers what to do with them, and writes the answers that pgring itself gives. It never
//! sees a socket, a pool or a clock.

use std::{collections::VecDeque, rc::Rc};

use super::{
    census::Census,
    commands,
    desk::Desk,
    heal::Heal,
    ledger::{Ledger, Owed},
    limbo::{Limbo, Reply, is_request, lost_in_transaction},
    names::{Change, Names, rename},
    pin::Pin,
    portals::Portals,
    restore::Restore,
    traces::Traces,
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
        classify::{self, Facts, Use},
        statements::{
            Statement,
            prepared::{Prepared, ServerName},
        },
    },
};

/// What becomes of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the server.
    Forward,
    /// So many bytes of it are replaced by what was written ahead; the rest goes to the server.
    Instead(usize),
    /// A server connection is needed first; ask again then.
    NeedServer,
    /// What becomes of it depends on the server's next answers; ask again then.
    Wait,
    /// The client has prepared more than it may.
    Full,
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
    /// It stays here: the census is complete.
    CensusTaken,
    /// It goes to the client in other words.
    Renamed,
    /// It stays here until the settings are restored that the client came with.
    Restore,
    /// It stays here, and the settings are restored: the client is to hear so.
    Restored,
}

/// What pgring itself asks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// To take over the session's settings.
    Settings,
    /// What session state there is.
    Census,
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
    pub(super) ledger: Ledger,
    pub(super) names: Names,
    pub(super) portals: Portals,
    pub(super) traces: Traces,
    /// A transaction block that no server has seen.
    pub(super) deferred: Option<Rc<Statement>>,
    /// A BEGIN that was bound and not executed, which no server has seen.
    pub(super) bound_alone: Option<Rc<Statement>>,
    /// DEALLOCATE and its like, asked for and not answered.
    pub(super) commands: Vec<Use>,
    /// The ledger's number of the message that asks for them.
    pub(super) commands_ticket: u64,
    /// The ledger's number of the next message when the server was last asked for its answers.
    flushed: u64,
    pub(super) heal: Heal,
    pub(super) restore: Restore,
    limbo: Option<Limbo>,
    /// Everything is ignored up to the next Sync, which we answer.
    skipping: bool,
    /// A statement that commits was prepared, under a name that nobody follows.
    pub(super) prepared_commit: bool,
    /// What is under way may begin or end a transaction block.
    may_turn: bool,
    /// What was asked last is a ROLLBACK, and not answered yet.
    leaving: bool,
    /// The beginning of a statement was too short to tell whether it commits; it is not answered yet.
    unread: bool,
    /// What the next message is answered with, because no server can take it.
    refusal: Option<Box<ErrorReport>>,
    /// What pgring itself asked, and whose ReadyForQuery is to come. The client's requests are behind it.
    own_requests: VecDeque<Own>,
    census: Census,
    /// A server's error in which names of ours are the client's.
    renamed: Vec<u8>,
}

impl Conversation {
    /// A client that has just logged in, in a pool of this mode.
    pub fn new(mode: PoolMode) -> Self {
        Self {
            mode,
            ledger: Ledger::default(),
            names: Names::default(),
            portals: Portals::default(),
            traces: Traces::default(),
            deferred: None,
            bound_alone: None,
            commands: Vec::new(),
            commands_ticket: 0,
            flushed: 0,
            heal: Heal::default(),
            restore: Restore::default(),
            limbo: None,
            skipping: false,
            prepared_commit: false,
            may_turn: false,
            leaving: false,
            unread: false,
            refusal: None,
            own_requests: VecDeque::new(),
            census: Census::default(),
            renamed: Vec::new(),
        }
    }

    /// The same for a client that came with settings of its own, to which RESET goes back.
    pub(crate) fn with_settings(mode: PoolMode) -> Self {
        Self {
            restore: Restore::new(mode != PoolMode::Session),
            ..Self::new(mode)
        }
    }

    /// Judges a client's message. `body` may be only the beginning of a long one.
    #[inline]
    pub fn client_message(
        &mut self,
        header: Header,
        body: &[u8],
        desk: &mut Desk<'_>,
    ) -> Result<Verdict, ProtocolError> {
        header.check_frontend()?;
        match header.tag {
            frontend::TERMINATE => return Ok(Verdict::Terminate),
            frontend::PASSWORD => return Err(ProtocolError::UnknownTag { tag: header.tag }),
            _ if self.answers_itself() && self.answer_ourselves(header, body, desk.out) => {
                return Ok(Verdict::Discard);
            }
            _ if desk.server.is_none() => return Ok(self.without_server(header, body, desk)),
            _ if self.is_healing() => return Ok(Verdict::Wait),
            // Should one of ours fail, the server would skip this together with the request before it.
            tag if self.ledger.is_risky() && is_extended(tag) => return Ok(Verdict::Wait),
            _ => {}
        }
        if self.ledger.is_unasked() {
            self.begin_recording(header.tag);
            self.open_pipeline(desk);
        }
        let verdict = match header.tag {
            // What the server ignores changes nothing.
            tag if self.ledger.is_deaf() => self.pass(tag),
            frontend::QUERY => self.judge_query(header, body, desk),
            frontend::FUNCTION_CALL if self.ledger.is_at_risk() => Verdict::Wait,
            frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::CLOSE
                if self.shares_names() =>
            {
                self.judge_named(header, body, desk)
            }
            frontend::EXECUTE => self.judge_execute(body, desk),
            frontend::FLUSH => {
                self.say_due(desk);
                Verdict::Forward
            }
            tag => {
                if tag == frontend::FUNCTION_CALL {
                    self.traces
                        .note_call(body, body.len() == header.body_bytes());
                }
                self.prepared_commit |= tag == frontend::PARSE && parses_commit(header, body);
                self.ledger.sent(tag);
                Verdict::Forward
            }
        };
        if verdict == Verdict::Wait && self.hasten_answers(desk) {
            return self.client_message(header, body, desk);
        }
        Ok(verdict)
    }

    /// Gives the answers of ours that are due, which may be all that the client's message waits for. True if there
    /// were any. In an open pipeline the server keeps its answers until it is asked for them.
    #[cold]
    fn hasten_answers(&mut self, desk: &mut Desk<'_>) -> bool {
        let settled = self.ledger.settled();
        self.say_due(desk);
        if self.ledger.settled() > settled {
            return true;
        }
        let ticket = self.ledger.ticket();
        if self.flushed != ticket && !self.ledger.is_at_rest() {
            self.flushed = ticket;
            Writer::new(desk.ahead).flush();
        }
        false
    }

    /// Nothing is under way at the server: what must precede the next message goes now.
    #[inline]
    fn open_pipeline(&mut self, desk: &mut Desk<'_>) {
        if let Some(server) = desk.server.as_deref_mut()
            && server.needs_tidying(desk.limits.server_statements)
        {
            let closes = server.tidy(desk.limits.server_statements, desk.ahead);
            (0..closes).for_each(|_| self.ledger.owe(Owed::OwnClose));
        }
        if let Some(statement) = self.deferred.take() {
            self.begin_block(&statement, desk);
        }
        if let Some(statement) = self.bound_alone.take() {
            self.bind_ahead(&statement, desk);
        }
    }

    /// A Query that goes to the server.
    fn judge_query(&mut self, header: Header, body: &[u8], desk: &mut Desk<'_>) -> Verdict {
        if self.ledger.is_at_risk() {
            // Should one of ours fail, the server skips up to a Sync, and would skip both requests.
            return Verdict::Wait;
        }
        let whole = body.len() == header.body_bytes();
        let text = body.strip_suffix(b"\0").filter(|_| whole).unwrap_or(body);
        let facts = if whole {
            classify::facts(text)
        } else {
            classify::facts_of_beginning(text)
        };
        if self.prepare_commands(facts, text, desk) {
            return Verdict::Wait;
        }
        if whole {
            self.note(facts, text, desk);
        } else {
            (self.unread, self.leaving) = (true, false);
            self.note_traces(facts, text, desk);
        }
        let server = desk.server.as_deref_mut().expect("a server is at hand");
        if self.names.may_have_unnamed() || !server.has_no_unnamed() {
            server.drop_unnamed();
            self.drop_unnamed(Some(ServerName::UNNAMED));
        }
        self.ledger.sent(frontend::QUERY);
        Verdict::Forward
    }

    /// A statement is sent to be executed.
    #[inline]
    fn note(&mut self, facts: Facts, text: &[u8], desk: &Desk<'_>) {
        if facts.commits() {
            self.ledger.sends_commit();
        }
        self.leaving = facts.rolls_back();
        self.note_traces(facts, text, desk);
    }

    #[inline]
    fn note_traces(&mut self, facts: Facts, text: &[u8], desk: &Desk<'_>) {
        self.may_turn |= !facts.is_shareable() && !facts.is_empty();
        self.traces.note(facts);
        if desk.limits.always_checked {
            self.traces.note_report();
        }
        if facts.changes_schema() && (creates_temporary(desk) || self.is_in_census()) {
            self.traces.note_report();
        }
        if facts.gains_state() {
            self.restore.note(text);
            self.traces.note_hidden_settings(text);
        }
    }

    fn judge_execute(&mut self, body: &[u8], desk: &mut Desk<'_>) -> Verdict {
        let portal = body.split(|byte| *byte == 0).next().unwrap_or_default();
        if self.prepared_commit {
            self.ledger.sends_commit();
        }
        if let Some(statement) = self.portals.statement(portal) {
            let statement = Rc::clone(statement);
            if self.prepare_commands(statement.facts, statement.text(), desk) {
                return Verdict::Wait;
            }
            self.note(statement.facts, statement.text(), desk);
        } else {
            self.may_turn = true;
        }
        self.ledger.sent(frontend::EXECUTE);
        Verdict::Forward
    }

    /// The client's unnamed statement was destroyed by a Query that pgring answered.
    pub(super) fn forget_unnamed(&mut self) {
        let ticket = self.ledger.ticket();
        self.drop_unnamed(None);
        self.names.settle(ticket + 1, None);
    }

    /// The next message destroys the unnamed statement.
    pub(super) fn drop_unnamed(&mut self, at: Option<ServerName>) {
        let (ticket, pipeline) = (self.ledger.ticket(), self.ledger.pipeline());
        self.names.change(ticket, pipeline, at, Change::DropUnnamed);
    }

    /// True when the transaction has failed, and nothing under way ends it.
    pub(super) fn block_has_failed(&self) -> bool {
        self.ledger.status() == TransactionStatus::Failed && !self.may_turn
    }

    /// True when an earlier request, which is not answered, may leave the transaction failed.
    pub(super) fn block_may_fail(&self) -> bool {
        let block = self.may_turn || self.ledger.status() != TransactionStatus::Idle;
        block && !self.ledger.waits_for_client()
    }

    /// How the pool shares its connections.
    pub(super) fn mode(&self) -> PoolMode {
        self.mode
    }

    fn answers_itself(&self) -> bool {
        self.limbo.is_some() || self.skipping || self.refusal.is_some()
    }

    /// A message that no server sees, unless the answer is no.
    #[cold]
    fn answer_ourselves(&mut self, header: Header, body: &[u8], out: &mut Vec<u8>) -> bool {
        if let Some(limbo) = &mut self.limbo {
            let reply = limbo.answer(header, body, &self.names, out);
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
            self.say_all(out);
            self.ledger.sync_alone();
            if self.deferred.take().is_some() {
                return self.fail_block(header.tag, &report, out);
            }
            self.answer_with(header.tag, &report, out);
        }
        true
    }

    /// The first request of a block that no server has seen gets an error: the block has failed.
    fn fail_block(&mut self, tag: Tag, report: &ErrorReport, out: &mut Vec<u8>) -> bool {
        Writer::new(out).error(report);
        let ends = matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL);
        if ends {
            Writer::new(out).ready_for_query(TransactionStatus::Failed);
        }
        self.limbo = Some(Limbo::new(true, !ends));
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

    /// The session's settings were sent ahead of its request, in a Query.
    pub fn sent_settings(&mut self, server: &mut Prepared) {
        server.drop_unnamed();
        self.own_requests.push_back(Own::Settings);
    }

    /// True when the server must be asked for the session state before the connection can go back.
    #[inline]
    pub(crate) fn wants_census(&self) -> bool {
        self.mode != PoolMode::Session && self.traces.wants_census() && self.is_clean()
    }

    /// What to ask the server for that in a Query, given the settings that the session is known to have.
    pub(crate) fn begin_census<'a>(
        &mut self,
        known: impl Iterator<Item = &'a str>,
        server: &mut Prepared,
    ) -> Vec<u8> {
        server.drop_unnamed();
        self.own_requests.push_back(Own::Census);
        self.census = Census::default();
        self.traces.census_begins();
        let in_transaction = self.ledger.status() != TransactionStatus::Idle;
        self.traces.question(known, in_transaction)
    }

    /// What the server answered.
    pub(crate) fn take_census(&mut self) -> Census {
        let census = std::mem::take(&mut self.census);
        self.traces.census_ends(&census);
        if self.ledger.status() != TransactionStatus::Idle {
            // What was found may yet be rolled back.
            self.traces.note_report();
        } else if !self.restore.reset {
            self.restore.was_reset = false;
        }
        census
    }

    /// True while rows of the server answer the census.
    #[inline]
    pub(crate) fn is_in_census(&self) -> bool {
        self.own_requests.front() == Some(&Own::Census)
    }

    /// Judges a server's message; `body` is whole for CommandComplete, ErrorResponse and ReadyForQuery.
    #[inline]
    pub fn server_message(
        &mut self,
        tag: Tag,
        body: &[u8],
        server: &mut Prepared,
    ) -> Result<Answer, ProtocolError> {
        if let Some(own) = self.own_requests.front() {
            return self.server_message_for_us(*own, tag, body);
        }
        match tag {
            backend::READY_FOR_QUERY => {
                self.server_ready(TransactionStatus::read(body)?, server);
                if self.heal == Heal::Refused {
                    self.heal = Heal::Again;
                    return Ok(Answer::Swallow);
                }
                self.stop_recording();
                if self.restore.reset {
                    return Ok(self.ready_after_reset());
                }
                return Ok(Answer::Ready);
            }
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            backend::ERROR_RESPONSE => return Ok(self.server_error(body, server)),
            _ if self.ledger.received(tag) => {
                self.names.settle(self.ledger.settled(), Some(server));
                return Ok(Answer::Swallow);
            }
            backend::COMMAND_COMPLETE if !self.commands.is_empty() => {
                self.command_done(body, server);
            }
            backend::PARAMETER_STATUS => {
                self.traces.note_report();
                if self.restore.report(body) {
                    return Ok(Answer::Swallow);
                }
            }
            _ => {}
        }
        self.heal = Heal::Impossible;
        self.names.settle(self.ledger.settled(), Some(server));
        Ok(Answer::Forward)
    }

    #[cold]
    fn server_error(&mut self, body: &[u8], server: &mut Prepared) -> Answer {
        let again = self.refuses_stale(body, server);
        if !again {
            // The client hears of it, and must not hear of it twice.
            self.stop_recording();
        }
        let told = rename(body, |name| self.names.name_of(server.by_name(name)?));
        let failed = self.ledger.refused();
        self.ledger.received(backend::ERROR_RESPONSE);
        self.names
            .refute(failed, self.ledger.settled(), Some(server));
        match told {
            _ if again => Answer::Swallow,
            Some(body) => {
                self.renamed = body;
                Answer::Renamed
            }
            None => Answer::Forward,
        }
    }

    /// The error in the client's words.
    pub(crate) fn take_renamed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.renamed)
    }

    /// True when nothing that pgring itself asked is outstanding.
    pub(super) fn own_requests_are_done(&self) -> bool {
        self.own_requests.is_empty()
    }

    #[inline]
    fn server_ready(&mut self, status: TransactionStatus, server: &mut Prepared) {
        self.ledger.received_ready(status);
        self.names.settle(self.ledger.settled(), Some(server));
        self.leaving = false;
        self.unread &= !self.ledger.waits_for_client();
        self.may_turn &= !self.ledger.is_at_rest();
        if !self.commands.is_empty() && self.ledger.settled() > self.commands_ticket {
            self.commands.clear();
        }
        if self.ledger.is_releasable() {
            self.portals.clear();
            self.traces.transaction_ends();
        }
    }

    /// A DEALLOCATE or its like was done.
    #[cold]
    fn command_done(&mut self, body: &[u8], server: &mut Prepared) {
        let tag = body.strip_suffix(b"\0").unwrap_or(body);
        match commands::done(&mut self.commands, tag) {
            Some(Use::Deallocate(name)) => {
                self.names.remove(&name);
                server.unstain(&name);
            }
            Some(Use::DeallocateAll | Use::DiscardAll) => {
                self.names.remove_all();
                server.drop_named();
            }
            _ => {}
        }
    }

    /// True once when a Sync of ours must be sent: the server skips a request because one of ours failed.
    #[inline]
    pub fn take_sync_due(&mut self) -> bool {
        self.ledger.take_sync_due()
    }

    /// True once after the schema may have changed, and the change is there for everybody.
    #[inline]
    pub(crate) fn take_schema_change(&mut self) -> bool {
        self.ledger.status() == TransactionStatus::Idle && self.traces.take_schema_change()
    }

    #[cold]
    fn server_message_for_us(
        &mut self,
        own: Own,
        tag: Tag,
        body: &[u8],
    ) -> Result<Answer, ProtocolError> {
        match tag {
            backend::READY_FOR_QUERY => {
                self.own_requests.pop_front();
                return Ok(match own {
                    Own::Census => Answer::CensusTaken,
                    Own::Settings if self.is_restoring() => Answer::Restored,
                    Own::Settings => Answer::Swallow,
                });
            }
            backend::ERROR_RESPONSE if is_fatal(body) => return Ok(Answer::Fatal),
            // Whatever state there is, it cannot be told: the connection stays with the session.
            backend::ERROR_RESPONSE if own == Own::Census => self.traces.keep_forever(Pin::Setting),
            backend::ERROR_RESPONSE => return Ok(Answer::SettingsRefused),
            backend::DATA_ROW if own == Own::Census && self.census.read(body).is_err() => {
                self.traces.keep_forever(Pin::Setting);
            }
            backend::PARAMETER_STATUS if self.is_restoring() => {
                self.restore.report(body);
            }
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
        let pin = self.pinned();
        self.names.abandon();
        self.portals.clear();
        self.traces.connection_is_gone();
        self.commands.clear();
        self.heal = Heal::Impossible;
        let already_skipping = self.ledger.is_skipping();
        let (owed, mid_pipeline) = self.ledger.abandon();
        (self.leaving, self.unread) = (false, false);
        self.own_requests.clear();
        if mid_message {
            return AfterLoss::Ends;
        }
        if self.mode == PoolMode::Session || pin.is_some() {
            Writer::new(out).error(&lost_with_state(why, pin, loss));
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
        self.mode != PoolMode::Session
            && self.is_clean()
            && self.pinned().is_none()
            && !self.traces.wants_census()
    }

    /// True when the server connection carries no unfinished work of this session.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.ledger.is_releasable() && self.own_requests.is_empty() && self.heal != Heal::Again
    }

    /// True when nothing is owed to the client.
    pub fn is_at_rest(&self) -> bool {
        self.ledger.is_at_rest() && self.own_requests.is_empty()
    }

    /// True when no ReadyForQuery is sure to come unless the client sends more.
    pub fn waits_for_client(&self) -> bool {
        self.own_requests.is_empty() && self.ledger.waits_for_client()
    }

    /// True when server and session disagree about what was asked.
    pub fn is_lost(&self) -> bool {
        self.ledger.is_lost()
    }

    /// What a cancel request would hit.
    pub(crate) fn work(&self) -> Work {
        if self.ledger.is_unasked() {
            Work::Nothing
        } else if !self.own_requests.is_empty() {
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
        } else if self.deferred.is_some() {
            TransactionStatus::InTransaction
        } else {
            self.ledger.status()
        }
    }

    /// Why the session keeps its connection, if it does.
    #[inline]
    pub fn pinned(&self) -> Option<Pin> {
        self.traces.pin()
    }
}

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

/// True when what is created without a schema is temporary.
fn creates_temporary(desk: &Desk<'_>) -> bool {
    let path = desk.context.get("search_path");
    path.is_some_and(|path| memchr::memmem::find(path, b"pg_temp").is_some())
}

/// Messages that a server skips after an error, up to the next Sync.
fn is_extended(tag: Tag) -> bool {
    matches!(
        tag,
        frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::EXECUTE | frontend::CLOSE
    )
}

/// True for a Parse of a statement that commits.
fn parses_commit(header: Header, body: &[u8]) -> bool {
    let mut parts = body.split(|byte| *byte == 0).skip(1);
    let text = parts.next().unwrap_or_default();
    if parts.next().is_none() && body.len() < header.body_bytes() {
        return classify::facts_of_beginning(text).commits();
    }
    classify::facts(text).commits()
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
