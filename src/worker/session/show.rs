//! Answers to questions to pgring itself in the middle of a session.

use std::rc::Rc;

use super::task::{End, Session};
use crate::session::{
    questions::Question,
    transaction::local_answers::{BIND_COMPLETE, CLOSE_COMPLETE, PARSE_COMPLETE},
};
use crate::sql::hint;
use crate::{
    admin::{route::Route, table::Table},
    ids::NodeId,
    protocol::{Header, Writer},
    session::show::Show,
    sql::class::Class,
    worker::{console::write, route},
};

impl Session {
    /// True when the message at `at` is one.
    pub(super) fn asks_at(&self, at: usize) -> bool {
        let bytes = self.intake.pending.get(at..).unwrap_or_default();
        let Ok(Some(header)) = Header::read(bytes) else {
            return false;
        };
        let body = bytes.get(Header::BYTES..header.frame_bytes());
        body.is_some_and(|body| self.conversation.is_question(header.tag, body))
    }

    /// Answers the client's question, to which it is the turn.
    pub(super) async fn answer_question(&mut self) -> Result<(), End> {
        let Some(question) = self.conversation.questions.take() else {
            return Ok(());
        };
        let mut out = Vec::new();
        match question {
            Question::Query(show) => {
                self.conversation.forget_unnamed();
                write::write(&self.table_of(&show).await, &mut out);
                Writer::new(&mut out).ready_for_query(self.conversation.status());
            }
            Question::Execute(show) => write::write_rows(&self.table_of(&show).await, &mut out),
            Question::DescribeStatement(show) => {
                Writer::new(&mut out).parameter_description([]);
                write::describe(show.listing(), &mut out);
            }
            Question::DescribePortal(show) => {
                write::describe(show.listing(), &mut out);
            }
            other => out.extend_from_slice(self.note_question(other)),
        }
        self.client.send(out.into());
        Ok(())
    }

    /// One that is answered without content.
    fn note_question(&mut self, question: Question) -> &'static [u8] {
        if matches!(&question, Question::Parse(name, _) if name.is_empty()) {
            self.conversation.forget_unnamed();
        }
        let questions = &mut self.conversation.questions;
        match question {
            Question::Parse(name, show) => {
                questions.prepare(name, show);
                PARSE_COMPLETE
            }
            Question::Bind(portal, show) => {
                questions.bind(portal, show);
                BIND_COMPLETE
            }
            Question::CloseStatement(name) => {
                questions.close_statement(&name);
                CLOSE_COMPLETE
            }
            Question::ClosePortal(name) => {
                questions.close_portal(&name);
                CLOSE_COMPLETE
            }
            _ => &[],
        }
    }

    async fn table_of(&mut self, show: &Show) -> Table {
        let worker = Rc::clone(&self.worker);
        let reads = self.reads_go_to();
        let route = match show {
            Show::Route(statement) => Some(self.explain(statement)),
            _ => None,
        };
        worker.table(show.listing(), reads, route).await
    }

    /// Where a statement would go now.
    fn explain(&mut self, statement: &[u8]) -> Route {
        let worker = Rc::clone(&self.worker);
        let snapshot = worker.snapshot();
        if !snapshot.splits() {
            let why = "read/write splitting is off, or there is one node";
            return Route::of_one(snapshot.primary, why);
        }
        if let Some(link) = &self.link {
            let node = link.node();
            let why = match self.conversation.pinned() {
                Some(pin) => format!("the session keeps its server connection: {}", pin.reason()),
                None => "the session is in a transaction there".to_owned(),
            };
            return Route::of_one(Some(node), &why);
        }
        self.pools.keep_up(&worker);
        let (class, reason) = self.explain_class(statement);
        let is_read = class == Class::Read && self.is_free_to_move(&snapshot.settings.routing);
        let chosen = match is_read {
            true => self.place_read(&snapshot, hint::hint(statement), 0),
            false => snapshot.primary,
        };
        let after = self.must_have_seen(&snapshot);
        let objection = |node: NodeId| match after {
            _ if !is_read && snapshot.primary == Some(node) => String::new(),
            _ if !is_read => "only the primary takes this".to_owned(),
            None if snapshot.primary == Some(node) => String::new(),
            None => "what this must not miss is known to the primary only".to_owned(),
            Some(after) => route::objection(&snapshot, node, after)
                .map_or_else(String::new, |objection| objection.to_string()),
        };
        Route {
            class: if class == Class::Read {
                "read"
            } else {
                "write"
            }
            .to_owned(),
            reason,
            chosen,
            objections: snapshot.ids().map(objection).collect(),
        }
    }
}
