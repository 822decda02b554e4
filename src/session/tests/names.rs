//! Sessions that share server connections, beside the same sessions alone with a server of their own: whatever
//! they send, and in whatever order things happen, they hear the same.

use std::{collections::VecDeque, rc::Rc};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{postgres::Backend, talk::*};
use crate::session::{
    context::{Bounds, Context},
    conversation::{Answer, Conversation, Verdict},
};
use crate::{
    cluster::{settings::PoolMode, stamps::Stamps},
    protocol::{
        Frame, Frames, Header, Writer,
        backend::ErrorFields,
        frontend::Target,
        tag::{backend, frontend},
    },
    session::{
        prepared::{
            Store,
            server::{Prepared, ServerName},
        },
        state::parameters::{Interner, Parameters},
    },
};

type Checked = Result<(), TestCaseError>;

/// Few statements for each server connection, and nothing feared or refused.
pub(crate) const FEW: Bounds = Bounds {
    always_checked: false,
    trusts_functions: true,
    pins_sequences: false,
    refuses_pins: false,
    server_statements: 2,
    client_bytes: 1 << 20,
};

/// One of `size` server connections that none of the clients has, by choice.
pub(crate) fn free_connection(
    size: usize,
    taken: impl Iterator<Item = usize>,
    choice: usize,
) -> Option<usize> {
    let taken: Vec<_> = taken.collect();
    let free: Vec<_> = (0..size).filter(|at| !taken.contains(at)).collect();
    (!free.is_empty()).then(|| free[choice % free.len()])
}

/// A server connection in the pool.
#[derive(Default)]
struct Connection {
    postgres: Backend,
    prepared: Prepared,
    /// The server has dropped what pgring believes to be there.
    forgotten: bool,
}

/// One session.
struct Client {
    rules: Conversation,
    to_send: VecDeque<Vec<u8>>,
    /// Messages that may run again.
    record: Vec<Vec<u8>>,
    /// Its connection.
    at: Option<usize>,
    /// Its next message waits for answers.
    waits: bool,
    heard: Vec<u8>,
}

/// Sessions and the connections they share.
struct World {
    clients: Vec<Client>,
    pool: Vec<Connection>,
    store: Rc<Store>,
    stamps: Stamps,
    settings: Parameters,
    /// The state of a connection is asked for after each transaction.
    always_checked: bool,
    /// Clients wait for the end of each pipeline, and send the next one whole.
    patient: bool,
    log: String,
}

impl World {
    fn new(scripts: &[Vec<Vec<u8>>], connections: usize, always_checked: bool) -> Self {
        let client = |script: &Vec<Vec<u8>>| Client {
            rules: Conversation::new(PoolMode::Transaction),
            to_send: script.clone().into(),
            record: Vec::new(),
            at: None,
            waits: false,
            heard: Vec::new(),
        };
        Self {
            clients: scripts.iter().map(client).collect(),
            pool: (0..connections).map(|_| Connection::default()).collect(),
            store: Rc::default(),
            stamps: Stamps::default(),
            settings: Interner::default().empty(),
            always_checked,
            patient: false,
            log: String::new(),
        }
    }

    /// One thing happens to one client; false when it could not.
    fn act(&mut self, event: Event) -> Result<bool, TestCaseError> {
        let who = event.client % self.clients.len();
        let acted = match event.what {
            What::Send if self.patient => self.send_pipeline(who, event.connection)?,
            What::Send => self.send_chunk(who, event)?,
            What::Forget => self.forget(event.connection),
            What::Step => match self.clients[who].at {
                Some(at) => self.pool[at].postgres.step(),
                None => false,
            },
            What::Recv => self.recv(who)?,
        };
        self.after_event(who)?;
        if self.clients[who].rules.take_again() {
            self.run_again(who, event)?;
        }
        Ok(acted)
    }

    /// Sends again the messages that were recorded.
    fn run_again(&mut self, who: usize, event: Event) -> Checked {
        self.log += &format!("\n{who} runs again");
        let client = &mut self.clients[who];
        let count = client.record.len();
        while let Some(message) = client.record.pop() {
            client.to_send.push_front(message);
        }
        self.send_chunk(who, Event { count, ..event })?;
        self.after_event(who)
    }

    /// Several messages come at once.
    fn send_chunk(&mut self, who: usize, event: Event) -> Result<bool, TestCaseError> {
        let client = &mut self.clients[who];
        let mut left = event.count.min(client.to_send.len());
        if left > 0 {
            client.rules.stop_recording();
        }
        let acted = left > 0;
        while left > 0 && self.send(who, event.connection)? {
            left -= 1;
        }
        Ok(acted && left < event.count)
    }

    fn send_pipeline(&mut self, who: usize, connection: usize) -> Result<bool, TestCaseError> {
        let client = &self.clients[who];
        let is_sync = |message: &Vec<u8>| message[0] == frontend::SYNC.0;
        let Some(end) = client.to_send.iter().position(is_sync) else {
            return Ok(false);
        };
        if !(client.rules.is_at_rest() || client.waits) || connection == usize::MAX {
            return Ok(false);
        }
        let event = Event {
            what: What::Send,
            client: who,
            connection,
            count: end + 1,
        };
        self.send_chunk(who, event)
    }

    /// A server that nobody has at hand drops what is prepared there.
    fn forget(&mut self, choice: usize) -> bool {
        let at = choice % self.pool.len();
        let free = self.clients.iter().all(|client| client.at != Some(at));
        if free {
            self.log += &format!("\n{at} forgets");
            self.pool[at].postgres.named.clear();
            self.pool[at].forgotten = true;
        }
        free
    }

    fn send(&mut self, who: usize, choice: usize) -> Result<bool, TestCaseError> {
        let Some(message) = self.clients[who].to_send.pop_front() else {
            return Ok(false);
        };
        loop {
            let verdict = self.judge(who, &message);
            self.log += &format!("\n{who} {} {verdict:?}", asks(&message));
            let replaced = match verdict {
                Verdict::Forward => 0,
                Verdict::Instead(replaced) => replaced,
                Verdict::Discard => {
                    self.clients[who].note(message, false);
                    return Ok(true);
                }
                Verdict::NeedServer if self.link(who, choice) => continue,
                Verdict::NeedServer | Verdict::Wait => {
                    let client = &mut self.clients[who];
                    client.waits = verdict == Verdict::Wait;
                    client.rules.stop_recording();
                    client.to_send.push_front(message);
                    return Ok(false);
                }
                Verdict::Full | Verdict::Asks | Verdict::Terminate => {
                    return Err(TestCaseError::fail(format!("{verdict:?}:{}", self.log)));
                }
            };
            let at = self.clients[who].at.expect("forwarded to a server");
            self.pool[at].postgres.send(&message[replaced..]);
            self.clients[who].note(message, true);
            return Ok(true);
        }
    }

    fn judge(&mut self, who: usize, message: &[u8]) -> Verdict {
        let client = &mut self.clients[who];
        client.waits = false;
        let header = Header::read(message).unwrap().unwrap();
        let mut ahead = Vec::new();
        let mut context = Context {
            known: &crate::session::context::Known::Trusted,
            server: client.at.map(|at| &mut self.pool[at].prepared),
            store: &self.store,
            stamps: &self.stamps,
            settings: &self.settings,
            bounds: Bounds {
                always_checked: self.always_checked,
                ..FEW
            },
            out: &mut client.heard,
            ahead: &mut ahead,
        };
        let body = &message[Header::BYTES..];
        let verdict = client
            .rules
            .client_message(header, body, &mut context)
            .unwrap();
        if let Some(at) = client.at {
            self.pool[at].postgres.send(&ahead);
            self.log += &format!(" [{}]", asks(&ahead));
        } else {
            assert!(ahead.is_empty(), "nobody reads this");
        }
        verdict
    }

    /// Takes a connection that nobody has, if there is one.
    fn link(&mut self, who: usize, choice: usize) -> bool {
        let taken = self.clients.iter().filter_map(|client| client.at);
        let Some(at) = free_connection(self.pool.len(), taken, choice) else {
            return false;
        };
        self.log += &format!(" takes {at}");
        self.clients[who].at = Some(at);
        true
    }

    fn recv(&mut self, who: usize) -> Result<bool, TestCaseError> {
        let client = &mut self.clients[who];
        let Some(connection) = client.at.map(|at| &mut self.pool[at]) else {
            return Ok(false);
        };
        let Some((tag, body)) = connection.postgres.recv() else {
            return Ok(false);
        };
        client.say(&mut connection.prepared);
        let answer = client
            .rules
            .server_message(tag, &body, &mut connection.prepared);
        self.log += &format!("\n{who} <{} {answer:?}", char::from(tag.0));
        match answer.unwrap() {
            Answer::Forward | Answer::Ready => {
                Writer::new(&mut client.heard).message(tag, &body);
            }
            Answer::Swallow => {}
            Answer::Renamed => client.heard.append(&mut client.rules.take_renamed()),
            Answer::StateTold => drop(client.rules.take_state_query()),
            other => return Err(TestCaseError::fail(format!("{other:?}:{}", self.log))),
        }
        if tag == backend::ERROR_RESPONSE && client.rules.take_sync_due() {
            self.log += " Sync is due";
            connection.postgres.send(&sync());
        }
        client.say(&mut connection.prepared);
        Ok(true)
    }

    fn after_event(&mut self, who: usize) -> Checked {
        let client = &mut self.clients[who];
        prop_assert!(!client.rules.is_lost(), "lost:{}", self.log);
        let Some(at) = client.at else {
            return Ok(());
        };
        let connection = &mut self.pool[at];
        if client.rules.is_releasable() {
            client.at = None;
            self.log += &format!("\n{who} releases {at}");
            connection.check(&self.log)?;
        } else if client.rules.wants_state_query() {
            self.log += &format!("\n{who} asks for the state");
            let question = client
                .rules
                .begin_state_query([].into_iter(), &mut connection.prepared);
            connection
                .postgres
                .send(&query(&String::from_utf8(question).unwrap()));
        }
        Ok(())
    }

    /// Everything happens that can.
    fn settle(&mut self) -> Checked {
        let whats = [What::Recv, What::Step, What::Send];
        let mut idle = 0;
        // A message that waits may have asked the server for its answers: once is not enough.
        while idle < 2 {
            idle += 1;
            for what in whats {
                for client in 0..self.clients.len() {
                    let connection = self.log.len();
                    let event = Event {
                        what,
                        client,
                        connection,
                        count: 1,
                    };
                    if self.act(event)? {
                        idle = 0;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// A message was judged.
    fn note(&mut self, message: Vec<u8>, forwarded: bool) {
        if forwarded && self.rules.take_recording() {
            self.record.clear();
        }
        if self.rules.is_recorded() {
            self.record.push(message);
        }
    }

    /// Gives the answers of pgring's own that are due at this point.
    fn say(&mut self, server: &mut Prepared) {
        while let Some(said) = self.rules.said(Some(server)) {
            self.heard.extend_from_slice(said);
        }
    }
}

impl Connection {
    /// The connection goes back: nothing is under way, and what the books say is so.
    fn check(&mut self, log: &str) -> Checked {
        prop_assert!(
            self.postgres.is_free(),
            "released too early:{log}\n{:?}",
            self.postgres
        );
        if self.prepared.is_stained() {
            self.prepared.forget();
            self.postgres.reset();
        }
        if self.forgotten {
            return Ok(());
        }
        let known: Vec<_> = self.prepared.inventory().collect();
        prop_assert_eq!(
            known.len(),
            self.prepared.len(),
            "something is open:{}",
            log
        );
        let unused = self.prepared.unused().iter();
        let mut expected: Vec<_> = unused.map(|number| ServerName::of(*number)).collect();
        for (number, statement) in &known {
            let name = ServerName::of(*number);
            let there = self
                .postgres
                .named
                .get(std::str::from_utf8(name.bytes()).unwrap());
            let text = there.map(|prepared| prepared.text.as_bytes());
            prop_assert_eq!(text, Some(statement.text()), "books:{}", log);
            expected.push(name);
        }
        for name in self.postgres.named.keys() {
            let accounted = expected
                .iter()
                .any(|known| known.bytes() == name.as_bytes());
            prop_assert!(accounted, "{name} is left:{log}");
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Send,
    Step,
    Recv,
    Forget,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    what: What,
    client: usize,
    /// Which of the free connections it gets.
    connection: usize,
    /// How many messages come at once.
    count: usize,
}

fn schedule(whats: Vec<What>) -> impl Strategy<Value = Vec<Event>> {
    let event = (
        select(whats),
        0_usize..2,
        0_usize..3,
        select(vec![1_usize, 1, 2, 8]),
    );
    let event = event.prop_map(|(what, client, connection, count)| Event {
        what,
        client,
        connection,
        count,
    });
    vec(event, 0..120)
}

/// Texts of statements that are parsed.
const STATEMENTS: [&str; 13] = [
    "SELECT 1",
    "SELECT 1",
    "SELECT 2",
    "SELECT 3",
    "SELECT 1/0",
    "SELECT missing",
    "SELEC",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SET a TO 1",
    "DEALLOCATE a",
];

/// Texts of a Query.
const QUERIES: [&str; 22] = [
    "SELECT 4",
    "SELECT 1",
    "SELEC",
    "SELECT missing",
    "SELECT 1/0",
    "",
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "BEGIN; SELECT 5",
    "COMMIT; BEGIN",
    "SET a TO 1",
    "DEALLOCATE a",
    "DEALLOCATE b",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "EXECUTE a",
    "PREPARE q AS SELECT 6",
    "EXECUTE q",
];

fn name() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "a", "a", "b", "pgring_1"])
}

fn portal() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", "p"])
}

/// Messages that a client sends at a time.
fn group() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = |message| vec![message];
    let run = |portal: &str| message(|writer| writer.execute(portal, 0).unwrap());
    prop_oneof![
        4 => (name(), select(&STATEMENTS[..])).prop_map(move |(name, text)| one(plain_parse(name, text))),
        4 => (portal(), name()).prop_map(move |(portal, name)| one(plain_bind(portal, name))),
        4 => portal().prop_map(move |portal| one(run(portal))),
        2 => about(frontend::DESCRIBE),
        2 => about(frontend::CLOSE),
        3 => Just(one(sync())),
        1 => Just(one(flush())),
        4 => select(&QUERIES[..]).prop_map(move |text| one(query(text))),
        4 => (name(), select(&STATEMENTS[..])).prop_map(move |(name, text)| {
            vec![plain_parse(name, text), plain_bind("", name), run(""), sync()]
        }),
        4 => name().prop_map(move |name| vec![plain_bind("", name), run(""), sync()]),
    ]
}

/// A Describe or Close.
fn about(tag: crate::protocol::Tag) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let statement = name().prop_map(|name| (Target::Statement, name));
    let portal = portal().prop_map(|portal| (Target::Portal, portal));
    prop_oneof![statement, portal].prop_map(move |(target, name)| {
        vec![message(|writer| {
            if tag == frontend::DESCRIBE {
                writer.describe(target, name).unwrap();
            } else {
                writer.close_object(target, name).unwrap();
            }
        })]
    })
}

/// Messages of a client that prepares queries and runs them, each in a pipeline of its own.
fn plain_script() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = select(vec!["SELECT 1", "SELECT 2", "SELECT 3"]);
    let name = || select(vec!["", "a", "b"]);
    let parse = (name(), text, any::<bool>()).prop_map(|(name, text, runs)| {
        let mut messages = vec![plain_parse(name, text)];
        if runs {
            messages.extend([plain_bind("", name), execute()]);
        }
        messages.push(sync());
        messages
    });
    let run = name().prop_map(|name| vec![plain_bind("", name), execute(), sync()]);
    vec(prop_oneof![1 => parse, 2 => run], 0..16).prop_map(|groups| groups.concat())
}

/// All that one client sends; a Sync at last, so that everything is answered.
fn script() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(group(), 0..16).prop_map(|groups| {
        let mut messages = groups.concat();
        messages.push(sync());
        messages
    })
}

/// The texts of the errors among messages of a server.
fn errors(bytes: &[u8]) -> Vec<String> {
    let error = |frame: Frame<'_>| {
        let fields = ErrorFields::read(frame.body).unwrap();
        String::from_utf8(fields.message().to_vec()).unwrap()
    };
    let frames = Frames::new(bytes).map(Result::unwrap);
    let errors = frames.filter(|frame| frame.tag == backend::ERROR_RESPONSE);
    errors.map(error).collect()
}

/// Bytes that a client with a server of its own hears.
fn alone(script: &[Vec<u8>]) -> Vec<u8> {
    let mut server = Backend::default();
    for message in script {
        server.send(message);
        server.step();
    }
    server.recv_all()
}

/// Runs the scripts and compares.
fn compare(mut world: World, scripts: &[Vec<Vec<u8>>], schedule: &[Event]) -> Checked {
    for event in schedule {
        world.act(*event)?;
    }
    world.settle()?;
    for (client, script) in world.clients.iter().zip(scripts) {
        let told = alone(script);
        prop_assert_eq!(errors(&client.heard), errors(&told), "{}", world.log);
        let sent: Vec<_> = script.iter().map(|message| asks(message)).collect();
        prop_assert_eq!(
            read(&client.heard),
            read(&told),
            "{}\n{}",
            sent.join(" "),
            world.log
        );
        prop_assert!(client.rules.is_at_rest());
        let free = client.rules.is_releasable() && client.at.is_none();
        let busy = client.rules.pinned().is_some() || !client.rules.is_clean();
        prop_assert!(free || busy, "kept for nothing:{}", world.log);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2_000)))]

    #[test]
    fn what_a_client_hears_is_what_a_server_of_its_own_would_say(
        scripts in vec(script(), 2),
        schedule in schedule(vec![What::Send, What::Step, What::Recv]),
        connections in 2_usize..4,
        always_checked: bool,
    ) {
        compare(World::new(&scripts, connections, always_checked), &scripts, &schedule)?;
    }

    /// A statement that the server has lost is parsed again, and nobody notices.
    #[test]
    fn a_server_that_forgets_is_told_again(
        scripts in vec(plain_script(), 2),
        schedule in schedule(vec![What::Send, What::Step, What::Step, What::Recv, What::Recv, What::Forget]),
    ) {
        let mut world = World::new(&scripts, 2, false);
        world.patient = true;
        compare(world, &scripts, &schedule)?;
    }
}
