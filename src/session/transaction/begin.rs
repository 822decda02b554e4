//! The beginning of a transaction block: BEGIN is answered here, and sent with the first statement that needs a server.
//!
//! It goes ahead as Bind and Execute without Sync: should the server refuse it, it skips what follows, so that no
//! statement of the block ever runs outside a transaction. (PostgreSQL manual, "Extended Query".)

use std::rc::Rc;

use super::block::Begun;
use crate::session::{context::Context, conversation::Conversation, ledger::owed::Owed};
use crate::{
    cluster::settings::PoolMode,
    protocol::{Writer, backend::TransactionStatus, frontend::Query},
    session::prepared::{Statement, server::Presence},
    sql::effects::{self, Ending},
};

impl Conversation {
    /// Answers what begins or ends a block that no server has seen.
    pub(crate) fn answer_query(&mut self, body: &[u8], context: &mut Context<'_>) -> bool {
        let text = Query::read(body).text;
        if self.block.deferred().is_some() {
            let Some(ending) = effects::plain_ending(text) else {
                return false;
            };
            self.block.end();
            self.follow_ups.answered_alone = true;
            let tag = match ending {
                Ending::Commit => "COMMIT",
                Ending::Rollback => "ROLLBACK",
            };
            Writer::new(context.out)
                .command_complete(tag)
                .ready_for_query(TransactionStatus::Idle);
            self.forget_unnamed();
            return true;
        }
        if self.mode() != PoolMode::Transaction {
            return false;
        }
        let Some(begin) = effects::begin(text) else {
            return false;
        };
        self.block.begin(statement_of(text, context));
        self.follow_ups.answered_alone = true;
        Writer::new(context.out)
            .command_complete(begin.tag)
            .ready_for_query(TransactionStatus::InTransaction);
        self.forget_unnamed();
        true
    }

    /// A server connection is at hand: the block begins there.
    pub(crate) fn begin_block(&mut self, block: &Begun, context: &mut Context<'_>) {
        self.run_ahead(&block.begin, context);
        if block.has_read {
            // It has its first snapshot behind it: what must come before that is refused here, too.
            let read = context.store.of(b"SELECT 1\0\0\0", None);
            self.run_ahead(&read, context);
        }
        self.ledger.begins();
    }

    /// Has a statement without parameters executed ahead of the client's message.
    fn run_ahead(&mut self, statement: &Rc<Statement>, context: &mut Context<'_>) {
        self.bind_ahead(statement, context);
        Writer::new(context.ahead)
            .execute("", 0)
            .expect("the unnamed portal's name has no NUL");
        self.statements.portals.bind_ours();
        self.ledger.owe(Owed::OwnExecute);
    }

    /// Binds a statement without parameters to the unnamed portal.
    pub(crate) fn bind_ahead(&mut self, statement: &Rc<Statement>, context: &mut Context<'_>) {
        let server = context
            .server
            .as_deref_mut()
            .expect("a block begins at a server connection");
        let pipeline = self.ledger.client.pipeline();
        let name = match server.named(statement, pipeline) {
            Presence::Here(found) => found.name,
            Presence::Absent | Presence::Unsure => self.prepare_ours(statement, context),
        };
        let none: [Option<&[u8]>; 0] = [];
        Writer::new(context.ahead)
            .bind("", name.bytes(), none)
            .expect("a name of ours has no NUL");
        self.ledger.owe(Owed::OwnBind);
    }
}

/// BEGIN as a statement of this core.
fn statement_of(text: &[u8], context: &Context<'_>) -> Rc<Statement> {
    const SHORT_BYTES: usize = 128;
    let mut short = [0_u8; SHORT_BYTES + 3];
    if text.len() <= SHORT_BYTES {
        short[..text.len()].copy_from_slice(text);
        return context
            .store
            .of(&short[..text.len() + 3], Some(context.settings));
    }
    context
        .store
        .of(&[text, b"\0\0\0"].concat(), Some(context.settings))
}
