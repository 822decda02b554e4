//! Owns the closed-loop load generator: N connections on one ring, each with one round of queries under way. It checks
//! every answer, and stops with a sentence when one is wrong: a fast proxy that lies is not measured.

use crate::{
    frames::Scanner,
    histogram::Histogram,
    procfs,
    ring::{Event, Ring, Target},
    sample::{Metric, Sample},
    script::{self, Script, TERMINATE},
    sockets,
};
use io_uring::types::Timespec;
use std::{
    net::SocketAddrV4,
    os::fd::RawFd,
    time::{Duration, Instant},
};

const CONNECTED: u64 = 1;
const RECEIVED: u64 = 2;
const SEND_FAILED: u64 = 3;
const TICKED: u64 = 4;
const INPUT_ENDED: u64 = 5;

const BUFFER_COUNT: u16 = 2048;
const BUFFER_BYTES: usize = 4096;
/// Logins under way at once, so that no peer's listen queue overflows.
const LOGINS_MAX: usize = 64;
/// All connections are up within this, or something is broken.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);
/// How long answers and ends of connections may be outstanding after the measured time.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);
/// How often the generator looks at its deadlines when no answer arrives.
static TICK: Timespec = Timespec::new().nsec(100_000_000);

/// Arguments of `perf load` and `perf idle`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Address of the proxy
    #[arg(long)]
    address: SocketAddrV4,
    /// Connections
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[command(flatten)]
    script: script::Arguments,
    /// Connect, log in, one round, Terminate, again and again
    #[arg(long)]
    storm: bool,
    /// Seconds before the measurement
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Seconds measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// Processes whose CPU time is taken at both ends of the measurement
    #[arg(long, value_delimiter = ',')]
    watch: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unborn,
    Connecting,
    Login,
    Preparing,
    Ready,
    Running,
    Leaving,
}

struct Client {
    socket: RawFd,
    phase: Phase,
    scanner: Scanner,
    sent_ns: u64,
    ready: u64,
    rows: u64,
    completed: u64,
}

/// Manner of the load once every connection is up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Rounds without pause until the measurement is over.
    Measure,
    /// Rounds without pause, with a new connection for each.
    Storm,
    /// One round each, then silence until standard input ends.
    Idle,
}

struct Load {
    ring: Ring,
    script: Script,
    manner: Manner,
    target: &'static Target,
    clients: Vec<Client>,
    /// Connections begun, and connections that reached `Ready` (or more).
    begun: usize,
    up: usize,
    started: Instant,
    window: Option<Window>,
    lengths: (u64, u64),
    watch: Vec<u32>,
    /// Figures measured, from the end of the window on: connections then leave in good order.
    sample: Option<Sample>,
    gone: usize,
    /// Idle connections that have had their one answer.
    rested: usize,
    over: bool,
}

/// The measured stretch of time.
struct Window {
    begin_ns: u64,
    end_ns: u64,
    cpu_begin_ns: Option<u64>,
    histogram: Histogram,
    bytes: u64,
}

/// Measures and prints one `Sample`.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let manner = if arguments.storm {
        Manner::Storm
    } else {
        Manner::Measure
    };
    let mut load = Load::new(arguments, manner)?;
    load.drive()?;
    let sample = load.sample.ok_or("load: ended before it measured")?;
    println!("{}", sample.line());
    Ok(())
}

/// Opens the connections, says `ready`, and holds them until standard input ends.
pub(crate) fn idle(arguments: &Arguments) -> Result<(), String> {
    Load::new(arguments, Manner::Idle)?.drive()
}

impl Load {
    fn new(arguments: &Arguments, manner: Manner) -> Result<Load, String> {
        procfs::prepare(arguments.cpu)
            .map_err(|error| format!("load: cannot prepare the process: {error}"))?;
        let ring = Ring::new(BUFFER_COUNT, BUFFER_BYTES)
            .map_err(|error| format!("load: no io_uring: {error}"))?;
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        Ok(Load {
            ring,
            script: Script::new(&arguments.script),
            manner,
            target: Target::leaked(arguments.address),
            clients: (0..arguments.clients).map(|_| Client::unborn()).collect(),
            begun: 0,
            up: 0,
            started: Instant::now(),
            window: None,
            lengths: (
                nanoseconds(arguments.warmup),
                nanoseconds(arguments.seconds),
            ),
            watch: arguments.watch.clone(),
            sample: None,
            gone: 0,
            rested: 0,
            over: false,
        })
    }

    fn drive(&mut self) -> Result<(), String> {
        if self.manner == Manner::Idle {
            self.ring.end_of_input(INPUT_ENDED << 32);
        }
        self.ring.timeout(&TICK, TICKED << 32);
        self.begin_more()?;
        let mut events = Vec::with_capacity(4096);
        while !self.over {
            self.ring
                .wait(&mut events)
                .map_err(|error| format!("load: waiting failed: {error}"))?;
            for event in events.drain(..) {
                self.handle(event)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        let at = event.user_data as u32 as usize;
        match event.user_data >> 32 {
            CONNECTED => self.connected(at, event.result),
            RECEIVED => self.received(at, event),
            SEND_FAILED => {
                Err(self.failure(at, &format!("sending failed: {}", errno(event.result))))
            }
            TICKED => self.tick(),
            _ => {
                self.over = true;
                Ok(())
            }
        }
    }

    /// Begins logins until all connections are begun or enough are under way.
    fn begin_more(&mut self) -> Result<(), String> {
        while self.begun < self.clients.len() && self.begun - self.up < LOGINS_MAX {
            self.begun += 1;
            self.begin(self.begun - 1)?;
        }
        Ok(())
    }

    fn begin(&mut self, at: usize) -> Result<(), String> {
        let socket = sockets::unconnected()
            .map_err(|error| self.failure(at, &format!("no socket: {error}")))?;
        let sent_ns = self.now_ns();
        self.clients[at] = Client {
            socket,
            phase: Phase::Connecting,
            sent_ns,
            ..Client::unborn()
        };
        self.ring
            .connect(socket, self.target, CONNECTED << 32 | at as u64);
        Ok(())
    }

    fn connected(&mut self, at: usize, result: i32) -> Result<(), String> {
        if result < 0 {
            return Err(self.failure(at, &format!("connecting failed: {}", errno(result))));
        }
        self.ring
            .receive(self.clients[at].socket, RECEIVED << 32 | at as u64);
        self.ask(at, Phase::Login, self.script.startup);
        Ok(())
    }

    fn ask(&mut self, at: usize, phase: Phase, bytes: &'static [u8]) {
        let client = &mut self.clients[at];
        client.phase = phase;
        (client.ready, client.rows, client.completed) = (0, 0, 0);
        self.ring
            .send_static(client.socket, bytes, SEND_FAILED << 32 | at as u64);
    }

    fn received(&mut self, at: usize, event: Event) -> Result<(), String> {
        if let Some(id) = event.buffer() {
            let outcome = self.clients[at].read(self.ring.received(id, event.result as usize));
            self.ring.give_back(id);
            if let Some(window) = &mut self.window {
                window.bytes += event.result as u64;
            }
            outcome.map_err(|what| self.failure(at, &what))?;
            self.advance(at)?;
        }
        if event.more() {
            return Ok(());
        }
        if event.result > 0 || event.result == -libc::ENOBUFS {
            self.ring
                .receive(self.clients[at].socket, RECEIVED << 32 | at as u64);
            return Ok(());
        }
        self.ended(at, event.result)
    }

    fn ended(&mut self, at: usize, result: i32) -> Result<(), String> {
        if self.clients[at].phase != Phase::Leaving {
            return Err(self.failure(
                at,
                &format!("the proxy closed the connection: {}", errno(result)),
            ));
        }
        sockets::close(self.clients[at].socket);
        let (now, from) = (self.now_ns(), self.clients[at].sent_ns);
        if self.manner == Manner::Storm {
            self.count(now, from)?;
        }
        if self.sample.is_none() {
            return self.begin(at);
        }
        self.gone += 1;
        self.over = self.gone == self.clients.len();
        Ok(())
    }

    /// Goes to the next phase when everything that was asked has been answered.
    fn advance(&mut self, at: usize) -> Result<(), String> {
        let client = &self.clients[at];
        match client.phase {
            Phase::Login if client.ready == 1 => match self.script.prepare {
                Some((bytes, _)) => self.ask(at, Phase::Preparing, bytes),
                None => return self.risen(at),
            },
            Phase::Preparing
                if self
                    .script
                    .prepare
                    .is_none_or(|(_, ready)| client.ready == ready) =>
            {
                return self.risen(at);
            }
            Phase::Running if client.ready == self.script.ready => return self.answered(at),
            Phase::Running if client.ready > self.script.ready => {
                return Err(self.failure(at, "more ReadyForQuery than questions"));
            }
            _ => (),
        }
        Ok(())
    }

    /// A connection is logged in (and prepared).
    fn risen(&mut self, at: usize) -> Result<(), String> {
        if self.manner == Manner::Measure {
            self.clients[at].phase = Phase::Ready;
        } else {
            self.ask(at, Phase::Running, self.script.round);
        }
        if self.window.is_some() {
            return Ok(());
        }
        self.up += 1;
        self.begin_more()?;
        if self.up == self.clients.len() && self.manner != Manner::Idle {
            self.open_window();
        }
        Ok(())
    }

    fn open_window(&mut self) {
        let begin_ns = self.now_ns() + self.lengths.0;
        let end_ns = begin_ns + self.lengths.1;
        self.window = Some(Window {
            begin_ns,
            end_ns,
            cpu_begin_ns: None,
            histogram: Histogram::new(),
            bytes: 0,
        });
        for at in 0..self.clients.len() {
            if self.clients[at].phase == Phase::Ready {
                self.clients[at].sent_ns = self.now_ns();
                self.ask(at, Phase::Running, self.script.round);
            }
        }
    }

    /// A whole round has come back.
    fn answered(&mut self, at: usize) -> Result<(), String> {
        let client = &self.clients[at];
        let whole = client.scanner.at_boundary();
        if !whole || client.rows != self.script.rows || client.completed != self.script.queries {
            let what = format!(
                "a round was answered with {} rows, {} ends",
                client.rows, client.completed
            );
            return Err(self.failure(at, &what));
        }
        match self.manner {
            Manner::Storm => self.ask(at, Phase::Leaving, TERMINATE),
            Manner::Idle => self.rest(at),
            Manner::Measure => {
                let (now, from) = (self.now_ns(), client.sent_ns);
                self.count(now, from)?;
                self.clients[at].sent_ns = now;
                match self.sample {
                    None => self.ask(at, Phase::Running, self.script.round),
                    Some(_) => self.ask(at, Phase::Leaving, TERMINATE),
                }
            }
        }
        Ok(())
    }

    fn rest(&mut self, at: usize) {
        self.clients[at].phase = Phase::Ready;
        self.rested += 1;
        if self.rested == self.clients.len() {
            println!("ready {}", self.rested);
        }
    }

    /// Counts a round that ended at `now`, when that lies inside the window.
    fn count(&mut self, now: u64, from: u64) -> Result<(), String> {
        let Some(window) = &mut self.window else {
            return Ok(());
        };
        if now < window.begin_ns {
            return Ok(());
        }
        if window.cpu_begin_ns.is_none() {
            window.cpu_begin_ns = Some(procfs::cpu_ns(&self.watch));
            window.begin_ns = now;
            window.end_ns = now + self.lengths.1;
            window.bytes = 0;
        }
        window.histogram.record(now - from);
        if now >= window.end_ns {
            self.sample = Some(self.measured()?);
        }
        Ok(())
    }

    /// Looks at the deadlines, which answers alone would not do if none came.
    fn tick(&mut self) -> Result<(), String> {
        self.ring.timeout(&TICK, TICKED << 32);
        let elapsed = self.started.elapsed();
        match &self.window {
            Some(window)
                if elapsed.as_nanos() as u64 > window.end_ns + SILENCE_LIMIT.as_nanos() as u64 =>
            {
                self.over = true;
                if self.sample.is_none() {
                    self.sample = Some(self.measured()?);
                }
            }
            None if self.rested < self.clients.len() && elapsed > LOGIN_LIMIT => {
                let (up, all) = (self.up, self.clients.len());
                return Err(format!(
                    "load: {up} of {all} connections were logged in after {LOGIN_LIMIT:?}"
                ));
            }
            _ => (),
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn failure(&self, at: usize, what: &str) -> String {
        format!(
            "load: connection {at} of {} in phase {:?}: {what}",
            self.clients.len(),
            self.clients[at].phase
        )
    }

    fn measured(&self) -> Result<Sample, String> {
        let cpu_end_ns = procfs::cpu_ns(&self.watch);
        let now = self.now_ns();
        let window = self.window.as_ref().ok_or("load: ended before it began")?;
        let rounds = window.histogram.total();
        let cpu_begin_ns = window
            .cpu_begin_ns
            .ok_or("load: no round was answered in the measured time")?;
        let seconds = (now - window.begin_ns) as f64 / 1e9;
        let queries = (rounds * self.script.queries) as f64;
        let cpu_ns = (cpu_end_ns - cpu_begin_ns) as f64;
        let quantile = |q| window.histogram.quantile(q) as f64 / 1e3;
        let mut sample = Sample::default();
        sample.set(Metric::QueriesPerSecond, queries / seconds);
        sample.set(Metric::CpuMicroseconds, cpu_ns / 1e3 / queries);
        sample.set(Metric::Busy, cpu_ns / 1e9 / seconds);
        sample.set(Metric::P50Microseconds, quantile(0.5));
        sample.set(Metric::P99Microseconds, quantile(0.99));
        sample.set(Metric::P999Microseconds, quantile(0.999));
        sample.set(
            Metric::MegabytesPerSecond,
            window.bytes as f64 / 1e6 / seconds,
        );
        Ok(sample)
    }
}

impl Client {
    fn unborn() -> Client {
        Client {
            socket: -1,
            phase: Phase::Unborn,
            scanner: Scanner::default(),
            sent_ns: 0,
            ready: 0,
            rows: 0,
            completed: 0,
        }
    }

    /// Counts what must be counted; anything a healthy server would not say is an error.
    fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut wrong = None;
        let mut scanner = self.scanner;
        let scanned = scanner.scan(bytes, |tag, body| match tag {
            b'Z' => self.ready += 1,
            b'D' => self.rows += 1,
            b'C' => self.completed += 1,
            b'E' => wrong = Some(format!("error: {}", readable(body))),
            b'R' if body.iter().any(|byte| *byte != 0) => {
                wrong = Some("asked for a password; use trust".into())
            }
            b'R' | b'S' | b'K' | b'N' | b'T' | b't' | b'n' | b'1' | b'2' | b'3' => (),
            other => wrong = Some(format!("unexpected message {:?}", other as char)),
        });
        self.scanner = scanner;
        scanned.map_err(|bad| format!("invalid message length {}", bad.0))?;
        wrong.map_or(Ok(()), Err)
    }
}

fn readable(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace('\0', " ")
}

fn errno(result: i32) -> String {
    match result {
        0 => "end of stream".into(),
        result => std::io::Error::from_raw_os_error(-result).to_string(),
    }
}
