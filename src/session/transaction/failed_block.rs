//! A transaction whose server connection was lost: failed until the client ends it. Pure.
//!
//! The client gets the answers PostgreSQL gives in a failed transaction (25P02, until ROLLBACK), except that
//! a COMMIT of a client that has not been told yet is an error, so that nobody takes it for committed. Never
//! fails on a message: what it cannot read is refused as everything else.

use crate::session::prepared::names::{Meaning, Names};
use crate::{
    protocol::{
        ErrorReport, Header, SqlState, Tag, Writer,
        backend::TransactionStatus,
        frontend::{Bind, Named, Parse, Query, Target, is_request},
        tag::frontend,
    },
    sql::effects::{self, Ending},
};

/// Outcome of a message in the failed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It was answered or ignored; the failed transaction goes on.
    Stays,
    /// It was answered, and was the last one: the session is an ordinary one again.
    Over,
    /// The transaction has ended and this message belongs to what comes after it. It was not answered.
    NotMine,
}

/// A statement that is possible in a failed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statement {
    Empty,
    Ends(Ending),
}

/// The failed transaction of one session.
#[derive(Debug)]
pub(crate) struct FailedBlock {
    /// The error of the loss, while the client has seen none since.
    untold: Option<Box<ErrorReport>>,
    /// Everything is ignored up to the next Sync.
    skipping: bool,
    /// The unnamed statement, when it is possible here.
    parsed: Option<Statement>,
    /// The unnamed portal, likewise.
    bound: Option<Statement>,
    /// The transaction was ended by the client.
    ended: bool,
}

impl FailedBlock {
    /// `untold`: the error of the loss, unless the client has already got it. `skipping`: inside a pipeline.
    pub(crate) fn new(untold: Option<Box<ErrorReport>>, skipping: bool) -> Self {
        Self {
            untold,
            skipping,
            parsed: None,
            bound: None,
            ended: false,
        }
    }

    /// Answers one message, of which `body` may be only the beginning.
    pub(crate) fn answer(
        &mut self,
        header: Header,
        body: &[u8],
        names: &Names,
        out: &mut Vec<u8>,
    ) -> Reply {
        let tag = header.tag;
        if tag == frontend::SYNC {
            return self.ready(out);
        }
        if self.skipping || !is_request(tag) {
            return Reply::Stays;
        }
        if self.ended {
            return Reply::NotMine;
        }
        let whole = body.len() == header.body_bytes();
        match tag {
            frontend::QUERY => return self.answer_query(body, whole, out),
            frontend::FUNCTION_CALL => {
                self.complain(out);
                return self.ready(out);
            }
            frontend::CLOSE => drop(Writer::new(out).close_complete()),
            _ => self.answer_extended(tag, body, whole, names, out),
        }
        Reply::Stays
    }

    fn answer_extended(
        &mut self,
        tag: Tag,
        body: &[u8],
        whole: bool,
        names: &Names,
        out: &mut Vec<u8>,
    ) {
        let done = match tag {
            frontend::PARSE => self.answer_parse(body, whole, out),
            frontend::BIND => self.answer_bind(body, names, out),
            frontend::DESCRIBE => self.answer_describe(body, out),
            _ => self.answer_execute(out),
        };
        if done.is_none() {
            self.complain(out);
            self.skipping = true;
        }
    }

    /// ReadyForQuery after a Sync or its like.
    fn ready(&mut self, out: &mut Vec<u8>) -> Reply {
        self.skipping = false;
        if self.ended {
            Writer::new(out).ready_for_query(TransactionStatus::Idle);
            return Reply::Over;
        }
        Writer::new(out).ready_for_query(TransactionStatus::Failed);
        Reply::Stays
    }

    fn answer_query(&mut self, body: &[u8], whole: bool, out: &mut Vec<u8>) -> Reply {
        let text = Query::read(body).text;
        let ending = ending(text).filter(|_| whole);
        let single = effects::is_single(text);
        match ending {
            // A fresh server runs a ROLLBACK outside a transaction with a warning, and then the rest.
            Some(Ending::Rollback) if !single => return Reply::NotMine,
            Some(ending) if single => drop(self.end(ending, out)),
            _ if whole && effects::is_empty(text) => drop(Writer::new(out).empty_query()),
            _ => self.complain(out),
        }
        self.ready(out)
    }

    fn answer_parse(&mut self, body: &[u8], whole: bool, out: &mut Vec<u8>) -> Option<()> {
        let parse = Parse::read(body).ok()?;
        // A named statement would have to be there after the transaction too.
        if !parse.name.is_empty() || !whole {
            return None;
        }
        self.parsed = possible(parse.text().ok()?);
        self.parsed?;
        Writer::new(out).parse_complete();
        Some(())
    }

    fn answer_bind(&mut self, body: &[u8], names: &Names, out: &mut Vec<u8>) -> Option<()> {
        let bind = Bind::read(body).ok()?;
        if !bind.portal.is_empty() {
            return None;
        }
        self.bound = Some(self.meaning(bind.statement, names)?);
        Writer::new(out).bind_complete();
        Some(())
    }

    /// Meaning of a prepared statement, if it is possible here.
    fn meaning(&self, name: &[u8], names: &Names) -> Option<Statement> {
        if name.is_empty() && self.parsed.is_some() {
            return self.parsed;
        }
        match names.find(name, 0) {
            Meaning::Statement(definition) => possible(definition.statement.text()),
            Meaning::Nothing | Meaning::Unsure => None,
        }
    }

    /// None of the possible statements has result columns.
    fn answer_describe(&self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if Named::read(body).ok()?.target == Target::Statement {
            self.parsed?;
            Writer::new(out).parameter_description([]);
        } else {
            self.bound?;
        }
        Writer::new(out).no_data();
        Some(())
    }

    fn answer_execute(&mut self, out: &mut Vec<u8>) -> Option<()> {
        match self.bound? {
            Statement::Empty => drop(Writer::new(out).empty_query()),
            Statement::Ends(ending) => self.skipping = !self.end(ending, out),
        }
        Some(())
    }

    /// The client ends the transaction; answers whether it was told so without an error.
    fn end(&mut self, ending: Ending, out: &mut Vec<u8>) -> bool {
        self.ended = true;
        if ending == Ending::Commit && self.untold.is_some() {
            Writer::new(out).error(&commit_of_lost());
            return false;
        }
        Writer::new(out).command_complete("ROLLBACK");
        true
    }

    fn complain(&mut self, out: &mut Vec<u8>) {
        match self.untold.take() {
            Some(report) => Writer::new(out).error(&report),
            None => Writer::new(out).error(&in_failed_transaction()),
        };
    }
}

/// Meaning of a text in a failed transaction, if it is possible there.
fn possible(text: &[u8]) -> Option<Statement> {
    match ending(text) {
        Some(ending) => Some(Statement::Ends(ending)),
        None => effects::is_empty(text).then_some(Statement::Empty),
    }
}

/// How the first statement ends the transaction for good. One that begins another is not possible here.
fn ending(text: &[u8]) -> Option<Ending> {
    effects::ending(text).filter(|_| !effects::chains(text))
}

/// Error that a client reads first when its transaction is gone.
pub(crate) fn lost_in_transaction() -> ErrorReport {
    ErrorReport::error(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost; this transaction is rolled back",
    )
    .with_hint("Send ROLLBACK, then repeat the transaction.")
}

fn commit_of_lost() -> ErrorReport {
    ErrorReport::error(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost before the transaction was committed; it is rolled back",
    )
    .with_hint("Repeat the transaction.")
}

fn in_failed_transaction() -> ErrorReport {
    ErrorReport::error(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
    .with_hint("Its server connection was lost, and its savepoints with it. Send ROLLBACK.")
}
