//! Questions to pgring itself between the client's other messages, in either protocol: each is answered in its place,
//! when all before it is answered, and no server hears of it. Pure.

use super::{
    context::Context, conversation::Conversation, prepared::names::Meaning, verdict::Verdict,
};
use super::{
    questions::{Question, get},
    show::Show,
};
use crate::protocol::{
    Header, Tag,
    frontend::{Bind, Execute, Parse, Query, StatementUse, named_portal},
    tag::frontend,
};

impl Conversation {
    /// True when the message may be a question, or touch one: cheap, for every message.
    #[inline]
    pub(crate) fn may_ask(&self, tag: Tag, body: &[u8]) -> bool {
        let has_some = !self.questions.is_empty();
        match tag {
            frontend::QUERY => has_some || Show::may_be(body),
            frontend::PARSE => {
                has_some || Parse::read(body).is_ok_and(|parse| Show::may_be(parse.content))
            }
            frontend::BIND
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::CLOSE
            | frontend::SYNC => has_some,
            _ => false,
        }
    }

    /// Verdict on the message when it is a question; `None` when it is not.
    #[cold]
    pub(crate) fn ask(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let is_whole = body.len() == header.body_bytes();
        if !is_whole || self.ledger.is_deaf() || self.answers_itself() {
            return None;
        }
        let Some(question) = self.question(header.tag, body) else {
            self.forget_replaced(header.tag, body);
            return None;
        };
        while self.ledger.client.outstanding() > 0 && self.hasten_answers(context) {}
        if self.ledger.client.outstanding() > 0
            || !self.own_requests_are_done()
            || self.is_replanning()
        {
            return Some(Verdict::Wait);
        }
        let adds = matches!(question, Question::Parse(..) | Question::Bind(..));
        if adds && self.questions.is_full() {
            return Some(Verdict::Full);
        }
        self.questions.next = Some(question);
        Some(Verdict::Asks)
    }

    /// True for a message that is for pgring: it needs no node.
    pub(crate) fn is_question(&self, tag: Tag, body: &[u8]) -> bool {
        self.may_ask(tag, body) && self.question(tag, body).is_some()
    }

    fn question(&self, tag: Tag, body: &[u8]) -> Option<Question> {
        Some(match tag {
            // In an open pipeline it would be its end, which is the server's to tell.
            frontend::QUERY if self.ledger.begins_pipeline() => {
                Question::Query(Show::read(Query::read(body).whole().ok()?)?)
            }
            frontend::PARSE => {
                let parse = Parse::read(body).ok()?;
                let show = Show::read(parse.text().ok()?)?;
                let is_free = parse.name.is_empty() || self.is_free(parse.name);
                is_free.then(|| Question::Parse(parse.name.into(), show))?
            }
            frontend::BIND => {
                let naming = StatementUse::read(frontend::BIND, body)?;
                Question::Bind(naming.before.into(), self.asks(naming.name)?)
            }
            frontend::DESCRIBE => match StatementUse::read(frontend::DESCRIBE, body) {
                Some(naming) => Question::DescribeStatement(self.asks(naming.name)?),
                None => Question::DescribePortal(self.portal_asks(named_portal(body)?)?),
            },
            frontend::EXECUTE => {
                Question::Execute(self.portal_asks(Execute::read(body).ok()?.portal)?)
            }
            frontend::CLOSE => match StatementUse::read(frontend::CLOSE, body) {
                Some(naming) => {
                    self.asks(naming.name)?;
                    Question::CloseStatement(naming.name.into())
                }
                None => {
                    let portal = named_portal(body)?;
                    self.portal_asks(portal)?;
                    Question::ClosePortal(portal.into())
                }
            },
            _ => return None,
        })
    }

    /// A message for the server takes the place of a question, or ends the pipeline.
    fn forget_replaced(&mut self, tag: Tag, body: &[u8]) {
        let questions = &mut self.questions;
        match tag {
            frontend::QUERY => {
                questions.close_statement(b"");
                questions.portals.clear();
            }
            frontend::SYNC => questions.portals.clear(),
            frontend::PARSE if Parse::read(body).is_ok_and(|parse| parse.name.is_empty()) => {
                questions.close_statement(b"");
            }
            frontend::BIND => {
                if let Ok(bind) = Bind::read(body) {
                    questions.close_portal(bind.portal);
                }
            }
            _ => {}
        }
    }

    /// True when the name means no other statement.
    fn is_free(&self, name: &[u8]) -> bool {
        let meaning = self
            .statements
            .names
            .find(name, self.ledger.client.pipeline());
        matches!(meaning, Meaning::Nothing)
    }

    /// Question that the client has prepared under this name, unless the name means another statement by now.
    pub(crate) fn asks(&self, name: &[u8]) -> Option<Show> {
        get(&self.questions.statements, name).filter(|_| self.is_free(name))
    }

    /// The question that a portal asks of pgring.
    pub(crate) fn portal_asks(&self, portal: &[u8]) -> Option<Show> {
        get(&self.questions.portals, portal)
    }
}
