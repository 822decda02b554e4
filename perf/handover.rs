//! Owns the measurement of hand-overs: clients of two cores in turn on one server connection, so that every other query
//! finds it on the other core. The difference is what it costs that the connection changes cores, as a client feels it;
//! both kinds of queries alternate, because what else happens on the machine is most of what they wait for. It judges
//! nothing.

use crate::{
    frames::{Scanner, put, put_text},
    histogram::Histogram,
    messages::startup_packet,
    peers::Workshop,
    process::catch_interrupts,
    procfs::place,
    suite::{MOCK_USER, pgring_beside},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddrV4, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Clients among which two of each of two cores are looked for.
const CLIENTS_MAX: usize = 64;
/// How long a core sleeps between two wake-ups.
const PAUSE: Duration = Duration::from_micros(60);
/// The process ids that pgring gives its clients differ by more than this between cores, by less within one.
const CORE_DISTANCE: i32 = 1 << 19;

/// Arguments of `perf handover`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Measured queries of each kind
    #[arg(long, default_value_t = 20_000)]
    queries: usize,
    /// The pgring to measure; next to this program when not given
    #[arg(long)]
    pgring: Option<PathBuf>,
}

struct Client {
    stream: TcpStream,
    process_id: i32,
}

/// Waits per query of clients that take turns on one server connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    /// The connection was on the client's core: p50 and p99 in microseconds.
    pub(crate) near: [f64; 2],
    /// It came from another core.
    pub(crate) far: [f64; 2],
    /// Two threads, each on its CPU, wake each other: there and back, as a hand-over goes.
    pub(crate) bare: [f64; 2],
}

impl Handover {
    /// The line that `perf handover` prints last.
    fn line(&self) -> String {
        let [a, b] = self.near;
        let [c, d] = self.far;
        let [e, f] = self.bare;
        format!("handover {a} {b} {c} {d} {e} {f}")
    }

    /// Reads what `perf handover` printed.
    pub(crate) fn read(output: &str) -> Option<Handover> {
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("handover "))?;
        let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
        let [a, b, c, d, e, f] = numbers.ok()?.try_into().ok()?;
        Some(Handover {
            near: [a, b],
            far: [c, d],
            bare: [e, f],
        })
    }

    /// Microseconds that the hand-over adds to p50 and to p99.
    pub(crate) fn added(&self) -> [f64; 2] {
        [0, 1].map(|part| self.far[part] - self.near[part])
    }

    /// All of it, with names.
    pub(crate) fn rows(&self) -> [(&'static str, [f64; 2]); 4] {
        [
            ("on the client's core", self.near),
            ("on another core", self.far),
            ("difference", self.added()),
            ("two threads wake each other", self.bare),
        ]
    }
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    catch_interrupts()?;
    let pgring = arguments.pgring.clone().map_or_else(pgring_beside, Ok)?;
    let found = measure(&mut Workshop::new(pgring)?, arguments.queries)?;
    println!("queries in turn on one server connection, by where it is, in microseconds:");
    for (what, [p50, p99]) in found.rows() {
        println!("  {what:27} p50 {p50:7.1}   p99 {p99:7.1}");
    }
    println!("{}", found.line());
    Ok(())
}

/// Measures so many queries of each kind, with a mock server and a pgring of its own.
fn measure(workshop: &mut Workshop, queries: usize) -> Result<Handover, String> {
    let mock = workshop.start_mock()?;
    let pair = workshop.start_pair(mock.address, MOCK_USER)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS_MAX {
        clients.push(Client::login(pair.address).map_err(failed)?);
    }
    let first = clients[0].process_id;
    let is_far = |it: &Client| (it.process_id - first).abs() > CORE_DISTANCE;
    let (far, near): (Vec<_>, Vec<_>) = clients.into_iter().partition(is_far);
    match (near, far) {
        (mut near, mut far) if near.len() > 1 && far.len() > 1 => {
            in_turn([&mut near[..2], &mut far[..2]], queries)
        }
        _ => Err("nearly all clients came to the same core".into()),
    }
}

/// Two clients of one core, then two of another, again and again: of each two, the second finds the connection where
/// it is.
fn in_turn(cores: [&mut [Client]; 2], queries: usize) -> Result<Handover, String> {
    let (mut near, mut far) = (Histogram::new(), Histogram::new());
    let bare = wake_ups(queries).map_err(|error| format!("cannot place a thread: {error}"))?;
    for number in 0..queries {
        let core = &mut *cores[number % 2];
        far.record(core[0].ask().map_err(failed)?);
        near.record(core[1].ask().map_err(failed)?);
    }
    let quantiles = |it: &Histogram| [0.5, 0.99].map(|part| it.quantile(part) as f64 / 1e3);
    Ok(Handover {
        near: quantiles(&near),
        far: quantiles(&far),
        bare: quantiles(&bare),
    })
}

/// How long it takes the calling thread to wake another, on another CPU, and to be woken by it, both having slept for
/// about as long as a query takes: no hand-over can be faster than the machine does this.
fn wake_ups(rounds: usize) -> io::Result<Histogram> {
    let caller = thread::current();
    let turn = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&turn);
    // A thread begins where the one is that starts it: nobody sleeps yet when there is no second CPU.
    place(Some(1))?;
    let other = thread::spawn(move || {
        for _ in 0..rounds {
            while !theirs.load(Ordering::Acquire) {
                thread::park();
            }
            theirs.store(false, Ordering::Release);
            caller.unpark();
        }
    });
    place(Some(0))?;
    let mut histogram = Histogram::new();
    for _ in 0..rounds {
        thread::sleep(PAUSE);
        let begin = Instant::now();
        turn.store(true, Ordering::Release);
        other.thread().unpark();
        while turn.load(Ordering::Acquire) {
            thread::park();
        }
        histogram.record(begin.elapsed().as_nanos() as u64);
    }
    place(None)?;
    Ok(histogram)
}

fn failed(error: io::Error) -> String {
    format!("a client of pgring failed: {error}")
}

impl Client {
    fn login(address: SocketAddrV4) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(&startup_packet(MOCK_USER, MOCK_USER))?;
        let process_id = until_ready(&mut stream)?;
        Ok(Self { stream, process_id })
    }

    /// Nanoseconds of one round trip.
    fn ask(&mut self) -> io::Result<u64> {
        let mut query = Vec::new();
        put(&mut query, b'Q', |body| put_text(body, b"SELECT 1"));
        let begin = Instant::now();
        self.stream.write_all(&query)?;
        until_ready(&mut self.stream)?;
        Ok(begin.elapsed().as_nanos() as u64)
    }
}

/// Reads up to ReadyForQuery; the process id, if one was told.
fn until_ready(stream: &mut TcpStream) -> io::Result<i32> {
    let (mut scanner, mut bytes) = (Scanner::default(), [0; 4096]);
    let (mut ready, mut failed, mut process_id) = (false, false, 0);
    while !ready {
        let length = stream.read(&mut bytes)?;
        let scanned = scanner.scan(&bytes[..length], |tag, body| {
            ready |= tag == b'Z';
            failed |= tag == b'E';
            if let (b'K', [a, b, c, d, ..]) = (tag, body) {
                process_id = i32::from_be_bytes([*a, *b, *c, *d]);
            }
        });
        if failed || length == 0 || scanned.is_err() {
            return Err(io::Error::other("no proper answer"));
        }
    }
    Ok(process_id)
}
