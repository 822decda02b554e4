//! A connection of the control core to a server: log in, ask, read rows. Never trusts a length, and never waits
//! longer than it was told to.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::keys::Deriver;
use crate::{
    auth::SaltedKeys,
    cluster::{settings::NodeAddress, snapshot::User},
    limits::{LINE_MESSAGE_BYTES_MAX, LINE_ROWS_BYTES_MAX},
    link::{
        login::{self, Identity, LoginError},
        wire::{Wire, WireError},
    },
    net::{Address, Elapsed, Reactor, Stream},
    protocol::{
        ProtocolError, SqlState, Tag, Writer,
        backend::{DataRow, ErrorFields},
        tag::backend,
    },
    time,
};

/// Why there is no answer. After any of these but `Refused` the line is useless.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// No connection, or no login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The server answered with an error.
    #[error("the server said: {message}")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: Option<SqlState>,
        /// Its words.
        message: String,
    },
    /// The connection ended, or what came is no PostgreSQL.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The server speaks PostgreSQL, but not what was asked for.
    #[error("the answer is not what was asked for: {0}")]
    Nonsense(&'static str),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
}

impl From<ProtocolError> for LineError {
    fn from(error: ProtocolError) -> Self {
        Self::Wire(error.into())
    }
}

impl LineError {
    /// SQLSTATE of the server's refusal, at login or later.
    pub(super) fn sqlstate(&self) -> Option<SqlState> {
        match self {
            Self::Login(error) => error.sqlstate(),
            Self::Refused { sqlstate, .. } => *sqlstate,
            _ => None,
        }
    }
}

/// Where to, and as whom.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) address: Address,
    pub(super) role: Rc<str>,
    pub(super) database: Rc<str>,
    /// Secrets of the role; without them it needs no password.
    pub(super) user: Option<Arc<User>>,
    /// For the login, and for each question.
    pub(super) timeout: Duration,
}

/// Where a node listens, for the reactor.
pub(super) fn address_of(address: &NodeAddress) -> Address {
    match address {
        NodeAddress::Tcp(address) => Address::Tcp(*address),
        NodeAddress::Unix(path) => Address::Unix(path.clone()),
    }
}

/// An open connection.
pub(super) struct Line {
    reactor: Reactor,
    stream: Stream,
    timeout: Duration,
}

impl Line {
    /// Connects and logs in.
    pub(super) async fn open(
        reactor: &Reactor,
        to: &Destination,
        deriver: &Deriver,
    ) -> Result<Self, LineError> {
        let derive =
            async |password, salt, iterations| deriver.derive(password, salt, iterations).await;
        Self::open_with(reactor, to, derive).await
    }

    /// Likewise; `derive` runs PBKDF2.
    pub(super) async fn open_with(
        reactor: &Reactor,
        to: &Destination,
        derive: impl AsyncFn(String, Vec<u8>, u32) -> Option<Arc<SaltedKeys>>,
    ) -> Result<Self, LineError> {
        let identity = Identity {
            name: &to.role,
            database: &to.database,
            user: to.user.as_deref(),
            settings: &[("client_encoding", "UTF8"), ("application_name", "pgring")],
        };
        let deadline = time::now() + to.timeout;
        let opened = login::open(reactor, &to.address, &identity, derive);
        let opened = reactor.deadline(deadline, opened).await;
        let opened = opened.map_err(|Elapsed| LineError::TooSlow(to.timeout))??;
        Ok(Self {
            reactor: reactor.clone(),
            stream: opened.stream,
            timeout: to.timeout,
        })
    }

    /// False when the server has ended it, or says what nobody asked.
    pub(super) fn is_open(&self) -> bool {
        !self.stream.has_news()
    }

    /// Asks; `row` gets the number of the statement, from 0, and each of its rows.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        row: impl FnMut(usize, DataRow<'_>) -> Result<(), &'static str>,
    ) -> Result<(), LineError> {
        let deadline = time::now() + self.timeout;
        let mut out = Vec::new();
        Writer::new(&mut out).query(sql)?;
        self.stream.send(out.into());
        let answer = self.reactor.deadline(deadline, self.read(row)).await;
        answer.unwrap_or(Err(LineError::TooSlow(self.timeout)))
    }

    async fn read(
        &self,
        row: impl FnMut(usize, DataRow<'_>) -> Result<(), &'static str>,
    ) -> Result<(), LineError> {
        let mut wire = Wire::new(&self.stream);
        let mut reading = Reading {
            row,
            statement: 0,
            bytes: 0,
            refused: None,
        };
        loop {
            let message = wire.message(LINE_MESSAGE_BYTES_MAX, |tag, body| reading.on(tag, body));
            match (message.await, reading.refused.is_some()) {
                (Ok(Ok(true)), _) => break,
                (Ok(Ok(false)), _) => {}
                (Ok(Err(error)), _) => return Err(error),
                // A FATAL error is all that comes.
                (Err(WireError::Ended), true) => break,
                (Err(error), _) => return Err(error.into()),
            }
        }
        let rest = wire.into_rest();
        if !rest.is_empty() {
            self.stream.unreceive(rest);
        }
        reading.refused.map_or(Ok(()), Err)
    }

    /// Takes leave.
    pub(super) fn close(self) {
        let mut out = Vec::new();
        Writer::new(&mut out).terminate();
        self.stream.send(out.into());
    }
}

/// An answer on its way in.
struct Reading<R> {
    row: R,
    statement: usize,
    bytes: usize,
    refused: Option<LineError>,
}

impl<R: FnMut(usize, DataRow<'_>) -> Result<(), &'static str>> Reading<R> {
    /// True when the answer is complete.
    fn on(&mut self, tag: Tag, body: &[u8]) -> Result<bool, LineError> {
        self.bytes += body.len();
        if self.bytes > LINE_ROWS_BYTES_MAX {
            return Err(LineError::Nonsense("it does not end"));
        }
        match tag {
            backend::DATA_ROW => {
                (self.row)(self.statement, DataRow::read(body)?).map_err(LineError::Nonsense)?;
            }
            backend::COMMAND_COMPLETE => self.statement += 1,
            backend::READY_FOR_QUERY => return Ok(true),
            backend::ERROR_RESPONSE => self.refused = Some(refusal(body)?),
            backend::ROW_DESCRIPTION
            | backend::NOTICE_RESPONSE
            | backend::PARAMETER_STATUS
            | backend::NOTIFICATION => {}
            _ => return Err(LineError::Nonsense("a message of another conversation")),
        }
        Ok(false)
    }
}

fn refusal(body: &[u8]) -> Result<LineError, LineError> {
    let fields = ErrorFields::read(body)?;
    Ok(LineError::Refused {
        sqlstate: fields.sqlstate(),
        message: String::from_utf8_lossy(fields.message()).into_owned(),
    })
}
