//! A conversation: what a client says, step by step, and what it waits for in between. Owns the saying of it
//! and the short ways to write one down. Never judges the answers.

use std::net::SocketAddr;

use pgring::protocol::{Header, tag::backend::ERROR_RESPONSE, tag::backend::READY_FOR_QUERY};

use crate::{
    support::{PATIENCE, message::*, session::Session, stage::Stage},
    transcript::Transcript,
};

/// One step of a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Says it and waits for every ReadyForQuery that is due: one for each Query, Sync and FunctionCall.
    Ask(Vec<u8>),
    /// Says it and waits for a message with this tag; an error or ReadyForQuery ends the waiting, too.
    Until(Vec<u8>, u8),
    /// Another client says it meanwhile, at the same address, in a session of its own.
    Beside(Vec<u8>),
    /// A superuser runs it meanwhile, on a connection of its own to the server itself.
    Aside(String),
}

/// How its transcript through pgring may differ from the direct one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Not at all.
    Equal,
    /// It may succeed where the direct one meets an error.
    EqualOrBetter,
}

/// What one client does from its login to its end.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) name: String,
    pub(crate) promise: Promise,
    startup: Vec<(&'static str, &'static str)>,
    steps: Vec<Step>,
}

/// A conversation of any messages.
pub(crate) fn talk<const N: usize>(name: &str, steps: [Step; N]) -> Conversation {
    Conversation {
        name: name.to_owned(),
        promise: Promise::Equal,
        startup: vec![("user", "app"), ("database", "app")],
        steps: steps.into(),
    }
}

/// One simple query after the other.
pub(crate) fn simple(name: &str, texts: &[&str]) -> Conversation {
    of_steps(name, texts.iter().copied().map(q).collect())
}

/// The same texts three times: as simple queries; as unnamed statements; as named statements that are
/// prepared in one pipeline, used in the next and closed in a third.
pub(crate) fn every_way(name: &str, texts: &[&str]) -> [Conversation; 3] {
    let unnamed = texts.iter().map(|text| ask([unnamed(text), sync()]));
    let named = texts.iter().enumerate();
    let named = named.flat_map(|(number, text)| in_pipelines(&format!("s{}", number % 3), text));
    [
        simple(&format!("{name} (simple)"), texts),
        of_steps(&format!("{name} (unnamed)"), unnamed.collect()),
        of_steps(&format!("{name} (named)"), named.collect()),
    ]
}

/// A conversation of any number of steps.
pub(crate) fn of_steps(name: &str, steps: Vec<Step>) -> Conversation {
    Conversation {
        steps,
        ..talk(name, [])
    }
}

fn in_pipelines(name: &str, text: &str) -> [Step; 3] {
    let run = [
        bind("", name, &[]),
        describe_portal(""),
        execute(""),
        sync(),
    ];
    [
        ask([parse(name, text), describe_statement(name), sync()]),
        ask(run),
        ask([close_statement(name), sync()]),
    ]
}

/// Parse, Bind, Describe and Execute of the unnamed statement and portal.
pub(crate) fn unnamed(text: &str) -> Vec<u8> {
    all([
        parse("", text),
        bind("", "", &[]),
        describe_portal(""),
        execute(""),
    ])
}

/// Bind and Execute of a statement without parameters.
pub(crate) fn use_statement(name: &str) -> Vec<u8> {
    all([bind("", name, &[]), execute("")])
}

/// A simple query, and its answer.
pub(crate) fn q(text: &str) -> Step {
    Step::Ask(query(text))
}

/// Messages in one piece, and all their answers.
pub(crate) fn ask<const N: usize>(messages: [Vec<u8>; N]) -> Step {
    Step::Ask(messages.concat())
}

/// Messages in one piece, and answers up to one with this tag.
pub(crate) fn until<const N: usize>(messages: [Vec<u8>; N], tag: u8) -> Step {
    Step::Until(messages.concat(), tag)
}

/// What another client says meanwhile, in one piece.
pub(crate) fn beside<const N: usize>(messages: [Vec<u8>; N]) -> Step {
    Step::Beside(messages.concat())
}

/// Somebody else's doing.
pub(crate) fn aside(sql: &str) -> Step {
    Step::Aside(sql.to_owned())
}

impl Conversation {
    /// With more startup parameters than user and database.
    pub(crate) fn starting_with(mut self, parameters: &[(&'static str, &'static str)]) -> Self {
        self.startup.extend(parameters);
        self
    }

    /// It may succeed where the direct one meets an error.
    pub(crate) fn or_better(mut self) -> Self {
        self.promise = Promise::EqualOrBetter;
        self
    }

    /// Holds it with whoever listens there.
    pub(crate) fn hold(&self, address: SocketAddr, stage: &Stage) -> Transcript {
        let session = Session::connect(address).unwrap();
        // One that waits in vain shall not keep the others from being heard.
        session.set_patience(PATIENCE / 2);
        let mut talk = Talk {
            address,
            session,
            transcript: Transcript::default(),
            due: 1,
        };
        talk.say(&startup(&self.startup));
        talk.answers(None);
        talk.transcript.end_login();
        for step in &self.steps {
            if !talk.transcript.has_ended() {
                talk.step(step, stage);
            }
        }
        talk.say(&terminate());
        talk.until_closed();
        talk.transcript
    }
}

/// A conversation that is going on.
struct Talk {
    address: SocketAddr,
    session: Session,
    transcript: Transcript,
    /// ReadyForQuery messages that must still come.
    due: usize,
}

impl Talk {
    fn step(&mut self, step: &Step, stage: &Stage) {
        match step {
            Step::Ask(bytes) => {
                self.ask_for(bytes);
                self.answers(None);
            }
            Step::Until(bytes, tag) => {
                self.ask_for(bytes);
                self.answers(Some(*tag));
            }
            Step::Beside(bytes) => {
                self.transcript.note("beside", bytes);
                let mut other = Session::login(self.address).unwrap();
                other.send(bytes).unwrap();
                for _ in 0..requests(bytes) {
                    // Errors among it are the same with and without pgring, or the conversation shows it.
                    let _answer = other.answer();
                }
                other.send(&terminate()).unwrap();
            }
            Step::Aside(sql) => {
                self.transcript.note("aside", sql.as_bytes());
                stage.sql(sql);
            }
        }
    }

    fn ask_for(&mut self, bytes: &[u8]) {
        self.due += requests(bytes);
        self.say(bytes);
    }

    fn say(&mut self, bytes: &[u8]) {
        self.transcript.note(">>", bytes);
        // What the other side made of it is seen when its answer is read.
        let _unsent = self.session.send(bytes);
    }

    /// Reads until nothing is due, or up to this tag.
    fn answers(&mut self, last: Option<u8>) {
        while self.due > 0 || last.is_some() {
            let Some(tag) = self.read_one() else { return };
            let ends_waiting = [READY_FOR_QUERY.0, ERROR_RESPONSE.0].contains(&tag);
            if last.is_some_and(|last| last == tag || ends_waiting) {
                return;
            }
        }
    }

    fn read_one(&mut self) -> Option<u8> {
        match self.session.message() {
            Ok((tag, body)) => {
                self.due -= usize::from(tag == READY_FOR_QUERY && self.due > 0);
                self.transcript.message(tag, &body);
                Some(tag.0)
            }
            Err(closed) => {
                self.transcript.end(&closed);
                None
            }
        }
    }

    fn until_closed(&mut self) {
        while !self.transcript.has_ended() {
            self.read_one();
        }
    }
}

/// How many messages in these bytes are answered with ReadyForQuery.
pub(crate) fn requests(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(header) = Header::read(bytes).unwrap() {
        count += usize::from(b"QSF".contains(&header.tag.0));
        bytes = &bytes[header.frame_bytes()..];
    }
    count
}
