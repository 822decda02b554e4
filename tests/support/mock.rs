//! The server end of a scripted conversation. Never answers anything but logins, and those only when told.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use pgring::{
    cluster::node::REPLAYED_SQL,
    protocol::{Tag, startup::Initial, tag::frontend},
    sql::catalog::{CHANGES_SQL, FUNCTIONS_SQL, OWN_FUNCTIONS_SQL},
};
use socket2::SockRef;

use super::{PATIENCE, message, peer::Wire};

/// What a mock server says of itself; a proxy should pass it on.
pub const PARAMETERS: [(&str, &str); 5] = [
    ("server_version", "18.0 (mock)"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
];

/// The key of every mock connection; the process number tells them apart.
pub const KEY: [u8; 4] = [1, 2, 3, 4];

/// Listens like a server.
#[derive(Debug)]
pub struct MockServer {
    listener: TcpListener,
}

impl MockServer {
    pub fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { listener }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, with nothing read from it yet.
    pub fn accept(&self) -> Backend {
        // On Linux the receive timeout bounds accept as well.
        SockRef::from(&self.listener)
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        let accepted = self.listener.accept();
        let (stream, _) =
            accepted.unwrap_or_else(|error| panic!("nobody connected to the mock server: {error}"));
        Backend {
            wire: Wire::new(stream),
            process_id: 0,
        }
    }

    /// From here on everyone who connects gets this instead of a login.
    pub fn refuse_everyone(self, error: Vec<u8>) -> Refusals {
        let refusals = Refusals::default();
        let count = Arc::clone(&refusals.0);
        thread::spawn(move || {
            SockRef::from(&self.listener)
                .set_read_timeout(None)
                .unwrap();
            for stream in self.listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                let mut backend = Backend {
                    wire: Wire::new(stream.unwrap()),
                    process_id: 0,
                };
                backend.receive_initial();
                backend.answer(&error);
            }
        });
        refusals
    }

    /// From here on everyone who connects is logged in.
    pub fn log_in_everyone(self) -> Backends {
        let address = self.address();
        let (talking, next) = channel();
        let (cancelling, cancels) = channel();
        thread::spawn(move || {
            SockRef::from(&self.listener)
                .set_read_timeout(None)
                .unwrap();
            for (process_id, stream) in (1..).zip(self.listener.incoming()) {
                let (talking, cancelling) = (talking.clone(), cancelling.clone());
                thread::spawn(move || log_in(stream.unwrap(), process_id, &talking, &cancelling));
            }
        });
        Backends {
            address,
            next,
            cancels,
        }
    }
}

/// Counts those who were refused.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<AtomicUsize>);

impl Refusals {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Logs one connection in, and hands it out once it says something more than goodbye.
fn log_in(
    stream: TcpStream,
    process_id: i32,
    talking: &Sender<Backend>,
    cancelling: &Sender<(i32, Vec<u8>)>,
) {
    let mut backend = Backend {
        wire: Wire::new(stream),
        process_id,
    };
    let packet = backend.receive_initial();
    if let Some((Initial::Cancel { process_id, key }, _)) = Initial::read(&packet).unwrap() {
        // The test may be over already.
        let _unheard = cancelling.send((process_id, key.to_vec()));
        return;
    }
    backend.accept_login();
    // A pooled connection may stay silent for as long as it likes.
    backend.wire.stream().set_read_timeout(None).unwrap();
    let mut first = message::query(REPLAYED_SQL);
    let question = first.clone();
    let mut peek = || backend.wire.stream().peek(&mut first).unwrap_or(0);
    let mut read = peek();
    if read == question.len() && first == question {
        // A standby that says nothing of what it has replayed.
        backend.wire.expect_exactly(&question);
        backend.wire.send(message::all([
            message::columns(&["pg_last_wal_replay_lsn"]),
            message::row_with_nulls(&[None]),
            message::command_complete("SELECT 1"),
            message::ready(),
        ]));
        read = backend.wire.stream().peek(&mut first).unwrap_or(0);
    }
    let talks = read > 0;
    if talks && first[0] != frontend::TERMINATE.0 {
        backend
            .wire
            .stream()
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        let _unheard = talking.send(backend);
    }
}

/// A mock server whose clients are all logged in.
#[derive(Debug)]
pub struct Backends {
    address: SocketAddr,
    next: Receiver<Backend>,
    cancels: Receiver<(i32, Vec<u8>)>,
}

impl Backends {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection over which something is said, in the order in which they begin to talk.
    pub fn next(&self) -> Backend {
        self.next
            .recv_timeout(PATIENCE)
            .expect("a connection should have said something")
    }

    /// The next connection to talk, whose first message must be this one.
    pub fn expect(&self, expected: Vec<u8>) -> Backend {
        let mut backend = self.next();
        backend.expect_message(expected);
        backend
    }

    /// Answers every query of every connection with one row, from now on, and every pipeline at its Sync.
    pub fn answer_everyone(self) {
        thread::spawn(move || {
            for backend in self.next {
                thread::spawn(move || backend.answer_all());
            }
        });
    }

    /// Process number and key of the next cancel request.
    pub fn next_cancel(&self) -> (i32, Vec<u8>) {
        self.cancels
            .recv_timeout(PATIENCE)
            .expect("a cancel request should have come")
    }
}

/// The server end of one connection.
#[derive(Debug)]
pub struct Backend {
    wire: Wire,
    process_id: i32,
}

impl Backend {
    /// What BackendKeyData told as process number.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// The first packet, whole, whatever it is.
    pub fn receive_initial(&mut self) -> Vec<u8> {
        let length = |bytes: &[u8]| {
            Initial::read(bytes)
                .ok()
                .flatten()
                .map(|(_, length)| length)
        };
        self.wire.take_initial(length)
    }

    /// Reads the startup packet and lets the client in.
    pub fn expect_login(&mut self) -> Vec<u8> {
        let packet = self.receive_initial();
        self.accept_login();
        packet
    }

    /// Everything from AuthenticationOk to ReadyForQuery.
    pub fn accept_login(&mut self) {
        let parameters = PARAMETERS
            .map(|(name, value)| message::parameter_status(name, value))
            .concat();
        let key = message::backend_key_data(self.process_id, &KEY);
        self.wire.send(message::all([
            message::authentication_ok(),
            parameters,
            key,
            message::ready(),
        ]));
    }

    /// The next messages must be exactly these.
    pub fn expect_message(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        self.wire.expect_exactly(expected);
        self
    }

    /// The next message must bring the connection back to its own settings, which is what happens.
    pub fn resets(&mut self) -> &mut Self {
        const RESET: &str = "RESET session_authorization; RESET role; RESET ALL";
        self.expect_message(message::query(RESET));
        let reset = message::command_complete("RESET").repeat(3);
        self.answer(message::all([reset, message::ready()]))
    }

    /// The next messages must make it fit for another session, which is what happens.
    pub fn is_discarded(&mut self) -> &mut Self {
        const TEMPORARY: &str =
            "SELECT WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid";
        self.expect_message(message::query("DISCARD ALL"));
        self.answer(message::all([
            message::command_complete("DISCARD ALL"),
            message::ready(),
        ]));
        self.expect_message(message::query(TEMPORARY));
        self.answer(message::all([
            message::columns(&[]),
            message::command_complete("SELECT 0"),
            message::ready(),
        ]))
    }

    /// The next message must be the question for the session's state; its text.
    pub fn expect_state_query(&mut self) -> String {
        let asked = self.wire.receive();
        if asked.tag != frontend::QUERY || !message::is_state_query(&asked.body) {
            self.wire
                .fail("expected the question for the session's state");
        }
        String::from_utf8(asked.body).unwrap()
    }

    /// The next message must be that question, and gets these settings as answer.
    pub fn take_state_query(&mut self, settings: &[(&str, &str)]) -> &mut Self {
        self.expect_state_query();
        self.answer(message::state_query("app", settings, ""))
    }

    /// Answers until the client leaves.
    fn answer_all(mut self) {
        self.wire.stream().set_read_timeout(None).unwrap();
        let mut answer = Vec::new();
        let mut state = Automaton::default();
        while let Some(asked) = self.wire.try_receive() {
            answer.extend(state.answer(asked.tag, &asked.body));
            let asks = [frontend::QUERY, frontend::SYNC, frontend::FLUSH];
            if asks.contains(&asked.tag) {
                self.wire.send(&answer);
                answer.clear();
            }
        }
    }

    /// Says something to the client.
    pub fn answer(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.send(bytes);
        self
    }

    /// Dies with a reset.
    pub fn reset(self) {
        self.wire.reset();
    }
}

/// A server with one row for everything but transaction blocks.
#[derive(Debug, Default)]
struct Automaton {
    /// Names of statements that begin a block.
    begins: Vec<Vec<u8>>,
    /// What is bound begins a block.
    bound: bool,
    in_block: bool,
}

impl Automaton {
    fn answer(&mut self, tag: Tag, body: &[u8]) -> Vec<u8> {
        match tag {
            frontend::QUERY if message::is_state_query(body) => {
                message::state_query("app", &[], "")
            }
            frontend::QUERY if body.starts_with(CHANGES_SQL.as_bytes()) => unchanged(),
            frontend::QUERY if body.starts_with(FUNCTIONS_SQL.as_bytes()) => empty_catalog(),
            frontend::QUERY if body.starts_with(OWN_FUNCTIONS_SQL.as_bytes()) => {
                let none = message::command_complete("SELECT 0").repeat(2);
                message::all([none, message::ready()])
            }
            frontend::QUERY => self.query(body),
            frontend::PARSE => {
                if strings(body)[1].starts_with(b"BEGIN") {
                    self.begins.push(strings(body)[0].to_vec());
                }
                message::parse_complete()
            }
            frontend::BIND => {
                self.bound = self.begins.iter().any(|name| name == strings(body)[1]);
                message::bind_complete()
            }
            frontend::DESCRIBE => message::columns(&["value"]),
            frontend::EXECUTE => self.execute(),
            frontend::CLOSE => message::close_complete(),
            frontend::SYNC => self.ready(),
            _ => Vec::new(),
        }
    }

    fn query(&mut self, body: &[u8]) -> Vec<u8> {
        let command = match body {
            b"BEGIN\0" => "BEGIN",
            b"COMMIT\0" => "COMMIT",
            _ => "",
        };
        self.in_block = command == "BEGIN" || self.in_block && command.is_empty();
        let answer = if command.is_empty() {
            let row = message::row(&["1"]);
            let complete = message::command_complete("SELECT 1");
            message::all([message::columns(&["value"]), row, complete])
        } else {
            message::command_complete(command)
        };
        message::all([answer, self.ready()])
    }

    fn execute(&mut self) -> Vec<u8> {
        if self.bound {
            self.in_block = true;
            return message::command_complete("BEGIN");
        }
        message::all([message::row(&["1"]), message::command_complete("SELECT 1")])
    }

    fn ready(&self) -> Vec<u8> {
        if self.in_block {
            message::ready_in_transaction()
        } else {
            message::ready()
        }
    }
}

/// The answer to whether anything in the database has changed.
fn unchanged() -> Vec<u8> {
    let row = message::row(&["read committed", "0", ""]);
    message::all([row, message::command_complete("SELECT 1"), message::ready()])
}

/// A database without functions and relations, and a position in the log.
fn empty_catalog() -> Vec<u8> {
    let none = message::command_complete("SELECT 0").repeat(4);
    let one = |value| {
        message::all([
            message::row(&[value]),
            message::command_complete("SELECT 1"),
        ])
    };
    message::all([none, one("t"), one("0/1000000"), message::ready()])
}

/// What stands between the zero bytes of a body.
fn strings(body: &[u8]) -> Vec<&[u8]> {
    body.split(|byte| *byte == 0).collect()
}

impl Deref for Backend {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Backend {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
