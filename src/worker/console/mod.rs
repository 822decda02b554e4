//! The virtual database `pgring`: what an operator asks in SQL clothes, answered with PgBouncer's columns.

pub(crate) mod write;

use std::{rc::Rc, task::Poll};

use super::{
    clients::{self, ClientInfo},
    core::Worker,
};
use crate::session::show::Show;
use crate::{
    admin::{
        command::{Command, Impossible},
        listings::listing,
        table::{Dialect, Listing},
    },
    cluster::snapshot::Snapshot,
    limits::HELD_MESSAGE_BYTES_MAX,
    link::wire::{Wire, WireError},
    net::{Chunk, Stream},
    protocol::{
        ErrorReport, Frame, ProtocolError, SqlState, Tag, Writer, backend::TransactionStatus,
        frontend::Query, tag::frontend,
    },
};

/// An operator's session.
pub(crate) struct Console {
    worker: Rc<Worker>,
    stream: Stream,
    info: Rc<ClientInfo>,
    rest: Chunk,
}

/// Says whether a user may come in.
pub(super) fn permit(snapshot: &Snapshot, user: &str) -> Result<(), ErrorReport> {
    if snapshot
        .settings
        .admin
        .users
        .iter()
        .any(|known| known == user)
    {
        return Ok(());
    }
    Err(ErrorReport::fatal(
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        format!("user \"{user}\" may not use the virtual database \"pgring\""),
    )
    .with_hint("Add the user to [admin] users."))
}

/// Appends the ParameterStatus messages of the console's login; drivers refuse to go on without some of them.
pub(super) fn write_welcome(out: &mut Vec<u8>) {
    let values = [
        ("server_version", "15.0 (pgring)"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
    ];
    let mut writer = Writer::new(out);
    for (name, value) in values {
        writer.parameter_status(name, value);
    }
}

impl Console {
    pub(super) fn new(
        worker: Rc<Worker>,
        stream: Stream,
        info: Rc<ClientInfo>,
        rest: Chunk,
    ) -> Self {
        Self {
            worker,
            stream,
            info,
            rest,
        }
    }

    /// Answers until the operator leaves or the core stops.
    pub(super) async fn serve(self) {
        self.worker.clients.enter(&self.info);
        let mut left = std::pin::pin!(self.answer_all());
        std::future::poll_fn(|context| {
            self.info.waker.register(context);
            if left.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if self.info.kill.get().is_some() {
                self.send(|out| {
                    Writer::new(out).error(&clients::shutting_down());
                });
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        self.worker.clients.leave(&self.info);
    }

    async fn answer_all(&self) {
        let mut wire = Wire::with_rest(&self.stream, &self.rest);
        let mut skipping = false;
        loop {
            let message = wire
                .message(HELD_MESSAGE_BYTES_MAX, |tag, body| (tag, body.to_vec()))
                .await;
            let (tag, body) = match message {
                Ok((frontend::TERMINATE, _))
                | Err(WireError::Ended | WireError::EndedEarly | WireError::Broken(_)) => {
                    return;
                }
                Ok((tag, _)) if is_foreign(tag) => {
                    return self.give_up(ProtocolError::UnknownTag { tag });
                }
                Ok(message) => message,
                Err(WireError::Protocol(error)) => return self.give_up(error),
            };
            if skipping && tag != frontend::SYNC {
                continue;
            }
            skipping = self.answer(Frame { tag, body: &body }).await;
        }
    }

    /// The other side does not speak the protocol.
    fn give_up(&self, error: ProtocolError) {
        tracing::info!(client = %self.info.id, %error, "console session ends");
        self.send(|out| {
            Writer::new(out).error(&error.report());
        });
    }

    fn send(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.stream.send(out.into());
    }

    /// Answers one message; true when everything up to the next Sync shall be skipped.
    async fn answer(&self, frame: Frame<'_>) -> bool {
        let ready = |out: &mut Vec<u8>| {
            Writer::new(out).ready_for_query(TransactionStatus::Idle);
        };
        match frame.tag {
            frontend::QUERY => {
                let mut out = Vec::new();
                match Query::read(frame.body).whole() {
                    Ok(text) => self.run(text, &mut out).await,
                    Err(error) => {
                        Writer::new(&mut out).error(&error.report());
                    }
                }
                ready(&mut out);
                self.stream.send(out.into());
                false
            }
            frontend::SYNC => {
                self.send(ready);
                false
            }
            frontend::FLUSH | frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {
                false
            }
            tag => {
                self.send(|out| {
                    Writer::new(out).error(&only_simple(tag));
                });
                true
            }
        }
    }

    async fn run(&self, text: &[u8], out: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(text);
        let command = self
            .worker
            .with_snapshot(|snapshot| Command::read(&text, snapshot));
        if let Some(command) = command {
            return self.order(command, out).await;
        }
        let text = text.to_ascii_lowercase();
        let words: Vec<_> = text
            .trim()
            .trim_end_matches(';')
            .split_ascii_whitespace()
            .collect();
        if words.is_empty() {
            Writer::new(out).empty_query();
            return;
        }
        let Some(listing) = listing_of(&words, &text) else {
            Writer::new(out).error(&unknown(&text));
            return;
        };
        write::write(&self.worker.table(listing, None, None).await, out);
    }
}

impl Console {
    /// The control core is told what an operator wants.
    async fn order(&self, command: Result<Command, Impossible>, out: &mut Vec<u8>) {
        let command = match command {
            Ok(command) => command,
            Err(why) => {
                Writer::new(out).error(&impossible(&why));
                return;
            }
        };
        tracing::info!(user = %self.info.key.user, command = command.tag(), "an operator's command");
        let (shared, reactor) = (&self.worker.shared, &self.worker.reactor);
        let taken = self.worker.replies.order(shared, reactor, command.order());
        match taken.await {
            Ok(()) => Writer::new(out).command_complete(command.tag()),
            Err(why) => Writer::new(out).error(&not_taken(why)),
        };
    }
}

fn impossible(why: &Impossible) -> ErrorReport {
    let sqlstate = match why {
        Impossible::NoNode(..) => SqlState::UNDEFINED_OBJECT,
        Impossible::WrongPhase(..) | Impossible::NoSuccessor(..) => {
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
        }
    };
    ErrorReport::error(sqlstate, why.to_string()).with_hint(why.hint())
}

/// The control core did not take an order.
fn not_taken(why: String) -> ErrorReport {
    ErrorReport::error(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, why)
}

/// The table that a command asks for, which is in lower case, as words and as a whole. Those with Pgpool-II's names are
/// read as sessions read them.
fn listing_of(words: &[&str], text: &str) -> Option<&'static Listing> {
    if let ["show", name] = words
        && let Some(found) = listing(name).filter(|found| found.dialect == Dialect::PgBouncer)
    {
        return Some(found);
    }
    let show = Show::read(text.as_bytes()).filter(Show::is_of_cluster)?;
    Some(show.listing())
}

/// True for what no client sends once it is logged in.
fn is_foreign(tag: Tag) -> bool {
    tag == frontend::PASSWORD || frontend::body_bytes_max(tag).is_none()
}

fn only_simple(tag: Tag) -> ErrorReport {
    ErrorReport::error(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("the virtual database \"pgring\" takes simple queries only, not message {tag}"),
    )
}

fn unknown(text: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::SYNTAX_ERROR,
        format!("unknown command: {}", text.trim()),
    )
    .with_hint("SHOW POOLS, SHOW CLIENTS, SHOW NODES, SHOW SERVERS, SHOW STATS, SHOW CANCELS, SHOW PINS, SHOW TIMEOUTS, \
         SHOW VERSION, SHOW FAILOVER, SHOW POOL_NODES, SHOW POOL_BACKEND_STATS. ATTACH NODE, DETACH NODE, \
         PROMOTE NODE, SWITCHOVER TO <node>, RESUME FAILOVER, ABORT FAILOVER, RELOAD, \
         SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]. SHOW ROUTE <statement> is for sessions of the \
         database in question.")
}
