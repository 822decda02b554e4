//! A connection to pgring's admin socket: one question, one answer, as PostgreSQL's protocol has it. Waits as long as it
//! takes.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::protocol::{
    Frame, Frames, ProtocolError, Writer,
    backend::{DataRow, ErrorFields, RowDescription},
    startup::ProtocolVersion,
    tag::backend,
};

/// An open connection.
pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlError {
    /// Nobody listens there, or the socket does not let us.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    /// The connection ended.
    #[error("pgring has ended the connection")]
    Ended,
    /// It broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// Whoever listens there is no pgring.
    #[error("that is no pgring: {0}")]
    Nonsense(#[from] ProtocolError),
    /// pgring says no.
    #[error("{message}")]
    Refused {
        /// Its words.
        message: String,
        /// Its advice; empty when there is none.
        hint: String,
    },
}

/// Rows of an answer, under the names of their columns; none for a command that was done.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<String>>,
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its values are whole numbers.
    pub(super) is_number: bool,
}

/// The type `bigint`. (PostgreSQL: `pg_type.dat`.)
const INT8: u32 = 20;

impl Connection {
    /// Connects and is let in.
    pub(super) fn open(path: &Path) -> Result<Self, CtlError> {
        let stream = UnixStream::connect(path)
            .map_err(|error| CtlError::Connect(path.display().to_string(), error))?;
        let received = Vec::new();
        let mut connection = Self { stream, received };
        let mut hello = Vec::new();
        let who = [(&b"user"[..], &b"pgring"[..]), (b"database", b"pgring")];
        Writer::new(&mut hello).startup(ProtocolVersion::V3_0, who)?;
        connection.stream.write_all(&hello)?;
        connection.answer()?;
        Ok(connection)
    }

    /// Sends a command and waits for all of its answer.
    pub(super) fn ask(&mut self, command: &str) -> Result<Answer, CtlError> {
        let mut out = Vec::new();
        Writer::new(&mut out).query(command)?;
        self.stream.write_all(&out)?;
        self.answer()
    }

    /// Waits for this time; true as soon as pgring ends the connection.
    pub(super) fn ends_within(&mut self, limit: Duration) -> bool {
        let mut rest = [0; 256];
        let ended = self.stream.set_read_timeout(Some(limit)).is_err()
            || loop {
                match self.stream.read(&mut rest) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
                }
            };
        ended || self.stream.set_read_timeout(None).is_err()
    }

    fn answer(&mut self) -> Result<Answer, CtlError> {
        let mut reading = Reading::default();
        loop {
            let mut frames = Frames::new(&self.received);
            let mut is_over = false;
            for frame in frames.by_ref() {
                is_over = reading.on(frame?)?;
                if is_over {
                    break;
                }
            }
            let left = frames.rest().len();
            self.received.drain(..self.received.len() - left);
            if is_over {
                return reading.refused.map_or(Ok(reading.answer), Err);
            }
            if self.receive()? == 0 {
                return Err(reading.refused.unwrap_or(CtlError::Ended));
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut piece = [0; 8192];
        let count = self.stream.read(&mut piece)?;
        self.received.extend_from_slice(&piece[..count]);
        Ok(count)
    }
}

/// An answer on its way in.
#[derive(Default)]
struct Reading {
    answer: Answer,
    refused: Option<CtlError>,
}

impl Reading {
    /// True when it is complete.
    fn on(&mut self, frame: Frame<'_>) -> Result<bool, CtlError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match frame.tag {
            backend::READY_FOR_QUERY => return Ok(true),
            backend::ROW_DESCRIPTION => {
                for field in RowDescription::read(frame.body)? {
                    self.answer.columns.push(Column {
                        name: text(field.name),
                        is_number: field.type_oid == INT8,
                    });
                }
            }
            backend::DATA_ROW => {
                let values = DataRow::read(frame.body)?;
                let values = values.map(|value| text(value.unwrap_or_default()));
                self.answer.rows.push(values.collect());
            }
            backend::ERROR_RESPONSE => {
                let fields = ErrorFields::read(frame.body)?;
                self.refused = Some(CtlError::Refused {
                    message: text(fields.message()),
                    hint: text(fields.field(b'H').unwrap_or_default()),
                });
            }
            _ => {}
        }
        Ok(false)
    }
}
