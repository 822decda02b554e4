//! Thousands of cancel requests at random moments: what became of each query is accounted for. It has either
//! its own right answer or was cancelled, and then somebody had asked for that since it began.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

use pgring::protocol::tag::backend::{DATA_ROW, ERROR_RESPONSE};

use crate::{
    stage::Stage,
    support::{message::*, peer::Client, proxy::Config},
};

/// Clients that are cancelled now and then.
const TARGETS: usize = 16;
/// Clients that nobody ever asks to cancel.
const UNTOUCHED: usize = 8;
/// Those who cancel.
const CANCELLERS: u64 = 3;
const CANCELS: u64 = 3000;
const CONNECTIONS: usize = 10;

/// One client as those who cancel know it.
struct Target {
    process_id: i32,
    key: Vec<u8>,
    /// Cancel requests that may have been sent.
    begun: AtomicU64,
    /// Cancel requests that pgring has closed.
    ended: AtomicU64,
}

impl Target {
    fn of(client: &Client) -> Self {
        let (process_id, key) = client.key.clone().unwrap();
        Self {
            process_id,
            key,
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn cancel(&self, proxy: SocketAddr) {
        self.begun.fetch_add(1, SeqCst);
        Client::connect(proxy)
            .send(cancel_request(self.process_id, &self.key))
            .expect_end();
        self.ended.fetch_add(1, SeqCst);
    }
}

/// What became of one client's queries.
#[derive(Debug, Default)]
struct Book {
    answered: u64,
    cancelled: u64,
}

struct Worker<'t> {
    client: Client,
    target: &'t Target,
    book: Book,
}

impl Worker<'_> {
    fn work(mut self, number: u64, stop: &AtomicBool) -> Book {
        for round in 0.. {
            if stop.load(SeqCst) {
                break;
            }
            let token = (number + 1) * 1_000_000 + round;
            let slow = format!("SELECT {token} FROM pg_sleep(0.003)");
            match round % 4 {
                0 => self.ask(&query(&format!("SELECT {token}")), Some(token)),
                1 => self.ask(&query(&slow), Some(token)),
                2 => self.ask(
                    &all([parse("", &slow), bind("", "", &[]), execute(""), sync()]),
                    Some(token),
                ),
                _ => self.transaction(&slow, token),
            };
        }
        self.book
    }

    fn transaction(&mut self, text: &str, token: u64) -> bool {
        let fine = self.ask(&query("BEGIN"), None)
            && self.ask(&query(text), Some(token))
            && self.ask(&query(text), Some(token))
            && self.ask(&query("COMMIT"), None);
        // Even that may be cancelled.
        while !fine && !self.ask(&query("ROLLBACK"), None) {}
        fine
    }

    /// False when it was cancelled.
    fn ask(&mut self, request: &[u8], expected: Option<u64>) -> bool {
        let over_before = self.target.ended.load(SeqCst);
        self.client.send(request);
        let answer = self.client.receive_until_ready();
        let begun = self.target.begun.load(SeqCst);
        if let Some(error) = answer.iter().find(|message| message.tag == ERROR_RESPONSE) {
            let (sqlstate, text) = error.error();
            assert_eq!(sqlstate, "57014", "{text}");
            assert!(begun > over_before, "cancelled, and nobody asked: {text}");
            self.book.cancelled += 1;
            return false;
        }
        let rows = answer.iter().filter(|message| message.tag == DATA_ROW);
        let rows: Vec<_> = rows.map(|row| values(row.frame())[0].clone()).collect();
        let expected: Vec<_> = expected
            .map(|token| Some(token.to_string()))
            .into_iter()
            .collect();
        assert_eq!(rows, expected, "each answer is its own");
        self.book.answered += 1;
        true
    }
}

/// A number from 0 to `below`, and the seed of the next one.
fn chance(seed: &mut u64, below: usize) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed % below as u64) as usize
}

fn cancel_at_random(proxy: SocketAddr, server: SocketAddr, targets: &[Target], mut seed: u64) {
    // A connection of its own, past pgring, to pause in between: else hardly any query would get to a server.
    let mut pause = Client::login(server);
    for _ in 0..CANCELS / CANCELLERS {
        targets[chance(&mut seed, targets.len())].cancel(proxy);
        let ms = chance(&mut seed, 4);
        pause.rows(&format!("SELECT pg_sleep(0.001 * {ms})"));
    }
}

/// Every second client has settings of its own, so that connections change theirs all the time.
fn login(stage: &Stage, number: usize) -> Client {
    let name = if number.is_multiple_of(2) {
        "plain"
    } else {
        "other"
    };
    let who = [
        ("user", "app"),
        ("database", "app"),
        ("application_name", name),
    ];
    Client::login_with(stage.proxy.address(), &who)
}

/// Sums over the cores: active, forwarded, coalesced, dequeued, dropped.
fn counts(stage: &Stage) -> [u64; 5] {
    let who = [("user", "pgring"), ("database", "pgring")];
    let mut console = Client::login_with(stage.proxy.address(), &who);
    let mut sums = [0; 5];
    for row in console.rows("SHOW CANCELS") {
        for (sum, field) in sums.iter_mut().zip(row.split('|').skip(1)) {
            *sum += field.parse::<u64>().unwrap();
        }
    }
    sums
}

mod alone {
    use super::*;

    #[test]
    fn every_query_has_its_answer_or_was_cancelled_by_request() {
        let stage = Stage::trusting(|config: Config| {
            config
                .set("pool", &format!("size = {CONNECTIONS}"))
                .workers(2)
        });
        let proxy = stage.proxy.address();
        let server = stage.server.primary.address();
        let clients: Vec<_> = (0..TARGETS + UNTOUCHED).map(|n| login(&stage, n)).collect();
        let targets: Vec<_> = clients.iter().map(Target::of).collect();
        let stop = AtomicBool::new(false);
        let books: Vec<Book> = thread::scope(|scope| {
            let workers = (0..).zip(clients).zip(&targets);
            let workers: Vec<_> = workers
                .map(|((number, client), target)| {
                    let book = Book::default();
                    let worker = Worker {
                        client,
                        target,
                        book,
                    };
                    let stop = &stop;
                    scope.spawn(move || worker.work(number, stop))
                })
                .collect();
            let cancellers: Vec<_> = (1..=CANCELLERS)
                .map(|seed| {
                    let touched = &targets[..TARGETS];
                    scope.spawn(move || cancel_at_random(proxy, server, touched, seed))
                })
                .collect();
            let over = cancellers.into_iter().map(thread::ScopedJoinHandle::join);
            let over: Vec<_> = over.collect();
            stop.store(true, SeqCst);
            over.into_iter().for_each(Result::unwrap);
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .collect()
        });

        let (touched, untouched) = books.split_at(TARGETS);
        assert!(touched.iter().any(|book| book.cancelled > 0), "{books:?}");
        assert!(books.iter().all(|book| book.answered > 0), "{books:?}");
        assert!(
            untouched.iter().all(|book| book.cancelled == 0),
            "{books:?}"
        );
        let [active, forwarded, _, dequeued, dropped] = counts(&stage);
        assert_eq!((active, dropped), (0, 0));
        assert!(forwarded > 0 && dequeued > 0, "{forwarded}, {dequeued}");
        assert_eq!(stage.proxy.psql("SELECT 1"), "1");
    }
}
