//! Questions to pgring itself in the middle of a session, in either protocol: answered here, no server hears of them.
//!
//! A pipeline is answered whole or not at all: when all that it parses and binds are such questions.

use std::rc::Rc;

use super::{
    conversation::Conversation,
    extended::{Naming, split_parse},
    names::Meaning,
    serve::{End, Session},
};
use crate::{
    ids::NodeId,
    protocol::{
        Header, Writer,
        tag::{backend, frontend},
    },
    worker::{
        classify::{self, Class},
        console::{Route, Show, Table},
        route,
        statements::text_bytes,
    },
};

/// Questions that a client has prepared, by their names.
pub(super) type Shows = Vec<(Box<[u8]>, Show)>;

/// One answer of a pipeline.
#[derive(Debug)]
pub(super) enum Step {
    /// One without content.
    Say(&'static [u8]),
    /// To a Describe of a statement.
    Statement(Show),
    /// To a Describe of a portal.
    Portal(Show),
    /// The rows, without a description of them.
    Rows(Show),
    /// The answer to a Query: its description and its rows.
    Query(Show),
}

/// A pipeline that is for pgring.
#[derive(Debug)]
pub(super) struct Questions {
    steps: Vec<Step>,
    /// Bytes of its messages.
    pub(super) bytes: usize,
    prepared: Shows,
    closed: Vec<Box<[u8]>>,
}

/// Reads a pipeline.
struct Reading<'a> {
    rules: &'a Conversation,
    known: &'a Shows,
    found: Questions,
    portals: Vec<(&'a [u8], Show)>,
}

impl Session {
    /// The pipeline at `at`, when it is for pgring.
    pub(super) fn questions(&self, at: usize) -> Option<Questions> {
        let bytes = self.pending.get(at..)?;
        let header = Header::read(bytes).ok()??;
        let body = bytes.get(Header::BYTES..header.frame_bytes())?;
        let may_be = match header.tag {
            frontend::QUERY => Show::may_be(body),
            frontend::PARSE => split_parse(body).is_some_and(|(_, content)| Show::may_be(content)),
            frontend::BIND | frontend::DESCRIBE | frontend::CLOSE => !self.shows.is_empty(),
            _ => false,
        };
        may_be.then(|| self.read_questions(bytes)).flatten()
    }

    #[cold]
    fn read_questions(&self, bytes: &[u8]) -> Option<Questions> {
        let mut reading = Reading {
            rules: &self.conversation,
            known: &self.shows,
            found: Questions {
                steps: Vec::new(),
                bytes: 0,
                prepared: Vec::new(),
                closed: Vec::new(),
            },
            portals: Vec::new(),
        };
        loop {
            let rest = bytes.get(reading.found.bytes..)?;
            let header = Header::read(rest).ok()??;
            let body = rest.get(Header::BYTES..header.frame_bytes())?;
            reading.found.bytes += header.frame_bytes();
            let is_query = header.tag == frontend::QUERY;
            if is_query && reading.found.steps.is_empty() {
                let show = Show::read(body.strip_suffix(b"\0")?)?;
                reading.found.steps.push(Step::Query(show));
                return Some(reading.found);
            }
            if header.tag == frontend::SYNC {
                return Some(reading.found).filter(|found| !found.steps.is_empty());
            }
            reading.message(header, body)?;
        }
    }

    /// Answers it.
    pub(super) async fn answer_questions(&mut self, questions: Questions) -> Result<(), End> {
        let mut out = Vec::new();
        for step in questions.steps {
            match step {
                Step::Say(message) => out.extend_from_slice(message),
                Step::Statement(show) => {
                    Writer::new(&mut out)
                        .parameter_description([])
                        .row_description_text(show.columns());
                }
                Step::Portal(show) => {
                    Writer::new(&mut out).row_description_text(show.columns());
                }
                Step::Rows(show) => self.table_of(&show).await.write_rows(&mut out),
                Step::Query(show) => {
                    self.conversation.forget_unnamed();
                    self.table_of(&show).await.write(&mut out);
                }
            }
        }
        for name in questions.closed {
            self.shows.retain(|(known, _)| *known != name);
        }
        for (name, show) in questions.prepared {
            if name.is_empty() {
                self.conversation.forget_unnamed();
            }
            self.shows.retain(|(known, _)| *known != name);
            self.shows.push((name, show));
        }
        Writer::new(&mut out).ready_for_query(self.conversation.status());
        self.client.send(out.into());
        Ok(())
    }

    async fn table_of(&mut self, show: &Show) -> Table {
        let worker = Rc::clone(&self.worker);
        let reads = self.reads_go_to();
        show.answer(&worker, reads, |statement| self.explain(statement))
            .await
    }

    /// Where a statement would go now.
    fn explain(&mut self, statement: &[u8]) -> Route {
        let worker = Rc::clone(&self.worker);
        let snapshot = worker.snapshot();
        if !snapshot.splits() {
            let why = "read/write splitting is off, or there is one node";
            return Route::of_one(snapshot.primary, why);
        }
        if let Some(lease) = &self.lease {
            let node = lease.backend().facts.node;
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
            true => self.place_read(&snapshot, classify::hint(statement), 0),
            false => snapshot.primary,
        };
        let after = self.must_have_seen(&snapshot.settings.routing);
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

impl<'a> Reading<'a> {
    /// `None` when the pipeline is not for pgring.
    fn message(&mut self, header: Header, body: &'a [u8]) -> Option<()> {
        const PARSED: &[u8] = &[backend::PARSE_COMPLETE.0, 0, 0, 0, 4];
        const BOUND: &[u8] = &[backend::BIND_COMPLETE.0, 0, 0, 0, 4];
        const CLOSED: &[u8] = &[backend::CLOSE_COMPLETE.0, 0, 0, 0, 4];
        let step = match header.tag {
            frontend::PARSE => {
                let (name, content) = split_parse(body)?;
                let show = Show::read(content.get(..text_bytes(content)?)?)?;
                if !name.is_empty() && !self.is_free(name) {
                    return None;
                }
                self.found.prepared.push((name.into(), show));
                Step::Say(PARSED)
            }
            frontend::BIND => {
                let naming = Naming::read(frontend::BIND, body)?;
                let show = self.named(naming.name)?;
                self.portals.push((naming.before, show));
                Step::Say(BOUND)
            }
            frontend::DESCRIBE => match Naming::read(frontend::DESCRIBE, body) {
                Some(naming) => Step::Statement(self.named(naming.name)?),
                None => Step::Portal(self.portal(body.strip_prefix(b"P")?)?),
            },
            frontend::EXECUTE => Step::Rows(self.portal(body)?),
            frontend::CLOSE => {
                if let Some(naming) = Naming::read(frontend::CLOSE, body) {
                    self.named(naming.name)?;
                    self.found.closed.push(naming.name.into());
                }
                Step::Say(CLOSED)
            }
            frontend::FLUSH => return Some(()),
            _ => return None,
        };
        self.found.steps.push(step);
        Some(())
    }

    /// True when the name means nothing else.
    fn is_free(&self, name: &[u8]) -> bool {
        let meaning = self.rules.names.find(name, self.rules.ledger.pipeline());
        matches!(meaning, Meaning::Nothing)
    }

    fn named(&self, name: &[u8]) -> Option<Show> {
        let here = self.found.prepared.iter().rev();
        let before = self.known.iter().filter(|_| self.is_free(name));
        let mut known = here.chain(before);
        let found = known.find(|(known, _)| **known == *name)?;
        Some(found.1.clone())
    }

    fn portal(&self, body: &[u8]) -> Option<Show> {
        let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut portals = self.portals.iter().rev();
        Some(portals.find(|(portal, _)| *portal == name)?.1.clone())
    }
}
