//! From the client to the server: judges each message, gets a server connection when one is needed, forwards.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    conversation::Verdict,
    serve::{End, Session, hold_if, shutting_down},
};
use crate::{
    limits::HELD_MESSAGE_BYTES_MAX,
    net::Chunk,
    protocol::{
        ErrorReport, Header, ProtocolError, SqlState, Writer,
        backend::ErrorFields,
        buffer::{Cut, Cutter, Partial},
        tag::frontend,
    },
    worker::{
        cancel,
        clients::{Kill, State},
        pool::{CheckoutError, Lease, Urgency},
        route,
    },
};

/// How far the client's bytes could be judged.
pub(super) enum Pumped {
    All,
    NeedsServer,
}

impl Session {
    /// Judges what the client sent, message by message, and sends on what is for the server.
    pub(super) async fn client_bytes(&mut self) -> Result<(), End> {
        self.info.request.set(self.worker.reactor.now());
        self.pool.counters.borrow_mut().received += self.pending.len() as u64;
        while let Pumped::NeedsServer = self.pump_client()? {
            self.acquire().await?;
        }
        if let Some(pin) = self.conversation.pinned() {
            self.info.pinned.set(pin.reason());
        }
        Ok(())
    }

    pub(super) fn pump_client(&mut self) -> Result<Pumped, End> {
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
    pub(super) fn unite_held(&mut self, taken: usize) {
        let mut united = self.intake.take_held();
        united.extend_from_slice(&self.pending[taken..]);
        self.intake = Cutter::default();
        self.pending = Chunk::from(united);
    }

    #[inline]
    pub(super) fn forward_to_server(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let chunk = self.pending.split_to(count);
        let lease = self.lease.as_ref().expect("only a linked session forwards");
        lease.backend().stream.send(chunk);
    }

    /// Gets a server connection with the session's settings, or has the request refused.
    pub(super) async fn acquire(&mut self) -> Result<(), End> {
        let target = self.worker.with_snapshot(route::route);
        let lease = match self.pool.try_checkout(&self.worker, &target) {
            Some(lease) => lease,
            None => match self.wait_for_server(target).await {
                Ok(lease) if self.info.cancel.is_dequeued() => {
                    lease.into_iter().for_each(Lease::release);
                    self.conversation.refuse(cancel::cancelled());
                    return Ok(());
                }
                Ok(Some(lease)) => lease,
                Ok(None) if self.info.kill.get() == Some(Kill::Stop) => {
                    return Err(shutting_down());
                }
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
    pub(super) async fn wait_for_server(
        &mut self,
        target: route::Target,
    ) -> Result<Option<Lease>, CheckoutError> {
        self.info.state.set(State::Waiting);
        self.info.cancel.clear();
        self.pending.detach();
        self.client.hold(true);
        let (client, info) = (&self.client, &self.info);
        let gone = |context: &Context<'_>| {
            info.waker.register(context);
            if info.kill.get() == Some(Kill::Stop) || info.cancel.is_dequeued() {
                Poll::Ready(())
            } else {
                client.poll_ended(context)
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
    pub(super) fn link(&mut self, mut lease: Lease) {
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
        self.conversation.linked_anew();
        self.lease = Some(lease);
    }
}

/// Held whole are the messages that the conversation reads.
fn partial_from_client(header: Header) -> Result<Partial, ProtocolError> {
    header.check_frontend()?;
    let read = !matches!(header.tag, frontend::COPY_DATA | frontend::FUNCTION_CALL);
    Ok(hold_if(
        read && header.frame_bytes() <= HELD_MESSAGE_BYTES_MAX,
    ))
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
