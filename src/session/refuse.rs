//! Refusal of a message: by the server, which is made to refuse it so that the client's transaction fails as it must, or by
//! pgring where no server is needed for that. Pure.

use super::{
    context::Context,
    conversation::Conversation,
    ledger::owed::Owed,
    prepared::server::ServerName,
    refusal::{Refusing, Why},
    state::pin::{self, Pin},
    verdict::Verdict,
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{
        Tag, Writer,
        backend::TransactionStatus,
        frontend::Query,
        tag::{backend, frontend},
    },
    sql::effects::{self, StatementFlags},
};

impl Conversation {
    /// The server refuses the next message. False when it must wait, because a refusal of another pipeline has not
    /// been told.
    #[cold]
    pub(crate) fn have_refused(&mut self, why: Why, context: &mut Context<'_>) -> bool {
        let pipeline = self.ledger.client.pipeline();
        if self.is_refusing() {
            let before = self
                .refusals
                .at_server
                .as_ref()
                .map(|before| before.pipeline);
            return before == Some(pipeline);
        }
        let server = context.server.as_deref_mut().expect("a server is at hand");
        server.doubt_unnamed();
        let ticket = self.ledger.client.ticket();
        self.refusals.at_server = Some(Refusing {
            ticket,
            pipeline,
            why,
            before: Vec::new(),
        });
        Writer::new(context.ahead)
            .parse("", why.nonsense(), [])
            .expect("the text has no NUL");
        self.ledger.owe(Owed::OwnParse);
        true
    }

    /// True while a refusal has not been told.
    #[inline]
    pub(crate) fn is_refusing(&self) -> bool {
        // One that was skipped together with what precedes it is over as well.
        self.refusals
            .at_server
            .as_ref()
            .is_some_and(|refusing| refusing.ticket >= self.ledger.client.settled())
    }

    /// The error that the client gets in place of the one about our nonsense, when that is what the server refuses.
    #[cold]
    pub(crate) fn refusal_error(&mut self) -> Option<Vec<u8>> {
        let settled = self.ledger.client.settled();
        let refused = self
            .refusals
            .at_server
            .take_if(|refusing| refusing.ticket == settled)?;
        let mut told = refused.before;
        told.append(&mut refused.why.error());
        Some(told)
    }

    /// A Describe of a statement is refused for its rows: its parameters the client is told all the same.
    #[cold]
    pub(crate) fn tell_parameters(&mut self, types: &[u8]) {
        if let Some(refusing) = &mut self.refusals.at_server
            && refusing.ticket + 1 == self.ledger.client.ticket()
        {
            Writer::new(&mut refusing.before).message(backend::PARAMETER_DESCRIPTION, types);
        }
    }

    /// Why a text must not be executed, if it must not: what it would leave behind.
    #[inline]
    pub(crate) fn forbidden(
        &self,
        flags: StatementFlags,
        text: &[u8],
        context: &Context<'_>,
    ) -> Option<Pin> {
        if !self.refuses_pins(context) {
            return None;
        }
        let left = flags.leaves().map(Pin::from);
        let unseen = || flags.gains_state() && self.state.pending.has_unseen_setting(text);
        let pin = left.or_else(|| unseen().then_some(Pin::Setting))?;
        // In a failed transaction the server refuses it by itself.
        let fails = self.block_has_failed() && flags.is_single();
        (!fails).then_some(pin)
    }

    /// True when this session must not keep a server connection for its state.
    #[inline]
    pub(crate) fn refuses_pins(&self, context: &Context<'_>) -> bool {
        context.bounds.refuses_pins && self.mode() != PoolMode::Session
    }

    /// The next message must not be executed, because its transaction cannot leave its standby, and needs the primary
    /// for it.
    #[cold]
    pub(crate) fn refuse_to_leave(&mut self, why: Why) {
        self.refusals.next = Some(why);
    }

    #[cold]
    pub(crate) fn refuse_next(&mut self, tag: Tag, context: &mut Context<'_>) -> Verdict {
        match self.refusals.next.take() {
            Some(why) => self.refuse_message(tag, why, context),
            None => self.pass(tag),
        }
    }

    /// A message that would pin the session gets an error, and the transaction that it is in fails.
    #[cold]
    pub(crate) fn refuse_pin(&mut self, tag: Tag, pin: Pin, context: &mut Context<'_>) -> Verdict {
        self.refuse_message(tag, Why::Pin(pin), context)
    }

    /// A message gets an error in place of being executed, and the transaction that it is in fails.
    #[cold]
    pub(crate) fn refuse_message(
        &mut self,
        tag: Tag,
        why: Why,
        context: &mut Context<'_>,
    ) -> Verdict {
        if !self.have_refused(why, context) {
            return Verdict::Wait;
        }
        if let Why::Pin(pin) = why {
            self.follow_ups.refused_pin = Some(pin);
        }
        if tag == frontend::QUERY {
            self.drop_unnamed(Some(ServerName::UNNAMED));
        }
        if matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL) {
            Writer::new(context.ahead).sync();
            self.ledger.sent(frontend::SYNC);
        }
        Verdict::Discard
    }

    /// Refuses a Query outside a transaction block that would pin its session, which needs no server connection. False
    /// when it is not to be refused.
    pub(crate) fn refuse_query(&mut self, body: &[u8], context: &mut Context<'_>) -> bool {
        if self.block.deferred().is_some() || !self.refuses_pins(context) {
            return false;
        }
        let text = Query::read(body).text;
        let Some(pin) = self.forbidden(effects::flags_of(text), text, context) else {
            return false;
        };
        self.follow_ups.refused_pin = Some(pin);
        Writer::new(context.out)
            .error(&pin::refusal(pin))
            .ready_for_query(TransactionStatus::Idle);
        self.forget_unnamed();
        true
    }

    /// True once when a message was refused for what it would have left behind.
    #[inline]
    pub(crate) fn take_refused_pin(&mut self) -> Option<Pin> {
        self.follow_ups.refused_pin.take()
    }
}
