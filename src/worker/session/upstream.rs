//! From the client to the server: judges each message and forwards it.

use std::{rc::Rc, time::Duration};

use super::{
    link::Link,
    stay::Stay,
    task::{End, Session, hold_if},
};
use crate::session::{
    context::{Context, Words},
    conversation::Verdict,
    state::pending_state::FUNCTION_BYTES,
};
use crate::{
    limits::{HELD_MESSAGE_BYTES_MAX, POSITION_WAIT_MS, RECORDED_BYTES_MAX, UNITED_SEND_BYTES_MAX},
    net::Chunk,
    protocol::{
        ErrorReport, Header, ProtocolError, SqlState,
        backend::TransactionStatus,
        buffer::{Cut, Partial},
        frontend::has_names,
        tag::frontend,
    },
    session::context::Known,
};

/// How far the client's bytes could be judged.
pub(super) enum Pumped {
    All,
    NeedsServer,
    /// The next message can be judged after the server's next answers.
    Waits,
    /// The next message can be judged once its node has replayed more.
    Behind,
    /// The message that came last is for pgring.
    Asks,
}

/// Next step after a verdict.
enum Followed {
    /// Go on; so many bytes are for the server and not sent.
    On(usize),
    /// Stop here.
    Stop(Pumped),
}

/// Context in which the rules judge the client's next message: fields of the session that they do not hold.
macro_rules! context {
    ($session:ident, $words:ident, $known:ident) => {
        Context {
            server: $session
                .link
                .as_mut()
                .map(|link| &mut link.backend_mut().prepared),
            store: &$session.worker.statements,
            stamps: &$session.worker.shared.stamps,
            settings: &$session.parameters.meaning,
            known: &$known,
            bounds: $session.bounds,
            out: &mut $words.out,
            ahead: &mut $words.ahead,
        }
    };
}

impl Session {
    /// The client has sent something.
    #[inline]
    pub(super) fn client_sends(&mut self) -> impl Future<Output = Result<(), End>> {
        self.info.times.request.set(self.worker.reactor.now());
        self.pools.counters.borrow_mut().received += self.intake.pending.len() as u64;
        self.judge_pending()
    }

    /// Judges what the client sent, message by message, and sends on what is for the server.
    pub(super) async fn judge_pending(&mut self) -> Result<(), End> {
        self.conversation.stop_recording();
        loop {
            match self.pump_client()? {
                Pumped::All => break,
                Pumped::NeedsServer => self.acquire().await?,
                Pumped::Asks => Box::pin(self.answer_question()).await?,
                Pumped::Behind => {
                    let pause = Duration::from_millis(POSITION_WAIT_MS);
                    Box::pin(self.worker.reactor.sleep(pause)).await;
                }
                Pumped::Waits => {
                    self.intake.stalled = true;
                    self.intake.pending.detach();
                    break;
                }
            }
        }
        if let Some(pin) = self.conversation.pinned() {
            self.note_pin(Some(pin));
        }
        if let Some(pin) = self.conversation.take_refused_pin() {
            self.worker.counters.pin_refused(pin);
        }
        Ok(())
    }

    fn pump_client(&mut self) -> Result<Pumped, End> {
        let worker = Rc::clone(&self.worker);
        let mut words = worker.words.borrow_mut();
        words.clear();
        let pumped = self.pump(&mut words);
        self.intake.settle_charge();
        self.send_front(&mut words);
        self.end_record();
        if let Some(database) = self.conversation.take_vacated() {
            self.worker.vacate(&self.info, database.into());
        }
        pumped
    }

    fn pump(&mut self, words: &mut Words) -> Result<Pumped, End> {
        let known = self.known();
        let mut decided = 0;
        loop {
            if let Some(pumped) = self.look_at_pipeline(decided, words) {
                return Ok(pumped);
            }
            let piece = &self.intake.pending[decided..];
            if piece.is_empty() {
                break;
            }
            let room = self.intake.room();
            let partial = |header: Header, body: &[u8]| partial_from_client(header, body, room);
            let (verdict, taken) = match self.intake.cutter.next(piece, partial)? {
                Cut::Whole(header, body) => {
                    let context = &mut context!(self, words, known);
                    let verdict = self.conversation.client_message(header, body, context)?;
                    (verdict, header.frame_bytes())
                }
                Cut::Begins(header, body) => {
                    let taken = piece.len();
                    let context = &mut context!(self, words, known);
                    let verdict = self.conversation.client_message(header, body, context)?;
                    self.intake.begins(verdict);
                    (verdict, taken)
                }
                Cut::Continues(count) if self.intake.forwards => {
                    if self.conversation.is_unread() {
                        self.conversation.note_rest(&piece[..count], &known);
                    }
                    (Verdict::Forward, count)
                }
                Cut::Continues(count) => (Verdict::Discard, count),
                Cut::Held(_, taken) => {
                    self.unite_held(taken);
                    continue;
                }
                Cut::Empty => break,
            };
            decided = match self.follow(verdict, decided, taken, words)? {
                Followed::On(decided) => decided,
                Followed::Stop(pumped) => return Ok(pumped),
            };
        }
        self.forward_to_server(decided, words);
        self.intake.pending = Chunk::default();
        Ok(Pumped::All)
    }

    /// Knowledge of the functions and triggers of its database.
    #[inline]
    fn known(&self) -> Known {
        if self.bounds.trusts_functions {
            return Known::Trusted;
        }
        self.pools.keep_up(&self.worker);
        let (shared, now) = (&self.worker.shared, self.worker.reactor.now());
        self.pools.classifier.known(shared, now)
    }

    /// Reason to stop before the pipeline that begins at `at`; `None` when none begins there, or it may go on.
    #[inline]
    fn look_at_pipeline(&mut self, at: usize, words: &mut Words) -> Option<Pumped> {
        if !self.link.as_ref().is_some_and(Link::is_guarded)
            || !self.begins_pipeline(at)
            || self.asks_at(at)
        {
            return None;
        }
        if self.conversation.waits_for_settings() {
            // It does not go anywhere yet.
            return None;
        }
        match self.stay(at) {
            Stay::Yes => None,
            Stay::Refuse(why) => {
                self.conversation.refuse_to_leave(why);
                None
            }
            stay => Some(self.stop_before(at, stay, words)),
        }
    }

    /// True when the message at `at` is the first of its pipeline, and there is enough of it to be judged.
    pub(super) fn begins_pipeline(&self, at: usize) -> bool {
        let piece = self.intake.pending.get(at..).unwrap_or_default();
        let is_judged = |header: Header| {
            let body = piece.get(Header::BYTES..).unwrap_or_default();
            piece.len() >= header.frame_bytes()
                || partial_from_client(header, body, self.intake.room()) == Ok(Partial::Stream)
        };
        self.intake.cutter.is_between()
            && self.conversation.begins_pipeline()
            && matches!(Header::read(piece), Ok(Some(header)) if is_judged(header))
    }

    /// The next message must not go to the server at hand.
    #[cold]
    fn stop_before(&mut self, decided: usize, stay: Stay, words: &mut Words) -> Pumped {
        self.forward_to_server(decided, words);
        self.send_front(words);
        match stay {
            Stay::Behind => return Pumped::Behind,
            Stay::Leave => self.leave_block(),
            _ => {}
        }
        Pumped::Waits
    }

    /// Does with a message what was decided. `decided` bytes before it are for the server; answers how many are
    /// then.
    #[inline]
    fn follow(
        &mut self,
        verdict: Verdict,
        decided: usize,
        taken: usize,
        words: &mut Words,
    ) -> Result<Followed, End> {
        let forwards = matches!(verdict, Verdict::Forward | Verdict::Instead(_));
        if forwards && self.conversation.take_recording() {
            self.record(decided);
        }
        if verdict == Verdict::Forward && words.ahead.is_empty() && words.out.is_empty() {
            return Ok(Followed::On(decided + taken));
        }
        self.forward_to_server(decided, words);
        words.front.append(&mut words.ahead);
        self.send_out(words);
        Ok(match verdict {
            Verdict::Forward => Followed::On(taken),
            Verdict::Instead(replaced) => {
                self.intake.pending.advance(replaced);
                Followed::On(taken - replaced)
            }
            Verdict::Discard => {
                if self.conversation.take_answered_alone() {
                    // It began or ended a transaction of which no server knows.
                    let ended = self.conversation.status() == TransactionStatus::Idle;
                    let mut counters = self.pools.counters.borrow_mut();
                    counters.queries += 1;
                    counters.transactions += u64::from(ended);
                }
                self.intake.pending.advance(taken);
                Followed::On(0)
            }
            Verdict::NeedServer => Followed::Stop(Pumped::NeedsServer),
            Verdict::Wait => Followed::Stop(Pumped::Waits),
            // A message of the server is half way through to the client.
            Verdict::Asks
                if self
                    .link
                    .as_ref()
                    .is_some_and(|link| link.cutter.is_passing()) =>
            {
                Followed::Stop(Pumped::Waits)
            }
            Verdict::Asks => {
                self.intake.pending.advance(taken);
                Followed::Stop(Pumped::Asks)
            }
            Verdict::Full => return Err(too_much_prepared()),
            Verdict::Terminate => {
                self.intake.is_over = true;
                self.intake.pending = Chunk::default();
                Followed::Stop(Pumped::All)
            }
        })
    }

    /// Keeps what the client sent from here on, in case it must run again.
    fn record(&mut self, from: usize) {
        let bytes = &self.intake.pending[from..];
        let link = self
            .link
            .as_mut()
            .expect("only what goes to a server is recorded");
        let record = &mut link.backend_mut().record;
        record.clear();
        if bytes.len() <= RECORDED_BYTES_MAX {
            record.extend_from_slice(bytes);
        } else {
            self.conversation.stop_recording();
        }
    }

    /// Cuts the record off where the client's messages have not been judged: these are still here.
    #[inline]
    fn end_record(&mut self) {
        if self.conversation.is_recorded()
            && let Some(link) = &mut self.link
        {
            let unjudged = self.intake.pending.len() + self.intake.cutter.held_bytes();
            let record = &mut link.backend_mut().record;
            record.truncate(record.len().saturating_sub(unjudged));
        }
    }

    /// Puts what the client sent before in front of what it sent next, to be judged again.
    #[cold]
    pub(super) fn judge_again(&mut self, mut sent: Vec<u8>) {
        sent.extend_from_slice(&self.intake.cutter.unite(&self.intake.pending));
        self.intake.pending = Chunk::from(sent);
    }

    /// Puts the recorded messages in front of what the client sent next, to be judged and sent again.
    #[cold]
    pub(super) fn run_again(&mut self) {
        let link = self
            .link
            .as_mut()
            .expect("a refused pipeline keeps its server");
        let record = std::mem::take(&mut link.backend_mut().record);
        self.judge_again(record);
    }

    #[inline]
    fn send_front(&self, words: &mut Words) {
        if words.front.is_empty() {
            return;
        }
        let bytes = self.worker.arena.borrow_mut().put(&words.front);
        words.front.clear();
        let link = self.link.as_ref();
        let link = link.expect("only a linked session has something for a server");
        link.backend().stream.send(bytes.into());
    }

    #[inline]
    fn send_out(&self, words: &mut Words) {
        if !words.out.is_empty() {
            let bytes = self.worker.arena.borrow_mut().put(&words.out);
            self.client.send(bytes.into());
            words.out.clear();
        }
    }

    /// A message that came in several pieces: put together with what follows it, it is cut anew.
    pub(super) fn unite_held(&mut self, taken: usize) {
        self.intake.pending = Chunk::from(self.intake.cutter.unite(&self.intake.pending[taken..]));
    }

    /// The client's bytes up to `count` go to the server: a few of them in one piece with our words before them.
    #[inline]
    fn forward_to_server(&mut self, count: usize, words: &mut Words) {
        if count == 0 {
            return;
        }
        if !words.front.is_empty() {
            if words.front.len() + count <= UNITED_SEND_BYTES_MAX {
                words.front.extend_from_slice(&self.intake.pending[..count]);
                return self.intake.pending.advance(count);
            }
            self.send_front(words);
        }
        let chunk = self.intake.pending.split_to(count);
        let link = self.link.as_ref().expect("only a linked session forwards");
        link.backend().stream.send(chunk);
    }
}

/// Held whole are the messages that the conversation reads. `room`: bytes of one that there is room for.
fn partial_from_client(header: Header, body: &[u8], room: usize) -> Result<Partial, ProtocolError> {
    header.check_frontend()?;
    let bytes = header.frame_bytes();
    // Parameters may be long; what counts are the names before them.
    let looks_for_names = || body.len() < room && !has_names(header.tag, body);
    Ok(hold_if(match header.tag {
        frontend::COPY_DATA => false,
        frontend::FUNCTION_CALL => bytes <= HELD_MESSAGE_BYTES_MAX || body.len() < FUNCTION_BYTES,
        frontend::PARSE => bytes <= room || looks_for_names(),
        frontend::BIND | frontend::DESCRIBE | frontend::CLOSE => {
            bytes <= HELD_MESSAGE_BYTES_MAX || looks_for_names()
        }
        _ => bytes <= HELD_MESSAGE_BYTES_MAX,
    }))
}

/// A client that has prepared more than it may.
fn too_much_prepared() -> End {
    End::Told(
        ErrorReport::fatal(
            SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            "this client's prepared statements take more memory than it may use",
        )
        .with_hint("Close statements that are not needed, or raise statement_bytes_per_client."),
    )
}
