//! The task of one session: moves bytes between client and server as the conversation decides.
//!
//! In the common case a chunk goes out in the very buffer in which it came in; what this file looks at are
//! the five header bytes of each message.

use std::{
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{
    clock::{Clock, Due},
    intake::Intake,
    link::{Kept, Link},
    parameters::{SessionParameters, Told},
    placement::Placement,
};
use crate::session::{context::Bounds, conversation::Conversation, state::pin::Pin};
use crate::{
    cluster::messages::Owner,
    net::{Arrived, Chunk, Stream},
    protocol::{ErrorReport, ProtocolError, Writer, backend::TransactionStatus, buffer::Partial},
    session::state::parameters::{Belief, Parameters},
    worker::{
        clients::{self, ClientInfo, ClientState, Kill},
        core::Worker,
        pool::{common::Greeting, lease::Lease, set::PoolSet},
    },
};

/// One session.
pub(crate) struct Session {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Stream,
    pub(super) info: Rc<ClientInfo>,
    pub(super) pools: Rc<PoolSet>,
    pub(super) conversation: Conversation,
    pub(super) parameters: SessionParameters,
    /// Bounds from the configuration, as of the last reload.
    pub(super) bounds: Bounds,
    pub(super) intake: Intake,
    /// The server connection in use.
    pub(super) link: Option<Link>,
    /// Server connections that it keeps besides.
    pub(super) kept: Kept,
    /// Its memory for placing its requests.
    pub(super) placement: Placement,
    pub(super) clock: Clock,
    /// Unsent bytes at which the other side must wait.
    pub(super) high_water: usize,
    /// How often it has used sequences at a connection that it gave back.
    sequence_uses: u64,
    /// The nodes may have changed since it was looked whether its own is still used.
    pub(super) may_be_stranded: bool,
    /// The version of the schema that it has made, until what is known of the database is at least as new.
    pub(super) made_schema: u64,
}

/// Event that woke the session.
enum Event {
    Client(Arrived),
    Server(Arrived),
    Kill,
    Due(Due),
    Stranded,
}

/// How a session ends.
pub(super) enum End {
    /// By its client.
    Left,
    /// By the client's fault, or by our decision: the client is told.
    Told(ErrorReport),
    /// Otherwise: whatever the client was to be told has been queued.
    Done,
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Told(error.report())
    }
}

impl Session {
    pub(crate) fn new(
        worker: Rc<Worker>,
        client: Stream,
        info: Rc<ClientInfo>,
        pools: Rc<PoolSet>,
        (parameters, greeting): (Parameters, Greeting),
        pending: Chunk,
    ) -> Self {
        worker.clients.enter(&info);
        pools.clients.set(pools.clients.get() + 1);
        let placement = Placement::new(
            u64::from(info.backend_key.process_id as u32) ^ info.origin.connected_us,
        );
        let high_water = worker.with_snapshot(|snapshot| snapshot.settings.runtime.high_water);
        let kept = Self::kept_connections(&worker, &pools);
        let intake = Intake::new(pending, &worker.clients.held_bytes);
        let mut conversation = Conversation::new(Self::rules_mode(&kept, &pools));
        if !parameters.is_empty() {
            conversation.has_settings();
        }
        Self {
            conversation,
            kept,
            clock: Clock::new((&*pools.settings()).into(), worker.reactor.now()),
            made_schema: 0,
            may_be_stranded: false,
            client,
            info,
            parameters: SessionParameters {
                meaning: worker.interner.meaning(&parameters),
                startup: parameters.clone(),
                told: Told::new(greeting),
                current: parameters,
            },
            bounds: (&*pools.settings()).into(),
            worker,
            pools,
            link: None,
            sequence_uses: 0,
            placement,
            intake,
            high_water,
        }
    }

    /// Serves the client until it leaves or has to.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let key = &self.info.key;
        tracing::debug!(
            client = %self.info.id, database = %key.database, user = %key.user,
            "client logged in"
        );
        let end = self.run().await;
        if let End::Told(report) = &end {
            tracing::info!(
                client = %self.info.id, database = %self.info.key.database, user = %self.info.key.user,
                sqlstate = report.sqlstate.as_str(), reason = %report.message, "session ends"
            );
            self.tell(|writer| {
                writer.error(report);
            });
        }
        self.let_go(matches!(end, End::Left));
    }

    async fn run(&mut self) -> End {
        if !self.intake.pending.is_empty()
            && let Err(end) = self.client_sends().await
        {
            return end;
        }
        loop {
            let event = std::future::poll_fn(|context| self.poll_event(context)).await;
            let handled = match event {
                Event::Client(Arrived::Bytes) => self.client_sends().await,
                Event::Server(Arrived::Bytes) => self.server_sends(),
                Event::Client(Arrived::End) => {
                    self.intake.is_over = true;
                    Ok(())
                }
                Event::Client(Arrived::Broken(_)) => Err(End::Done),
                Event::Server(Arrived::End) => {
                    self.server_vanished("the server closed the connection")
                }
                Event::Server(Arrived::Broken(error)) => self.server_vanished(&error.to_string()),
                Event::Kill => Err(shutting_down()),
                Event::Stranded => self.server_is_stranded(),
                Event::Due(due) => self.limit_reached(due),
            };
            if let Err(end) = handled.and_then(|()| self.after_event()) {
                return end;
            }
            let again = self.conversation.take_again();
            if again {
                self.run_again();
            }
            if std::mem::take(&mut self.intake.stalled) || again {
                let resumed = self.judge_pending().await;
                if let Err(end) = resumed.and_then(|()| self.after_event()) {
                    return end;
                }
            }
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        self.note_doing();
        if let Some(kill) = self.info.kill.get()
            && (kill == Kill::Stop || self.may_end_now())
        {
            return Poll::Ready(Event::Kill);
        }
        if let Poll::Ready(event) = self.poll_server(context) {
            return Poll::Ready(event);
        }
        if std::mem::take(&mut self.may_be_stranded) && self.stranded().is_some() {
            return Poll::Ready(Event::Stranded);
        }
        if let Poll::Ready(event) = self.poll_client(context) {
            return Poll::Ready(event);
        }
        self.info.waker.register(context);
        let heard = self.info.times.request.get();
        self.clock
            .poll(&self.worker.reactor, heard, context)
            .map(Event::Due)
    }

    /// The server's bytes, unless the client has too many unread.
    #[inline]
    fn poll_server(&mut self, context: &Context<'_>) -> Poll<Event> {
        let Some(link) = &mut self.link else {
            return Poll::Pending;
        };
        if self.client.unsent() > self.high_water {
            ready!(self.client.poll_drained(context, self.high_water / 2));
        }
        let stream = &link.lease.backend().stream;
        stream
            .poll_receive(context, &mut link.arrived)
            .map(Event::Server)
    }

    /// The client's bytes, unless the server has too many unread or too much to answer.
    #[inline]
    fn poll_client(&mut self, context: &Context<'_>) -> Poll<Event> {
        if self.intake.is_over {
            return self.poll_client_gone(context);
        }
        let unsent = self
            .link
            .as_ref()
            .map_or(0, |link| link.backend().stream.unsent());
        let stalled = self.intake.stalled || self.awaits_cancel();
        if unsent > self.high_water || self.conversation.is_full() || stalled {
            return if stalled {
                self.poll_client_gone(context)
            } else {
                self.poll_congested(context)
            };
        }
        self.poll_request(context)
    }

    #[inline]
    fn poll_request(&mut self, context: &Context<'_>) -> Poll<Event> {
        debug_assert!(
            self.intake.pending.is_empty(),
            "what came before has been judged"
        );
        let request = &mut self.intake.pending;
        let polled = self.client.poll_receive(context, request);
        polled.map(Event::Client)
    }

    /// Waits for room at the server. While it is the answers that are too many, the server's bytes wake us.
    #[cold]
    fn poll_congested(&mut self, context: &Context<'_>) -> Poll<Event> {
        if let Some(link) = &self.link {
            let stream = &link.backend().stream;
            if stream.unsent() > self.high_water
                && stream.poll_drained(context, self.high_water / 2).is_ready()
            {
                return self.poll_request(context);
            }
        }
        self.poll_client_gone(context)
    }

    /// Nothing is read of the client, but a broken connection is noticed.
    fn poll_client_gone(&self, context: &Context<'_>) -> Poll<Event> {
        ready!(self.client.poll_broken(context));
        Poll::Ready(Event::Client(Arrived::Broken(
            io::ErrorKind::ConnectionReset.into(),
        )))
    }

    /// Sends what pgring itself has to say.
    pub(super) fn answer(&self, out: &mut Vec<u8>) {
        if !out.is_empty() {
            self.client.send(std::mem::take(out).into());
        }
    }

    pub(super) fn tell(&self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        self.client.send(out.into());
    }

    /// After each event: gives the connection back, ends what is to end.
    #[inline]
    fn after_event(&mut self) -> Result<(), End> {
        if self.link.is_some() {
            if self.owes_position() && self.is_between_messages() {
                self.ask_position();
            } else if self.may_release() {
                self.release();
            } else if self.conversation.wants_state_query()
                && !self.intake.is_over
                && self.is_between_messages()
            {
                self.take_state_query();
            }
            if self.conversation.is_clean() {
                self.tell_schema_change();
            }
        }
        if self.conversation.is_lost() {
            self.server_speaks_out_of_turn();
        }
        if self.intake.is_over && self.may_leave() {
            return Err(End::Left);
        }
        Ok(())
    }

    #[inline]
    fn may_release(&self) -> bool {
        self.conversation.is_releasable() && self.is_between_messages()
    }

    /// True when no message is half way through, in either direction.
    fn is_between_messages(&self) -> bool {
        let is_quiet = |link: &Link| !link.backend().stream.has_news() && link.cutter.is_between();
        self.link.as_ref().is_none_or(is_quiet) && !self.intake.cutter.is_passing()
    }

    #[inline]
    fn release(&mut self) {
        let Some(mut lease) = self.unlink() else {
            return;
        };
        self.account(&lease);
        if lease.backend().info.cancels.get() > 0 {
            // A cancel is on its way: it must not hit the next client's query.
            return drop(lease);
        }
        if self.kept.is_on() {
            return self.keep(lease);
        }
        self.leave_behind(&mut lease);
        if lease.backend().prepared.is_stained() || lease.backend().parameters.may_end_idle() {
            lease.release_dirty();
        } else {
            lease.release();
        }
    }

    /// Everybody hears that the schema may have changed: when it is done, since what is learned before does not hold.
    #[inline]
    pub(super) fn tell_schema_change(&mut self) {
        if let Some(makes_code) = self.conversation.take_schema_change() {
            self.schema_has_changed(makes_code);
        }
    }

    /// The connection is lost, or will be: whether the schema has changed is not known.
    pub(super) fn tell_doubtful_schema_change(&mut self) {
        if let Some(makes_code) = self.conversation.take_doubtful_schema_change() {
            self.schema_has_changed(makes_code);
        }
    }

    #[cold]
    fn schema_has_changed(&mut self, makes_code: bool) {
        self.worker.shared.schema_changed();
        if makes_code {
            self.made_schema = self.worker.shared.schema_version();
        }
    }

    /// Notes on the connection what the session may have left there for whoever has it next.
    #[inline]
    fn leave_behind(&mut self, lease: &mut Lease) {
        let backend = lease.backend_mut();
        if self.conversation.is_soiled() {
            backend.belief = Belief::Incomplete;
        }
        if self.conversation.has_used_sequences() {
            self.sequence_uses += 1;
            lease.backend_mut().sequences = Some(self.owner());
        }
        self.conversation.connection_is_given_back();
    }

    /// As whom connections know the session.
    #[inline]
    pub(super) fn owner(&self) -> Owner {
        (self.worker.id, self.info.id, self.sequence_uses)
    }

    fn account(&self, lease: &Lease) {
        let held = self
            .worker
            .reactor
            .now()
            .saturating_duration_since(lease.since);
        self.pools.counters.borrow_mut().transaction_us += held.as_micros() as u64;
    }

    pub(super) fn unlink(&mut self) -> Option<Lease> {
        self.info.server.replace(None);
        self.info.state.set(ClientState::Idle);
        let mut link = self.link.take()?;
        self.end_purpose(&mut link);
        Some(link.lease)
    }

    /// Server and session disagree about what was asked: nobody may trust this connection any more.
    #[cold]
    fn server_speaks_out_of_turn(&self) {
        self.note_pin(self.conversation.pinned().or(Some(Pin::Unfollowed)));
    }

    /// Why the session keeps its server connection from now on.
    pub(super) fn note_pin(&self, pin: Option<Pin>) {
        let before = self.info.pinned.replace(pin);
        if before != pin {
            self.worker.counters.pin_changed(before, pin);
        }
    }

    /// A client that leaves is let go once what it asked for is done, or cannot be done without it.
    fn may_leave(&mut self) -> bool {
        if self.conversation.is_lost() {
            return true;
        }
        // What it has said before is yet to be done.
        let is_heard = self.intake.pending.is_empty() && !self.intake.stalled;
        is_heard && self.is_done()
    }

    /// True when nothing is to be answered that can be.
    fn is_done(&self) -> bool {
        self.link.is_none()
            || self.intake.cutter.is_passing()
            || self.conversation.is_at_rest()
            || self.conversation.waits_for_client()
    }

    /// True between transactions, when nothing is on its way.
    fn may_end_now(&self) -> bool {
        let idle = self.conversation.status() == TransactionStatus::Idle;
        idle && self.conversation.is_at_rest()
            && self.intake.pending.is_empty()
            && self.intake.cutter.is_between()
    }

    /// The end: the connection goes back when it is clean, else it is closed.
    fn let_go(&mut self, left: bool) {
        let clean = left && self.conversation.is_clean() && self.is_between_messages();
        if let Some(lease) = self.unlink()
            && clean
            && !self.conversation.is_lasting()
            && lease.backend().info.cancels.get() == 0
        {
            self.account(&lease);
            lease.release_dirty();
        }
        self.tell_doubtful_schema_change();
        let kept = self.kept.take_all().into_iter();
        match self.conversation.is_lasting() {
            true => kept.for_each(drop),
            false => kept.for_each(Lease::release_dirty),
        }
        tracing::debug!(client = %self.info.id, "client left");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.unlink();
        self.note_pin(None);
        self.worker.clients.leave(&self.info);
        self.pools.clients.set(self.pools.clients.get() - 1);
        self.worker.forget_unused(&self.pools.key, 1, 0);
    }
}

pub(super) fn shutting_down() -> End {
    End::Told(clients::shutting_down())
}

pub(super) fn hold_if(hold: bool) -> Partial {
    if hold { Partial::Hold } else { Partial::Stream }
}
