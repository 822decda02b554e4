//! Judgement of each message of a client: forwarded, answered, rewritten, made to wait. Pure.
//!
//! Takes messages, answers what to do with them, and writes the answers that pgring itself gives. The server's
//! messages are judged in `answers.rs`.

use std::rc::Rc;

use super::{
    context::Context,
    conversation::Conversation,
    ledger::owed::Owed,
    prepared::{Statement, server::ServerName},
    state::{parameters::names_temporary_schema, pin::Pin},
    transaction::{
        block::Handed,
        failed_block::{FailedBlock, Reply},
    },
    verdict::Verdict,
};
use crate::{
    protocol::{
        ErrorReport, Header, ProtocolError, Tag, Writer,
        backend::TransactionStatus,
        frontend::{Execute, Parse, Query, is_request, may_name_statement},
        tag::frontend,
    },
    sql::effects::{self, StatementFlags},
};

impl Conversation {
    /// Judges a client's message. `body` may be only the beginning of a long one.
    #[inline]
    pub fn client_message(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Result<Verdict, ProtocolError> {
        header.check_frontend()?;
        if self.may_ask(header.tag, body)
            && let Some(verdict) = self.ask(header, body, context)
        {
            return Ok(verdict);
        }
        match header.tag {
            frontend::TERMINATE => return Ok(Verdict::Terminate),
            frontend::PASSWORD => return Err(ProtocolError::UnknownTag { tag: header.tag }),
            _ if self.answers_itself() && self.answer_ourselves(header, body, context) => {
                return Ok(Verdict::Discard);
            }
            _ if context.server.is_none() => return Ok(self.without_server(header, body, context)),
            _ if self.is_replanning() || self.waits_for_settings() => return Ok(Verdict::Wait),
            // Should one of ours fail, the server would skip this together with the request before it.
            tag if self.ledger.client.is_risky() && is_extended(tag) => return Ok(Verdict::Wait),
            _ => {}
        }
        if self.ledger.is_unasked() {
            self.begin_recording(header.tag);
            self.open_pipeline(context);
        }
        self.note_answered(context.stamps);
        self.describe_parsed(header, body, context);
        let verdict = match header.tag {
            // What the server ignores changes nothing.
            tag if self.ledger.is_deaf() => self.pass(tag),
            tag if self.refusals.next.is_some() => self.refuse_next(tag, context),
            frontend::QUERY => self.judge_query(header, body, context),
            frontend::FUNCTION_CALL => self.judge_call(header, body, context),
            tag if self.shares_names() && may_name_statement(tag) => {
                self.judge_named(header, body, context)
            }
            frontend::EXECUTE => self.judge_execute(body, context),
            frontend::FLUSH => {
                self.say_due(context);
                Verdict::Forward
            }
            tag => {
                self.statements.prepared_commit |=
                    tag == frontend::PARSE && parses_commit(header, body);
                self.pass(tag)
            }
        };
        if verdict == Verdict::Wait && self.hasten_answers(context) {
            return self.client_message(header, body, context);
        }
        Ok(verdict)
    }

    /// Gives the answers of ours that are due, which may be all that the client's message waits for. True if there
    /// were any. In an open pipeline the server keeps its answers until it is asked for them; once its end has been
    /// sent, the answers come by themselves.
    #[cold]
    pub(crate) fn hasten_answers(&mut self, context: &mut Context<'_>) -> bool {
        let settled = self.ledger.client.settled();
        self.say_due(context);
        if self.ledger.client.settled() > settled {
            return true;
        }
        let ticket = self.ledger.client.ticket();
        let keeps_answers = self.ledger.waits_for_client() && !self.ledger.is_at_rest();
        if self.flushed != ticket && keeps_answers {
            self.flushed = ticket;
            Writer::new(context.ahead).flush();
        }
        false
    }

    /// Nothing is under way at the server: what must precede the next message goes now.
    #[inline]
    fn open_pipeline(&mut self, context: &mut Context<'_>) {
        if let Some(server) = context.server.as_deref_mut()
            && server.needs_tidying(context.bounds.server_statements)
        {
            let closes = server.tidy(context.bounds.server_statements, context.ahead);
            (0..closes).for_each(|_| self.ledger.owe(Owed::OwnClose));
        }
        match self.block.hand_over() {
            Some(Handed::Begun(block)) => self.begin_block(&block, context),
            Some(Handed::Bound(statement)) => self.bind_ahead(&statement, context),
            None => {}
        }
    }

    /// A Query that goes to the server.
    fn judge_query(&mut self, header: Header, body: &[u8], context: &mut Context<'_>) -> Verdict {
        if self.ledger.client.is_at_risk() || self.is_refusing() {
            // Should one of ours fail, the server skips up to a Sync, and would skip both requests.
            return Verdict::Wait;
        }
        let whole = body.len() == header.body_bytes();
        let text = Query::read(body).text;
        let flags = self.flags_of(text, whole, context);
        if let Some(pin) = self.forbidden(flags, text, context) {
            return self.refuse_pin(frontend::QUERY, pin, context);
        }
        if let Some(verdict) = self.prepare_commands(frontend::QUERY, flags, text, context) {
            return verdict;
        }
        if whole {
            self.note(flags, text, None, context);
        } else {
            self.state.rest.clear();
            self.note_rest(text, context.known);
            (self.turns.is_unread, self.turns.rolls_back) = (true, false);
            self.note_pending(flags, text, None, context);
        }
        let server = context.server.as_deref_mut().expect("a server is at hand");
        if self.statements.names.may_have_unnamed() || !server.has_no_unnamed() {
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
        flags: StatementFlags,
        text: &[u8],
        statement: Option<&Statement>,
        context: &Context<'_>,
    ) {
        if flags.commits() {
            self.ledger.sends_commit();
        }
        self.turns.rolls_back = flags.rolls_back();
        if flags.changes_schema() {
            let vacated = self.follow_ups.vacates.take();
            self.follow_ups.vacates = vacated.or_else(|| effects::vacates(text));
        }
        self.note_pending(flags, text, statement, context);
    }

    #[inline]
    fn note_pending(
        &mut self,
        flags: StatementFlags,
        text: &[u8],
        statement: Option<&Statement>,
        context: &Context<'_>,
    ) {
        self.turns.may_turn |= !flags.is_shareable() && !flags.is_empty();
        // What it sets itself does not change how it is read.
        let hides = self.hides_ascii(text, context);
        self.state.pending.note(flags);
        self.note_effects(flags, text, statement, hides, context);
        if context.bounds.always_checked {
            self.state.pending.note_report();
        }
        if context.settings.create_temporary() || flags.changes_schema() && self.is_in_state_query()
        {
            self.state.pending.note_report();
        }
        if flags.changes_meaning() && names_temporary_schema(text) {
            // What is set for the transaction alone may have it make the schema for temporary objects.
            self.state.pending.note_report();
        }
    }

    fn judge_execute(&mut self, body: &[u8], context: &mut Context<'_>) -> Verdict {
        let execute = Execute::read(body);
        if let Ok(Execute { portal, .. }) = execute {
            self.hide_portal(portal, context);
        }
        if self.statements.prepared_commit {
            self.ledger.sends_commit();
        }
        let statement = execute
            .ok()
            .and_then(|it| self.statements.portals.statement(it.portal));
        if let Some(statement) = statement {
            let statement = Rc::clone(statement);
            if let Some(pin) = self.forbidden(statement.flags, statement.text(), context) {
                return self.refuse_pin(frontend::EXECUTE, pin, context);
            }
            let (flags, text) = (statement.flags, statement.text());
            if let Some(verdict) = self.prepare_commands(frontend::EXECUTE, flags, text, context) {
                return verdict;
            }
            self.note(statement.flags, statement.text(), Some(&statement), context);
        } else {
            self.turns.may_turn = true;
            self.note_unknown(context);
        }
        self.ledger.sent(frontend::EXECUTE);
        Verdict::Forward
    }

    fn judge_call(&mut self, header: Header, body: &[u8], context: &mut Context<'_>) -> Verdict {
        if self.ledger.client.is_at_risk() || self.is_refusing() {
            return Verdict::Wait;
        }
        let whole = body.len() == header.body_bytes();
        if self.refuses_pins(context) && self.state.pending.call_pins(body, whole) {
            return self.refuse_pin(frontend::FUNCTION_CALL, Pin::Setting, context);
        }
        if self.state.pending.note_call(body, whole) {
            self.note_unknown(context);
        }
        self.pass(frontend::FUNCTION_CALL)
    }

    /// A message that no server sees, unless the answer is no.
    #[cold]
    fn answer_ourselves(&mut self, header: Header, body: &[u8], context: &mut Context<'_>) -> bool {
        if let Some(failed) = self.block.failed() {
            let reply = failed.answer(header, body, &self.statements.names, context.out);
            if reply != Reply::Stays {
                self.block.recover();
            }
            return reply != Reply::NotMine;
        }
        if self.refusals.skips {
            if header.tag == frontend::SYNC {
                self.refusals.skips = false;
                Writer::new(context.out).ready_for_query(TransactionStatus::Idle);
            }
            return true;
        }
        if is_request(header.tag)
            && let Some(report) = self.refusals.local.take()
        {
            self.say_due(context);
            self.ledger.client.sync_alone();
            self.answer_with(header.tag, &report, context.out);
        }
        true
    }

    /// A request gets an error; a block that no server has seen has failed then.
    fn answer_with(&mut self, tag: Tag, report: &ErrorReport, out: &mut Vec<u8>) {
        Writer::new(out).error(report);
        let ends = matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL);
        if self.block.refuse(FailedBlock::new(None, !ends)) {
            if ends {
                Writer::new(out).ready_for_query(TransactionStatus::Failed);
            }
            return;
        }
        let ends = ends || tag == frontend::SYNC;
        self.refusals.skip_to_sync(!ends);
        if ends {
            Writer::new(out).ready_for_query(TransactionStatus::Idle);
        }
    }
}

/// Messages that a server skips after an error, up to the next Sync.
fn is_extended(tag: Tag) -> bool {
    may_name_statement(tag) || tag == frontend::EXECUTE
}

/// True for a Parse of a statement that commits.
fn parses_commit(header: Header, body: &[u8]) -> bool {
    let (text, has_end) = match Parse::read(body) {
        Ok(parse) => (parse.beginning(), parse.text().is_ok()),
        Err(_) => (&b""[..], false),
    };
    let flags = match has_end || body.len() == header.body_bytes() {
        true => effects::flags_of(text),
        false => effects::flags_of_beginning(text),
    };
    flags.commits()
}
