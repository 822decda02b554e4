//! The task of one session: moves bytes between client and server as the conversation decides.
//!
//! In the common case a chunk goes out in the very buffer in which it came in; what this file looks at are
//! the five header bytes of each message.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::conversation::{AfterLoss, Answer, Conversation, Verdict};
use crate::{
    cluster::settings::PoolMode,
    limits::{HELD_MESSAGE_BYTES_MAX, SERVER_MESSAGE_BYTES_MAX},
    net::{Chunk, Received, Stream},
    protocol::{
        ErrorReport, Header, ProtocolError, SqlState, Writer,
        backend::{ErrorFields, ParameterStatus, TransactionStatus},
        buffer::{Cut, Cutter, Partial},
        tag::{backend, frontend},
    },
    worker::{
        Worker,
        clients::{ClientInfo, Kill, State},
        parameters::{self, Parameters},
        pool::{CheckoutError, Lease, Pool, Urgency},
        route,
    },
};

/// One session.
pub(crate) struct Session {
    worker: Rc<Worker>,
    client: Stream,
    info: Rc<ClientInfo>,
    pool: Rc<Pool>,
    conversation: Conversation,
    /// Settings the client has beyond its pool's.
    parameters: Parameters,
    lease: Option<Lease>,
    /// Where the client's messages end.
    intake: Cutter,
    /// The message that streams from the client goes to the server.
    intake_forwards: bool,
    /// What the client sent and nobody has judged.
    pending: Chunk,
    /// Where the server's messages end.
    outtake: Cutter,
    outtake_forwards: bool,
    /// The client will send no more.
    leaving: bool,
    client_held: bool,
    server_held: Cell<bool>,
    /// Unsent bytes at which the other side must wait.
    high_water: usize,
}

/// What woke the session.
enum Event {
    Client(Received),
    Server(Received),
    Kill(Kill),
}

/// How a session ends.
enum End {
    /// By its client.
    Left,
    /// By the client's fault, or by our decision: the client is told.
    Told(ErrorReport),
    /// What was to be told has been queued.
    Done,
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Told(error.report())
    }
}

/// How far the client's bytes could be judged.
enum Pumped {
    All,
    NeedsServer,
}

impl Session {
    pub(crate) fn new(
        worker: Rc<Worker>,
        client: Stream,
        info: Rc<ClientInfo>,
        pool: Rc<Pool>,
        parameters: Parameters,
        pending: Chunk,
    ) -> Self {
        worker.clients.enter(&info);
        pool.clients.set(pool.clients.get() + 1);
        let high_water = worker.with_snapshot(|snapshot| snapshot.settings.runtime.high_water);
        Self {
            conversation: Conversation::new(pool.mode()),
            worker,
            client,
            info,
            pool,
            parameters,
            lease: None,
            intake: Cutter::default(),
            intake_forwards: false,
            pending,
            outtake: Cutter::default(),
            outtake_forwards: false,
            leaving: false,
            client_held: false,
            server_held: Cell::new(false),
            high_water,
        }
    }

    /// Serves the client until it leaves or has to.
    pub(crate) async fn serve(mut self) {
        tracing::debug!(client = %self.info.id, database = %self.info.key.database, user = %self.info.key.user, "client logged in");
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
        if !self.pending.is_empty()
            && let Err(end) = self.client_bytes().await
        {
            return end;
        }
        loop {
            let event = std::future::poll_fn(|context| self.poll_event(context)).await;
            let handled = match event {
                Event::Client(Received::Bytes(chunk)) => {
                    self.pending = chunk;
                    self.client_bytes().await
                }
                Event::Server(Received::Bytes(chunk)) => self.server_bytes(chunk),
                Event::Client(Received::End) => {
                    self.leaving = true;
                    Ok(())
                }
                Event::Client(Received::Broken(_)) => Err(End::Done),
                Event::Server(Received::End) => {
                    self.server_lost("the server closed the connection")
                }
                Event::Server(Received::Broken(error)) => self.server_lost(&error.to_string()),
                Event::Kill(kill) => self.killed(kill),
            };
            if let Err(end) = handled.and_then(|()| self.after_event()) {
                return end;
            }
        }
    }

    fn poll_event(&mut self, context: &Context<'_>) -> Poll<Event> {
        if let Some(kill) = self.info.kill.get()
            && (kill == Kill::Stop || self.may_end_now())
        {
            return Poll::Ready(Event::Kill(kill));
        }
        if let Poll::Ready(event) = self.poll_server(context) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.poll_client(context) {
            return Poll::Ready(event);
        }
        self.info.waker.register(context);
        Poll::Pending
    }

    /// The server's bytes, unless the client has too many unread.
    #[inline]
    fn poll_server(&self, context: &Context<'_>) -> Poll<Event> {
        let Some(lease) = &self.lease else {
            return Poll::Pending;
        };
        let stream = &lease.backend().stream;
        if self.client.unsent() > self.high_water {
            if !self.server_held.replace(true) {
                stream.hold(true);
            }
            ready!(self.client.poll_drained(context, self.high_water / 2));
        }
        if self.server_held.take() {
            stream.hold(false);
        }
        stream.poll_receive(context).map(Event::Server)
    }

    /// The client's bytes, unless the server has too many unread or too much to answer.
    #[inline]
    fn poll_client(&mut self, context: &Context<'_>) -> Poll<Event> {
        if self.leaving {
            return self.poll_client_gone(context);
        }
        let unsent = self
            .lease
            .as_ref()
            .map_or(0, |lease| lease.backend().stream.unsent());
        if unsent > self.high_water || self.conversation.is_full() {
            if !std::mem::replace(&mut self.client_held, true) {
                self.client.hold(true);
            }
            return self.poll_congested(context);
        }
        if std::mem::take(&mut self.client_held) {
            self.client.hold(false);
        }
        self.client.poll_receive(context).map(Event::Client)
    }

    /// Waits for room at the server. While it is the answers that are too many, the server's bytes wake us.
    #[cold]
    fn poll_congested(&self, context: &Context<'_>) -> Poll<Event> {
        if let Some(lease) = &self.lease
            && lease.backend().stream.unsent() > self.high_water
            && lease
                .backend()
                .stream
                .poll_drained(context, self.high_water / 2)
                .is_ready()
        {
            return self.client.poll_receive(context).map(Event::Client);
        }
        self.poll_client_gone(context)
    }

    /// Nothing is read of the client, but a broken connection is noticed.
    fn poll_client_gone(&self, context: &Context<'_>) -> Poll<Event> {
        ready!(self.client.poll_broken(context));
        Poll::Ready(Event::Client(Received::Broken(
            io::ErrorKind::ConnectionReset.into(),
        )))
    }

    /// Judges what the client sent, message by message, and sends on what is for the server.
    async fn client_bytes(&mut self) -> Result<(), End> {
        self.info.request.set(self.worker.reactor.now());
        self.pool.counters.borrow_mut().received += self.pending.len() as u64;
        while let Pumped::NeedsServer = self.pump_client()? {
            self.acquire().await?;
        }
        Ok(())
    }

    fn pump_client(&mut self) -> Result<Pumped, End> {
        let mut out = Vec::new();
        let mut decided = 0;
        loop {
            let linked = self.lease.is_some();
            let piece = &self.pending[decided..];
            let (verdict, taken) = match self.intake.cut(piece, partial_from_client)? {
                Cut::Whole(header, body) => {
                    let verdict = self
                        .conversation
                        .client_message(header, body, linked, &mut out)?;
                    (verdict, header.frame_bytes())
                }
                Cut::Begins(header, body) => {
                    let taken = piece.len();
                    let verdict = self
                        .conversation
                        .client_message(header, body, linked, &mut out)?;
                    if verdict == Verdict::NeedServer {
                        self.intake = Cutter::default();
                    }
                    self.intake_forwards = verdict == Verdict::Forward;
                    (verdict, taken)
                }
                Cut::Continues(count) if self.intake_forwards => (Verdict::Forward, count),
                Cut::Continues(count) => (Verdict::Discard, count),
                Cut::Held(_, taken) => {
                    self.unite_held(taken);
                    continue;
                }
                Cut::Empty => break,
            };
            match verdict {
                Verdict::Forward => decided += taken,
                Verdict::NeedServer => {
                    self.forward_to_server(decided);
                    return Ok(Pumped::NeedsServer);
                }
                Verdict::Discard => {
                    self.forward_to_server(decided);
                    self.pending.advance(taken);
                    decided = 0;
                    self.answer(&mut out);
                }
                Verdict::Terminate => {
                    self.leaving = true;
                    self.forward_to_server(decided);
                    self.pending = Chunk::from(Vec::new());
                    return Ok(Pumped::All);
                }
            }
        }
        self.forward_to_server(decided);
        self.pending = Chunk::from(Vec::new());
        Ok(Pumped::All)
    }

    /// A message that came in several pieces: put together with what follows it, it is cut anew.
    fn unite_held(&mut self, taken: usize) {
        let mut united = self.intake.take_held();
        united.extend_from_slice(&self.pending[taken..]);
        self.intake = Cutter::default();
        self.pending = Chunk::from(united);
    }

    #[inline]
    fn forward_to_server(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let chunk = self.pending.split_to(count);
        let lease = self.lease.as_ref().expect("only a linked session forwards");
        lease.backend().stream.send(chunk);
    }

    /// Sends what pgring itself has to say.
    fn answer(&self, out: &mut Vec<u8>) {
        if !out.is_empty() {
            self.client.send(std::mem::take(out).into());
        }
    }

    fn tell(&self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        self.client.send(out.into());
    }

    /// Gets a server connection with the session's settings, or has the request refused.
    async fn acquire(&mut self) -> Result<(), End> {
        let target = self.worker.with_snapshot(route::route);
        let lease = match self.pool.try_checkout(&self.worker, &target) {
            Some(lease) => lease,
            None => match self.wait_for_server(target).await {
                Ok(Some(lease)) => lease,
                Ok(None) => return Err(End::Done),
                Err(error) => {
                    self.conversation.refuse(statement_error(error));
                    return Ok(());
                }
            },
        };
        self.link(lease);
        Ok(())
    }

    #[cold]
    async fn wait_for_server(
        &mut self,
        target: route::Target,
    ) -> Result<Option<Lease>, CheckoutError> {
        self.info.state.set(State::Waiting);
        self.pending.detach();
        self.client.hold(true);
        let (client, info) = (&self.client, &self.info);
        let gone = |context: &Context<'_>| {
            info.waker.register(context);
            if info.kill.get() == Some(Kill::Stop) {
                Poll::Ready(())
            } else {
                client.poll_broken(context)
            }
        };
        let lease = Box::pin(
            self.pool
                .checkout(&self.worker, &target, Urgency::Statement, gone),
        )
        .await;
        self.client.hold(false);
        self.info.state.set(State::Idle);
        lease
    }

    #[inline]
    fn link(&mut self, mut lease: Lease) {
        let backend = lease.backend_mut();
        if backend.parameters != self.parameters {
            let text = backend.parameters.transition(&self.parameters);
            let mut out = Vec::new();
            Writer::new(&mut out)
                .query(&text)
                .expect("the text is ASCII without NUL");
            backend.stream.send(out.into());
            backend.parameters = self.parameters.clone();
            self.conversation.sent_own_request();
        }
        self.info.server.replace(Some(Rc::clone(&backend.facts)));
        self.info.state.set(State::Active);
        self.outtake = Cutter::default();
        self.lease = Some(lease);
    }

    /// Judges what the server sent and sends on what is for the client.
    fn server_bytes(&mut self, mut chunk: Chunk) -> Result<(), End> {
        self.pool.counters.borrow_mut().sent += chunk.len() as u64;
        let mut decided = 0;
        loop {
            let piece = &chunk[decided..];
            let cut = match self.outtake.cut(piece, partial_from_server) {
                Ok(cut) => cut,
                Err(error) => return self.server_speaks_nonsense(&error),
            };
            let (answer, taken) = match cut {
                Cut::Whole(header, body) => (self.judge(header, body)?, header.frame_bytes()),
                Cut::Begins(header, body) => {
                    let taken = piece.len();
                    let answer = self.judge(header, body)?;
                    self.outtake_forwards = answer != Answer::Swallow;
                    (answer, taken)
                }
                Cut::Continues(count) if self.outtake_forwards => (Answer::Forward, count),
                Cut::Continues(count) => (Answer::Swallow, count),
                Cut::Held(_, taken) => {
                    let mut united = self.outtake.take_held();
                    united.extend_from_slice(&chunk[taken..]);
                    self.outtake = Cutter::default();
                    chunk = Chunk::from(united);
                    continue;
                }
                Cut::Empty => break,
            };
            match answer {
                Answer::Forward | Answer::Ready => decided += taken,
                Answer::Swallow | Answer::Fatal | Answer::SettingsRefused => {
                    let message = error_text(&chunk[decided..]);
                    if decided > 0 {
                        self.client.send(chunk.split_to(decided));
                        decided = 0;
                    }
                    chunk.advance(taken);
                    match answer {
                        Answer::Fatal => return self.server_lost(&message),
                        Answer::SettingsRefused => return Err(settings_refused(message)),
                        _ => {}
                    }
                }
            }
        }
        if decided > 0 {
            self.client.send(chunk.split_to(decided));
        }
        Ok(())
    }

    #[inline]
    fn judge(&mut self, header: Header, body: &[u8]) -> Result<Answer, End> {
        let answer = self.conversation.server_message(header.tag, body)?;
        match header.tag {
            backend::READY_FOR_QUERY if answer == Answer::Ready => self.server_is_ready()?,
            backend::PARAMETER_STATUS if answer == Answer::Forward => self.note_parameter(body),
            _ => {}
        }
        Ok(answer)
    }

    fn server_is_ready(&mut self) -> Result<(), End> {
        let idle = self.conversation.status() == TransactionStatus::Idle;
        let now = self.worker.reactor.now();
        let mut counters = self.pool.counters.borrow_mut();
        counters.queries += 1;
        counters.query_us += now
            .saturating_duration_since(self.info.request.get())
            .as_micros() as u64;
        if idle {
            counters.transactions += 1;
            return Ok(());
        }
        if self.pool.mode() == PoolMode::Statement {
            return Err(End::Told(
                ErrorReport::fatal(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "transaction blocks are not allowed in statement pooling mode",
                )
                .with_hint("Use pool mode \"transaction\" for this database or user."),
            ));
        }
        Ok(())
    }

    /// The server reports a setting: this session has it now, and so has the connection.
    #[cold]
    fn note_parameter(&mut self, body: &[u8]) {
        let Ok(status) = ParameterStatus::read(body) else {
            return;
        };
        if !parameters::is_settable(status.name) {
            return;
        }
        if status.name == b"application_name" {
            self.info.application_name.replace(status.value.to_vec());
        }
        self.parameters = self
            .worker
            .interner
            .with(&self.parameters, status.name, status.value);
        if let Some(lease) = &mut self.lease {
            lease.backend_mut().parameters = self.parameters.clone();
        }
    }

    fn server_speaks_nonsense(&mut self, error: &ProtocolError) -> Result<(), End> {
        tracing::error!(client = %self.info.id, %error, "the server broke the protocol; closing its connection");
        self.server_lost(&error.to_string())
    }

    /// The server connection is gone.
    fn server_lost(&mut self, why: &str) -> Result<(), End> {
        let mid_message = self.outtake.is_passing() && self.outtake_forwards;
        tracing::warn!(client = %self.info.id, database = %self.info.key.database, user = %self.info.key.user, reason = why, "server connection lost");
        self.unlink();
        self.outtake = Cutter::default();
        // What is left of a message that was on its way to the server has nowhere to go.
        self.intake_forwards = false;
        let mut out = Vec::new();
        let after = self.conversation.server_lost(why, mid_message, &mut out);
        self.answer(&mut out);
        match after {
            AfterLoss::GoesOn => Ok(()),
            AfterLoss::Ends => Err(End::Done),
        }
    }

    /// After each event: gives the connection back, ends what is to end.
    #[inline]
    fn after_event(&mut self) -> Result<(), End> {
        if self.lease.is_some() && self.may_release() {
            self.release();
        }
        if self.conversation.is_lost() {
            return self.server_speaks_out_of_turn();
        }
        if self.leaving && self.may_leave() {
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
        let quiet = self
            .lease
            .as_ref()
            .is_none_or(|lease| !lease.backend().stream.has_news());
        quiet && self.outtake.is_between() && !self.intake.is_passing()
    }

    #[inline]
    fn release(&mut self) {
        let Some(lease) = self.unlink() else { return };
        self.account(&lease);
        if lease.backend().facts.cancels.get() > 0 {
            // A cancel is on its way: it must not hit the next client's query.
            return drop(lease);
        }
        lease.release();
    }

    fn account(&self, lease: &Lease) {
        let held = self
            .worker
            .reactor
            .now()
            .saturating_duration_since(lease.since);
        self.pool.counters.borrow_mut().transaction_us += held.as_micros() as u64;
    }

    fn unlink(&mut self) -> Option<Lease> {
        self.info.server.replace(None);
        self.info.state.set(State::Idle);
        let lease = self.lease.take()?;
        if self.server_held.take() {
            lease.backend().stream.hold(false);
        }
        Some(lease)
    }

    /// Server and session disagree about what was asked: nobody may trust this connection any more.
    #[cold]
    fn server_speaks_out_of_turn(&mut self) -> Result<(), End> {
        let pinned = self
            .conversation
            .pin()
            .map_or("conversation cannot be followed", |pin| pin.reason());
        self.info.pinned.set(pinned);
        Ok(())
    }

    /// A client that leaves is let go once what it asked for is done, or cannot be done without it.
    fn may_leave(&mut self) -> bool {
        self.lease.is_none()
            || self.conversation.is_at_rest()
            || self.conversation.waits_for_client()
    }

    /// True between transactions, when nothing is on its way.
    fn may_end_now(&self) -> bool {
        let idle = self.conversation.status() == TransactionStatus::Idle;
        idle && self.conversation.is_at_rest()
            && self.pending.is_empty()
            && self.intake.is_between()
    }

    fn killed(&self, _kill: Kill) -> Result<(), End> {
        Err(End::Told(ErrorReport::fatal(
            SqlState::ADMIN_SHUTDOWN,
            "terminating connection because pgring is shutting down",
        )))
    }

    /// The end: the connection goes back when it is clean, else it is closed.
    fn let_go(&mut self, left: bool) {
        let clean = left && self.conversation.is_clean() && self.is_between_messages();
        if let Some(lease) = self.unlink()
            && clean
            && lease.backend().facts.cancels.get() == 0
        {
            self.account(&lease);
            lease.release_dirty();
        }
        tracing::debug!(client = %self.info.id, "client left");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.unlink();
        self.worker.clients.leave(&self.info);
        self.pool.clients.set(self.pool.clients.get() - 1);
        self.worker.forget_unused(&self.pool);
    }
}

/// Held whole are the messages that the conversation reads.
fn partial_from_client(header: Header) -> Result<Partial, ProtocolError> {
    header.check_frontend()?;
    let read = !matches!(
        header.tag,
        frontend::BIND | frontend::COPY_DATA | frontend::FUNCTION_CALL
    );
    Ok(hold_if(
        read && header.frame_bytes() <= HELD_MESSAGE_BYTES_MAX,
    ))
}

fn partial_from_server(header: Header) -> Result<Partial, ProtocolError> {
    let read = matches!(
        header.tag,
        backend::READY_FOR_QUERY | backend::ERROR_RESPONSE | backend::PARAMETER_STATUS
    );
    Ok(hold_if(
        read && header.frame_bytes() <= SERVER_MESSAGE_BYTES_MAX,
    ))
}

fn hold_if(hold: bool) -> Partial {
    if hold { Partial::Hold } else { Partial::Stream }
}

/// The text of the ErrorResponse at the start of `bytes`.
fn error_text(bytes: &[u8]) -> String {
    let body = bytes.get(Header::BYTES..).unwrap_or_default();
    let header = Header::read(bytes).ok().flatten();
    let body = header
        .and_then(|header| body.get(..header.body_bytes()))
        .unwrap_or_default();
    match ErrorFields::read(body) {
        Ok(fields) => format!(
            "the server said: {}",
            String::from_utf8_lossy(fields.message())
        ),
        Err(_) => String::new(),
    }
}

fn settings_refused(message: String) -> End {
    End::Told(
        ErrorReport::fatal(
            SqlState::CONNECTION_FAILURE,
            "the session's settings could not be carried to another server connection",
        )
        .with_detail(message),
    )
}

/// What a statement gets that no server takes.
fn statement_error(error: CheckoutError) -> ErrorReport {
    match error {
        CheckoutError::Own(report) => report,
        CheckoutError::Refused(body) => {
            let fields = ErrorFields::read(&body).ok();
            let sqlstate = fields
                .and_then(|fields| fields.sqlstate())
                .unwrap_or(SqlState::CANNOT_CONNECT_NOW);
            let message = fields.map_or_else(String::new, |fields| {
                String::from_utf8_lossy(fields.message()).into_owned()
            });
            ErrorReport::error(sqlstate, message)
                .with_detail("The server refused a new connection.")
        }
    }
}
