//! From the server to the client: watches the few messages that matter, forwards, and answers for a server that is gone.

use super::{
    checkout::settings_refused,
    link::{Link, Repeat},
    task::{End, Session, hold_if},
};
use crate::session::{
    conversation::{AfterLoss, Answer},
    server_errors::{
        error_message, has_expired, is_farewell, is_fatal, is_for_primary, last_words,
    },
};
use crate::{
    cluster::settings::PoolMode,
    ids::NodeId,
    limits::{DESCRIPTION_BYTES_MAX, SERVER_MESSAGE_BYTES_MAX},
    net::Chunk,
    protocol::{
        ErrorReport, Header, ProtocolError, SqlState, Tag, Writer,
        backend::{ErrorFields, NotificationResponse, ParameterStatus, TransactionStatus},
        buffer::{Cut, Partial},
        tag::{backend, frontend},
    },
    session::state::parameters,
};

/// Why a server's bytes are not passed on.
enum Fault {
    /// The server broke the protocol.
    Nonsense(ProtocolError),
    /// The server ends the connection, and says why.
    LastWords(ErrorReport),
    /// It ends the session, as the client has asked it to do in such a case.
    Expired,
    /// A standby cannot answer a read that the primary can.
    Elsewhere(String),
    /// The session ends.
    End(End),
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Nonsense(error)
    }
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// A server that speaks is linked.
const LINKED: &str = "a server that speaks is linked";

impl Session {
    /// Judges what the server sent and sends on what is for the client.
    pub(super) fn server_sends(&mut self) -> Result<(), End> {
        let link = self.link.as_mut().expect(LINKED);
        let mut chunk = std::mem::take(&mut link.arrived);
        self.pools.counters.borrow_mut().sent += chunk.len() as u64;
        self.announce_commit();
        let mut decided = 0;
        let judged = match self.foreseen(&chunk) {
            Some(fault) => Err(fault),
            None => self.judge_all(&mut chunk, &mut decided),
        };
        let stamps = &self.worker.shared.stamps;
        self.conversation.note_answered(stamps);
        self.forward_to_client(&mut chunk, &mut decided);
        match judged {
            Ok(()) => Ok(()),
            Err(Fault::Nonsense(error)) => self.server_speaks_nonsense(&error),
            Err(Fault::LastWords(words)) => self.server_took_leave(words),
            Err(Fault::Expired) => Err(End::Done),
            Err(Fault::Elsewhere(why)) => {
                self.placement.insist_on_primary();
                self.read_elsewhere(&why);
                Ok(())
            }
            Err(Fault::End(end)) => Err(end),
        }
    }

    /// An error for which the read at hand goes elsewhere, when it comes together with the beginning of the answer:
    /// a server has told what rows look like when it finds that it cannot give any. Nothing is judged, so that
    /// all of it can be forgotten.
    #[inline]
    fn foreseen(&self, chunk: &[u8]) -> Option<Fault> {
        let link = self.link.as_ref().expect(LINKED);
        if !link.is_repeatable() || !link.cutter.is_between() {
            return None;
        }
        let on_standby = link.is_on_standby();
        let mut rest = chunk;
        let mut ours = self.conversation.own_requests_ahead();
        let mut executes = self.conversation.own_executes_ahead();
        loop {
            let header = Header::read(rest).ok()??;
            let body = rest.get(Header::BYTES..header.frame_bytes())?;
            rest = rest.get(header.frame_bytes()..)?;
            match header.tag {
                backend::READY_FOR_QUERY if ours > 0 => ours -= 1,
                backend::ERROR_RESPONSE if ours > 0 => return None,
                _ if ours > 0 => {}
                backend::COMMAND_COMPLETE if executes > 0 => executes -= 1,
                backend::DATA_ROW if executes > 0 => {}
                // A server sends what it had ready, rows and all, in front of its error or of its farewell.
                tag if is_of_rows(tag) && (on_standby || !is_complete(chunk)) => {}
                backend::PARSE_COMPLETE
                | backend::BIND_COMPLETE
                | backend::CLOSE_COMPLETE
                | backend::PARAMETER_DESCRIPTION
                | backend::ROW_DESCRIPTION
                | backend::NO_DATA
                | backend::PARAMETER_STATUS => {}
                backend::NOTICE_RESPONSE if is_farewell(body) => {
                    return Some(Fault::LastWords(last_words(body)));
                }
                backend::NOTICE_RESPONSE => {}
                backend::ERROR_RESPONSE if is_fatal(body) => {
                    return Some(Fault::LastWords(last_words(body)));
                }
                backend::ERROR_RESPONSE if on_standby && is_for_primary(body) => {
                    return Some(Fault::Elsewhere(error_message(body)));
                }
                _ => return None,
            }
        }
    }

    /// Counts in `decided` the bytes at the front of `chunk` that are for the client and not yet sent.
    #[inline]
    fn judge_all(&mut self, chunk: &mut Chunk, decided: &mut usize) -> Result<(), Fault> {
        loop {
            self.say(chunk, decided);
            let piece = &chunk[*decided..];
            if piece.is_empty() {
                return Ok(());
            }
            let link = self.link.as_mut().expect(LINKED);
            let rules = &self.conversation;
            let partial = |header: Header, _: &[u8]| {
                partial_from_server(header, rules.awaits_rows(), rules.awaits_shape())
            };
            let (answer, taken) = match link.cutter.next(piece, partial)? {
                Cut::Whole(header, body) => (
                    self.judge(header, body, *decided > 0)?,
                    header.frame_bytes(),
                ),
                Cut::Begins(header, body) => {
                    let taken = piece.len();
                    let answer = self.judge(header, body, *decided > 0)?;
                    if let Some(link) = &mut self.link {
                        link.forwards = answer != Answer::Swallow;
                    }
                    (answer, taken)
                }
                Cut::Continues(count) if link.forwards => (Answer::Forward, count),
                Cut::Continues(count) => (Answer::Swallow, count),
                Cut::Held(_, taken) => {
                    *chunk = Chunk::from(link.cutter.unite(&chunk[taken..]));
                    continue;
                }
                Cut::Empty => return Ok(()),
            };
            match answer {
                Answer::Forward | Answer::Ready => *decided += taken,
                Answer::Fatal => {
                    let body = piece.get(Header::BYTES..taken).unwrap_or_default();
                    if has_expired(body) {
                        *decided += taken;
                        return Err(Fault::Expired);
                    }
                    return Err(Fault::LastWords(last_words(body)));
                }
                Answer::SettingsRefused => {
                    let body = piece.get(Header::BYTES..taken);
                    return Err(settings_refused(body).into());
                }
                Answer::Renamed => {
                    self.forward_to_client(chunk, decided);
                    self.note_heard();
                    self.client.send(self.conversation.take_renamed().into());
                    chunk.advance(taken);
                }
                Answer::Restored => {
                    self.forward_to_client(chunk, decided);
                    self.tell_restored();
                    chunk.advance(taken);
                }
                Answer::Swallow | Answer::StateTold | Answer::PositionTold | Answer::Restore => {
                    self.forward_to_client(chunk, decided);
                    chunk.advance(taken);
                }
            }
        }
    }

    /// Judges a message of the server. `shows`: the client is about to get what came in front of it.
    #[inline]
    fn judge(&mut self, header: Header, body: &[u8], shows: bool) -> Result<Answer, Fault> {
        let link = self.link.as_mut().expect(LINKED);
        if header.tag == backend::ERROR_RESPONSE
            && !shows
            && link.is_on_standby()
            && link.is_repeatable()
            && is_for_primary(body)
        {
            return Err(Fault::Elsewhere(error_message(body)));
        }
        if header.tag == backend::NOTICE_RESPONSE && link.is_repeatable() && is_farewell(body) {
            // The client must not hear of it, or the read could not go elsewhere.
            return Err(Fault::LastWords(last_words(body)));
        }
        let prepared = &mut link.backend_mut().prepared;
        let mut answer = self
            .conversation
            .server_message(header.tag, body, prepared)?;
        if header.tag == backend::PARAMETER_STATUS
            && answer == Answer::Swallow
            && self.is_news(body)
        {
            // It comes with the answer to something of ours, but it is the client's.
            self.conversation.note_reported(body);
            answer = Answer::Forward;
        }
        if header.tag == backend::PARAMETER_STATUS && self.is_about_the_node(body) {
            answer = Answer::Swallow;
        }
        if header.tag == backend::ERROR_RESPONSE
            && answer == Answer::Forward
            && let Some(error) = self.overtime_error(body)
        {
            self.conversation.rename(error);
            answer = Answer::Renamed;
        }
        if header.tag == backend::NOTIFICATION && answer == Answer::Forward {
            answer = self.sign_notification(body);
        }
        match header.tag {
            backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE if answer == Answer::Forward => {
                // SHOW is the one read that takes no snapshot.
                if !body.starts_with(b"SHOW")
                    && let Some(link) = &mut self.link
                {
                    link.note_read();
                }
                self.count_answer(header.tag, body);
            }
            // The client has heard of it long ago.
            backend::COMMAND_COMPLETE if answer == Answer::Swallow && begins(body) => {
                self.count_answer(header.tag, body);
            }
            _ => {}
        }
        match header.tag {
            backend::READY_FOR_QUERY if answer == Answer::Ready => self.server_is_ready()?,
            backend::READY_FOR_QUERY if answer == Answer::StateTold => self.state_query_taken()?,
            backend::READY_FOR_QUERY if answer == Answer::PositionTold => {
                let position = self.conversation.take_position();
                if position.is_none() {
                    self.pools.note_no_position(self.worker.micros());
                }
                self.position_told(position);
            }
            backend::READY_FOR_QUERY if answer == Answer::Restore => {
                self.server_is_ready()?;
                self.take_state_query();
            }
            backend::ERROR_RESPONSE if self.conversation.take_sync_due() => self.send_sync(),
            backend::PARAMETER_STATUS if answer == Answer::Forward => self.note_parameter(body),
            _ => {}
        }
        Ok(answer)
    }

    /// True for what a server reports of its own place in the cluster: the client is with the cluster, and was told of its
    /// primary. The node at hand may just have been promoted, or take no writes because another one is.
    fn is_about_the_node(&self, body: &[u8]) -> bool {
        let is_leaving = || self.link.as_ref().is_some_and(|link| link.is_leaving);
        body.starts_with(b"in_hot_standby\0")
            || body.starts_with(b"default_transaction_read_only\0") && is_leaving()
    }

    /// A notification that comes from the session's own connection comes from the session, which knows itself by the
    /// process id that it was told.
    #[cold]
    fn sign_notification(&mut self, body: &[u8]) -> Answer {
        let own = self
            .link
            .as_ref()
            .map(|link| link.backend().info.process_id);
        let Ok(heard) = NotificationResponse::read(body) else {
            return Answer::Forward;
        };
        if own != Some(heard.process_id) {
            return Answer::Forward;
        }
        let mut out = Vec::new();
        Writer::new(&mut out).notification(
            self.info.backend_key.process_id,
            heard.channel,
            heard.payload,
        );
        self.conversation.rename(out);
        Answer::Renamed
    }

    /// Counts what the node at hand has answered.
    #[inline]
    fn count_answer(&mut self, tag: Tag, body: &[u8]) {
        let Some(link) = &mut self.link else { return };
        link.has_committed = tag == backend::COMMAND_COMPLETE && body == b"COMMIT\0";
        if link.has_committed {
            // Another may follow it before the server is ready: in the same text, or by AND CHAIN.
            self.pools.counters.borrow_mut().transactions += 1;
        }
        self.worker.count_answer(link.node(), |counters| match tag {
            backend::COMMAND_COMPLETE => counters.count_tag(body),
            _ => {
                let fields = ErrorFields::read(body).ok();
                counters.count_error(fields.and_then(|fields| fields.severity()));
            }
        });
    }

    #[inline]
    fn forward_to_client(&mut self, chunk: &mut Chunk, decided: &mut usize) {
        if *decided > 0 {
            self.note_heard();
            self.client.send(chunk.split_to(std::mem::take(decided)));
        }
    }

    /// The client gets something of the answer: the request cannot be sent to another node any more.
    #[inline]
    fn note_heard(&mut self) {
        if let Some(link) = &mut self.link {
            link.is_heard = true;
        }
    }

    /// Puts the answers of pgring's own that are due at this point between the server's bytes.
    #[inline]
    fn say(&mut self, chunk: &mut Chunk, decided: &mut usize) {
        while let Some(link) = self.link.as_mut().filter(|link| !link.cutter.is_passing()) {
            let server = &mut link.backend_mut().prepared;
            let Some(said) = self.conversation.said(Some(server)) else {
                return;
            };
            self.forward_to_client(chunk, decided);
            self.client.send(said.into());
        }
    }

    /// The server skips the client's request, because one of ours failed.
    #[cold]
    fn send_sync(&self) {
        const SYNC: &[u8] = &[frontend::SYNC.0, 0, 0, 0, 4];
        if let Some(link) = &self.link {
            link.backend().stream.send(SYNC.into());
        }
    }

    pub(super) fn server_is_ready(&mut self) -> Result<(), End> {
        let idle = self.conversation.status() == TransactionStatus::Idle;
        let now = self.worker.reactor.now();
        self.info.vacates.set(0);
        let mut counters = self.pools.counters.borrow_mut();
        self.clock.answered(idle, now);
        self.placement.forget_crash();
        counters.queries += 1;
        counters.query_us += now
            .saturating_duration_since(self.info.times.request.get())
            .as_micros() as u64;
        if idle {
            let link = self.link.as_mut();
            let is_counted = link.is_some_and(|link| std::mem::take(&mut link.has_committed));
            counters.transactions += u64::from(!is_counted);
            drop(counters);
            // Before the client hears of it, and anybody through him.
            self.tell_schema_change();
            return Ok(());
        }
        if self.pools.mode() == PoolMode::Statement {
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

    /// The server reports a setting; what it is for the session is settled when the transaction ends.
    #[cold]
    pub(super) fn note_parameter(&mut self, body: &[u8]) {
        let Ok(status) = ParameterStatus::read(body) else {
            return;
        };
        if !parameters::is_settable(status.name) {
            return;
        }
        if status.name == b"application_name" {
            self.info.application_name.replace(status.value.to_vec());
            self.placement.forget_preference();
        }
    }

    pub(super) fn server_speaks_nonsense(&mut self, error: &ProtocolError) -> Result<(), End> {
        tracing::error!(client = %self.info.id, %error, "the server broke the protocol; closing its connection");
        self.server_lost(&error.to_string())
    }

    /// The server has ended the connection without a word, as it does when it crashes. That may be because of what it
    /// was asked, which must not go through all nodes then: it is repeated once.
    pub(super) fn server_vanished(&mut self, why: &str) -> Result<(), End> {
        if self.placement.has_seen_crash()
            && let Some(link) = &mut self.link
        {
            link.repeat = Repeat::Never;
        }
        self.server_lost(why)
    }

    /// The server connection leads to a node that is not used any more.
    #[cold]
    pub(super) fn server_is_stranded(&mut self) -> Result<(), End> {
        let why = self.stranded().unwrap_or_default();
        self.server_lost(&why)
    }

    /// The server has ended the connection, and said why.
    #[cold]
    fn server_took_leave(&mut self, mut words: ErrorReport) -> Result<(), End> {
        let why = format!("the server said: {}", words.message);
        if self.is_switched_over() {
            words.detail = Some(
                "Another node is to be the primary, and the transaction did not end within switchover_timeout."
                    .into(),
            );
        }
        self.server_gone(&why, Some(words))
    }

    /// True while all sessions of the node at hand are ended because another one is to be the primary.
    fn is_switched_over(&self) -> bool {
        let node = self.link.as_ref().map(Link::node);
        self.worker.with_snapshot(|snapshot| {
            let failover = &snapshot.failover;
            failover.phase() == "stopping" && failover.lost == node
        })
    }

    /// The server connection is gone.
    pub(super) fn server_lost(&mut self, why: &str) -> Result<(), End> {
        self.server_gone(why, None)
    }

    fn server_gone(&mut self, why: &str, words: Option<ErrorReport>) -> Result<(), End> {
        let is_whole = |link: &Link| link.is_repeatable() && link.cutter.is_between();
        if self.link.as_ref().is_some_and(is_whole) {
            let node = self.read_elsewhere(why);
            self.worker.suspect(node);
            return Ok(());
        }
        let mid_message = self.link.as_ref().is_some_and(Link::is_mid_message);
        let key = &self.info.key;
        tracing::warn!(
            client = %self.info.id, database = %key.database, user = %key.user, reason = why,
            "server connection lost"
        );
        // What was being committed may be: its client can find that out, and tell others.
        self.announce_commit();
        let on_standby = self.link.as_ref().is_some_and(Link::is_on_standby);
        self.unlink();
        // What is left of a message that was on its way to the server has nowhere to go.
        self.intake.forwards = false;
        let mut out = Vec::new();
        let after = self
            .conversation
            .server_lost(why, words, mid_message, on_standby, &mut out);
        self.tell_doubtful_schema_change();
        self.answer(&mut out);
        match after {
            AfterLoss::GoesOn => Ok(()),
            AfterLoss::Ends => Err(End::Done),
        }
    }
}

impl Session {
    /// A read of which the client has heard nothing goes to another node than this one.
    #[cold]
    fn read_elsewhere(&mut self, why: &str) -> NodeId {
        let link = self.link.as_mut().expect("a read has a node");
        let node = link.node();
        tracing::debug!(
            client = %self.info.id, node = self.worker.node_name(node), reason = why,
            "a read goes to another node"
        );
        let read = std::mem::take(&mut link.backend_mut().read);
        let repeat = std::mem::take(&mut link.repeat);
        self.unlink();
        self.intake.forwards = false;
        let mut out = Vec::new();
        self.conversation.forget_attempt(&mut out);
        if let Repeat::Kept(Some(block)) = repeat {
            self.conversation.block.begin_anew(block);
        }
        self.answer(&mut out);
        self.judge_again(read);
        self.intake.stalled = true;
        node
    }
}

fn partial_from_server(
    header: Header,
    awaits_rows: bool,
    awaits_shape: bool,
) -> Result<Partial, ProtocolError> {
    let read = matches!(
        header.tag,
        backend::READY_FOR_QUERY
            | backend::ERROR_RESPONSE
            | backend::NOTICE_RESPONSE
            | backend::NOTIFICATION
            | backend::PARAMETER_STATUS
            | backend::COMMAND_COMPLETE
    ) || awaits_rows && header.tag == backend::DATA_ROW;
    let describes = matches!(
        header.tag,
        backend::ROW_DESCRIPTION | backend::PARAMETER_DESCRIPTION
    );
    Ok(hold_if(
        read && header.frame_bytes() <= SERVER_MESSAGE_BYTES_MAX
            || awaits_shape && describes && header.frame_bytes() <= DESCRIPTION_BYTES_MAX,
    ))
}

/// True for the answer to a BEGIN.
fn begins(tag: &[u8]) -> bool {
    matches!(tag, b"BEGIN\0" | b"START TRANSACTION\0")
}

/// True for what an answer consists of beside its errors, up to ReadyForQuery.
#[inline]
fn is_of_rows(tag: Tag) -> bool {
    matches!(
        tag,
        backend::DATA_ROW
            | backend::COMMAND_COMPLETE
            | backend::PORTAL_SUSPENDED
            | backend::EMPTY_QUERY
            | backend::COPY_OUT
            | backend::COPY_DATA
            | backend::COPY_DONE
    )
}

/// True when the bytes end with the ReadyForQuery of a session that is in no failed block.
#[inline]
fn is_complete(chunk: &[u8]) -> bool {
    chunk.ends_with(b"Z\0\0\0\x05I") || chunk.ends_with(b"Z\0\0\0\x05T")
}
