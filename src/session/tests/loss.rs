//! Random conversations with losses at random points, beside a model of the server: every request gets its
//! one ReadyForQuery, nothing of a lost transaction runs elsewhere, and nobody is lied to about a COMMIT.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};

use super::{
    server::{Said, Sent, Server, Statement, groups},
    talk::*,
};
use crate::session::{
    context::OwnedContext,
    conversation::{AfterLoss, Answer, Conversation, Verdict},
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        Header, SqlState, Tag,
        backend::TransactionStatus::{self, Idle},
        tag::{backend, frontend},
    },
};

type Checked = Result<(), TestCaseError>;

/// The statement as SQL.
fn text(statement: &Statement) -> &'static str {
    match statement {
        Statement::Empty => "",
        Statement::Begin => "BEGIN",
        Statement::Commit => "COMMIT",
        Statement::Rollback => "ROLLBACK",
        Statement::Copy | Statement::BrokenCopy => "COPY t FROM STDIN",
        Statement::Select | Statement::Suspends | Statement::Fails => "SELECT 1",
    }
}

/// The message as it goes over the wire.
fn wire(sent: &Sent) -> Vec<u8> {
    let texts: Vec<_> = sent.runs.iter().map(text).collect();
    match sent.tag {
        frontend::QUERY => query(&texts.join("; ")),
        frontend::PARSE => parse("", texts[0]),
        frontend::BIND => bind("", ""),
        frontend::EXECUTE => execute(),
        frontend::FUNCTION_CALL => function_call(),
        other => raw(other.0),
    }
}

/// A Query that ends a failed transaction and goes on.
fn leads_with_rollback(sent: &Sent) -> bool {
    let mut runs = sent.runs.iter().filter(|run| **run != Statement::Empty);
    sent.tag == frontend::QUERY && runs.next() == Some(&Statement::Rollback)
}

fn asks_for_ready(tag: Tag) -> bool {
    matches!(
        tag,
        frontend::QUERY | frontend::SYNC | frontend::FUNCTION_CALL
    )
}

/// A client, the rules, and the servers it gets one after another.
struct World {
    rules: Conversation,
    tools: OwnedContext,
    server: Option<Server>,
    /// Messages of ours that the server has not answered, those that it skips included.
    own: usize,
    /// The client is in a transaction that no server has seen.
    begun_alone: bool,
    /// The server has been sent something since it was taken.
    used: bool,
    to_send: VecDeque<Sent>,
    asked: usize,
    answered: usize,
    /// Status of its transaction that the client was told last.
    status: TransactionStatus,
    /// For each request on its way to the server, and for the open pipeline at last, whether it commits.
    commits: VecDeque<bool>,
    /// The open pipeline has failed.
    failed: bool,
    ended: bool,
    log: String,
}

impl World {
    fn new(groups: Vec<Vec<Sent>>, mode: PoolMode) -> Self {
        Self {
            rules: Conversation::new(mode),
            tools: OwnedContext::default(),
            own: 0,
            begun_alone: false,
            server: None,
            used: false,
            to_send: groups.concat().into(),
            asked: 0,
            answered: 0,
            status: Idle,
            commits: [false].into(),
            failed: false,
            ended: false,
            log: String::new(),
        }
    }

    fn act(&mut self, choice: u8) -> Result<bool, TestCaseError> {
        let acted = !self.ended
            && match choice {
                0 => self.send()?,
                1 => self.server.as_mut().is_some_and(Server::step),
                2 => self.recv()?,
                _ => self.lose()?,
            };
        let free = self.server.as_ref().is_none_or(Server::is_free);
        if self.rules.wants_state_query() && self.used {
            prop_assert!(free, "asked for a state query too early:{}", self.log);
            self.take_state_query()?;
        }
        if self.rules.is_releasable() && self.used {
            prop_assert!(free, "released too early:{}", self.log);
            (self.server, self.used) = (None, false);
        }
        Ok(acted)
    }

    /// The server says, at once, that there is no session state.
    fn take_state_query(&mut self) -> Checked {
        self.log += " state_query";
        let server = &mut self.tools.server;
        self.rules.begin_state_query(std::iter::empty(), server);
        prop_assert!(!self.rules.is_releasable(), "not asked yet:{}", self.log);
        let answer = self
            .rules
            .server_message(backend::READY_FOR_QUERY, b"I", server);
        prop_assert_eq!(answer.unwrap(), Answer::StateTold, "{}", self.log);
        self.rules.take_state_query();
        Ok(())
    }

    fn send(&mut self) -> Result<bool, TestCaseError> {
        let Some(sent) = self.to_send.pop_front() else {
            return Ok(false);
        };
        let bytes = wire(&sent);
        let header = Header::read(&bytes).unwrap().unwrap();
        let body = &bytes[Header::BYTES..];
        let asks = usize::from(asks_for_ready(sent.tag));
        self.asked += asks;
        loop {
            let mut context = self.tools.context(self.server.is_some());
            let verdict = self
                .rules
                .client_message(header, body, &mut context)
                .unwrap();
            self.send_ahead(matches!(verdict, Verdict::Instead(_)));
            let out = std::mem::take(&mut self.tools.out);
            self.hear(&out)?;
            match verdict {
                Verdict::NeedServer => {
                    let starts_anew =
                        self.status == Idle || self.begun_alone || leads_with_rollback(&sent);
                    prop_assert!(starts_anew, "a new server:{}", self.log);
                    self.begun_alone = false;
                    self.server = Some(Server::new(true));
                    self.tools.server.forget();
                }
                Verdict::Wait => {
                    self.asked -= asks;
                    self.to_send.push_front(sent);
                    return Ok(false);
                }
                Verdict::Forward | Verdict::Instead(_) => return self.forward(sent).map(|()| true),
                Verdict::Discard => {
                    self.log += &format!(" >({})", char::from(sent.tag.0));
                    return Ok(true);
                }
                Verdict::Terminate | Verdict::Full | Verdict::Asks => {
                    unreachable!("no client left")
                }
            }
        }
    }

    /// Messages of ours go to the server. The last one is the client's when it was `rewritten`.
    fn send_ahead(&mut self, rewritten: bool) {
        let ahead = std::mem::take(&mut self.tools.ahead);
        let mut rest = &ahead[..];
        while let Some(header) = Header::read(rest).unwrap()
            && rest.len() >= header.frame_bytes() + usize::from(rewritten)
        {
            rest = &rest[header.frame_bytes()..];
            self.log += &format!(" >own {}", char::from(header.tag.0));
            self.own += usize::from(header.tag != frontend::FLUSH);
            self.used = true;
            let sent = Sent::running(header.tag, &[Statement::Begin]);
            self.server.as_mut().unwrap().send(sent);
        }
    }

    fn forward(&mut self, sent: Sent) -> Checked {
        self.log += &format!(" >{}", char::from(sent.tag.0));
        self.used = true;
        let running = matches!(sent.tag, frontend::QUERY | frontend::EXECUTE) && !self.failed;
        let commits = running && sent.runs.contains(&Statement::Commit);
        self.failed &= !asks_for_ready(sent.tag);
        *self.commits.back_mut().unwrap() |= commits;
        if asks_for_ready(sent.tag) {
            self.commits.push_back(false);
        }
        self.server.as_mut().unwrap().send(sent);
        Ok(())
    }

    /// Gives the answers of pgring's own that are due at this point.
    fn say(&mut self) -> Checked {
        while let Some(said) = self.rules.said(Some(&mut self.tools.server)) {
            self.hear(said)?;
        }
        Ok(())
    }

    fn recv(&mut self) -> Result<bool, TestCaseError> {
        let Some(said) = self.server.as_mut().and_then(Server::recv) else {
            return Ok(false);
        };
        self.say()?;
        let (tag, body, expected) = match said {
            Said::Ready(status) => (backend::READY_FOR_QUERY, vec![status.byte()], Answer::Ready),
            Said::Other(backend::ERROR_RESPONSE) => {
                // What an error kept from running commits nothing.
                self.commits[0] = false;
                self.failed = self.commits.len() == 1;
                let body = error_body(&ordinary_error());
                (backend::ERROR_RESPONSE, body, Answer::Forward)
            }
            Said::Other(tag) => (tag, Vec::new(), Answer::Forward),
        };
        let answer = self
            .rules
            .server_message(tag, &body, &mut self.tools.server);
        let answer = answer.unwrap();
        let own = answer == Answer::Swallow && self.own > 0;
        // Rows are the beginning of an answer.
        self.own -= usize::from(own && tag != backend::DATA_ROW);
        prop_assert!(own || answer == expected, "{answer:?}:{} <{tag}", self.log);
        prop_assert!(!self.rules.is_lost(), "lost:{} <{tag}", self.log);
        if let Said::Ready(status) = said {
            self.commits.pop_front();
            self.ready(status);
        } else {
            self.log += &format!(" <{}", char::from(tag.0));
        }
        self.say()?;
        Ok(true)
    }

    fn ready(&mut self, status: TransactionStatus) {
        self.log += &format!(" <Z{}", char::from(status.byte()));
        self.status = status;
        self.answered += 1;
    }

    /// The client hears what the rules themselves say.
    fn hear(&mut self, bytes: &[u8]) -> Checked {
        for word in read(bytes).split_whitespace() {
            self.log += &format!(" ({word}");
            if word == "C(ROLLBACK)" {
                self.status = Idle;
            }
            self.begun_alone |= word == "Z(T)";
            if let Some(status) = word.strip_prefix("Z(") {
                let status = TransactionStatus::read(&status.as_bytes()[..1]).unwrap();
                self.ready(status);
            }
        }
        prop_assert!(self.answered <= self.asked, "not asked for:{}", self.log);
        Ok(())
    }

    fn lose(&mut self) -> Result<bool, TestCaseError> {
        if self.server.take().is_none() {
            return Ok(false);
        }
        self.log += " LOST";
        let in_transaction = self.status != Idle;
        let commits = std::mem::replace(&mut self.commits, [false].into());
        self.failed = false;
        let mut out = Vec::new();
        let after = self
            .rules
            .server_lost("it fell", None, false, false, &mut out);
        self.ended = after == AfterLoss::Ends;
        self.used = false;
        self.hear(&out)?;
        let told = read(&out);
        let unknown = SqlState::TRANSACTION_RESOLUTION_UNKNOWN;
        if in_transaction && commits.contains(&true) && !told.is_empty() {
            prop_assert!(told.contains(unknown.as_str()), "told {told}:{}", self.log);
        }
        prop_assert!(self.ended || !told.contains("FATAL"));
        Ok(true)
    }

    fn settle(&mut self) -> Checked {
        while self.act(2)? || self.act(1)? || self.act(0)? {}
        Ok(())
    }
}

/// An order of events: 0 the client sends, 1 the server reads, 2 its answer comes, 3 it is lost.
fn schedule() -> impl Strategy<Value = Vec<u8>> {
    let event = prop_oneof![8 => 0_u8..3, 1 => Just(3_u8)];
    vec(event, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2_000)))]

    #[test]
    fn every_request_gets_its_ready_for_query(groups in groups(false), schedule in schedule()) {
        let mut world = World::new(groups, PoolMode::Transaction);
        for choice in schedule {
            world.act(choice)?;
        }
        world.settle()?;
        prop_assert!(!world.ended);
        prop_assert_eq!(world.answered, world.asked, "{}", world.log);
        prop_assert_eq!(world.rules.status() == Idle, world.status == Idle, "{}", world.log);
        prop_assert!(world.rules.is_at_rest(), "{}", world.log);
        prop_assert_eq!(world.server.is_none(), world.status == Idle || world.rules.is_clean());
    }

    /// In session mode the first loss is the last.
    #[test]
    fn a_session_ends_with_its_server(groups in groups(false), schedule in schedule()) {
        let mut world = World::new(groups, PoolMode::Session);
        for choice in schedule {
            let lost = world.act(choice)? && choice == 3;
            prop_assert!(!lost || world.ended);
        }
        world.settle()?;
        prop_assert!(world.ended || world.answered == world.asked, "{}", world.log);
    }
}
