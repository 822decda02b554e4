//! Random settings: each client does the same random things on a connection of its own and through a pool that
//! it shares with all the others, and must see the same after each step. Owns the random things.

use std::{fmt::Write as _, net::SocketAddr, thread};

use pgring::{protocol::tag::backend::READY_FOR_QUERY, random::Seeded};

use crate::{
    conversation::unnamed,
    proof::stage,
    support::{PATIENCE, message::*, session::Session},
    transcript::Transcript,
};

const CLIENTS: u64 = 16;
const STEPS: usize = 100;

/// Steps that a complaint shows.
const SHOWN: usize = 15;

/// Names, and values as SET takes them. The last of each does not exist.
const SETTINGS: [(&str, [&str; 4]); 9] = [
    (
        "TimeZone",
        ["'Asia/Tokyo'", "'UTC'", "'America/Lima'", "'Nowhere'"],
    ),
    ("DateStyle", ["German", "'ISO, DMY'", "SQL", "wrong"]),
    ("work_mem", ["'5MB'", "6000", "'7MB'", "'a lot'"]),
    ("search_path", ["a, \"b c\"", "''", "public", "1e"]),
    (
        "application_name",
        ["'it''s'", "$$dollars$$", "E'a\\nb'", "'unfinished"],
    ),
    ("my.var", ["'one'", "two", "3", "(4)"]),
    (
        "client_encoding",
        ["LATIN1", "'UTF8'", "SQL_ASCII", "KLINGON"],
    ),
    ("statement_timeout", ["'1h'", "0", "7200000", "-2"]),
    ("role", ["reader", "'writer'", "none", "postgres"]),
];

/// Ways to bring a setting at login.
const STARTUPS: [&[(&str, &str)]; 5] = [
    &[],
    &[("role", "reader"), ("statement_timeout", "30min")],
    &[("TimeZone", "Asia/Seoul"), ("application_name", "startup")],
    &[("options", "-c work_mem=9MB -c my.var=startup")],
    &[
        ("DateStyle", "German"),
        ("client_encoding", "LATIN1"),
        ("options", "-c search_path=s"),
    ],
];

#[test]
fn random_settings_never_meet() {
    let seeds = [1, 15, 21, 26];
    for seed in seeds {
        let stage = stage();
        let direct = stage.server.primary.address();
        let pool = stage.proxy.address();
        let complaints: Vec<String> = thread::scope(|scope| {
            let run = |number| scope.spawn(move || Pair::new(direct, pool, seed, number).run());
            let threads: Vec<_> = (0..CLIENTS).map(run).collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.flatten().collect()
        });
        assert!(
            complaints.is_empty(),
            "seed {seed}\n{}",
            complaints.join("\n")
        );
    }
}

/// One client, twice.
struct Pair {
    number: u64,
    random: Seeded,
    sessions: [Session; 2],
    startup: Vec<u8>,
    /// It comes with settings of its own. Those that one transaction resets and the next, begun in the same
    /// request by AND CHAIN, rolls back with it are beyond pgring.
    has_startup: bool,
    done: Vec<String>,
}

impl Pair {
    fn new(direct: SocketAddr, pool: SocketAddr, seed: u64, number: u64) -> Self {
        let mut random = Seeded::new(seed << 32 | number);
        let who = [("user", "app"), ("database", "app")];
        let more = STARTUPS[random.below(STARTUPS.len() as u64) as usize];
        Self {
            number,
            random,
            sessions: [direct, pool].map(|address| Session::connect(address).unwrap()),
            startup: startup(&[&who, more].concat()),
            has_startup: !more.is_empty(),
            done: vec![format!("login with {more:?}")],
        }
    }

    /// What is wrong, if anything is.
    fn run(mut self) -> Option<String> {
        for session in &self.sessions {
            session.set_patience(PATIENCE);
        }
        let hello = std::mem::take(&mut self.startup);
        if let Some(difference) = self.differs(&hello, 1) {
            return Some(difference);
        }
        for _ in 0..STEPS {
            let (text, bytes, answers) = self.step();
            self.done.push(text);
            let difference = self.differs(&bytes, answers).or_else(|| self.look());
            if difference.is_some() {
                return difference;
            }
        }
        None
    }

    /// Looks at all settings: some clients always, some seldom, so that an idle BEGIN stays one.
    fn look(&mut self) -> Option<String> {
        if self.number % 2 == 1 && self.random.below(4) > 0 {
            return None;
        }
        let names =
            SETTINGS.map(|(name, _)| format!("coalesce(current_setting('{name}', true), '')"));
        let text = format!("SELECT {}, current_user", names.join(", "));
        self.differs(&query(&text), 1)
    }

    /// Says it on both connections and compares what comes back.
    fn differs(&mut self, bytes: &[u8], answers: usize) -> Option<String> {
        let [direct, through] = self
            .sessions
            .each_mut()
            .map(|session| exchange(session, bytes, answers));
        let difference = direct.difference(&through, ["direct", "pgring"])?;
        let mut text = format!("  client {}:\n", self.number);
        let first = self.done.len().saturating_sub(SHOWN);
        for step in &self.done[first..] {
            writeln!(text, "      {step}").unwrap();
        }
        Some(text + &difference)
    }

    /// One or two statements, in one of the ways to say them, and how many answers there are to that.
    fn step(&mut self) -> (String, Vec<u8>, usize) {
        let (one, mut two) = (self.statement(), self.statement());
        if self.random.below(7) == 0 {
            let bytes = all([query(&one), query(&two)]);
            return (format!("in one piece: {one} | {two}"), bytes, 2);
        }
        let resets = |text: &str| text.contains("RESET") || text.contains("DISCARD");
        if self.has_startup && (resets(&one) || resets(&two)) {
            // What one request resets in one transaction and leaves to another is beyond pgring, too.
            two = "SELECT 1".to_owned();
        }
        let (text, bytes) = match self.random.below(6) {
            0..3 => (one.clone(), query(&one)),
            3 => (format!("extended: {one}"), all([unnamed(&one), sync()])),
            4 => {
                let both = format!("{one}; {two}");
                (both.clone(), query(&both))
            }
            _ => {
                let bytes = all([unnamed(&one), unnamed(&two), sync()]);
                (format!("one pipeline: {one}; {two}"), bytes)
            }
        };
        (text, bytes, 1)
    }

    fn statement(&mut self) -> String {
        let text = self.any_statement();
        match text.strip_suffix(" AND CHAIN") {
            Some(plain) if self.has_startup => plain.to_owned(),
            // A RESET in a block is a query, behind which no isolation level can be set.
            None if self.has_startup && text.starts_with("BEGIN") => "BEGIN".to_owned(),
            // RESET and SET LOCAL of one setting in one transaction look like a SET to whoever asks the server.
            None if self.has_startup && text.starts_with("SET LOCAL") => "SELECT 1".to_owned(),
            _ => text,
        }
    }

    fn any_statement(&mut self) -> String {
        const OTHERS: [&str; 20] = [
            "BEGIN",
            "BEGIN",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "COMMIT",
            "COMMIT",
            "COMMIT",
            "ROLLBACK",
            "COMMIT AND CHAIN",
            "ROLLBACK AND CHAIN",
            "SAVEPOINT a",
            "SAVEPOINT b",
            "ROLLBACK TO a",
            "ROLLBACK TO b",
            "RELEASE a",
            "DISCARD ALL",
            "RESET ALL",
            "SELECT 1",
            "SELECT 1/0",
            "SHOW work_mem",
            "RESET ROLE",
        ];
        let (name, values) = SETTINGS[self.random.below(SETTINGS.len() as u64) as usize];
        // One in ten is wrong.
        let value = values[(self.random.below(31) / 10) as usize];
        match self.random.below(12) {
            0..3 => format!("SET {name} = {value}"),
            3 => format!("SET LOCAL {name} TO {value}"),
            4 => format!("RESET {name}"),
            5 => format!(
                "SELECT set_config('{name}', $q${}$q$, {})",
                value.trim_matches('\''),
                self.random.below(2) == 0
            ),
            _ => OTHERS[self.random.below(OTHERS.len() as u64) as usize].to_owned(),
        }
    }
}

/// What comes back, up to so many ReadyForQuery.
pub(crate) fn exchange(session: &mut Session, bytes: &[u8], mut answers: usize) -> Transcript {
    let mut transcript = Transcript::default();
    transcript.note(">>", bytes);
    // What the other side made of it is seen when its answer is read.
    let _unsent = session.send(bytes);
    loop {
        match session.message() {
            Ok((tag, body)) => {
                transcript.message(tag, &body);
                answers -= usize::from(tag == READY_FOR_QUERY);
                if answers == 0 {
                    break;
                }
            }
            Err(closed) => {
                transcript.end(&closed);
                break;
            }
        }
    }
    if bytes.starts_with(&[0]) {
        transcript.end_login();
    }
    transcript
}
