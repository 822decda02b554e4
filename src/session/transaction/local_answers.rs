//! Answers that are given while no server connection is at hand, in the order in which a server would. Pure.
//!
//! A BEGIN, its Parse, a Close, and the Sync behind them need no server: a client that only begins a transaction takes
//! no connection from anybody.

use std::rc::Rc;

use crate::session::{
    context::Context,
    conversation::{Conversation, Verdict},
    ledger::owed::Owed,
    prepared::{
        names::{self, Change, Definition, Meaning},
        portals::Bound,
    },
};
use crate::{
    cluster::{settings::PoolMode, stamps::Stamp},
    protocol::{
        Header, Writer,
        backend::TransactionStatus,
        frontend::{Execute, Parse, StatementUse, is_request, named_portal},
        tag::{backend, frontend},
    },
    session::prepared::{Statement, server::Prepared},
};

/// The answers of ours that have no content.
pub(crate) const PARSE_COMPLETE: &[u8] = &[backend::PARSE_COMPLETE.0, 0, 0, 0, 4];
pub(crate) const CLOSE_COMPLETE: &[u8] = &[backend::CLOSE_COMPLETE.0, 0, 0, 0, 4];
pub(crate) const BIND_COMPLETE: &[u8] = &[backend::BIND_COMPLETE.0, 0, 0, 0, 4];
const NO_DATA: &[u8] = &[backend::NO_DATA.0, 0, 0, 0, 4];

/// ParameterDescription without parameters, and NoData.
const NOTHING: &[u8] = b"t\0\0\0\x06\0\0n\0\0\0\x04";

/// CommandComplete of the two ways to begin.
const BEGUN: &[u8] = b"C\0\0\0\x0aBEGIN\0";
const STARTED: &[u8] = b"C\0\0\0\x16START TRANSACTION\0";

impl Conversation {
    /// A message while no server connection is at hand.
    pub(crate) fn without_server(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Verdict {
        let whole = body.len() == header.body_bytes();
        let shares = self.mode() != PoolMode::Session && whole;
        let answered = match header.tag {
            frontend::QUERY if whole && self.ledger.is_at_rest() => {
                self.answer_query(body, context) || self.refuse_query(body, context)
            }
            frontend::QUERY => false,
            frontend::SYNC => self.answer_sync(context),
            frontend::FLUSH => {
                self.say_due(context);
                true
            }
            frontend::PARSE => shares && self.answer_parse(body, context).is_some(),
            frontend::CLOSE => shares && self.answer_close(body).is_some(),
            frontend::BIND => shares && self.answer_bind(body).is_some(),
            frontend::DESCRIBE => shares && self.answer_describe(body).is_some(),
            frontend::EXECUTE => shares && self.answer_execute(body).is_some(),
            tag => !is_request(tag),
        };
        if answered {
            Verdict::Discard
        } else {
            Verdict::NeedServer
        }
    }

    fn answer_sync(&mut self, context: &mut Context<'_>) -> bool {
        self.say_due(context);
        self.ledger.client.sync_alone();
        self.block.sync();
        if self.block.deferred().is_none() {
            self.statements.portals.clear();
        }
        let status = self.block.status(TransactionStatus::Idle);
        Writer::new(context.out).ready_for_query(status);
        true
    }

    fn answer_parse(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        let parse = Parse::read(body).ok()?;
        parse.text().ok()?;
        let Parse { name, content } = parse;
        std::str::from_utf8(name).ok()?;
        let statement = context.store.of(content, self.sharing(context));
        if !statement.needs_no_server() {
            return None;
        }
        if !name.is_empty() {
            let new = matches!(
                self.statements
                    .names
                    .find(name, self.ledger.client.pipeline()),
                Meaning::Nothing
            );
            let bytes = self.statements.names.bytes() + names::cost(name, &statement);
            if !new || bytes > context.bounds.client_bytes {
                return None;
            }
        }
        // Every server makes the same of it, whenever it is parsed there.
        let definition = Definition::new(&statement, Stamp::FIRST);
        self.say_later(
            Owed::SaidParse,
            Change::Define(names::key(name).into(), definition),
        );
        Some(())
    }

    /// Notes an answer of ours, and what it does to the names.
    fn say_later(&mut self, said: Owed, change: Change) {
        self.note_change(None, change);
        self.ledger.owe(said);
    }

    fn answer_close(&mut self, body: &[u8]) -> Option<()> {
        let naming = StatementUse::read(frontend::CLOSE, body)?;
        self.say_later(
            Owed::SaidClose,
            Change::Remove(names::key(naming.name).into()),
        );
        Some(())
    }

    /// A Bind of a BEGIN.
    fn answer_bind(&mut self, body: &[u8]) -> Option<()> {
        let naming = StatementUse::read(frontend::BIND, body)?;
        let begin = self.begin_named(naming.name)?;
        let blocks = self.mode() == PoolMode::Transaction;
        let plain = naming.before.is_empty() && has_no_parameters(&body[naming.bytes..]);
        if !plain || !blocks || !self.block.bind(Rc::clone(&begin)) {
            return None;
        }
        let bound = Bound {
            statement: begin,
            unnamed: None,
        };
        self.statements.portals.bind(b"", Some(bound));
        self.ledger.owe(Owed::SaidBind);
        Some(())
    }

    /// Statement under `name`, when that is a BEGIN.
    fn begin_named(&self, name: &[u8]) -> Option<Rc<Statement>> {
        match self
            .statements
            .names
            .find(name, self.ledger.client.pipeline())
        {
            Meaning::Statement(definition) if definition.statement.flags.begins() => {
                Some(definition.statement)
            }
            _ => None,
        }
    }

    fn answer_describe(&mut self, body: &[u8]) -> Option<()> {
        if let Some(naming) = StatementUse::read(frontend::DESCRIBE, body) {
            self.begin_named(naming.name)?;
            self.ledger.owe(Owed::SaidNothing);
            return Some(());
        }
        self.bound_begin(named_portal(body)?)?;
        self.ledger.owe(Owed::SaidNoData);
        Some(())
    }

    /// Statement of the unnamed portal, when that is the portal asked for and it is a BEGIN.
    fn bound_begin(&self, portal: &[u8]) -> Option<&Rc<Statement>> {
        let bound = self
            .statements
            .portals
            .statement(b"")
            .filter(|_| portal.is_empty())?;
        bound.flags.begins().then_some(bound)
    }

    fn answer_execute(&mut self, body: &[u8]) -> Option<()> {
        let begin = Rc::clone(self.bound_begin(Execute::read(body).ok()?.portal)?);
        if !self.block.execute() {
            return None;
        }
        self.follow_ups.answered_alone = true;
        let tag = begin.begin?.tag;
        let complete = if tag == "BEGIN" { BEGUN } else { STARTED };
        self.ledger.owe(Owed::SaidBegin(complete));
        Some(())
    }

    /// Every answer of ours that is due.
    pub(crate) fn say_due(&mut self, context: &mut Context<'_>) {
        while let Some(said) = self.said(context.server.as_deref_mut()) {
            context.out.extend_from_slice(said);
        }
    }

    /// Answer of pgring's own that is due at this point of the conversation, if one is.
    #[inline]
    pub fn said(&mut self, server: Option<&mut Prepared>) -> Option<&'static [u8]> {
        let said = self.ledger.client.take_said()?;
        self.statements
            .names
            .settle(self.ledger.client.settled(), server);
        Some(match said {
            Owed::SaidParse => PARSE_COMPLETE,
            Owed::SaidBind => BIND_COMPLETE,
            Owed::SaidNothing => NOTHING,
            Owed::SaidNoData => NO_DATA,
            Owed::SaidBegin(complete) => complete,
            _ => CLOSE_COMPLETE,
        })
    }
}

/// True for the rest of a Bind that binds nothing: no parameter formats, no parameters.
fn has_no_parameters(rest: &[u8]) -> bool {
    rest.starts_with(&[0; 4])
}
