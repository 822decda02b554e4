//! A worker core that is warm serves queries without the heap: the allocator of this test binary counts what
//! worker threads ask of it. Not counted on: a query that has to wait for a server connection, whose place in
//! the queue is on the heap. One test, because the count belongs to the whole process.

#![expect(
    unsafe_code,
    reason = "an allocator, the name of a thread, a signal to ourselves"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a broken test bench shall fail the test"
)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use pgring::{
    cli::{postgres::free_port, start_worker},
    control::{self, ControlError, config},
};
use support::{eventually, message::*, mock::MockServer, peer::Client};

/// Clients that talk at the same time, and server connections for them.
const CLIENTS: usize = 4;

/// Rounds that are counted: with four clients, ten thousand requests of each form.
const ROUNDS: usize = 2_500;

/// How often the count may start again. Queues that all sessions share double when more of them
/// have something to do at once than ever before, which happens a few times and when chance wants it.
const WARM_UPS_MAX: usize = 5;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Whether allocations are counted now.
static COUNTS: AtomicBool = AtomicBool::new(false);

/// Allocations of worker threads while they were counted.
static COUNTED: AtomicU64 = AtomicU64::new(0);

/// Where the first of them was made.
static FIRST: Mutex<Option<Backtrace>> = Mutex::new(None);

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Unknown) };
}

/// What a thread is, as far as counting goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Unknown,
    Worker,
    /// A worker that notes where it is, which allocates.
    Noting,
    Other,
}

impl Role {
    fn of_this_thread() -> Self {
        let mut name = [0_u8; 16];
        // SAFETY: the kernel writes a name of at most 16 bytes, its zero included.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        if name.starts_with(b"worker-") {
            Self::Worker
        } else {
            Self::Other
        }
    }
}

/// The system's allocator, which tells.
struct Counting;

// SAFETY: every call is passed on as it is; what is added neither touches the memory nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: passed on to the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note();
        // SAFETY: passed on to the caller.
        unsafe { System.realloc(old, layout, bytes) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Counts an allocation if it is a worker's. A thread's role is asked for only while counting, when every
/// worker has long had its name.
fn note() {
    if !COUNTS.load(Ordering::Acquire) {
        return;
    }
    if ROLE.get() == Role::Unknown {
        ROLE.set(Role::of_this_thread());
    }
    if ROLE.get() == Role::Worker && COUNTED.fetch_add(1, Ordering::AcqRel) == 0 {
        ROLE.set(Role::Noting);
        let here = Backtrace::force_capture();
        FIRST.lock().unwrap().replace(here);
        ROLE.set(Role::Worker);
    }
}

/// How often worker threads allocate while `work` is done, and where they first did.
fn allocations(work: impl FnOnce()) -> (u64, String) {
    COUNTED.store(0, Ordering::Release);
    COUNTS.store(true, Ordering::Release);
    work();
    COUNTS.store(false, Ordering::Release);
    let first = FIRST.lock().unwrap().take();
    let place = first.map_or_else(String::new, |place| place.to_string());
    (COUNTED.load(Ordering::Acquire), place)
}

/// The same of the first time that it does not allocate, else of the last one.
fn allocations_when_warm(mut work: impl FnMut()) -> (u64, String) {
    let mut made = allocations(&mut work);
    for _ in 0..WARM_UPS_MAX {
        if made.0 > 0 {
            made = allocations(&mut work);
        }
    }
    made
}

/// pgring in this process, a scripted server behind it.
struct Stage {
    pgring: JoinHandle<Result<(), ControlError>>,
    address: SocketAddr,
}

impl Stage {
    fn set() -> Self {
        let server = MockServer::bind().log_in_everyone();
        let port = free_port().unwrap();
        let text = format!(
            "[runtime]\nworkers = 1\npin = false\n[listen]\naddresses = [\"127.0.0.1:{port}\"]\n\
             [auth]\nmethod = \"trust\"\nunknown_users = true\n[pool]\nsize = {CLIENTS}\n\
             query_timeout = \"1h\"\nidle_in_transaction_timeout = \"1h\"\nclient_idle_timeout = \"1h\"\n\
             [[node]]\nname = \"pg1\"\naddress = \"{}\"\n",
            server.address()
        );
        server.answer_everyone();
        let pgring = thread::spawn(move || {
            let file = Path::new("allocations.toml");
            let settings = config::parse(&text, file).unwrap();
            control::run(settings, file, start_worker)
        });
        let address = (Ipv4Addr::LOCALHOST, port).into();
        eventually("pgring listened", || TcpStream::connect(address).is_ok());
        Self { pgring, address }
    }

    fn clients(&self) -> Vec<Client> {
        let clients = (0..CLIENTS).map(|_| Client::login(self.address));
        clients.collect()
    }

    /// Ends pgring as an operator does.
    fn strike(self) {
        // SAFETY: pgring handles the signal, in this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        self.pgring.join().unwrap().unwrap();
    }
}

/// Every client says each of `requests` and reads its answers, each up to ReadyForQuery; again and again.
fn talk(clients: &mut [Client], requests: &[Vec<u8>], answers: usize, rounds: usize) {
    for request in (0..rounds).flat_map(|_| requests) {
        for client in clients.iter_mut() {
            client.send(request);
        }
        for client in clients.iter_mut() {
            for _ in 0..answers {
                client.receive_until_ready();
            }
        }
    }
}

#[test]
fn no_query_allocates_once_the_core_is_warm() {
    let unprepared = all([
        parse("", "SELECT $1"),
        bind("", "", &["1"]),
        describe_portal(""),
        execute(""),
        sync(),
    ]);
    let named = all([parse("s", "SELECT $1"), sync()]);
    let prepared = all([bind("", "s", &["1"]), execute(""), sync()]);
    let pipeline = prepared.repeat(5);
    let block = ["BEGIN", "UPDATE t SET n = 1", "COMMIT"].map(query);
    let stage = Stage::set();
    let mut clients = stage.clients();
    for (form, first, requests, answers) in [
        ("simple", &[][..], vec![query("SELECT 1")], 1),
        ("extended", &[], vec![unprepared], 1),
        ("transaction", &[], block.to_vec(), 1),
        ("prepared", &named, vec![prepared], 1),
        ("pipeline", &[], vec![pipeline], 5),
    ] {
        talk(&mut clients, &[first.to_vec()], first.len().min(1), 1);
        let (count, place) =
            allocations_when_warm(|| talk(&mut clients, &requests, answers, ROUNDS));
        assert_eq!(count, 0, "form {form}; the first was made here:\n{place}");
    }
    // A statement that no receive buffer holds is put together on the heap: the count sees that.
    let long = query(&format!("SELECT '{}'", "x".repeat(10_000)));
    let (count, place) = allocations(|| talk(&mut clients, &[long], 1, 1));
    assert!(count > 0 && place.contains("pgring"), "{count}: {place}");
    drop(clients);
    stage.strike();
}
