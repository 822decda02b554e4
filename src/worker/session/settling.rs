//! The session's settings: asked of the server when they may have changed, and given to another connection.

use super::{
    pin::{self, Pin},
    serve::{End, Session},
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{Writer, backend::TransactionStatus},
    worker::{parameters::Parameters, pool::Lease},
};

impl Session {
    /// Asks the server what session state there is, behind everything the client asked.
    #[cold]
    pub(super) fn take_census(&mut self) {
        let known = self.parameters.iter().map(|(name, _)| name);
        let lease = self
            .lease
            .as_mut()
            .expect("a census is taken of a connection");
        let question = self
            .conversation
            .begin_census(known, &mut lease.backend_mut().prepared);
        let mut out = Vec::new();
        Writer::new(&mut out)
            .query(&question)
            .expect("the question is text without NUL");
        lease.backend().stream.send(out.into());
    }

    /// Asks the primary how far its log is written, behind everything the client asked.
    pub(super) fn ask_position(&mut self) {
        self.placement.expect_position();
        self.errand.wrote = false;
        let lease = self.lease.as_mut().expect("it is asked of the primary");
        let prepared = &mut lease.backend_mut().prepared;
        let question = self.conversation.begin_position(prepared);
        self.ask(question);
    }

    /// The block goes on at the primary: it ends here, where it has only read.
    pub(super) fn leave_block(&mut self) {
        let begin = self.errand.block.take().expect("it began on a standby");
        let has_read = self.errand.has_read;
        let lease = self.lease.as_mut().expect("it began on a standby");
        let prepared = &mut lease.backend_mut().prepared;
        let ending = self.conversation.leave_block(begin, has_read, prepared);
        self.ask(ending);
    }

    /// Sends a Query of ours.
    fn ask(&mut self, text: &str) {
        let mut question = Vec::new();
        Writer::new(&mut question)
            .query(text)
            .expect("the question is text without NUL");
        let bytes = self.worker.scraps.borrow_mut().put(&question);
        let lease = self.lease.as_ref().expect("somebody is asked");
        lease.backend().stream.send(bytes.into());
    }

    /// The server has told.
    #[cold]
    pub(super) fn census_taken(&mut self) -> Result<(), End> {
        let has_reset = self.conversation.has_reset();
        let census = self.conversation.take_census();
        let lease = self
            .lease
            .as_mut()
            .expect("a census is taken of a connection");
        let interner = &self.worker.interner;
        // A setting that anybody may invent is empty once it was reset to what the client came with.
        let startup = &self.startup;
        let invented = |name: &str, value: &[u8]| {
            has_reset && value.is_empty() && name.contains('.') && startup.get(name).is_some()
        };
        let is_other = *census.user != *self.pools.key.user.as_bytes();
        let user = is_other.then(|| ("session_authorization".to_owned(), census.user));
        let settings = census.settings.iter().chain(&user);
        let settings = settings.filter(|(name, value)| !invented(name, value));
        let there = interner.of(settings.map(|(name, value)| (name.clone(), &value[..])));
        lease.backend_mut().parameters = there.clone();
        let pinned = self.conversation.pinned();
        // What was reset is what the client came with, not what the server began with.
        let mut all = interner.joined(&there, &self.startup);
        let has_role = there.get("role").is_some() || self.conversation.has_reset_role();
        if !has_role && all.get("role").is_some() {
            // It was not reset: the session has said that it has none.
            all = interner.joined(
                &interner.of([("role".to_owned(), &b"none"[..])].into_iter()),
                &all,
            );
        }
        self.become_known(all);
        if self.conversation.is_restoring() {
            self.restore();
        }
        self.may_pin(pinned)
    }

    /// The session has state that ties it to its connection, which only the server could tell, or has none.
    fn may_pin(&self, pinned: Option<Pin>) -> Result<(), End> {
        let refuses = self.bounds.refuses_pins && self.pools.mode() != PoolMode::Session;
        // What was found in a transaction may yet be rolled back.
        let stays = self.conversation.status() == TransactionStatus::Idle;
        if let Some(pin) = pinned.filter(|_| refuses && stays) {
            self.worker.tally.pin_refused(pin);
            return Err(End::Told(pin::found(pin)));
        }
        self.note_pin(pinned);
        Ok(())
    }

    /// The client waits to hear that it has its own settings again.
    fn restore(&mut self) {
        let mut lease = self
            .lease
            .take()
            .expect("a census is taken of a connection");
        let differs = lease.backend().parameters != self.parameters;
        self.send_settings(&mut lease);
        self.lease = Some(lease);
        if !differs {
            self.tell_restored();
        }
    }

    /// The client hears what has changed, and that the server is ready.
    #[cold]
    pub(super) fn tell_restored(&mut self) {
        let welcome = self.pools.welcome(&self.worker, &self.startup);
        let login = |name: &[u8]| Some(welcome.as_ref()?.value(name)?.to_vec());
        let out = self.conversation.restored(login);
        self.client.send(out.into());
    }

    /// These are the session's settings from now on.
    fn become_known(&mut self, parameters: Parameters) {
        self.context = self.worker.interner.meaning(&parameters);
        self.parameters = parameters;
    }

    /// Sends the session's settings ahead in the same flight, when the connection has others.
    #[inline]
    pub(super) fn send_settings(&mut self, lease: &mut Lease) {
        let backend = lease.backend_mut();
        let owner = (self.worker.id, self.info.id);
        if backend.differs(&self.parameters, owner) {
            let text = backend.become_fit(&self.parameters, owner);
            let mut out = Vec::new();
            Writer::new(&mut out)
                .query(&text)
                .expect("the text is ASCII without NUL");
            backend.stream.send(out.into());
            self.conversation.sent_settings(&mut backend.prepared);
        }
    }

    /// Makes the session who it is at a connection where it is somebody else: before anything it asks, because
    /// nobody may run a statement as somebody else. False when the server refuses.
    #[cold]
    pub(super) async fn become_who_it_is(&mut self, lease: &mut Lease) -> bool {
        let owner = self.owner();
        let text = lease.backend_mut().become_fit(&self.parameters, owner);
        let Ok(text) = String::from_utf8(text) else {
            return false;
        };
        let deadline = self.worker.reactor.now() + self.pools.settings().connect_timeout;
        let done = lease.backend_mut().ask(&text);
        let done = self.worker.reactor.deadline(deadline, done).await;
        done == Ok(true)
    }
}
