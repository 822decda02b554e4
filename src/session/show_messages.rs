//! Questions to pgring itself between the client's other messages, in either protocol: each is answered in its place,
//! when all before it is answered, and no server hears of it. Pure.

use super::{
    context::Context,
    conversation::Conversation,
    prepared::{
        extended::{Naming, split_parse, until_zero},
        names::Meaning,
    },
    verdict::Verdict,
};
use super::{
    prepared::text_bytes,
    questions::{Question, get},
    show::Show,
};
use crate::protocol::{Header, Tag, tag::frontend};

impl Conversation {
    /// True when the message may be a question, or touch one: cheap, for every message.
    #[inline]
    pub(crate) fn may_ask(&self, tag: Tag, body: &[u8]) -> bool {
        let has_some = !self.questions.is_empty();
        match tag {
            frontend::QUERY => has_some || Show::may_be(body),
            frontend::PARSE => {
                let content = split_parse(body).map(|(_, content)| content);
                has_some || content.is_some_and(Show::may_be)
            }
            frontend::BIND
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::CLOSE
            | frontend::SYNC => has_some,
            _ => false,
        }
    }

    /// What becomes of the message when it is a question; `None` when it is not.
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
        while self.ledger.outstanding() > 0 && self.hasten_answers(context) {}
        if self.ledger.outstanding() > 0 || !self.own_requests_are_done() || self.is_replanning() {
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
                Question::Query(Show::read(body.strip_suffix(b"\0")?)?)
            }
            frontend::PARSE => {
                let (name, content) = split_parse(body)?;
                let show = Show::read(content.get(..text_bytes(content)?)?)?;
                let is_free = name.is_empty() || self.is_free(name);
                is_free.then(|| Question::Parse(name.into(), show))?
            }
            frontend::BIND => {
                let naming = Naming::read(frontend::BIND, body)?;
                Question::Bind(naming.before.into(), self.asks(naming.name)?)
            }
            frontend::DESCRIBE => match Naming::read(frontend::DESCRIBE, body) {
                Some(naming) => Question::DescribeStatement(self.asks(naming.name)?),
                None => Question::DescribePortal(self.portal_asks(body.get(1..)?)?),
            },
            frontend::EXECUTE => Question::Execute(self.portal_asks(body)?),
            frontend::CLOSE => match Naming::read(frontend::CLOSE, body) {
                Some(naming) => {
                    self.asks(naming.name)?;
                    Question::CloseStatement(naming.name.into())
                }
                None => {
                    let portal = body.get(1..)?;
                    self.portal_asks(portal)?;
                    Question::ClosePortal(until_zero(portal).into())
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
            frontend::PARSE if body.first() == Some(&0) => questions.close_statement(b""),
            frontend::BIND => questions.close_portal(until_zero(body)),
            _ => {}
        }
    }

    /// True when the name means no other statement.
    fn is_free(&self, name: &[u8]) -> bool {
        let meaning = self.statements.names.find(name, self.ledger.pipeline());
        matches!(meaning, Meaning::Nothing)
    }

    /// What a statement asks of pgring.
    pub(crate) fn asks(&self, name: &[u8]) -> Option<Show> {
        get(&self.questions.statements, name).filter(|_| self.is_free(name))
    }

    /// The same for a portal, at whose name `body` begins.
    pub(crate) fn portal_asks(&self, body: &[u8]) -> Option<Show> {
        get(&self.questions.portals, until_zero(body))
    }
}
