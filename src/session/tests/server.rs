//! A PostgreSQL server reduced to its message loop: what it reads, when it answers, what it skips.
//! It runs nothing: every message says beforehand what becomes of it. The oracle of the tests beside it.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*, sample::select};

use crate::protocol::{
    Tag,
    backend::TransactionStatus::{self, Failed, Idle, InTransaction},
    tag::{backend, frontend},
};

/// Kind of a statement, by what the server does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Select,
    Empty,
    Begin,
    Commit,
    Rollback,
    /// COPY FROM STDIN.
    Copy,
    /// COPY FROM STDIN that fails after it asked for data and before it read any.
    BrokenCopy,
    /// An Execute that reaches its row limit.
    Suspends,
    Fails,
}

/// One message of a client, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) tag: Tag,
    /// Of a Query any number, of an Execute the first.
    pub(crate) runs: Vec<Statement>,
    /// The server fails on it; on a Flush or Sync during COPY, before it reads it.
    pub(crate) fails: bool,
}

impl Sent {
    pub(crate) fn new(tag: Tag) -> Self {
        Self {
            tag,
            runs: Vec::new(),
            fails: false,
        }
    }

    pub(crate) fn running(tag: Tag, runs: &[Statement]) -> Self {
        Self {
            runs: runs.to_vec(),
            ..Self::new(tag)
        }
    }
}

/// One message of the server; ReadyForQuery has a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Ready(TransactionStatus),
    Other(Tag),
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Loop,
    /// After an error in the extended protocol.
    Skipping,
    Copying {
        extended: bool,
        /// The statements behind the COPY, in the same Query.
        rest: VecDeque<Statement>,
    },
    Dead,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    inbox: VecDeque<Sent>,
    outbox: VecDeque<Said>,
    mode: Mode,
    status: TransactionStatus,
    /// A pipeline began that no Sync has ended.
    implicit: bool,
    /// Since version 14 a message that does not belong into a COPY ends the session.
    strict: bool,
}

impl Server {
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            mode: Mode::Loop,
            status: Idle,
            implicit: false,
            strict,
        }
    }

    pub(crate) fn send(&mut self, message: Sent) {
        self.inbox.push_back(message);
    }

    /// Takes the oldest message it said.
    pub(crate) fn recv(&mut self) -> Option<Said> {
        self.outbox.pop_front()
    }

    /// True when somebody else may have it: what is left to read it will ignore, and nothing is left to say.
    pub(crate) fn is_free(&self) -> bool {
        let ignored = [
            frontend::FLUSH,
            frontend::COPY_DATA,
            frontend::COPY_DONE,
            frontend::COPY_FAIL,
        ];
        let reads_nothing = self.inbox.iter().all(|sent| ignored.contains(&sent.tag));
        let idle = self.mode == Mode::Loop && self.status == Idle && !self.implicit;
        idle && reads_nothing && self.outbox.is_empty()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.mode == Mode::Dead
    }

    /// Reads one message; false when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some(sent) = self.inbox.pop_front() else {
            return false;
        };
        match &mut self.mode {
            Mode::Dead => {}
            Mode::Skipping if sent.tag != frontend::SYNC => {}
            Mode::Copying { extended, rest } => {
                let (extended, rest) = (*extended, std::mem::take(rest));
                self.copy(sent, extended, rest);
            }
            Mode::Loop | Mode::Skipping => {
                self.mode = Mode::Loop;
                self.read(&sent);
            }
        }
        true
    }

    fn say(&mut self, tag: Tag) {
        self.outbox.push_back(Said::Other(tag));
    }

    fn ready(&mut self) {
        self.implicit = false;
        self.outbox.push_back(Said::Ready(self.status));
    }

    fn fail(&mut self, extended: bool) {
        self.say(backend::ERROR_RESPONSE);
        self.implicit = false;
        if self.status == InTransaction {
            self.status = Failed;
        }
        if extended {
            self.mode = Mode::Skipping;
        } else {
            self.mode = Mode::Loop;
            self.ready();
        }
    }

    fn read(&mut self, sent: &Sent) {
        match sent.tag {
            frontend::QUERY if sent.fails => self.fail(false),
            frontend::QUERY if sent.runs.is_empty() => self.run([Statement::Empty].into(), false),
            frontend::QUERY => self.run(sent.runs.iter().copied().collect(), false),
            frontend::FUNCTION_CALL if sent.fails => self.fail(false),
            frontend::FUNCTION_CALL => {
                self.say(backend::FUNCTION_CALL_RESPONSE);
                self.ready();
            }
            frontend::SYNC if sent.fails && self.implicit => self.fail(false),
            frontend::SYNC => self.ready(),
            frontend::FLUSH | frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {}
            _ if sent.fails => self.fail(true),
            _ => self.read_extended(sent),
        }
    }

    fn read_extended(&mut self, sent: &Sent) {
        self.implicit |= sent.tag != frontend::CLOSE;
        match sent.tag {
            frontend::PARSE => self.say(backend::PARSE_COMPLETE),
            frontend::BIND => self.say(backend::BIND_COMPLETE),
            frontend::DESCRIBE if sent.runs.is_empty() => self.say(backend::NO_DATA),
            frontend::DESCRIBE => {
                self.say(backend::PARAMETER_DESCRIPTION);
                self.say(backend::ROW_DESCRIPTION);
            }
            frontend::EXECUTE => {
                let statement = sent.runs.first().copied().unwrap_or(Statement::Select);
                self.run(VecDeque::from([statement]), true);
            }
            frontend::CLOSE => self.say(backend::CLOSE_COMPLETE),
            other => panic!("no client sends {other}"),
        }
    }

    /// Runs statements up to the end, a failure or a COPY.
    fn run(&mut self, mut statements: VecDeque<Statement>, extended: bool) {
        while let Some(statement) = statements.pop_front() {
            let ends = matches!(
                statement,
                Statement::Commit | Statement::Rollback | Statement::Empty
            );
            if statement == Statement::Fails || self.status == Failed && !ends {
                return self.fail(extended);
            }
            match statement {
                Statement::Copy => {
                    self.say(backend::COPY_IN);
                    self.mode = Mode::Copying {
                        extended,
                        rest: statements,
                    };
                    return;
                }
                Statement::BrokenCopy => {
                    self.say(backend::COPY_IN);
                    return self.fail(extended);
                }
                other => self.run_one(other, extended),
            }
        }
        if !extended {
            self.ready();
        }
    }

    fn run_one(&mut self, statement: Statement, extended: bool) {
        let answers: &[Tag] = match statement {
            Statement::Select if !extended => &[
                backend::ROW_DESCRIPTION,
                backend::DATA_ROW,
                backend::COMMAND_COMPLETE,
            ],
            Statement::Suspends if extended => &[backend::DATA_ROW, backend::PORTAL_SUSPENDED],
            Statement::Empty => &[backend::EMPTY_QUERY],
            _ => &[backend::DATA_ROW, backend::COMMAND_COMPLETE],
        };
        match statement {
            Statement::Begin => self.status = InTransaction,
            Statement::Commit | Statement::Rollback => self.status = Idle,
            _ => {}
        }
        answers.iter().for_each(|tag| self.say(*tag));
    }

    /// One message while a COPY takes data.
    fn copy(&mut self, sent: Sent, extended: bool, rest: VecDeque<Statement>) {
        match sent.tag {
            // Something else than a message, such as a cancel request.
            frontend::FLUSH | frontend::SYNC if sent.fails => {
                self.inbox.push_front(Sent {
                    fails: false,
                    ..sent
                });
                self.fail(extended);
            }
            frontend::COPY_DATA | frontend::FLUSH | frontend::SYNC if !sent.fails => {
                self.mode = Mode::Copying { extended, rest };
            }
            frontend::COPY_DONE if !sent.fails => {
                self.mode = Mode::Loop;
                self.say(backend::COMMAND_COMPLETE);
                self.run(rest, extended);
            }
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => self.fail(extended),
            _ if self.strict => {
                self.say(backend::ERROR_RESPONSE);
                self.mode = Mode::Dead;
            }
            _ => self.fail(extended),
        }
    }
}

/// Any statement.
fn statement() -> impl Strategy<Value = Statement> {
    use Statement::*;
    select(
        &[
            Select, Select, Empty, Begin, Commit, Rollback, Copy, Copy, BrokenCopy, Suspends, Fails,
        ][..],
    )
}

/// One of ten.
fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

/// Any message at all.
pub(crate) fn any_message() -> impl Strategy<Value = Sent> {
    let tags = select(b"QQPBDECHSSFdcf".to_vec());
    (tags, vec(statement(), 0..3), rarely()).prop_map(|(tag, runs, fails)| Sent {
        tag: Tag(tag),
        runs,
        fails,
    })
}

/// Messages that carry the data of one COPY to its end.
fn copy_data() -> impl Strategy<Value = Vec<Sent>> {
    let data = (vec(select(b"dddH".to_vec()), 0..3), select(b"ccf".to_vec()));
    let tags = data.prop_map(|(mut data, end)| {
        data.push(end);
        data
    });
    let message = |tag| {
        rarely().prop_map(move |fails| Sent {
            fails,
            ..Sent::new(Tag(tag))
        })
    };
    tags.prop_flat_map(move |tags| tags.into_iter().map(message).collect::<Vec<_>>())
}

fn copies(statement: Statement) -> bool {
    matches!(statement, Statement::Copy | Statement::BrokenCopy)
}

/// A Query, with the data of each COPY in it.
fn simple_group(early_sync: bool) -> impl Strategy<Value = Vec<Sent>> {
    let early = prop::bool::weighted(0.3).prop_map(move |early| early && early_sync);
    let parts = (vec(statement(), 0..4), rarely(), early, vec(copy_data(), 3));
    parts.prop_map(|(runs, fails, early, data)| {
        let count = runs.iter().filter(|run| copies(**run)).count();
        let query = Sent {
            fails,
            ..Sent::running(frontend::QUERY, &runs)
        };
        let data = data.into_iter().take(count).flatten();
        let sync = (early && count > 0).then(|| Sent::new(frontend::SYNC));
        [query].into_iter().chain(sync).chain(data).collect()
    })
}

/// Messages of one pipeline; a COPY can only be its last statement.
fn extended_group(early_sync: bool) -> impl Strategy<Value = Vec<Sent>> {
    let parts = (vec(unit(), 0..4), copy_data(), rarely(), any::<bool>());
    parts.prop_map(move |(units, data, fails, early)| {
        let mut messages = Vec::new();
        for (statement, unit) in units {
            messages.extend(unit);
            if copies(statement) {
                messages.extend((early_sync && early).then(|| Sent::new(frontend::SYNC)));
                messages.extend(data);
                break;
            }
        }
        messages.push(Sent {
            fails,
            ..Sent::new(frontend::SYNC)
        });
        messages
    })
}

/// Messages that run one statement, some of them left out.
fn unit() -> impl Strategy<Value = (Statement, Vec<Sent>)> {
    let messages = (
        statement(),
        vec(any::<bool>(), 6),
        vec(prop::bool::weighted(0.05), 6),
    );
    messages.prop_map(|(statement, present, fails)| {
        let tags = b"PBDHCE".iter().zip(present).zip(fails);
        let kept = tags.filter(|((tag, present), _)| *present || matches!(tag, b'P' | b'B' | b'E'));
        let message = |((tag, _), fails): ((&u8, bool), bool)| Sent {
            fails,
            ..Sent::running(Tag(*tag), &[statement])
        };
        (statement, kept.map(message).collect())
    })
}

fn function_group() -> impl Strategy<Value = Vec<Sent>> {
    rarely().prop_map(|fails| {
        vec![Sent {
            fails,
            ..Sent::new(frontend::FUNCTION_CALL)
        }]
    })
}

/// Groups as well-behaved clients send them, each answered by one ReadyForQuery.
/// With `early_sync`, some send a Sync before the data of a COPY and another one behind it.
pub(crate) fn groups(early_sync: bool) -> impl Strategy<Value = Vec<Vec<Sent>>> {
    let group = prop_oneof![
        4 => simple_group(early_sync),
        4 => extended_group(early_sync),
        1 => function_group(),
    ];
    vec(group, 0..7)
}
