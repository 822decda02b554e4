//! A plain client that takes whatever comes: answers, errors, a closed connection. Each is a value, so that
//! a test can keep books. Never panics because of what the other side does.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use pgring::protocol::{
    Frame, Header, Tag,
    tag::backend::{DATA_ROW, ERROR_RESPONSE, READY_FOR_QUERY},
};
use socket2::SockRef;

use super::{PATIENCE, message};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its rows, columns parted by `|`.
    Rows(Vec<String>),
    /// The first error: SQLSTATE and text.
    Error(String, String),
    /// The connection is gone.
    Closed(String),
}

impl Answer {
    /// The only row.
    pub fn row(self) -> String {
        match self {
            Self::Rows(mut rows) if rows.len() == 1 => rows.remove(0),
            other => panic!("one row was expected, not {other:?}"),
        }
    }
}

/// One connection, logged in as `app`.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    received: Vec<u8>,
    taken: usize,
    is_in_block: bool,
}

impl Session {
    /// Logs in where nobody asks for a password.
    pub fn login(address: SocketAddr) -> Result<Self, Answer> {
        Self::login_with(address, &[("user", "app"), ("database", "app")])
    }

    /// The same with another user and database.
    pub fn login_as(address: SocketAddr, user: &str, database: &str) -> Result<Self, Answer> {
        Self::login_with(address, &[("user", user), ("database", database)])
    }

    /// Logged in with these startup parameters.
    pub fn login_with(address: SocketAddr, parameters: &[(&str, &str)]) -> Result<Self, Answer> {
        let mut session = Self::connect(address)?;
        session.send(&message::startup(parameters))?;
        match session.answer() {
            Answer::Rows(_) => Ok(session),
            refused => Err(refused),
        }
    }

    /// Connected, nothing said.
    pub fn connect(address: SocketAddr) -> Result<Self, Answer> {
        let stream = TcpStream::connect(address).map_err(closed)?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        Ok(Self {
            stream,
            received: Vec::new(),
            taken: 0,
            is_in_block: false,
        })
    }

    /// How long it waits for bytes; twice the usual patience unless told.
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// Our own end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// True when the last answer left it in a transaction block, failed or not.
    pub fn is_in_block(&self) -> bool {
        self.is_in_block
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        self.stream.write_all(bytes).map_err(closed)
    }

    /// Runs one simple query.
    pub fn query(&mut self, text: &str) -> Answer {
        self.ask(&message::query(text))
    }

    /// Sends a request that ends with one ReadyForQuery, and reads its answer.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        match self.send(request) {
            Ok(()) => self.answer(),
            Err(closed) => closed,
        }
    }

    /// Reads up to ReadyForQuery.
    pub fn answer(&mut self) -> Answer {
        let mut rows = Vec::new();
        let mut error = None;
        loop {
            let (tag, body) = match self.message() {
                Ok(message) => message,
                Err(closed) => return error.unwrap_or(closed),
            };
            match tag {
                READY_FOR_QUERY => {
                    self.is_in_block = body != b"I";
                    return error.unwrap_or(Answer::Rows(rows));
                }
                DATA_ROW => rows.push(row(Frame { tag, body: &body })),
                ERROR_RESPONSE if error.is_none() => {
                    let (sqlstate, text) = message::error_fields(&body);
                    error = Some(Answer::Error(sqlstate, text));
                }
                _ => {}
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Result<(Tag, Vec<u8>), Answer> {
        loop {
            let rest = &self.received[self.taken..];
            let header = Header::read(rest).map_err(closed)?;
            if let Some(header) = header.filter(|header| header.frame_bytes() <= rest.len()) {
                let body = rest[Header::BYTES..header.frame_bytes()].to_vec();
                self.taken += header.frame_bytes();
                return Ok((header.tag, body));
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), Answer> {
        self.received.drain(..self.taken);
        self.taken = 0;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(closed("end of stream")),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) => Err(closed(error)),
        }
    }

    /// Leaves by resetting the connection.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

fn row(frame: Frame<'_>) -> String {
    let values = message::values(frame).into_iter();
    values
        .map(Option::unwrap_or_default)
        .collect::<Vec<_>>()
        .join("|")
}

fn closed(why: impl ToString) -> Answer {
    Answer::Closed(why.to_string())
}
