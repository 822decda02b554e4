//! Owns the closed-loop load generator: N connections on one ring, each with one round of queries under way. It checks
//! every answer, and stops with a sentence when one is wrong: a fast proxy that lies is not measured.

use crate::{
    answers::startup_packet,
    frames::{Scanner, put, put_text},
    histogram::Histogram,
    procfs,
    ring::{Event, Ring, Target},
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
/// How often the generator looks at its deadlines when no answer arrives.
static TICK: Timespec = Timespec::new().nsec(100_000_000);

/// How a query is sent.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One Query message
    Simple,
    /// Bind, Execute, Sync of a statement parsed once under a name
    Prepared,
    /// Parse, Bind, Describe, Execute, Sync, all unnamed
    Extended,
}

/// Arguments of `perf load` and `perf idle`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Address of the proxy
    #[arg(long)]
    address: SocketAddrV4,
    /// Connections
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// How queries are sent
    #[arg(long, value_enum, default_value = "simple")]
    form: Form,
    /// Queries per round trip (extended forms share one Sync)
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Statement to send
    #[arg(long, default_value = "SELECT 1")]
    sql: String,
    /// Rows that the statement answers
    #[arg(long, default_value_t = 1)]
    rows: u64,
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
    /// User and database to log in with
    #[arg(long, default_value = "perf")]
    user: String,
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

/// The bytes of the run and what must come back for them.
struct Script {
    startup: &'static [u8],
    prepare: Option<&'static [u8]>,
    round: &'static [u8],
    /// ReadyForQuery messages per round.
    ready: u64,
    rows: u64,
    queries: u64,
}

const TERMINATE: &[u8] = &[b'X', 0, 0, 0, 4];

impl Script {
    fn new(arguments: &Arguments) -> Script {
        let simple = arguments.form == Form::Simple;
        let queries = arguments.depth as u64;
        Script {
            startup: startup_packet(&arguments.user, &arguments.user).leak(),
            prepare: (arguments.form == Form::Prepared)
                .then(|| &*prepare_bytes(&arguments.sql).leak()),
            round: round_bytes(arguments).leak(),
            ready: if simple { queries } else { 1 },
            rows: queries * arguments.rows,
            queries,
        }
    }
}

fn put_parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    put(out, b'P', |b| {
        put_text(b, name.as_bytes());
        put_text(b, sql.as_bytes());
        b.extend_from_slice(&[0; 2]);
    });
}

fn prepare_bytes(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_parse(&mut out, "s1", sql);
    put(&mut out, b'S', |_| ());
    out
}

fn round_bytes(arguments: &Arguments) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..arguments.depth {
        put_one(&mut out, arguments.form, &arguments.sql);
    }
    if arguments.form != Form::Simple {
        put(&mut out, b'S', |_| ());
    }
    out
}

fn put_one(out: &mut Vec<u8>, form: Form, sql: &str) {
    if form == Form::Simple {
        return put(out, b'Q', |b| put_text(b, sql.as_bytes()));
    }
    let name = if form == Form::Prepared { "s1" } else { "" };
    if form == Form::Extended {
        put_parse(out, name, sql);
    }
    put(out, b'B', |b| {
        put_text(b, b"");
        put_text(b, name.as_bytes());
        b.extend_from_slice(&[0; 6]);
    });
    if form == Form::Extended {
        put(out, b'D', |b| b.extend_from_slice(b"P\0"));
    }
    put(out, b'E', |b| b.extend_from_slice(&[0; 5]));
}

/// What happens once every connection is up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Rounds without pause until the measurement is over.
    Measure,
    /// The same, with a new connection for each round.
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

/// What a measurement found, as one line that the parent reads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) queries_per_second: f64,
    pub(crate) cpu_us_per_query: f64,
    /// Share of one CPU that the watched processes used.
    pub(crate) busy: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) megabytes_per_second: f64,
}

impl Sample {
    fn line(&self) -> String {
        format!(
            "sample {} {} {} {} {} {} {} {}",
            self.queries_per_second,
            self.cpu_us_per_query,
            self.busy,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.max_us,
            self.megabytes_per_second,
        )
    }

    /// Reads the line that `perf load` prints.
    pub(crate) fn read(output: &str) -> Option<Sample> {
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("sample "))?;
        let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
        let [
            queries_per_second,
            cpu_us_per_query,
            busy,
            p50_us,
            p99_us,
            p999_us,
            max_us,
            megabytes_per_second,
        ] = numbers.ok()?.try_into().ok()?;
        Some(Sample {
            queries_per_second,
            cpu_us_per_query,
            busy,
            p50_us,
            p99_us,
            p999_us,
            max_us,
            megabytes_per_second,
        })
    }
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
    println!("{}", load.sample()?.line());
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
            script: Script::new(arguments),
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
        self.count(now, from)?;
        self.begin(at)
    }

    /// Goes to the next phase when everything that was asked has been answered.
    fn advance(&mut self, at: usize) -> Result<(), String> {
        let client = &self.clients[at];
        match client.phase {
            Phase::Login if client.ready == 1 => match self.script.prepare {
                Some(bytes) => self.ask(at, Phase::Preparing, bytes),
                None => return self.risen(at),
            },
            Phase::Preparing if client.ready == 1 => return self.risen(at),
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
                self.ask(at, Phase::Running, self.script.round);
            }
        }
        Ok(())
    }

    fn rest(&mut self, at: usize) {
        self.clients[at].phase = Phase::Ready;
        if self
            .clients
            .iter()
            .all(|client| client.phase == Phase::Ready)
        {
            println!("ready {}", self.clients.len());
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
        self.over = now >= window.end_ns;
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        self.ring.timeout(&TICK, TICKED << 32);
        let elapsed = self.started.elapsed();
        match &self.window {
            Some(window) => self.over |= elapsed.as_nanos() as u64 > window.end_ns,
            None if self.up < self.clients.len() && elapsed > LOGIN_LIMIT => {
                let (up, all) = (self.up, self.clients.len());
                return Err(format!(
                    "load: {up} of {all} connections were logged in after {LOGIN_LIMIT:?}"
                ));
            }
            None => (),
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

    fn sample(&self) -> Result<Sample, String> {
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
        Ok(Sample {
            queries_per_second: queries / seconds,
            cpu_us_per_query: cpu_ns / 1e3 / queries,
            busy: cpu_ns / 1e9 / seconds,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: window.histogram.largest() as f64 / 1e3,
            megabytes_per_second: window.bytes as f64 / 1e6 / seconds,
        })
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
