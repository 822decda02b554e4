//! Sessions that share server connections while somebody changes the table that they read: no statement is executed as
//! it was parsed before its client parsed it, no row has another shape than its client knows, and nothing is refused
//! that is as it was.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    names::{FEW, free_connection},
    postgres::{Backend, TABLE, shape, version_of},
    talk::*,
};
use crate::session::{
    context::Context,
    conversation::{Answer, Conversation, Verdict},
};
use crate::{
    cluster::{settings::PoolMode, stamps::Stamps},
    protocol::{
        Frames, Header, SqlState, Tag,
        backend::{DataRow, ErrorFields, RowDescription},
        frontend::Target,
        tag::backend,
    },
    session::{
        prepared::{Store, server::Prepared},
        state::parameters::{Interner, Parameters},
    },
};

type Checked = Result<(), TestCaseError>;

/// One of a client's pipelines. All of it is about one name.
#[derive(Clone, Copy, Debug)]
struct Task {
    name: &'static str,
    /// It closes the name and parses it anew.
    parses: bool,
    describes: bool,
    describes_portal: bool,
    runs: bool,
}

impl Task {
    fn messages(self) -> Vec<Vec<u8>> {
        let about = |target| message(|writer| writer.describe(target, self.name).unwrap());
        let close = message(|writer| {
            writer.close_object(Target::Statement, self.name).unwrap();
        });
        let mut messages = Vec::new();
        if self.parses {
            messages.extend([close, plain_parse(self.name, TABLE)]);
        }
        if self.describes {
            messages.push(about(Target::Statement));
        }
        if self.runs {
            messages.push(plain_bind("", self.name));
            if self.describes_portal {
                messages.push(describe(Target::Portal));
            }
            messages.push(execute());
        }
        messages.push(sync());
        messages
    }
}

/// Knowledge that a client has of a name.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The version of the table before it was parsed.
    since: u64,
    /// Shape of its rows that it was told, or has read.
    shape: Option<u64>,
}

/// One session.
struct Client {
    rules: Conversation,
    tasks: VecDeque<Task>,
    to_send: VecDeque<Vec<u8>>,
    task: Option<Task>,
    /// The version of the table when that began.
    began: u64,
    known: HashMap<&'static str, Known>,
    at: Option<usize>,
    is_waiting: bool,
}

/// Sessions and the connections they share.
struct World {
    clients: Vec<Client>,
    pool: Vec<(Backend, Prepared)>,
    table: Rc<Cell<u64>>,
    store: Store,
    stamps: Stamps,
    settings: Parameters,
    log: String,
}

impl World {
    fn new(scripts: &[Vec<Task>], connections: usize) -> Self {
        let table: Rc<Cell<u64>> = Rc::default();
        let client = |tasks: &Vec<Task>| Client {
            rules: Conversation::new(PoolMode::Transaction),
            tasks: tasks.clone().into(),
            to_send: VecDeque::new(),
            task: None,
            began: 0,
            known: HashMap::new(),
            at: None,
            is_waiting: false,
        };
        let connection = |_| {
            let mut backend = Backend::default();
            backend.table = Rc::clone(&table);
            (backend, Prepared::default())
        };
        Self {
            clients: scripts.iter().map(client).collect(),
            pool: (0..connections).map(connection).collect(),
            table: Rc::clone(&table),
            store: Store::default(),
            stamps: Stamps::default(),
            settings: Interner::default().empty(),
            log: String::new(),
        }
    }

    /// One thing happens; false when it could not.
    fn act(&mut self, event: Event) -> Result<bool, TestCaseError> {
        let who = event.client % self.clients.len();
        let at = self.clients[who].at;
        Ok(match event.what {
            What::Alter => {
                self.table.set(self.table.get() + 1);
                self.log += &format!("\naltered: {}", self.table.get());
                true
            }
            What::Send => self.send(who, event.connection),
            What::Step => at.is_some_and(|at| self.pool[at].0.step()),
            What::Recv => self.recv(who)?,
        })
    }

    fn send(&mut self, who: usize, choice: usize) -> bool {
        let now = self.table.get();
        let client = &mut self.clients[who];
        if client.task.is_none()
            && let Some(task) = client.tasks.pop_front()
        {
            client.task = Some(task);
            client.began = now;
            client.to_send = task.messages().into();
            if task.parses {
                let known = Known {
                    since: now,
                    shape: None,
                };
                client.known.insert(task.name, known);
            }
            self.log += &format!("\n{who} {task:?}");
        }
        let Some(message) = self.clients[who].to_send.front().cloned() else {
            return false;
        };
        match self.judge(who, &message) {
            Verdict::NeedServer => return self.link(who, choice),
            Verdict::Wait => {
                let first = !std::mem::replace(&mut self.clients[who].is_waiting, true);
                return first;
            }
            Verdict::Discard => {}
            verdict => {
                let replaced = match verdict {
                    Verdict::Instead(replaced) => replaced,
                    _ => 0,
                };
                let at = self.clients[who].at.expect("forwarded to a server");
                self.pool[at].0.send(&message[replaced..]);
            }
        }
        let client = &mut self.clients[who];
        client.is_waiting = false;
        client.to_send.pop_front();
        if client.to_send.is_empty() && client.rules.is_at_rest() {
            // All of it was answered without a server.
            client.task = None;
        }
        true
    }

    fn judge(&mut self, who: usize, message: &[u8]) -> Verdict {
        let client = &mut self.clients[who];
        let (mut out, mut ahead) = (Vec::new(), Vec::new());
        let mut context = Context {
            server: client.at.map(|at| &mut self.pool[at].1),
            store: &self.store,
            stamps: &self.stamps,
            settings: &self.settings,
            known: &crate::session::context::Known::Trusted,
            bounds: FEW,
            out: &mut out,
            ahead: &mut ahead,
        };
        let header = Header::read(message).unwrap().unwrap();
        let body = &message[Header::BYTES..];
        let verdict = client
            .rules
            .client_message(header, body, &mut context)
            .unwrap();
        self.log += &format!("\n{who} {} {verdict:?} [{}]", asks(message), asks(&ahead));
        if let Some(at) = client.at {
            self.pool[at].0.send(&ahead);
        }
        verdict
    }

    fn link(&mut self, who: usize, choice: usize) -> bool {
        let taken = self.clients.iter().filter_map(|client| client.at);
        let Some(at) = free_connection(self.pool.len(), taken, choice) else {
            return false;
        };
        self.log += &format!("\n{who} takes {at}");
        self.clients[who].at = Some(at);
        true
    }

    fn recv(&mut self, who: usize) -> Result<bool, TestCaseError> {
        let Some(at) = self.clients[who].at else {
            return Ok(false);
        };
        let (backend, prepared) = &mut self.pool[at];
        let Some((tag, body)) = backend.recv() else {
            return Ok(false);
        };
        let client = &mut self.clients[who];
        while client.rules.said(Some(prepared)).is_some() {}
        let answer = client.rules.server_message(tag, &body, prepared).unwrap();
        client.rules.note_answered(&self.stamps);
        while client.rules.said(Some(prepared)).is_some() {}
        self.log += &format!("\n{who} <{} {answer:?}", char::from(tag.0));
        let body = match answer {
            Answer::Renamed => last_body(&self.clients[who].rules.take_renamed()),
            _ => body,
        };
        if answer != Answer::Swallow {
            self.hear(who, tag, &body)?;
        }
        let client = &mut self.clients[who];
        if answer == Answer::Ready && client.to_send.is_empty() {
            client.task = None;
            prop_assert!(client.rules.is_releasable(), "{}", self.log);
            client.at = None;
        }
        Ok(true)
    }

    /// The client hears something of the task it is at.
    fn hear(&mut self, who: usize, tag: Tag, body: &[u8]) -> Checked {
        let client = &mut self.clients[who];
        let Some(task) = client.task else {
            return Ok(());
        };
        let Some(known) = client.known.get_mut(task.name) else {
            return Ok(());
        };
        match tag {
            backend::ROW_DESCRIPTION => {
                let mut fields = RowDescription::read(body).unwrap();
                let name = String::from_utf8(fields.next().unwrap().name.to_vec()).unwrap();
                let told = name.strip_prefix("shape ").unwrap().parse().unwrap();
                let before = *known.shape.get_or_insert(told);
                prop_assert_eq!(before, told, "it is told otherwise{}", self.log);
            }
            backend::DATA_ROW => {
                let value = DataRow::read(body).unwrap().next().unwrap().unwrap();
                let text = String::from_utf8(value.to_vec()).unwrap();
                let version = version_of(&text).unwrap();
                prop_assert!(version >= known.since, "it is too old{}", self.log);
                // Who has no name for a statement and was told nothing of its rows takes them as they come.
                if !task.name.is_empty() {
                    known.shape.get_or_insert(shape(version));
                }
                let expected = known.shape.unwrap_or(shape(version));
                prop_assert_eq!(shape(version), expected, "another shape{}", self.log);
            }
            backend::ERROR_RESPONSE => {
                let fields = ErrorFields::read(body).unwrap();
                let sqlstate = fields.sqlstate();
                if sqlstate == Some(SqlState::FEATURE_NOT_SUPPORTED) {
                    let mut meanwhile = client.began..=self.table.get();
                    let first = if task.parses { None } else { known.shape };
                    let differs = |version| first.is_none_or(|first| shape(version) != first);
                    prop_assert!(meanwhile.any(differs), "refused for nothing{}", self.log);
                } else {
                    // Nothing was prepared, or its Parse was skipped.
                    prop_assert_eq!(sqlstate, Some(SqlState::INVALID_SQL_STATEMENT_NAME));
                    client.known.remove(task.name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything happens that can.
    fn settle(&mut self) -> Checked {
        let mut idle = 0;
        while idle < 3 {
            idle += 1;
            let clients = 0..self.clients.len();
            let all = clients
                .flat_map(|client| [What::Recv, What::Step, What::Send].map(|what| (what, client)));
            for (what, client) in all {
                let connection = self.log.len();
                let event = Event {
                    what,
                    client,
                    connection,
                };
                if self.act(event)? {
                    idle = 0;
                }
            }
        }
        Ok(())
    }
}

/// Of the last of several messages.
fn last_body(messages: &[u8]) -> Vec<u8> {
    let frames = Frames::new(messages).map(Result::unwrap);
    frames.last().unwrap().body.to_vec()
}

#[derive(Clone, Copy, Debug)]
enum What {
    Send,
    Step,
    Recv,
    Alter,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    what: What,
    client: usize,
    /// Which of the free connections it gets.
    connection: usize,
}

fn task() -> impl Strategy<Value = Task> {
    let names = select(vec!["a", "a", "b", ""]);
    let choices = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (names, choices).prop_map(|(name, (parses, describes, describes_portal, runs))| Task {
        name,
        parses,
        describes,
        describes_portal,
        runs: runs || !parses && !describes,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let steps = [What::Send, What::Step, What::Recv];
    let often = steps.iter().copied().cycle().take(36);
    let whats: Vec<_> = often.chain([What::Alter]).collect();
    (select(whats), 0_usize..3, 0_usize..3).prop_map(|(what, client, connection)| Event {
        what,
        client,
        connection,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1_500)))]

    #[test]
    fn statements_are_what_their_clients_know(
        scripts in vec(vec(task(), 0..12), 1..4),
        schedule in vec(event(), 0..500),
        connections in 1_usize..4,
    ) {
        let mut world = World::new(&scripts, connections);
        for event in schedule {
            world.act(event)?;
        }
        world.settle()?;
        for client in &world.clients {
            prop_assert!(client.tasks.is_empty(), "not all was done{}", world.log);
            prop_assert!(client.rules.is_at_rest(), "something is owed{}", world.log);
        }
    }
}
