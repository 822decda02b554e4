//! Two worlds that are the same for whoever plays in them: in one each player has a connection of its own, in the other
//! they share a pool of pgring. What one says is said in both, and answered before anybody says more, so that every
//! answer is determined. Owns the sessions and the comparison; never knows what is said.

use std::{collections::VecDeque, fmt::Write as _, time::Duration};

use pgring::{
    cli::postgres::Installation,
    protocol::{Tag, tag::backend::*},
};

use super::look::{self, May};
use crate::{
    conversation::requests,
    support::{
        PATIENCE, eventually,
        message::*,
        proxy::Config,
        session::{Answer, Session},
        stage::Stage,
    },
    transcript::Transcript,
};

/// The databases of the two worlds.
const DIRECT: &str = "plain";
const SHARED: &str = "app";

/// Steps that a complaint shows.
const SHOWN: usize = 30;

/// Characters of a step that it shows.
const STEP_SHOWN: usize = 300;

/// How long a player waits for its turn at a pool before it is looked for who keeps it.
const PAUSE: Duration = Duration::from_millis(20);

/// How pgring is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) pool: usize,
    pub(super) workers: u16,
    pub(super) always: bool,
    /// False for a second world of direct connections: what differs then is not pgring's fault.
    pub(super) is_shared: bool,
}

impl Setup {
    /// All that the players are let loose upon.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for pool in [1, 3] {
            for workers in [1, 2] {
                all.extend([false, true].map(|always| Self {
                    pool,
                    workers,
                    always,
                    is_shared: true,
                }));
            }
        }
        all
    }

    fn adapt(self, config: Config) -> Config {
        let config = config
            .workers(self.workers)
            .set("pool", &format!("size = {}", self.pool))
            .set("admin", "users = [\"postgres\"]");
        match self.always {
            true => config.set("pool", "state_check = \"always\""),
            false => config,
        }
    }
}

/// One player's connections, the direct one first.
struct Pair {
    sessions: [Session; 2],
    /// The server process of the direct one.
    backend: i32,
}

/// Everything.
pub(super) struct World {
    pub(super) stage: Stage,
    players: Vec<Option<Pair>>,
    /// Of each world's database, not through pgring.
    outside: [Session; 2],
    steps: VecDeque<String>,
    setup: Setup,
}

/// Letters and bodies.
type Messages = Vec<(Tag, Vec<u8>)>;

/// What came for a request.
struct Heard {
    messages: Messages,
    transcript: Transcript,
}

/// A difference, with what came before it.
pub(super) type Complaint = String;

impl World {
    /// A server of this version with all objects in both databases.
    pub(super) fn new(installation: &Installation, setup: Setup, players: usize) -> Self {
        let stage = Stage::trusting_of(installation, |config| setup.adapt(config));
        let primary = &stage.server.primary;
        let run = |database: &str, text: &str| {
            primary
                .sql(database, text)
                .unwrap_or_else(|error| panic!("{error}"))
        };
        run(
            "postgres",
            "CREATE ROLE reader; CREATE ROLE writer; GRANT reader, writer TO app",
        );
        run("postgres", &format!("CREATE DATABASE {DIRECT} OWNER app"));
        for database in [DIRECT, SHARED] {
            run(
                database,
                &format!("GRANT ALL ON DATABASE {database} TO reader, writer"),
            );
            run(database, include_str!("objects.sql"));
            let mut maker = Session::login_as(primary.address(), "app", database).unwrap();
            assert_eq!(maker.query(look::BASELINE), Answer::Rows(Vec::new()));
        }
        let address = primary.address();
        let outside = [DIRECT, SHARED].map(|name| Session::login_as(address, "app", name).unwrap());
        let players = (0..players).map(|_| None).collect();
        Self {
            stage,
            players,
            outside,
            steps: VecDeque::new(),
            setup,
        }
    }

    /// Everybody leaves, and pgring is another one.
    pub(super) fn renew(&mut self, setup: Setup) {
        for player in 0..self.players.len() {
            self.leave(player);
        }
        self.setup = setup;
        self.steps.clear();
        self.stage.renew(|config| setup.adapt(config));
    }

    pub(super) fn is_there(&self, player: usize) -> bool {
        self.players[player].is_some()
    }

    /// Logs in and looks around.
    pub(super) fn login(&mut self, player: usize, more: &[(&str, &str)]) -> Result<(), Complaint> {
        self.note(&format!("player {player} logs in with {more:?}"));
        let direct = self.stage.server.primary.address();
        let shared = match self.setup.is_shared {
            true => self.stage.proxy.address(),
            false => direct,
        };
        let addresses = [direct, shared];
        let sessions = addresses.map(|address| Session::connect(address).unwrap());
        self.players[player] = Some(Pair {
            sessions,
            backend: 0,
        });
        let hello =
            |database| startup(&[&[("user", "app"), ("database", database)], more].concat());
        let heard =
            [1, 0].map(|world| self.exchange(player, world, &hello([DIRECT, SHARED][world]), 1));
        let [through, direct] = heard;
        self.agree([&direct, &through], May::Never)?;
        let key = direct
            .messages
            .iter()
            .find(|(tag, _)| *tag == BACKEND_KEY_DATA);
        let backend = key.map(|(_, body)| i32::from_be_bytes(body[..4].try_into().unwrap()));
        if let (Some(pair), Some(backend)) = (&mut self.players[player], backend) {
            pair.backend = backend;
        }
        self.look(player)
    }

    /// Says it in both worlds; what came in each.
    pub(super) fn say(
        &mut self,
        player: usize,
        shown: &str,
        bytes: &[u8],
        may: May,
    ) -> Result<[Messages; 2], Complaint> {
        self.note(&format!("player {player}: {shown}"));
        let due = requests(bytes);
        // First where it may have to wait until somebody else has left, which then has left both.
        let through = self.exchange(player, 1, bytes, due);
        let direct = self.exchange(player, 0, bytes, due);
        self.agree([&direct, &through], may)?;
        Ok([direct.messages, through.messages])
    }

    /// The same where only chance says what comes: it is not compared. What came through pgring.
    pub(super) fn by_chance(&mut self, player: usize, bytes: &[u8]) -> Messages {
        self.note(&format!("player {player}: {}", bytes[5..].escape_ascii()));
        let due = requests(bytes);
        let through = self.exchange(player, 1, bytes, due);
        self.exchange(player, 0, bytes, due);
        through.messages
    }

    /// Looks for all that can be found.
    pub(super) fn look(&mut self, player: usize) -> Result<(), Complaint> {
        self.say(
            player,
            "looks at its state",
            &query(look::STATE),
            May::Never,
        )?;
        for question in look::NUMBERS {
            self.say(player, question, &query(question), May::BeUndefined)?;
        }
        self.say(
            player,
            look::NAMESPACE,
            &query(look::NAMESPACE),
            May::BeCleaner,
        )?;
        Ok(())
    }

    /// Somebody runs it in both databases, without pgring.
    pub(super) fn aside(&mut self, text: &str) {
        self.note(&format!("aside: {text}"));
        for session in &mut self.outside {
            let answer = session.query(text);
            let known = matches!(answer, Answer::Rows(_) | Answer::Error(..));
            assert!(known, "{text}: {answer:?}");
        }
    }

    /// What was taken of a sequence was taken as often in both worlds: nothing was executed twice, and nothing was not.
    pub(super) fn agree_on_numbers(&mut self) -> Result<(), Complaint> {
        const LOOK: &str = "SELECT last_value, is_called FROM public.numbers";
        let found: Vec<_> = self
            .outside
            .iter_mut()
            .map(|session| session.query(LOOK))
            .collect();
        match found.windows(2).all(|pair| pair[0] == pair[1]) {
            true => Ok(()),
            false => Err(self.complaint(&format!("the sequence is at {found:?}"))),
        }
    }

    /// The player goes, and all that it held is given back.
    pub(super) fn leave(&mut self, player: usize) {
        let Some(mut pair) = self.players[player].take() else {
            return;
        };
        self.note(&format!("player {player} leaves"));
        for session in &mut pair.sessions {
            // Who is gone already needs no goodbye.
            let _gone = session.send(&terminate());
        }
        drop(pair.sessions);
        let outside = &mut self.outside;
        let mut number = |world: usize, text: &str| outside[world].query(text).row();
        let gone = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
            pair.backend
        );
        eventually("the direct connection was closed", || {
            number(0, &gone) == "0"
        });
        const LOCKS: &str = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
            WHERE locktype = 'advisory' AND datname = current_database()";
        // A lock that is never given back is found by whoever wants it.
        for _ in 0..100 {
            if number(0, LOCKS) == number(1, LOCKS) {
                break;
            }
            std::thread::park_timeout(PAUSE / 10);
        }
    }

    fn exchange(&mut self, player: usize, world: usize, bytes: &[u8], mut due: usize) -> Heard {
        let mut heard = Heard {
            messages: Vec::new(),
            transcript: Transcript::default(),
        };
        let is_login = bytes.starts_with(&[0]);
        let Some(pair) = &mut self.players[player] else {
            heard
                .transcript
                .end(&Answer::Closed("it has left".to_owned()));
            return heard;
        };
        // What the other side made of it is seen when its answer is read.
        let _unsent = pair.sessions[world].send(bytes);
        while due > 0 {
            match self.message(player, world) {
                Ok((tag, body)) => {
                    due -= usize::from(tag == READY_FOR_QUERY);
                    if tag == NOTIFICATION {
                        continue;
                    }
                    heard.transcript.message(tag, &body);
                    heard.messages.push((tag, body));
                }
                Err(closed) => {
                    heard.transcript.end(&closed);
                    break;
                }
            }
        }
        if is_login {
            heard.transcript.end_login();
        }
        heard
    }

    /// The next message. Whoever keeps a connection of a pool in which there is none left for this player must leave.
    fn message(&mut self, player: usize, world: usize) -> Result<(Tag, Vec<u8>), Answer> {
        let mut waited = Duration::ZERO;
        loop {
            let Some(pair) = &mut self.players[player] else {
                return Err(Answer::Closed("it has left".to_owned()));
            };
            let session = &mut pair.sessions[world];
            session.set_patience(if world == 0 { PATIENCE } else { PAUSE });
            match session.message() {
                Err(Answer::Closed(why))
                    if is_silence(&why) && world == 1 && waited < PATIENCE / 2 =>
                {
                    waited += PAUSE;
                    self.make_room(player);
                }
                other => return other,
            }
        }
    }

    /// Has one of those leave who keep connections, when there are as many as the pool has.
    fn make_room(&mut self, waiting: usize) {
        let mut console =
            Session::login_as(self.stage.proxy.address(), "postgres", "pgring").unwrap();
        let Answer::Rows(clients) = console.query("SHOW CLIENTS") else {
            return;
        };
        let keeping = clients.iter().filter_map(|row| {
            let values: Vec<_> = row.split('|').collect();
            let is_pinned = values.last().is_some_and(|reason| !reason.is_empty());
            is_pinned.then(|| values[5].to_owned())
        });
        let ports: Vec<_> = keeping.collect();
        let is_keeping = |pair: &Option<Pair>| {
            let port = |pair: &Pair| pair.sessions[1].local_address().port().to_string();
            pair.as_ref()
                .is_some_and(|pair| ports.contains(&port(pair)))
        };
        let mut players = (0..self.players.len()).filter(|&one| one != waiting);
        let first = players.find(|&one| is_keeping(&self.players[one]));
        if let Some(player) = first.filter(|_| ports.len() >= self.setup.pool) {
            self.leave(player);
        }
    }

    fn agree(&self, [direct, through]: [&Heard; 2], may: May) -> Result<(), Complaint> {
        let names = ["direct", "pgring"];
        let Some(difference) = direct.transcript.difference(&through.transcript, names) else {
            return Ok(());
        };
        if may.allows([&direct.messages, &through.messages]) {
            return Ok(());
        }
        Err(self.complaint(&difference))
    }

    /// Something is wrong: what, and what was done before.
    pub(super) fn complaint(&self, what: &str) -> Complaint {
        let mut text = format!("  {:?}\n", self.setup);
        for step in &self.steps {
            writeln!(text, "      {step}").unwrap();
        }
        text + what
    }

    fn note(&mut self, step: &str) {
        if self.steps.len() == SHOWN {
            self.steps.pop_front();
        }
        let shown: String = step.chars().take(STEP_SHOWN).collect();
        self.steps.push_back(shown);
    }
}

fn is_silence(why: &str) -> bool {
    ["os error 11", "timed out"]
        .iter()
        .any(|text| why.contains(text))
}
