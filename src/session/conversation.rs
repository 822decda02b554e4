//! The rules of one session: what becomes of each message of its client, and where the session stands. Pure.
//!
//! Takes messages, answers what to do with them, and writes the answers that pgring itself gives. The server's
//! messages are judged in `answers.rs`. It never sees a socket, a pool or a clock.

use std::{collections::VecDeque, rc::Rc};

use super::{
    context::Desk,
    ledger::{Ledger, internal_queries::Own, owed::Owed},
    prepared::{
        extended::{may_name_statement, split_parse, until_zero},
        names::{Change, Names},
        portals::Portals,
        replan::Replan,
    },
    refusal::{Refusing, Why},
    show_messages::Questions,
    state::{pending_state::PendingState, pin::Pin, restore::Restore, state_query::StateQuery},
    transaction::failed_block::{FailedBlock, Reply, is_request},
};
use super::{
    prepared::{Statement, server::ServerName, text_bytes},
    state::parameters::names_temporary_schema,
    work::Work,
};
use crate::{
    cluster::{node::Lsn, settings::PoolMode},
    limits::OUTSTANDING_MESSAGES_MAX,
    protocol::{
        ErrorReport, Header, ProtocolError, Tag, Writer, backend::TransactionStatus, tag::frontend,
    },
    sql::effects::{self, StatementFlags, Use},
};

pub use super::verdict::{AfterLoss, Answer, Verdict};

/// One session's conversation.
#[derive(Debug)]
pub struct Conversation {
    mode: PoolMode,
    pub(crate) ledger: Ledger,
    pub(crate) names: Names,
    pub(crate) portals: Portals,
    pub(crate) questions: Questions,
    pub(crate) pending_state: PendingState,
    /// A transaction block that no server has seen.
    pub(crate) deferred: Option<Rc<Statement>>,
    /// A BEGIN that was bound and not executed, which no server has seen.
    pub(crate) bound_alone: Option<Rc<Statement>>,
    /// DEALLOCATE and its like, asked for and not answered.
    pub(crate) commands: Vec<Use>,
    /// The ledger's number of the message that asks for them.
    pub(crate) commands_ticket: u64,
    /// The ledger's number of the next message when the server was last asked for its answers.
    flushed: u64,
    pub(crate) replan: Replan,
    pub(crate) restore: Restore,
    pub(crate) failed_block: Option<FailedBlock>,
    /// Everything is ignored up to the next Sync, which we answer.
    pub(crate) skipping: bool,
    /// A statement that commits was prepared, under a name that nobody follows.
    pub(crate) prepared_commit: bool,
    /// What is under way may begin or end a transaction block.
    pub(crate) may_turn: bool,
    /// What was asked last is a ROLLBACK, and not answered yet.
    pub(crate) leaving: bool,
    /// The beginning of a statement was too short to tell whether it commits; it is not answered yet.
    pub(crate) unread: bool,
    /// What the next message is answered with, because no server can take it.
    refusal: Option<Box<ErrorReport>>,
    /// What pgring itself asked, and whose ReadyForQuery is to come. The client's requests are behind it.
    pub(crate) own_requests: VecDeque<Own>,
    /// What the server is made to refuse.
    pub(crate) refusing: Option<Refusing>,
    /// What a message was refused for, until that is counted.
    pub(crate) refused_pin: Option<Pin>,
    /// Why its next message is to be refused.
    pub(crate) must_refuse: Option<Why>,
    pub(crate) state_query: StateQuery,
    /// How far the log was written, when that was asked.
    pub(crate) position: Option<Lsn>,
    /// The block that is being ended to go on at another node.
    pub(crate) leaving_block: Option<Rc<Statement>>,
    /// The deferred block had read there.
    pub(crate) has_read: bool,
    /// A server's error in which names of ours are the client's.
    /// pgring has answered a query that no server has seen.
    pub(crate) answered_alone: bool,
    /// The database that nobody may be connected to when what was sent runs.
    pub(crate) vacates: Option<String>,
    pub(crate) renamed: Vec<u8>,
    /// The last bytes of a statement that is too long to be read as a whole.
    pub(crate) rest: Vec<u8>,
}

impl Conversation {
    /// A client that has just logged in, in a pool of this mode.
    pub fn new(mode: PoolMode) -> Self {
        Self {
            mode,
            ledger: Ledger::default(),
            names: Names::default(),
            portals: Portals::default(),
            questions: Questions::default(),
            pending_state: PendingState::default(),
            deferred: None,
            bound_alone: None,
            commands: Vec::new(),
            commands_ticket: 0,
            flushed: 0,
            replan: Replan::default(),
            restore: Restore::default(),
            failed_block: None,
            skipping: false,
            prepared_commit: false,
            may_turn: false,
            leaving: false,
            unread: false,
            refusal: None,
            own_requests: VecDeque::new(),
            refusing: None,
            refused_pin: None,
            must_refuse: None,
            state_query: StateQuery::default(),
            position: None,
            leaving_block: None,
            has_read: false,
            answered_alone: false,
            vacates: None,
            renamed: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// The same for a client that came with settings of its own, to which RESET goes back.
    pub(crate) fn with_settings(self) -> Self {
        let restore = Restore::new(self.mode != PoolMode::Session);
        Self { restore, ..self }
    }

    /// From now on RESET goes back to settings of its own.
    pub(crate) fn has_settings(&mut self) {
        if self.mode != PoolMode::Session {
            self.restore.is_concerned();
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
        if self.may_ask(header.tag, body)
            && let Some(verdict) = self.ask(header, body, desk)
        {
            return Ok(verdict);
        }
        match header.tag {
            frontend::TERMINATE => return Ok(Verdict::Terminate),
            frontend::PASSWORD => return Err(ProtocolError::UnknownTag { tag: header.tag }),
            _ if self.answers_itself() && self.answer_ourselves(header, body, desk) => {
                return Ok(Verdict::Discard);
            }
            _ if desk.server.is_none() => return Ok(self.without_server(header, body, desk)),
            _ if self.is_replanning() || self.waits_for_settings() => return Ok(Verdict::Wait),
            // Should one of ours fail, the server would skip this together with the request before it.
            tag if self.ledger.is_risky() && is_extended(tag) => return Ok(Verdict::Wait),
            _ => {}
        }
        if self.ledger.is_unasked() {
            self.begin_recording(header.tag);
            self.open_pipeline(desk);
        }
        self.note_answered(desk.stamps);
        self.describe_parsed(header, body, desk);
        let verdict = match header.tag {
            // What the server ignores changes nothing.
            tag if self.ledger.is_deaf() => self.pass(tag),
            tag if self.must_refuse.is_some() => self.refuse_next(tag, desk),
            frontend::QUERY => self.judge_query(header, body, desk),
            frontend::FUNCTION_CALL => self.judge_call(header, body, desk),
            tag if self.shares_names() && may_name_statement(tag) => {
                self.judge_named(header, body, desk)
            }
            frontend::EXECUTE => self.judge_execute(body, desk),
            frontend::FLUSH => {
                self.say_due(desk);
                Verdict::Forward
            }
            tag => {
                self.prepared_commit |= tag == frontend::PARSE && parses_commit(header, body);
                self.pass(tag)
            }
        };
        if verdict == Verdict::Wait && self.hasten_answers(desk) {
            return self.client_message(header, body, desk);
        }
        Ok(verdict)
    }

    /// Gives the answers of ours that are due, which may be all that the client's message waits for. True if there
    /// were any. In an open pipeline the server keeps its answers until it is asked for them; once its end has been
    /// sent, the answers come by themselves.
    #[cold]
    pub(crate) fn hasten_answers(&mut self, desk: &mut Desk<'_>) -> bool {
        let settled = self.ledger.settled();
        self.say_due(desk);
        if self.ledger.settled() > settled {
            return true;
        }
        let ticket = self.ledger.ticket();
        let keeps_answers = self.ledger.waits_for_client() && !self.ledger.is_at_rest();
        if self.flushed != ticket && keeps_answers {
            self.flushed = ticket;
            Writer::new(desk.ahead).flush();
        }
        false
    }

    /// Nothing is under way at the server: what must precede the next message goes now.
    #[inline]
    fn open_pipeline(&mut self, desk: &mut Desk<'_>) {
        if let Some(server) = desk.server.as_deref_mut()
            && server.needs_tidying(desk.bounds.server_statements)
        {
            let closes = server.tidy(desk.bounds.server_statements, desk.ahead);
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
        if self.ledger.is_at_risk() || self.is_refusing() {
            // Should one of ours fail, the server skips up to a Sync, and would skip both requests.
            return Verdict::Wait;
        }
        let whole = body.len() == header.body_bytes();
        let text = body.strip_suffix(b"\0").filter(|_| whole).unwrap_or(body);
        let facts = self.facts_of(text, whole, desk);
        if let Some(pin) = self.forbidden(facts, text, desk) {
            return self.refuse_pin(frontend::QUERY, pin, desk);
        }
        if let Some(verdict) = self.prepare_commands(frontend::QUERY, facts, text, desk) {
            return verdict;
        }
        if whole {
            self.note(facts, text, None, desk);
        } else {
            self.rest.clear();
            self.note_rest(text, desk.known);
            (self.unread, self.leaving) = (true, false);
            self.note_traces(facts, text, None, desk);
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
    fn note(
        &mut self,
        facts: StatementFlags,
        text: &[u8],
        statement: Option<&Statement>,
        desk: &Desk<'_>,
    ) {
        if facts.commits() {
            self.ledger.sends_commit();
        }
        self.leaving = facts.rolls_back();
        if facts.changes_schema() {
            self.vacates = self.vacates.take().or_else(|| effects::vacates(text));
        }
        self.note_traces(facts, text, statement, desk);
    }

    #[inline]
    fn note_traces(
        &mut self,
        facts: StatementFlags,
        text: &[u8],
        statement: Option<&Statement>,
        desk: &Desk<'_>,
    ) {
        self.may_turn |= !facts.is_shareable() && !facts.is_empty();
        // What it sets itself does not change how it is read.
        let hides = self.hides_ascii(text, desk);
        self.pending_state.note(facts);
        self.note_effects(facts, text, statement, hides, desk);
        if desk.bounds.always_checked {
            self.pending_state.note_report();
        }
        if desk.context.create_temporary() || facts.changes_schema() && self.is_in_state_query() {
            self.pending_state.note_report();
        }
        if facts.changes_meaning() && names_temporary_schema(text) {
            // What is set for the transaction alone may have it make the schema for temporary objects.
            self.pending_state.note_report();
        }
    }

    fn judge_execute(&mut self, body: &[u8], desk: &mut Desk<'_>) -> Verdict {
        let portal = until_zero(body);
        if self.prepared_commit {
            self.ledger.sends_commit();
        }
        if let Some(statement) = self.portals.statement(portal) {
            let statement = Rc::clone(statement);
            if let Some(pin) = self.forbidden(statement.facts, statement.text(), desk) {
                return self.refuse_pin(frontend::EXECUTE, pin, desk);
            }
            let (facts, text) = (statement.facts, statement.text());
            if let Some(verdict) = self.prepare_commands(frontend::EXECUTE, facts, text, desk) {
                return verdict;
            }
            self.note(statement.facts, statement.text(), Some(&statement), desk);
        } else {
            self.may_turn = true;
            self.note_unknown(desk);
        }
        self.ledger.sent(frontend::EXECUTE);
        Verdict::Forward
    }

    fn judge_call(&mut self, header: Header, body: &[u8], desk: &mut Desk<'_>) -> Verdict {
        if self.ledger.is_at_risk() || self.is_refusing() {
            return Verdict::Wait;
        }
        let whole = body.len() == header.body_bytes();
        if self.refuses_pins(desk) && self.pending_state.call_pins(body, whole) {
            return self.refuse_pin(frontend::FUNCTION_CALL, Pin::Setting, desk);
        }
        if self.pending_state.note_call(body, whole) {
            self.note_unknown(desk);
        }
        self.pass(frontend::FUNCTION_CALL)
    }

    /// The client's unnamed statement was destroyed by a Query that pgring answered.
    pub(crate) fn forget_unnamed(&mut self) {
        let ticket = self.ledger.ticket();
        self.drop_unnamed(None);
        self.names.settle(ticket + 1, None);
    }

    /// The next message destroys the unnamed statement.
    pub(crate) fn drop_unnamed(&mut self, at: Option<ServerName>) {
        self.note_change(at, Change::DropUnnamed);
    }

    /// Once: pgring has answered a query that no server has seen.
    #[inline]
    pub(crate) fn take_answered_alone(&mut self) -> bool {
        std::mem::take(&mut self.answered_alone)
    }

    /// Once: the database that nobody may be connected to when what was sent runs.
    #[inline]
    pub(crate) fn take_vacated(&mut self) -> Option<String> {
        self.vacates.take()
    }

    /// What the next message does to the names; called before it is entered in the ledger.
    #[inline]
    pub(crate) fn note_change(&mut self, at: Option<ServerName>, change: Change) {
        let (ticket, pipeline) = (self.ledger.ticket(), self.ledger.pipeline());
        self.names.change(ticket, pipeline, at, change);
    }

    /// True when the transaction had failed when the server was last ready.
    pub(crate) fn block_had_failed(&self) -> bool {
        self.ledger.status() == TransactionStatus::Failed
    }

    /// True when the transaction has failed, and nothing under way ends it.
    pub(crate) fn block_has_failed(&self) -> bool {
        self.block_had_failed() && !self.may_turn
    }

    /// How the pool shares its connections.
    pub(crate) fn mode(&self) -> PoolMode {
        self.mode
    }

    pub(crate) fn answers_itself(&self) -> bool {
        self.failed_block.is_some() || self.skipping || self.refusal.is_some()
    }

    /// A message that no server sees, unless the answer is no.
    #[cold]
    fn answer_ourselves(&mut self, header: Header, body: &[u8], desk: &mut Desk<'_>) -> bool {
        if let Some(failed_block) = &mut self.failed_block {
            let reply = failed_block.answer(header, body, &self.names, desk.out);
            if reply != Reply::Stays {
                self.failed_block = None;
            }
            return reply != Reply::NotMine;
        }
        if self.skipping {
            if header.tag == frontend::SYNC {
                self.skipping = false;
                Writer::new(desk.out).ready_for_query(TransactionStatus::Idle);
            }
            return true;
        }
        if is_request(header.tag)
            && let Some(report) = self.refusal.take()
        {
            self.say_due(desk);
            self.ledger.sync_alone();
            if self.deferred.take().is_some() {
                return self.fail_block(header.tag, &report, desk.out);
            }
            self.answer_with(header.tag, &report, desk.out);
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
        self.failed_block = Some(FailedBlock::new(true, !ends));
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

    /// True when the server connection may go back to its pool now.
    #[inline]
    pub fn is_releasable(&self) -> bool {
        self.mode != PoolMode::Session
            && self.is_clean()
            && self.pinned().is_none()
            && !self.pending_state.wants_state_query()
    }

    /// True when the server connection carries no unfinished work of this session.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.ledger.is_releasable() && self.own_requests.is_empty() && self.replan != Replan::Again
    }

    /// True when the next request would be answered alike over another connection: nothing is under way that the client has
    /// asked for, and the session has left nothing at this one of which nobody knows.
    pub(crate) fn may_go_elsewhere(&self) -> bool {
        let knows_all = !self.pending_state.wants_state_query() && !self.is_in_state_query();
        self.is_unasked() && self.pinned().is_none() && knows_all && !self.pending_state.is_soiled()
    }

    /// True when nothing is owed to the client.
    pub fn is_at_rest(&self) -> bool {
        self.ledger.is_at_rest() && self.own_requests.is_empty()
    }

    /// True when no ReadyForQuery is sure to come unless the client sends more.
    pub fn waits_for_client(&self) -> bool {
        self.own_requests.is_empty() && self.ledger.waits_for_client()
    }

    /// True when nothing the client asked is under way at the server.
    pub(crate) fn is_unasked(&self) -> bool {
        self.ledger.is_unasked()
    }

    /// True when the next message of the client is the first of its pipeline.
    #[inline]
    pub(crate) fn begins_pipeline(&self) -> bool {
        !self.answers_itself() && self.ledger.begins_pipeline()
    }

    /// The block that no server has seen.
    #[inline]
    pub(crate) fn deferred_block(&self) -> Option<&Rc<Statement>> {
        self.deferred.as_ref()
    }

    /// True when what the server says next may tell the client of a commit.
    pub(crate) fn may_commit(&self) -> bool {
        self.ledger.is_committing()
            || self.ledger.status() == TransactionStatus::Idle
            || self.may_turn
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
        if self.failed_block.is_some() {
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
        self.pending_state.pin()
    }
}

/// Messages that a server skips after an error, up to the next Sync.
fn is_extended(tag: Tag) -> bool {
    may_name_statement(tag) || tag == frontend::EXECUTE
}

/// True for a Parse of a statement that commits.
fn parses_commit(header: Header, body: &[u8]) -> bool {
    let content = split_parse(body).map_or(&b""[..], |(_, content)| content);
    let facts = match text_bytes(content) {
        None if body.len() < header.body_bytes() => effects::flags_of_beginning(content),
        end => effects::flags_of(&content[..end.unwrap_or(content.len())]),
    };
    facts.commits()
}
