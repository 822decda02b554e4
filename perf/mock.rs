//! Owns the mock server's sockets: one ring, one thread, every connection a scripted session. What is said is decided in
//! `answers`; nothing here looks at a message.
#![allow(
    unsafe_code,
    reason = "sends by pointer; every block states its contract"
)]

use crate::{
    answers::{Session, Verdict},
    procfs,
    ring::{Event, Ring},
    slots::Slots,
    sockets,
};
use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsRawFd, RawFd},
};

const ACCEPTED: u64 = 1;
const RECEIVED: u64 = 2;
const SENT: u64 = 3;

const BUFFER_COUNT: u16 = 1024;
const BUFFER_BYTES: usize = 4096;

/// Arguments of `perf mock`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 chooses a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddrV4,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
}

struct Connection {
    socket: RawFd,
    session: Session,
    /// Answers not yet handed to the kernel.
    filling: Vec<u8>,
    /// Bytes the kernel is sending; untouched while `sending`.
    flying: Vec<u8>,
    sending: bool,
    receiving: bool,
    closing: bool,
}

struct Server {
    ring: Ring,
    connections: Slots<Connection>,
    served: u32,
}

/// Serves until killed.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    procfs::prepare(arguments.cpu)?;
    let listener = sockets::listen(arguments.listen)?;
    println!("listening {}", listener.local_addr()?);
    let mut server = Server {
        ring: Ring::new(BUFFER_COUNT, BUFFER_BYTES)?,
        connections: Slots::new(),
        served: 0,
    };
    server.ring.accept(listener.as_raw_fd(), ACCEPTED << 32);
    let mut events = Vec::with_capacity(4096);
    loop {
        server.ring.wait(&mut events)?;
        for event in events.drain(..) {
            server.handle(event, listener.as_raw_fd())?;
        }
    }
}

impl Server {
    fn handle(&mut self, event: Event, listener: RawFd) -> io::Result<()> {
        let slot = event.user_data as u32;
        match event.user_data >> 32 {
            ACCEPTED => return self.accepted(event, listener),
            RECEIVED => self.received(slot, event),
            _ => self.sent(slot, event),
        }
        self.settle(slot);
        Ok(())
    }

    fn accepted(&mut self, event: Event, listener: RawFd) -> io::Result<()> {
        if !event.more() {
            self.ring.accept(listener, ACCEPTED << 32);
        }
        if event.result < 0 {
            return Err(io::Error::from_raw_os_error(-event.result));
        }
        self.served += 1;
        let slot = self.connections.insert(Connection {
            socket: event.result,
            session: Session::new(self.served),
            filling: Vec::new(),
            flying: Vec::new(),
            sending: false,
            receiving: true,
            closing: false,
        });
        self.ring
            .receive(event.result, RECEIVED << 32 | u64::from(slot));
        Ok(())
    }

    fn received(&mut self, slot: u32, event: Event) {
        let connection = self.connections.at(slot);
        if let Some(id) = event.buffer() {
            if event.result > 0 && !connection.closing {
                let bytes = self.ring.received(id, event.result as usize);
                connection.closing =
                    connection.session.receive(bytes, &mut connection.filling) == Verdict::Closed;
            }
            self.ring.give_back(id);
        }
        if event.more() {
            return;
        }
        if event.result > 0 || event.result == -libc::ENOBUFS {
            self.ring
                .receive(connection.socket, RECEIVED << 32 | u64::from(slot));
        } else {
            connection.receiving = false;
            connection.closing = true;
        }
    }

    fn sent(&mut self, slot: u32, event: Event) {
        let connection = self.connections.at(slot);
        connection.sending = false;
        if event.result != connection.flying.len() as i32 {
            connection.closing = true;
            connection.filling.clear();
        }
        connection.flying.clear();
    }

    /// Does what a connection needs next: more of a big result, a send, or its end.
    fn settle(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        if connection.sending {
            return;
        }
        if connection.filling.is_empty() && connection.session.is_pouring() && !connection.closing {
            connection.closing =
                connection.session.pour(&mut connection.filling) == Verdict::Closed;
        }
        if !connection.filling.is_empty() {
            std::mem::swap(&mut connection.filling, &mut connection.flying);
            connection.sending = true;
            let (start, length) = (connection.flying.as_ptr(), connection.flying.len());
            // SAFETY: `flying` is neither changed nor dropped while `sending`, which ends with this send's completion.
            unsafe {
                self.ring.send(
                    connection.socket,
                    start,
                    length,
                    SENT << 32 | u64::from(slot),
                )
            };
        } else if connection.closing && connection.receiving {
            sockets::shutdown(connection.socket);
        } else if connection.closing {
            sockets::close(self.connections.release(slot).socket);
        }
    }
}
