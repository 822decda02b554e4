//! The session's settings: asked of the server when they may have changed, and given to another connection; and what its
//! client was told of the server's own.

use std::sync::Arc;

use super::{
    parameters::Told,
    task::{End, Session},
};
use crate::session::state::pin::{self, Pin};
use crate::{
    cluster::{settings::PoolMode, welcome::Welcome},
    protocol::{
        Writer,
        backend::{ParameterStatus, TransactionStatus},
        tag::backend,
    },
    session::state::parameters::{self, Parameters},
    worker::pool::{common::Greeting, lease::Lease, waiter::CheckoutError},
};

impl Session {
    /// Asks the server what session state there is, behind everything the client asked.
    #[cold]
    pub(super) fn take_state_query(&mut self) {
        let known = self.parameters.current.iter().map(|(name, _)| name);
        let link = self
            .link
            .as_mut()
            .expect("a state query is taken of a connection");
        let question = self
            .conversation
            .begin_state_query(known, &mut link.backend_mut().prepared);
        self.ask(question);
    }

    /// Asks the primary how far its log is written, behind everything the client asked. Where it could not tell a moment
    /// ago nobody asks again: what the control core hears of it has to do.
    pub(super) fn ask_position(&mut self) {
        let now = self.worker.micros();
        let link = self.link.as_mut().expect("it is asked of the primary");
        if let Some(primary) = link.at_primary() {
            (primary.wrote, primary.asked) = (false, true);
        }
        if self.pools.has_no_position(now) {
            return self.position_told(None);
        }
        self.placement.expect_position(now);
        let prepared = &mut link.backend_mut().prepared;
        let waits = self
            .parameters
            .current
            .get("default_transaction_deferrable");
        let question = self.conversation.begin_position(waits.is_some(), prepared);
        self.ask(question);
    }

    /// The block goes on at the primary: it ends here, where it has only read.
    pub(super) fn leave_block(&mut self) {
        let link = self.link.as_mut().expect("it began on a standby");
        let block = link.standby_block().expect("it began on a standby");
        let begun = block.begun.clone();
        let prepared = &mut link.backend_mut().prepared;
        let ending = self.conversation.leave_block(begun, prepared);
        self.ask(ending);
    }

    /// Sends a Query of ours.
    fn ask(&self, text: impl AsRef<[u8]>) {
        let mut question = Vec::new();
        Writer::new(&mut question)
            .query(text)
            .expect("the question is text without NUL");
        let bytes = self.worker.arena.borrow_mut().put(&question);
        let link = self.link.as_ref().expect("somebody is asked");
        link.backend().stream.send(bytes.into());
    }

    /// The server has told.
    #[cold]
    pub(super) fn state_query_taken(&mut self) -> Result<(), End> {
        let has_reset = self.conversation.has_reset();
        let state_query = self.conversation.take_state_query();
        if state_query.failed {
            return self.state_query_failed();
        }
        let link = self
            .link
            .as_mut()
            .expect("a state query is taken of a connection");
        let interner = &self.worker.interner;
        // A setting that anybody may invent is empty once it was reset to what the client came with.
        let startup = &self.parameters.startup;
        let invented = |name: &str, value: &[u8]| {
            has_reset && value.is_empty() && name.contains('.') && startup.get(name).is_some()
        };
        let is_other = *state_query.user != *self.pools.key.user.as_bytes();
        let user = is_other.then(|| ("session_authorization".to_owned(), state_query.user.clone()));
        // A limit that is the server's may have been set, where the client came with another.
        let was_set = |(name, _): &&(String, _)| {
            startup.get(name).is_some() && !self.conversation.has_reset_limit()
        };
        let limits = state_query.defaults.iter().filter(was_set);
        let settings = state_query.settings.iter().chain(&user).chain(limits);
        let settings = settings.filter(|(name, value)| !invented(name, value));
        let there = interner.of(settings.map(|(name, value)| (name.clone(), &value[..])));
        link.backend_mut()
            .was_asked(there.clone(), state_query.blind, state_query.temporary);
        let pinned = self.conversation.pinned();
        // What was reset is what the client came with, not what the server began with.
        let mut all = interner.joined(&there, &self.parameters.startup);
        let has_role = there.get("role").is_some() || self.conversation.has_reset_role();
        if !has_role && all.get("role").is_some() {
            // It was not reset: the session has said that it has none.
            all = interner.joined(
                &interner.of([("role".to_owned(), &b"none"[..])].into_iter()),
                &all,
            );
        }
        self.become_known(all);
        self.note_defaults(&state_query.own);
        if self.conversation.is_restoring() {
            self.restore();
        } else if pinned.is_some() && self.conversation.status() == TransactionStatus::Idle {
            // It is not given back, and may have lost what the client came with.
            self.give_back_settings();
        }
        self.may_pin(pinned)
    }

    /// The server could not tell what there is. It is asked again; meanwhile the client must not wait.
    #[cold]
    fn state_query_failed(&mut self) -> Result<(), End> {
        if self.conversation.is_restoring() {
            self.tell_restored();
        }
        self.note_pin(self.conversation.pinned());
        Ok(())
    }

    /// The session has state that ties it to its connection, which only the server could tell, or has none.
    fn may_pin(&self, pinned: Option<Pin>) -> Result<(), End> {
        let refuses = self.bounds.refuses_pins && self.pools.mode() != PoolMode::Session;
        // What was found in a transaction may yet be rolled back.
        let stays = self.conversation.status() == TransactionStatus::Idle;
        if let Some(pin) = pinned.filter(|_| refuses && stays) {
            self.worker.counters.pin_refused(pin);
            return Err(End::Told(pin::found(pin)));
        }
        self.note_pin(pinned);
        Ok(())
    }

    /// The client waits to hear that it has its own settings again.
    fn restore(&mut self) {
        if !self.give_back_settings() {
            self.tell_restored();
        }
    }

    /// The connection at hand gets the session's settings, in whatever transaction it is. False when it has them.
    fn give_back_settings(&mut self) -> bool {
        let mut link = self
            .link
            .take()
            .expect("a state query is taken of a connection");
        let backend = link.backend_mut();
        let differs = backend.parameters != self.parameters.current;
        if differs {
            let (text, belief) = (
                backend.parameters.step(&self.parameters.current),
                backend.belief,
            );
            backend.has_been_given(self.parameters.current.clone());
            // There may be more than was found, as before.
            backend.belief = belief;
            self.send_text(&mut link.lease, &text);
        }
        self.link = Some(link);
        differs
    }

    /// The client hears what has changed, and that the server is ready.
    #[cold]
    pub(super) fn tell_restored(&mut self) {
        let login = |name: &[u8]| Some(self.parameters.told.value(name)?.to_vec());
        let out = self.conversation.restored(login);
        self.client.send(out.into());
    }

    /// A connection was found whose server may have said something else at its login than the session was told: that is
    /// set for the session as if it had come with it.
    #[inline]
    pub(super) fn hold_to_what_was_told(&mut self, lease: &Lease) {
        if !Arc::ptr_eq(&self.parameters.told.agreed, &lease.backend().welcome) {
            self.compare_welcomes(lease);
        }
    }

    #[cold]
    fn compare_welcomes(&mut self, lease: &Lease) {
        let new = &lease.backend().welcome;
        let Greeting { told, plain } = &self.parameters.told.greeting;
        let differing: Vec<_> = plain
            .iter()
            .filter(|(name, value)| {
                parameters::is_settable(name) && new.value(name).is_some_and(|new| new != *value)
            })
            .filter_map(|(name, _)| {
                Some((String::from_utf8(name.to_vec()).ok()?, told.value(name)?))
            })
            .collect();
        if differing.is_empty() {
            self.parameters.told.agreed = Arc::clone(new);
            return;
        }
        let interner = &self.worker.interner;
        let kept = interner.of(differing.into_iter());
        let startup = interner.joined(&self.parameters.startup, &kept);
        let all = interner.joined(&self.parameters.current, &kept);
        if startup != self.parameters.startup {
            self.conversation.has_settings();
        }
        self.parameters.startup = startup;
        self.become_known(all);
    }

    /// True when a setting that is reported together with the answer to something of ours is another one of the server's
    /// own, which the client must hear of.
    #[cold]
    pub(super) fn is_news(&self, body: &[u8]) -> bool {
        let Some(link) = &self.link else {
            return false;
        };
        let status = ParameterStatus::read(body);
        self.conversation.hears_for_us()
            && status.is_ok_and(|status| link.backend().is_news(status, &self.parameters.current))
    }

    /// The client hears what was reported to us.
    pub(super) fn tell_news(&mut self, reports: &[Vec<u8>]) {
        for body in reports {
            self.conversation.note_reported(body);
            self.tell(|writer| {
                writer.message(backend::PARAMETER_STATUS, body);
            });
        }
    }

    /// The server has told what its own settings are, of those that it has reported: some were changed under its
    /// connections, as by a reload of its configuration. The client has heard it, and those who log in must.
    pub(super) fn note_defaults(&mut self, own: &[(String, Vec<u8>)]) {
        let link = self.link.as_mut().expect("it has told just now");
        let mut new = Welcome::clone(&link.backend().welcome);
        let mut told = Welcome::clone(&self.parameters.told.greeting.told);
        for (name, value) in own {
            let name = name.as_bytes();
            if parameters::is_settable(name) {
                new.report(ParameterStatus { name, value });
                told.report(ParameterStatus { name, value });
            }
        }
        if new == *link.backend().welcome {
            return;
        }
        link.lease.hear(&new);
        let plain = Arc::clone(&link.backend().welcome);
        self.parameters.told = Told::new(Greeting {
            told: Arc::new(told),
            plain,
        });
    }

    /// These are the session's settings from now on.
    pub(super) fn become_known(&mut self, parameters: Parameters) {
        self.parameters.meaning = self.worker.interner.meaning(&parameters);
        self.parameters.current = parameters;
    }

    /// Sends the session's settings ahead in the same flight, when the connection has others.
    #[inline]
    pub(super) fn send_settings(&mut self, lease: &mut Lease) {
        let owner = self.owner();
        if lease.backend().differs(&self.parameters.current, owner) {
            let text = lease
                .backend_mut()
                .become_fit(&self.parameters.current, owner);
            self.send_text(lease, &text);
        }
    }

    fn send_text(&mut self, lease: &mut Lease, text: &[u8]) {
        let backend = lease.backend_mut();
        let mut out = Vec::new();
        Writer::new(&mut out)
            .query(text)
            .expect("the text is ASCII without NUL");
        backend.stream.send(out.into());
        self.conversation.sent_settings(&mut backend.prepared);
    }

    /// True when a connection may refuse to go over to the session's settings, or may not do it in time.
    #[cold]
    pub(super) fn may_be_refused(&self, lease: &Lease) -> bool {
        let backend = lease.backend();
        let known = |name: &str| lease.pool().is_given(name);
        backend.differs(&self.parameters.current, self.owner())
            && !backend
                .parameters
                .is_surely_given(&self.parameters.current, backend.belief, known)
    }

    /// Brings a connection to the session's settings before anything that it asks, because nobody may run a statement
    /// as somebody else. What one that was used refuses, a new one may take.
    #[cold]
    pub(super) async fn bring(&mut self, mut lease: Lease) -> Result<Lease, Unbrought> {
        let deadline =
            self.worker.reactor.now() + self.pools.settings().connections.connect_timeout;
        // Who one is decides what one may set.
        let is_itself = !self.parameters.current.has_identity();
        loop {
            let before = lease.backend().parameters.clone();
            let is_itself = is_itself && !before.has_identity();
            let given = lease
                .backend_mut()
                .give(&self.parameters.current, self.owner());
            let given = self.worker.reactor.deadline(deadline, given).await;
            match given.unwrap_or(Err(None)) {
                Ok(news) => {
                    self.tell_news(&news);
                    if is_itself {
                        lease
                            .pool()
                            .note_given(before.touched(&self.parameters.current));
                    }
                    return Ok(lease);
                }
                Err(refusal) if lease.is_new => return Err(Unbrought::Refused(refusal)),
                Err(_) => lease = lease.renew().await.map_err(Unbrought::NoConnection)?,
            }
        }
    }
}

/// Why no connection has the session's settings.
pub(super) enum Unbrought {
    /// A new one does not take them: the body of the server's error, if it said one.
    Refused(Option<Vec<u8>>),
    /// There is no new one.
    NoConnection(CheckoutError),
}
