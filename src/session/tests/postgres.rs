//! A PostgreSQL backend reduced to statements, portals and transactions, working on messages as they are on the
//! wire. What it answers is the truth that the tests beside it compare with; its tables hold nothing.

use std::{cell::Cell, collections::HashMap, rc::Rc};

use crate::protocol::{
    ErrorReport, Frame, Header, SqlState, Tag, Writer,
    backend::TransactionStatus::{self, Failed, Idle, InTransaction},
    frontend::{Bind, Execute, Named, Parse, Query, Target},
    tag::frontend,
};

type Done = Result<(), ErrorReport>;

/// A row that a state query asks for.
type StateQueryRow = [Option<&'static str>; 3];

/// A portal: its statement, and whether that has been executed.
#[derive(Clone, Debug)]
struct Portal {
    text: String,
    done: bool,
}

/// A prepared statement with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// PREPARE made it.
    from_sql: bool,
}

/// The backend.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) named: HashMap<String, Prepared>,
    unnamed: Option<String>,
    portals: HashMap<String, Portal>,
    status: TransactionStatus,
    /// A transaction that the next Sync or Query ends.
    implicit: bool,
    skipping: bool,
    inbox: Vec<u8>,
    /// Answers that it keeps until it is asked for them.
    unsaid: Vec<u8>,
    out: Vec<u8>,
    /// The version of the table, for all servers.
    pub(crate) table: Rc<Cell<u64>>,
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(text: &str) -> ErrorReport {
    no(SqlState::from_bytes(text.as_bytes()).unwrap())
}

/// An error whose text says nothing.
fn no(sqlstate: SqlState) -> ErrorReport {
    ErrorReport::error(sqlstate, "no")
}

fn missing(name: &str) -> ErrorReport {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    ErrorReport::error(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}

fn taken(name: &str) -> ErrorReport {
    let message = format!("prepared statement \"{name}\" already exists");
    ErrorReport::error(SqlState::DUPLICATE_PREPARED_STATEMENT, message)
}

/// COMMIT and ROLLBACK are possible in a failed transaction.
fn is_exit(text: &str) -> bool {
    matches!(text, "COMMIT" | "ROLLBACK")
}

fn has_rows(text: &str) -> bool {
    text.starts_with("SELECT") || text.starts_with(TABLE)
}

/// Statement that reads the only table there is. A server notes with it the version of the table that it has found.
pub(crate) const TABLE: &str = "TABLE t";

/// The version that a statement was parsed at, if it reads the table.
pub(crate) fn version_of(text: &str) -> Option<u64> {
    text.strip_prefix(TABLE)?.strip_prefix('@')?.parse().ok()
}

/// Shape of the table's rows in a version: some come back.
pub(crate) fn shape(version: u64) -> u64 {
    version / 2 % 3
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            named: HashMap::new(),
            unnamed: None,
            portals: HashMap::new(),
            status: Idle,
            implicit: false,
            skipping: false,
            inbox: Vec::new(),
            unsaid: Vec::new(),
            out: Vec::new(),
            table: Rc::default(),
        }
    }
}

impl Backend {
    /// Bytes of a client, messages or parts of them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
    }

    /// Reads one message; false when none is whole.
    pub(crate) fn step(&mut self) -> bool {
        let Some(header) = Header::read(&self.inbox).unwrap() else {
            return false;
        };
        if self.inbox.len() < header.frame_bytes() {
            return false;
        }
        let rest = self.inbox.split_off(header.frame_bytes());
        let whole = std::mem::replace(&mut self.inbox, rest);
        let frame = Frame {
            tag: header.tag,
            body: &whole[Header::BYTES..],
        };
        if !self.skipping || header.tag == frontend::SYNC {
            self.read(frame);
        }
        true
    }

    /// Takes its oldest answer: tag and body.
    pub(crate) fn recv(&mut self) -> Option<(Tag, Vec<u8>)> {
        let header = Header::read(&self.out).unwrap()?;
        let rest = self.out.split_off(header.frame_bytes());
        let whole = std::mem::replace(&mut self.out, rest);
        Some((header.tag, whole[Header::BYTES..].to_vec()))
    }

    /// All its answers.
    pub(crate) fn recv_all(&mut self) -> Vec<u8> {
        self.flush();
        std::mem::take(&mut self.out)
    }

    /// True when nothing is under way; a Flush it will ignore.
    pub(crate) fn is_free(&self) -> bool {
        const FLUSH: &[u8] = &[frontend::FLUSH.0, 0, 0, 0, 4];
        let read = self
            .inbox
            .chunks(FLUSH.len())
            .all(|message| message == FLUSH);
        let quiet = read && self.out.is_empty() && self.unsaid.is_empty();
        quiet && self.status == Idle && !self.implicit && !self.skipping
    }

    /// DISCARD ALL between two sessions.
    pub(crate) fn reset(&mut self) {
        assert!(self.is_free());
        let table = Rc::clone(&self.table);
        *self = Self {
            table,
            ..Self::default()
        };
    }

    fn say(&mut self) -> Writer<'_> {
        Writer::new(&mut self.unsaid)
    }

    fn flush(&mut self) {
        self.out.append(&mut self.unsaid);
    }

    fn fail(&mut self, report: &ErrorReport) {
        self.say().error(report);
        self.flush();
        if self.status == Idle {
            self.portals.clear();
        } else {
            self.status = Failed;
        }
        self.implicit = false;
    }

    fn read(&mut self, frame: Frame<'_>) {
        match frame.tag {
            frontend::QUERY => {
                let text = string(Query::read(frame.body).whole().unwrap());
                if let Err(report) = self.query(&text) {
                    self.fail(&report);
                }
                self.ready();
            }
            frontend::SYNC => {
                self.skipping = false;
                self.ready();
            }
            frontend::FLUSH => self.flush(),
            _ => {
                if let Err(report) = self.extended(frame) {
                    self.fail(&report);
                    self.skipping = true;
                }
            }
        }
    }

    fn ready(&mut self) {
        self.implicit = false;
        if self.status == Idle {
            self.portals.clear();
        }
        let status = self.status;
        self.say().ready_for_query(status);
        self.flush();
    }

    fn extended(&mut self, frame: Frame<'_>) -> Done {
        match frame.tag {
            frontend::PARSE => self.parse(&Parse::read(frame.body).unwrap()),
            frontend::BIND => self.bind(&Bind::read(frame.body).unwrap()),
            frontend::DESCRIBE => self.describe(Named::read(frame.body).unwrap()),
            frontend::EXECUTE => self.execute(&Execute::read(frame.body).unwrap()),
            frontend::CLOSE => {
                self.close(Named::read(frame.body).unwrap());
                Ok(())
            }
            other => panic!("no client sends {other}"),
        }
    }

    /// Refuses by the grammar, then because the transaction has failed, then by the catalog: in that order.
    fn analyze(&self, text: &str) -> Done {
        if text == "SELEC" || text.starts_with("cached plan") {
            return Err(no(SqlState::SYNTAX_ERROR));
        }
        if self.status == Failed && !is_exit(text) && !text.is_empty() {
            return Err(no(SqlState::IN_FAILED_SQL_TRANSACTION));
        }
        if text == "SELECT missing" {
            return Err(code("42703"));
        }
        Ok(())
    }

    fn parse(&mut self, parse: &Parse<'_>) -> Done {
        self.implicit = true;
        let (name, text) = (string(parse.name), string(parse.text().unwrap()));
        if name.is_empty() {
            self.unnamed = None;
        }
        self.analyze(&text)?;
        let text = match text == TABLE {
            true => format!("{TABLE}@{}", self.table.get()),
            false => text,
        };
        if name.is_empty() {
            self.unnamed = Some(text);
        } else {
            self.store(name, text, false)?;
        }
        self.say().parse_complete();
        Ok(())
    }

    fn store(&mut self, name: String, text: String, from_sql: bool) -> Done {
        if self.named.contains_key(&name) {
            return Err(taken(&name));
        }
        self.named.insert(name, Prepared { text, from_sql });
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<String, ErrorReport> {
        let name = string(name);
        let found = if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(&name).map(|prepared| &prepared.text)
        };
        found.cloned().ok_or_else(|| missing(&name))
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Done {
        self.implicit = true;
        let text = self.find(bind.statement)?;
        if self.status == Failed && !is_exit(&text) {
            return Err(no(SqlState::IN_FAILED_SQL_TRANSACTION));
        }
        self.revalidate(&text)?;
        let portal = string(bind.portal);
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(code("42P03"));
        }
        self.portals.insert(portal, Portal { text, done: false });
        self.say().bind_complete();
        Ok(())
    }

    /// PostgreSQL describes what has no rows even in a failed transaction, provided that it was prepared before.
    /// Here it does not: pgring may have to prepare it then, and the server refuses that.
    fn describe(&mut self, named: Named<'_>) -> Done {
        self.implicit = true;
        let text = match named.target {
            Target::Statement => self.find(named.name)?,
            Target::Portal => self.portal(named.name)?.text.clone(),
        };
        if self.status == Failed && !is_exit(&text) {
            return Err(no(SqlState::IN_FAILED_SQL_TRANSACTION));
        }
        if named.target == Target::Statement {
            self.say().parameter_description([]);
        }
        if named.target == Target::Statement {
            self.revalidate(&text)?;
        }
        if let Some(version) = version_of(&text) {
            let column = format!("shape {}", shape(version));
            self.say().row_description_text([column.as_str()]);
        } else if has_rows(&text) {
            self.say().row_description_text([text.as_str()]);
        } else {
            self.say().no_data();
        }
        Ok(())
    }

    /// The rows must be those that were there when the statement was parsed.
    fn revalidate(&self, text: &str) -> Done {
        match version_of(text) {
            Some(version) if shape(version) != shape(self.table.get()) => {
                Err(no(SqlState::FEATURE_NOT_SUPPORTED))
            }
            _ => Ok(()),
        }
    }

    /// In a failed transaction PostgreSQL, too, looks for the portal first. pgring may send a Parse before that, which
    /// is refused for the transaction: another error for a client that executes what it has not bound.
    fn portal(&mut self, name: &[u8]) -> Result<&mut Portal, ErrorReport> {
        let missing = match self.status {
            Failed => SqlState::IN_FAILED_SQL_TRANSACTION,
            _ => SqlState::INVALID_CURSOR_NAME,
        };
        self.portals
            .get_mut(&string(name))
            .ok_or_else(|| no(missing))
    }

    fn execute(&mut self, execute: &Execute<'_>) -> Done {
        self.implicit = true;
        let failed = self.status == Failed;
        let portal = self.portal(execute.portal)?;
        let text = portal.text.clone();
        if failed && !is_exit(&text) {
            return Err(no(SqlState::IN_FAILED_SQL_TRANSACTION));
        }
        let done = std::mem::replace(&mut portal.done, true);
        match (done, has_rows(&text)) {
            (true, true) => drop(self.say().command_complete("SELECT 0")),
            (true, false) if !text.is_empty() => {
                return Err(no(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE));
            }
            _ => self.run(&text)?,
        }
        Ok(())
    }

    fn close(&mut self, named: Named<'_>) {
        let name = string(named.name);
        match named.target {
            Target::Portal => drop(self.portals.remove(&name)),
            Target::Statement if name.is_empty() => self.unnamed = None,
            Target::Statement => drop(self.named.remove(&name)),
        }
        self.say().close_complete();
    }

    fn query(&mut self, text: &str) -> Done {
        self.unnamed = None;
        if text.contains("SELECT 'b', 'statement_timeout'") {
            return self.state_query();
        }
        for statement in text.split("; ") {
            self.analyze(statement)?;
            if has_rows(statement) {
                self.say().row_description_text([statement]);
            }
            self.portals.remove("");
            self.run(statement)?;
        }
        Ok(())
    }

    /// Runs a statement that was analyzed.
    fn run(&mut self, text: &str) -> Done {
        if self.status == Failed && !is_exit(text) {
            return Err(no(SqlState::IN_FAILED_SQL_TRANSACTION));
        }
        match text.split(' ').collect::<Vec<_>>()[..] {
            [""] => drop(self.say().empty_query()),
            ["SELECT", "1/0"] => return Err(code("22012")),
            ["SELECT" | "TABLE", ..] => {
                self.say()
                    .data_row([Some(text)])
                    .command_complete("SELECT 1");
            }
            ["BEGIN"] => self.begin(),
            ["COMMIT" | "ROLLBACK"] => self.end(text),
            ["DEALLOCATE", "ALL"] => {
                self.named.clear();
                self.say().command_complete("DEALLOCATE ALL");
            }
            ["DEALLOCATE", name] => {
                let found = self.named.remove(name);
                found.ok_or_else(|| missing(name))?;
                self.say().command_complete("DEALLOCATE");
            }
            ["DISCARD", "ALL"] => self.discard()?,
            ["PREPARE", name, "AS", "SELECT", what] => {
                self.store(name.into(), format!("SELECT {what}"), true)?;
                self.say().command_complete("PREPARE");
            }
            ["EXECUTE", name] => return self.execute_by_name(name),
            ["SET", ..] => drop(self.say().command_complete("SET")),
            _ => panic!("not in the model: {text}"),
        }
        Ok(())
    }

    fn begin(&mut self) {
        if self.status == InTransaction {
            self.warn();
        }
        self.status = InTransaction;
        self.say().command_complete("BEGIN");
    }

    fn end(&mut self, text: &str) {
        if self.status == Idle {
            self.warn();
        }
        let tag = if self.status == Failed {
            "ROLLBACK"
        } else {
            text
        };
        self.say().command_complete(tag);
        self.status = Idle;
        self.implicit = false;
        self.portals.clear();
    }

    fn warn(&mut self) {
        self.say().notice(&ErrorReport::error(
            SqlState::ACTIVE_SQL_TRANSACTION,
            "it is so already",
        ));
    }

    fn discard(&mut self) -> Done {
        if self.status != Idle {
            return Err(no(SqlState::ACTIVE_SQL_TRANSACTION));
        }
        self.named.clear();
        self.say().command_complete("DISCARD ALL");
        Ok(())
    }

    fn execute_by_name(&mut self, name: &str) -> Done {
        let text = self.find(name.as_bytes())?;
        if !has_rows(&text) && !text.is_empty() {
            // PostgreSQL would run a DEALLOCATE here, where pgring does not look for one.
            return Err(no(SqlState::FEATURE_NOT_SUPPORTED));
        }
        self.run(&text)
    }

    /// Answers the question of the rules after a statement that may have left something behind.
    fn state_query(&mut self) -> Done {
        let prepared = self.named.values().any(|prepared| prepared.from_sql);
        let user: StateQueryRow = [Some("u"), None, Some("617070")];
        self.say()
            .row_description_text(["letter", "name", "value"])
            .data_row(user);
        if prepared {
            self.say().data_row::<&str>([Some("p"), None, None]);
        }
        self.say().command_complete("SELECT");
        Ok(())
    }
}
