//! A transaction whose server connection was lost: failed until the client ends it. Pure.
//!
//! The client gets the answers PostgreSQL gives in a failed transaction (25P02, until ROLLBACK), except that
//! a COMMIT of a client that has not been told yet is an error, so that nobody takes it for committed.

use crate::{
    protocol::{
        ErrorReport, ProtocolError, SqlState, Tag, Writer,
        backend::TransactionStatus,
        frontend::{Named, Parse, Query, Target},
        tag::frontend,
    },
    worker::classify::{self, Ending},
};

/// The failed transaction of one session.
#[derive(Debug)]
pub(crate) struct Limbo {
    /// The client has seen an error since the connection was lost.
    told: bool,
    /// Everything is ignored up to the next Sync.
    skipping: bool,
    /// The statement parsed last, when it ends the transaction.
    parsed: Option<Ending>,
    /// The transaction was ended by the client.
    ended: bool,
}

impl Limbo {
    /// `told`: the client has already got the error of the loss. `skipping`: inside a pipeline.
    pub(crate) fn new(told: bool, skipping: bool) -> Self {
        Self {
            told,
            skipping,
            parsed: None,
            ended: false,
        }
    }

    /// Answers one whole message; true once the session is an ordinary one again.
    pub(crate) fn answer(
        &mut self,
        tag: Tag,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, ProtocolError> {
        match tag {
            frontend::SYNC => return Ok(self.answer_sync(out)),
            frontend::QUERY if !self.skipping => {
                return self.answer_query(Query::read(body)?.text, out);
            }
            _ if self.skipping => {}
            frontend::PARSE => self.answer_parse(Parse::read(body)?.text, out),
            frontend::BIND if self.parsed.is_some() => drop(Writer::new(out).bind_complete()),
            frontend::CLOSE => drop(Writer::new(out).close_complete()),
            frontend::DESCRIBE if self.parsed.is_some() => answer_describe(Named::read(body)?, out),
            frontend::EXECUTE if self.parsed.is_some() => self.answer_execute(out),
            frontend::BIND | frontend::DESCRIBE | frontend::EXECUTE | frontend::FUNCTION_CALL => {
                self.refuse(out)
            }
            _ => {}
        }
        Ok(false)
    }

    fn answer_sync(&mut self, out: &mut Vec<u8>) -> bool {
        self.skipping = false;
        Writer::new(out).ready_for_query(self.status());
        self.ended
    }

    fn answer_query(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        match classify::ending(text).filter(|_| classify::is_single(text)) {
            Some(ending) => self.end(ending, out),
            None if classify::is_empty(text) => drop(Writer::new(out).empty_query()),
            None => self.complain(out),
        }
        Writer::new(out).ready_for_query(self.status());
        Ok(self.ended)
    }

    fn answer_parse(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.parsed = classify::ending(text);
        if self.parsed.is_some() {
            Writer::new(out).parse_complete();
        } else {
            self.refuse(out);
        }
    }

    fn answer_execute(&mut self, out: &mut Vec<u8>) {
        let ending = self
            .parsed
            .take()
            .expect("asked for only when a statement was parsed");
        let told = self.told;
        self.end(ending, out);
        self.skipping = ending == Ending::Commit && !told;
    }

    /// The client ends the transaction.
    fn end(&mut self, ending: Ending, out: &mut Vec<u8>) {
        if ending == Ending::Commit && !self.told {
            self.complain(out);
        } else {
            Writer::new(out).command_complete("ROLLBACK");
        }
        self.ended = true;
    }

    /// An error of the extended protocol.
    fn refuse(&mut self, out: &mut Vec<u8>) {
        self.complain(out);
        self.skipping = true;
    }

    fn complain(&mut self, out: &mut Vec<u8>) {
        let report = if std::mem::replace(&mut self.told, true) {
            ErrorReport::error(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )
        } else {
            lost_in_transaction()
        };
        Writer::new(out).error(&report);
    }

    fn status(&self) -> TransactionStatus {
        if self.ended {
            TransactionStatus::Idle
        } else {
            TransactionStatus::Failed
        }
    }
}

/// A statement without result columns.
fn answer_describe(named: Named<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    if named.target == Target::Statement {
        writer.parameter_description([]);
    }
    writer.no_data();
}

/// What a client reads first when its transaction is gone.
pub(crate) fn lost_in_transaction() -> ErrorReport {
    ErrorReport::error(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost; this transaction is rolled back",
    )
    .with_hint("Send ROLLBACK, then repeat the transaction.")
}
