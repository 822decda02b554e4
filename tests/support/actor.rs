//! A server that only plays one towards those who look at it, and may misbehave in every way. Never survives its test.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use pgring::protocol::{Frames, Header, startup::Initial, tag::frontend};

use super::{message, mock::PARAMETERS};

/// What it does on each connection, from its first byte on.
#[derive(Clone, Debug)]
pub enum Part {
    /// A good server.
    Plays(Role),
    /// These bytes, and then nothing more.
    Says(Vec<u8>),
    /// A good login, and then these bytes in answer to any question.
    Answers(Vec<u8>),
    /// The connection number n ends after n bytes of what a good server says.
    EndsEarly(Role),
    /// Closes at once every second time.
    Flaps(Role),
    /// A question is answered with rows for ever.
    Raves,
    /// A good server that tells pgring's sessions how far it has written only when it is let.
    Hesitates(Role, Arc<Latch>),
    /// A good server to those who look at it; all others lose their connection in the middle of their login.
    Deserts(Role),
    /// A good server that is shut down at once whenever a session reads: the answer is out, and in its ReadyForQuery's
    /// place there is its farewell.
    TakesLeave(Role),
}

/// What a server was asked by sessions, and whether it may tell them how far it has written.
#[derive(Debug, Default)]
pub struct Latch {
    state: Mutex<Latched>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Latched {
    asked: Vec<String>,
    is_open: bool,
    /// Whoever waits loses its connection.
    is_cut: bool,
}

impl Latch {
    /// What sessions have asked so far, in this order, the control core left out.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Whoever waits is told, and nobody waits any more.
    pub fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }

    /// Whoever waits loses its connection, and so does who asks from now on.
    pub fn cut(&self) {
        self.state.lock().unwrap().is_cut = true;
        self.changed.notify_all();
    }

    /// Notes a question; one about the position waits. False when it is not to be answered.
    fn pass(&self, text: &str) -> bool {
        let is_about_position = text.contains("pg_current_wal_insert_lsn");
        let mut state = self.state.lock().unwrap();
        let noted = match is_about_position {
            true => "position",
            false => text.trim_end_matches('\0'),
        };
        state.asked.push(noted.to_owned());
        while is_about_position && !state.is_open && !state.is_cut {
            state = self.changed.wait(state).unwrap();
        }
        !(is_about_position && state.is_cut)
    }
}

/// What a good server says of itself.
#[derive(Clone, Debug)]
pub struct Role {
    pub in_recovery: bool,
    pub timeline: u32,
    /// How far it has written, or replayed.
    pub lsn: &'static str,
}

impl Role {
    pub fn primary() -> Self {
        Self {
            in_recovery: false,
            timeline: 1,
            lsn: "0/1000100",
        }
    }

    pub fn standby() -> Self {
        Self {
            in_recovery: true,
            ..Self::primary()
        }
    }

    /// Everything between the login and the client's leave.
    fn answer(&self, text: &str) -> Vec<u8> {
        let row = match text {
            _ if text.contains("pg_is_in_recovery") => {
                let timeline = match self.in_recovery {
                    true => self.timeline.to_string(),
                    false => format!("{:08X}0000000000000001", self.timeline),
                };
                let (recovery, flushed) = match self.in_recovery {
                    true => ("t", ""),
                    false => ("f", self.lsn),
                };
                message::row(&[
                    recovery, self.lsn, &timeline, "8192", flushed, "200ms", "", "", "", "1min",
                ])
            }
            _ => message::row(&["1"]),
        };
        let mut answer = [row, message::command_complete("SELECT 1")].concat();
        if text.contains("system_identifier") {
            let facts = message::row(&["7", "", "", ""]);
            let done = message::command_complete("SELECT 1");
            answer.extend([facts, done.clone(), done].concat());
        }
        answer.extend(message::ready());
        answer
    }
}

/// Listens, and plays its part to everybody.
pub struct Actor {
    address: SocketAddr,
    part: Arc<Mutex<Part>>,
    connections: Arc<AtomicUsize>,
}

impl Actor {
    pub fn new(part: Part) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let actor = Self {
            address: listener.local_addr().unwrap(),
            part: Arc::new(Mutex::new(part)),
            connections: Arc::default(),
        };
        let (part, connections) = (Arc::clone(&actor.part), Arc::clone(&actor.connections));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let part = part.lock().unwrap().clone();
                // The other side may end it whenever it likes.
                thread::spawn(move || play(&part, number, stream.unwrap()).ok());
            }
        });
        actor
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next connection on.
    pub fn play(&self, part: Part) {
        *self.part.lock().unwrap() = part;
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn play(part: &Part, number: usize, mut stream: TcpStream) -> std::io::Result<()> {
    match part {
        Part::Plays(role) => converse(&mut stream, usize::MAX, |text| role.answer(text)),
        Part::EndsEarly(role) => converse(&mut stream, number, |text| role.answer(text)),
        Part::Flaps(role) => match number % 2 {
            0 => Ok(()),
            _ => converse(&mut stream, usize::MAX, |text| role.answer(text)),
        },
        Part::Answers(bytes) => converse(&mut stream, usize::MAX, |_| bytes.clone()),
        Part::Says(bytes) => {
            stream.write_all(bytes)?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
        Part::Deserts(role) => {
            let bytes = match is_watcher(&stream)? {
                true => usize::MAX,
                false => 20,
            };
            converse(&mut stream, bytes, |text| role.answer(text))
        }
        Part::TakesLeave(role) => {
            let stays = is_watcher(&stream)?;
            let mut end = stream.try_clone()?;
            converse(&mut stream, usize::MAX, |text| {
                if stays || text != "SELECT 1\0" {
                    return role.answer(text);
                }
                let answer = [message::row(&["2"]), message::command_complete("SELECT 1")];
                end.write_all(&[answer.concat(), message::farewell()].concat())
                    .ok();
                end.shutdown(Shutdown::Both).ok();
                Vec::new()
            })
        }
        Part::Hesitates(role, latch) => {
            let end = stream.try_clone()?;
            converse(&mut stream, usize::MAX, |text| {
                const POSITION: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn(), \
                    pg_catalog.current_setting('wal_block_size')\0";
                if text != POSITION && !text.starts_with("UPDATE") {
                    return role.answer(text);
                }
                if !latch.pass(text) {
                    // It may be gone already.
                    end.shutdown(Shutdown::Both).ok();
                }
                let row = match text.contains("pg_current_wal_insert_lsn") {
                    true => message::row(&["0/1000200", "8192"]),
                    false => Vec::new(),
                };
                [row, message::command_complete("UPDATE 1"), message::ready()].concat()
            })
        }
        Part::Raves => converse(&mut stream, usize::MAX, |_| {
            message::row(&["t"; 50]).repeat(100_000)
        }),
    }
}

/// True when who has connected, and said nothing yet, is going to log in to look.
fn is_watcher(stream: &TcpStream) -> std::io::Result<bool> {
    let mut packet = [0; 1024];
    loop {
        let bytes = stream.peek(&mut packet)?;
        match Initial::read(&packet[..bytes]) {
            Ok(None) if bytes > 0 => {}
            _ => return Ok(packet[..bytes].windows(7).any(|it| it == b"watcher")),
        }
    }
}

/// A server that says at most so many bytes, and then closes.
fn converse(
    stream: &mut TcpStream,
    mut bytes_max: usize,
    mut answer: impl FnMut(&str) -> Vec<u8>,
) -> std::io::Result<()> {
    let mut say = |stream: &mut TcpStream, bytes: &[u8]| {
        let part = bytes.len().min(bytes_max);
        bytes_max -= part;
        stream.write_all(&bytes[..part])?;
        match part < bytes.len() {
            true => Err(std::io::Error::other("it has said enough")),
            false => Ok(()),
        }
    };
    let mut received = Vec::new();
    let packet = loop {
        if let Ok(Some((_, length))) = Initial::read(&received) {
            break length;
        }
        receive(stream, &mut received)?;
    };
    received.drain(..packet);
    let parameters = PARAMETERS.map(|(name, value)| message::parameter_status(name, value));
    let key = message::backend_key_data(7, b"1234");
    let greeting = [
        message::authentication_ok(),
        parameters.concat(),
        key,
        message::ready(),
    ];
    say(stream, &greeting.concat())?;
    loop {
        let asked = Frames::new(&received).next();
        let Some(Ok(frame)) = asked else {
            receive(stream, &mut received)?;
            continue;
        };
        let length = Header::BYTES + frame.body.len();
        if frame.tag == frontend::TERMINATE {
            return Ok(());
        }
        let text = String::from_utf8_lossy(frame.body).into_owned();
        received.drain(..length);
        say(stream, &answer(&text))?;
    }
}

fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece)? {
        0 => Err(std::io::Error::other("the client has left")),
        bytes => {
            received.extend_from_slice(&piece[..bytes]);
            Ok(())
        }
    }
}
