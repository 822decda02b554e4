//! Owns the floor: the bare pass-through that every figure is compared with. Multishot accept, multishot receive, sends
//! from the very buffer; one backend connection per client. It never looks at a byte.
#![allow(
    unsafe_code,
    reason = "sends by pointer; every block states its contract"
)]

use crate::{
    procfs,
    ring::{Event, Ring},
    slots::Slots,
    sockets,
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddrV4,
    os::fd::{AsRawFd, RawFd},
};

const ACCEPTED: u64 = 1;
const RECEIVED: u64 = 2;
const SENT: u64 = 3;

/// Arguments of `perf floor`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 chooses a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddrV4,
    /// Server to pass the bytes to
    #[arg(long)]
    backend: SocketAddrV4,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// Receive buffers, a power of two
    #[arg(long, default_value_t = 1024)]
    buffers: u16,
    /// Bytes per receive buffer
    #[arg(long, default_value_t = 16384)]
    buffer_bytes: usize,
}

/// One direction: what arrived on `socket` and waits to leave on the other side's socket.
struct Side {
    socket: RawFd,
    /// Buffers in arrival order; the first one is being sent while `sending`.
    queue: VecDeque<(u16, usize)>,
    sending: bool,
    /// A receive is armed, or will be as soon as a buffer is free.
    receiving: bool,
}

impl Side {
    fn new(socket: RawFd) -> Side {
        Side {
            socket,
            queue: VecDeque::new(),
            sending: false,
            receiving: true,
        }
    }

    fn is_over(&self) -> bool {
        !self.receiving && !self.sending
    }
}

struct Floor {
    ring: Ring,
    pairs: Slots<[Side; 2]>,
    /// Directions whose receive ended for want of a buffer.
    starved: Vec<u32>,
    /// A buffer came back since the starved directions were last fed.
    returned: bool,
}

/// Passes bytes until killed.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    procfs::prepare(arguments.cpu)?;
    let listener = sockets::listen(arguments.listen)?;
    println!("listening {}", listener.local_addr()?);
    let ring = Ring::new(arguments.buffers, arguments.buffer_bytes)?;
    let mut floor = Floor {
        ring,
        pairs: Slots::new(),
        starved: Vec::new(),
        returned: false,
    };
    floor.ring.accept(listener.as_raw_fd(), ACCEPTED << 32);
    let mut events = Vec::with_capacity(4096);
    loop {
        floor.ring.wait(&mut events)?;
        for event in events.drain(..) {
            let direction = event.user_data as u32;
            match event.user_data >> 32 {
                ACCEPTED => floor.accepted(event, listener.as_raw_fd(), arguments.backend)?,
                RECEIVED => floor.received(direction, event),
                _ => floor.sent(direction, event),
            }
        }
        floor.feed_starved();
    }
}

impl Floor {
    fn accepted(&mut self, event: Event, listener: RawFd, backend: SocketAddrV4) -> io::Result<()> {
        if !event.more() {
            self.ring.accept(listener, ACCEPTED << 32);
        }
        if event.result < 0 {
            return Err(io::Error::from_raw_os_error(-event.result));
        }
        let (client, server) = (event.result, sockets::connected(backend)?);
        let pair = self.pairs.insert([Side::new(client), Side::new(server)]);
        self.receive(client, pair << 1);
        self.receive(server, pair << 1 | 1);
        Ok(())
    }

    fn receive(&mut self, socket: RawFd, direction: u32) {
        self.ring
            .receive(socket, RECEIVED << 32 | u64::from(direction));
    }

    fn received(&mut self, direction: u32, event: Event) {
        let side = &mut self.pairs.at(direction >> 1)[(direction & 1) as usize];
        if let Some(id) = event.buffer() {
            side.queue.push_back((id, event.result.max(0) as usize));
            if !side.sending {
                self.send_next(direction);
            }
        }
        if event.more() {
            return;
        }
        let side = &mut self.pairs.at(direction >> 1)[(direction & 1) as usize];
        match event.result {
            result if result == -libc::ENOBUFS => self.starved.push(direction),
            result if result > 0 => {
                let socket = side.socket;
                self.receive(socket, direction);
            }
            _ => {
                side.receiving = false;
                self.end_when_drained(direction);
            }
        }
    }

    fn send_next(&mut self, direction: u32) {
        let pair = self.pairs.at(direction >> 1);
        let (here, there) = ((direction & 1) as usize, (direction & 1 ^ 1) as usize);
        let target = pair[there].socket;
        let Some(&(id, length)) = pair[here].queue.front() else {
            return;
        };
        pair[here].sending = true;
        let start = self.ring.buffer_start(id);
        // SAFETY: the buffer stays ours, and unchanged, until `sent` gives it back.
        unsafe {
            self.ring
                .send(target, start, length, SENT << 32 | u64::from(direction))
        };
    }

    fn sent(&mut self, direction: u32, event: Event) {
        let side = &mut self.pairs.at(direction >> 1)[(direction & 1) as usize];
        let (id, length) = side
            .queue
            .pop_front()
            .expect("a send belongs to the first buffer of its queue");
        side.sending = false;
        self.ring.give_back(id);
        self.returned = true;
        if event.result != length as i32 {
            side.queue
                .drain(..)
                .for_each(|(id, _)| self.ring.give_back(id));
            self.shutdown(direction);
        }
        self.send_next(direction);
        self.end_when_drained(direction);
    }

    /// Once one side has ended and all its bytes have left, ends the pair; the last completion releases it.
    fn end_when_drained(&mut self, direction: u32) {
        let pair = self.pairs.at(direction >> 1);
        if pair.iter().all(Side::is_over) {
            self.pairs
                .release(direction >> 1)
                .iter()
                .for_each(|side| sockets::close(side.socket));
        } else if pair[(direction & 1) as usize].is_over() {
            self.shutdown(direction);
        }
    }

    fn shutdown(&mut self, direction: u32) {
        self.pairs
            .at(direction >> 1)
            .iter()
            .for_each(|side| sockets::shutdown(side.socket));
    }

    /// Arms the starved receives again once there is a buffer; those that find none come back here.
    fn feed_starved(&mut self) {
        if !std::mem::take(&mut self.returned) {
            return;
        }
        for direction in std::mem::take(&mut self.starved) {
            let socket = self.pairs.at(direction >> 1)[(direction & 1) as usize].socket;
            self.receive(socket, direction);
        }
    }
}
