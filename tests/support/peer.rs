//! The client end of a scripted conversation, and what both ends share: blocking sends that may be cut at
//! any byte, whole messages back. Never answers by itself; never waits by the clock, except to give up.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, SocketAddrV4, TcpStream},
    ops::{Deref, DerefMut},
    time::Duration,
};

use pgring::protocol::{
    Frame, Header, Tag,
    backend::{BackendKeyData, ParameterStatus},
    tag::backend::{BACKEND_KEY_DATA, DATA_ROW, ERROR_RESPONSE, PARAMETER_STATUS, READY_FOR_QUERY},
};
use socket2::SockRef;

use super::{PATIENCE, eventually, message};

/// Bytes of a message's body that the transcript shows.
const SHOWN_BYTES: usize = 60;

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: Tag,
    pub body: Vec<u8>,
}

impl Message {
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            tag: self.tag,
            body: &self.body,
        }
    }

    /// SQLSTATE and text, when it is an error or a notice.
    pub fn error(&self) -> (String, String) {
        message::error_fields(&self.body)
    }
}

/// One connection, with everything that passed over it, for the message of a failing test.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    transcript: String,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            received: Vec::new(),
            transcript: String::new(),
        }
    }

    /// Sends bytes in one piece.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.note("sent", bytes);
        if let Err(error) = self.stream.write_all(bytes) {
            self.fail(&format!("sending failed: {error}"));
        }
        self
    }

    /// Sends bytes in pieces that the other side receives one by one: each is sent only when the one before
    /// has left the kernel's receive queue. A cut is the number of bytes before it.
    pub fn send_cut_at(&mut self, cuts: &[usize], bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let mut start = 0;
        for &cut in cuts {
            self.send(&bytes[start..cut]);
            self.wait_until_taken();
            start = cut;
        }
        self.send(&bytes[start..])
    }

    /// Waits until the other side has received everything that was sent, or has closed.
    pub fn wait_until_taken(&self) {
        let own = self.stream.local_addr().unwrap();
        // Nobody is at the other end any more.
        let Ok(peer) = self.stream.peer_addr() else {
            return;
        };
        eventually("the other side had received what was sent", || {
            unread_bytes(peer, own) == 0
        });
    }

    /// The next message; `None` when the other side has closed instead.
    pub fn try_receive(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.cut_message() {
                return Some(message);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// The next message.
    pub fn receive(&mut self) -> Message {
        match self.try_receive() {
            Some(message) => message,
            None => self.fail("the other side closed where a message was expected"),
        }
    }

    /// Messages up to the next one with this tag, that one included.
    pub fn receive_until(&mut self, tag: Tag) -> Vec<Message> {
        let mut messages = vec![self.receive()];
        while messages.last().is_some_and(|message| message.tag != tag) {
            messages.push(self.receive());
        }
        messages
    }

    /// The next messages must have these tags, e.g. `"T D C Z"`.
    pub fn expect(&mut self, tags: &str) -> Vec<Message> {
        let expect_one = |tag: &str| {
            let message = self.receive();
            if [message.tag.0] != tag.as_bytes() {
                self.fail(&format!("expected {tag} of {tags}"));
            }
            message
        };
        tags.split(' ').map(expect_one).collect()
    }

    /// The next messages must be exactly these.
    pub fn expect_exactly(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        let mut rest = expected.as_ref();
        while let Some(header) = Header::read(rest).unwrap() {
            let (one, others) = rest.split_at(header.frame_bytes());
            let Message { tag, body } = self.receive();
            if (tag, body.as_slice()) != (header.tag, &one[Header::BYTES..]) {
                self.fail(&format!("expected {}", one.escape_ascii()));
            }
            rest = others;
        }
        self
    }

    /// One bare byte: the answer to SSLRequest.
    pub fn receive_byte(&mut self) -> u8 {
        while self.received.is_empty() {
            if !self.read_more() {
                self.fail("the other side closed where one byte was expected");
            }
        }
        self.received.remove(0)
    }

    /// The other side must close without another message.
    pub fn expect_end(&mut self) {
        if self.try_receive().is_some() {
            self.fail("a message came where the other side should have closed");
        }
        if !self.received.is_empty() {
            self.fail("the other side closed in the middle of a message");
        }
    }

    /// Closes the sending direction only.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset, as a crashed machine's kernel does.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Makes the kernel's buffers small, so that not reading is noticed early.
    pub fn shrink_buffers(&self, bytes: usize) {
        SockRef::from(&self.stream)
            .set_recv_buffer_size(bytes)
            .unwrap();
        SockRef::from(&self.stream)
            .set_send_buffer_size(bytes)
            .unwrap();
    }

    /// Our own end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The socket itself, for what a script cannot say.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Fails the test, with everything that passed so far.
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}; on this connection so far:\n{}", self.transcript);
    }

    fn cut_message(&mut self) -> Option<Message> {
        let header =
            Header::read(&self.received).unwrap_or_else(|error| self.fail(&error.to_string()))?;
        if self.received.len() < header.frame_bytes() {
            return None;
        }
        let rest = self.received.split_off(header.frame_bytes());
        let whole = std::mem::replace(&mut self.received, rest);
        self.note("received", &whole);
        Some(Message {
            tag: header.tag,
            body: whole[Header::BYTES..].to_vec(),
        })
    }

    /// The bytes of a client's first packet, whole.
    pub(super) fn take_initial(&mut self, length_of: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        loop {
            if let Some(length) = length_of(&self.received) {
                let rest = self.received.split_off(length);
                let packet = std::mem::replace(&mut self.received, rest);
                self.note("received", &packet);
                return packet;
            }
            if !self.read_more() {
                self.fail("the other side closed in its first packet");
            }
        }
    }

    /// False when the other side has closed or reset the connection.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.received.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
            Err(error) => self.fail(&format!("nothing came ({error})")),
        }
    }

    fn note(&mut self, verb: &str, bytes: &[u8]) {
        let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
        let more = if bytes.len() > SHOWN_BYTES { "..." } else { "" };
        writeln!(
            self.transcript,
            "  {verb:<8} {:>6} bytes  {shown}{more}",
            bytes.len()
        )
        .unwrap();
    }
}

/// What the kernel holds for the socket `own` of the connection from `peer`; 0 when there is none.
fn unread_bytes(own: SocketAddr, peer: SocketAddr) -> usize {
    let (own, peer) = (kernel_name(own), kernel_name(peer));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().skip(1));
    let line = lines.find_map(|mut fields| {
        let ours = fields.next()? == own && fields.next()? == peer;
        ours.then(|| fields.nth(1)).flatten()
    });
    // The queues are written as `sending:received`.
    let received = line
        .and_then(|queues| queues.split_once(':'))
        .map_or("0", |(_, received)| received);
    usize::from_str_radix(received, 16).unwrap()
}

/// An address as `/proc/net/tcp` writes it: the four bytes as one number of this machine, then the port.
fn kernel_name(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else {
        panic!("the tests use IPv4 only, not {address}")
    };
    let name = |v4: SocketAddrV4| {
        format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(v4.ip().octets()),
            v4.port()
        )
    };
    name(address)
}

/// A client that says what the test says.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// What ParameterStatus told while logging in, in order.
    pub parameters: Vec<(String, String)>,
    /// Process number and key of BackendKeyData.
    pub key: Option<(i32, Vec<u8>)>,
}

impl Client {
    /// Connected, nothing said.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        Self {
            wire: Wire::new(stream),
            parameters: Vec::new(),
            key: None,
        }
    }

    /// Logged in as `app` to `app` where nobody asks for a password.
    pub fn login(address: SocketAddr) -> Self {
        Self::login_with(address, &[("user", "app"), ("database", "app")])
    }

    /// Logged in with these startup parameters.
    pub fn login_with(address: SocketAddr, parameters: &[(&str, &str)]) -> Self {
        let mut client = Self::connect(address);
        client.send(message::startup(parameters));
        client.expect_login();
        client
    }

    /// Reads what follows an accepted startup packet, up to ReadyForQuery.
    pub fn expect_login(&mut self) {
        for message in self.wire.receive_until(READY_FOR_QUERY) {
            match message.tag {
                ERROR_RESPONSE => self
                    .wire
                    .fail(&format!("the login was refused: {:?}", message.error())),
                PARAMETER_STATUS => self.parameters.push(parameter(&message)),
                BACKEND_KEY_DATA => {
                    let data = BackendKeyData::read(&message.body).unwrap();
                    self.key = Some((data.process_id, data.key.to_vec()));
                }
                _ => {}
            }
        }
    }

    /// The value that ParameterStatus told while logging in.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(told, _)| told == name)
            .map(|(_, value)| value.as_str())
    }

    /// Messages up to ReadyForQuery.
    pub fn receive_until_ready(&mut self) -> Vec<Message> {
        self.wire.receive_until(READY_FOR_QUERY)
    }

    /// Runs a simple query that must succeed; the rows, columns parted by `|`, NULL as nothing.
    pub fn rows(&mut self, text: &str) -> Vec<String> {
        self.send(message::query(text));
        let answer = self.receive_until_ready();
        if let Some(error) = answer.iter().find(|message| message.tag == ERROR_RESPONSE) {
            self.wire.fail(&format!("{text}: {:?}", error.error()));
        }
        let rows = answer.iter().filter(|message| message.tag == DATA_ROW);
        let text = |row: &Message| {
            message::values(row.frame())
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect()
        };
        rows.map(|row| -> Vec<String> { text(row) })
            .map(|values| values.join("|"))
            .collect()
    }

    /// The next message must be an error with this SQLSTATE; its text.
    pub fn expect_error(&mut self, sqlstate: &str) -> String {
        let message = self.expect("E").remove(0);
        let (given, text) = message.error();
        if given != sqlstate {
            self.wire
                .fail(&format!("expected an error with SQLSTATE {sqlstate}"));
        }
        text
    }

    /// Leaves politely.
    pub fn terminate(mut self) {
        self.send(message::terminate());
        self.expect_end();
    }

    /// Leaves by resetting the connection.
    pub fn reset(self) {
        self.wire.reset();
    }
}

fn parameter(message: &Message) -> (String, String) {
    let status = ParameterStatus::read(&message.body).unwrap();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    (text(status.name), text(status.value))
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
