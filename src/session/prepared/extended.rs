//! The extended protocol in a pool: names of prepared statements mean what the client prepared, whatever connection
//! is at hand. Pure.
//!
//! A statement is at the server under a name of ours; the client's messages are rewritten as far as the name, and
//! forwarded from there. What the connection lacks is parsed first (`copies.rs`), and the answer stays here. A Close
//! that the server need not see is answered here, in its turn.

use std::rc::Rc;

use super::{
    Statement,
    server::{NOBODYS, PREFIX, ServerName, TAKEN, write_close},
    write_head,
};
use super::{
    copies::Place,
    names::{self, Change, Definition, Meaning},
    portals::Bound,
};
use crate::session::{
    context::Context,
    conversation::{Conversation, Verdict},
    ledger::owed::Owed,
    refusal::Why,
    state::pin::Pin,
};
use crate::{
    cluster::{settings::PoolMode, stamps::Stamp},
    protocol::{
        Header, Tag, Writer,
        frontend::{Parse, StatementUse, Target, named_portal},
        tag::frontend,
    },
    session::state::parameters::Parameters,
    sql::effects::{self, Use},
};

impl Conversation {
    /// A message that names a prepared statement, or a Parse.
    pub(crate) fn judge_named(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Verdict {
        if self.waits_for_command() || self.is_in_state_query() {
            return Verdict::Wait;
        }
        let verdict = match header.tag {
            frontend::PARSE => self.judge_parse(header, body, context),
            frontend::CLOSE => self.judge_close(body, context),
            tag => self.judge_use(tag, header, body, context),
        };
        // What cannot be read is the server's to refuse.
        verdict.unwrap_or_else(|| self.pass(header.tag))
    }

    pub(crate) fn pass(&mut self, tag: Tag) -> Verdict {
        self.ledger.sent(tag);
        Verdict::Forward
    }

    fn judge_parse(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let parse = Parse::read(body).ok()?;
        let Parse { name, content } = parse;
        if body.len() < header.body_bytes() || std::str::from_utf8(name).is_err() {
            // Too long to be kept, or perhaps no name at all.
            if self.refuses_pins(context) {
                return Some(self.refuse_pin(frontend::PARSE, Pin::OddStatement, context));
            }
            self.leave_at_server(name, content, context);
            return None;
        }
        parse.text().ok()?;
        let statement = context.store.of(content, self.sharing(context));
        if !name.is_empty() {
            let unsure = statement.has_literals() && self.state.pending.is_unsettled();
            let odd = statement.has_moment() || unsure;
            if odd && self.refuses_pins(context) {
                return Some(self.refuse_pin(frontend::PARSE, Pin::OddStatement, context));
            }
            if odd {
                self.state.pending.keep_forever(Pin::OddStatement);
            }
            match self
                .statements
                .names
                .find(name, self.ledger.client.pipeline())
            {
                Meaning::Unsure => return Some(Verdict::Wait),
                Meaning::Statement(_) => return Some(self.parse_again(name, content, context)),
                Meaning::Nothing => {}
            }
            if self.state.pending.may_have_prepared() && self.may_be_prepared(name, context) {
                self.ask_whether_free(name, context.ahead);
            }
        }
        let is_alone = name.is_empty() && self.statements.names.is_settled();
        if !is_alone
            && self.kept_bytes() + names::cost(name, &statement) > context.bounds.client_bytes
        {
            return Some(Verdict::Full);
        }
        if let Some(refused) = self.show_executed_by(frontend::PARSE, &statement, context) {
            return Some(refused);
        }
        Some(self.parse_new(name, &statement, context))
    }

    /// True for a name under which SQL may have prepared something: one like ours is noted then.
    fn may_be_prepared(&self, name: &[u8], context: &Context<'_>) -> bool {
        let server = context.server.as_deref();
        !name.starts_with(PREFIX) || server.is_some_and(|server| server.is_stained_by(name))
    }

    /// A Parse that is too long to be kept: it stays where it is parsed, under the client's own name.
    #[cold]
    fn leave_at_server(&mut self, name: &[u8], beginning: &[u8], context: &mut Context<'_>) {
        self.state.pending.keep_forever(Pin::OddStatement);
        self.statements.prepared_commit |= effects::flags_of(beginning).commits();
        if name.is_empty() {
            let server = context.server.as_deref_mut().expect("a server is at hand");
            // What the connection has without a name is none of ours from now on.
            server.drop_unnamed();
            self.drop_unnamed(Some(ServerName::UNNAMED));
        }
    }

    /// The settings under which a text that is parsed now may be shared.
    pub(crate) fn sharing<'a>(&self, context: &Context<'a>) -> Option<&'a Parameters> {
        (!self.state.pending.is_unsettled()).then_some(context.settings)
    }

    /// The client defines a name that it has not. Only the server knows what it finds under the names in the text.
    fn parse_new(
        &mut self,
        name: &[u8],
        statement: &Rc<Statement>,
        context: &mut Context<'_>,
    ) -> Verdict {
        let pipeline = self.ledger.client.pipeline();
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let (verdict, at, own) = if name.is_empty() {
            let own = Stamp::apart(context.store.number());
            server.prepare_unnamed(statement, own, pipeline);
            (Verdict::Forward, ServerName::UNNAMED, own)
        } else {
            let own = context.stamps.next();
            let ours = server.prepare_named(statement, own, pipeline);
            let rest = statement.content().len();
            write_head(frontend::PARSE.0, &[ours.bytes()], rest, context.ahead);
            let replaced = Header::BYTES + name.len() + 1;
            (Verdict::Instead(replaced), ours, own)
        };
        let definition = Definition::new(statement, own);
        self.note_parsed(name, &definition, at);
        self.note_change(
            Some(at),
            Change::Define(names::key(name).into(), definition),
        );
        self.ledger.owe(Owed::Parse);
        verdict
    }

    /// The client defines a name that SQL may have taken: the server refuses it then, as it would the client's.
    #[cold]
    fn ask_whether_free(&mut self, name: &[u8], ahead: &mut Vec<u8>) {
        parse_nothing(name, ahead);
        self.ledger.owe(Owed::OwnParse);
        self.close_ahead(name, ahead);
    }

    /// The client defines a name that it has: the server, too, must have it to refuse this as it does.
    fn parse_again(&mut self, name: &[u8], content: &[u8], context: &mut Context<'_>) -> Verdict {
        let replaced = Header::BYTES + name.len() + 1;
        let is_like_ours = name.starts_with(PREFIX);
        let taken = [name, &[TAKEN][..]].concat();
        let name = if is_like_ours { &taken } else { name };
        self.take_name(name, context);
        // Nothing is wrong with an empty statement, not even in a failed transaction.
        parse_nothing(name, context.ahead);
        self.ledger.owe(Owed::OwnParse);
        self.ledger.sent(frontend::PARSE);
        if is_like_ours {
            write_head(frontend::PARSE.0, &[name], content.len(), context.ahead);
            return Verdict::Instead(replaced);
        }
        Verdict::Forward
    }

    /// A Parse of ours takes the client's own name at the server, where nothing else may have it.
    pub(crate) fn take_name(&mut self, name: &[u8], context: &mut Context<'_>) {
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let is_ours = server.set_aside(name);
        if !server.stain(name) || is_ours {
            self.close_ahead(name, context.ahead);
        }
    }

    /// A Close of ours goes ahead of the client's message.
    fn close_ahead(&mut self, name: &[u8], ahead: &mut Vec<u8>) {
        write_close(name, ahead);
        self.ledger.owe(Owed::OwnClose);
    }

    /// SQL uses a name under which the client has prepared nothing by protocol: there it finds nothing of ours.
    pub(crate) fn hide_ours(&mut self, used: &Use, context: &mut Context<'_>) {
        let Some(name) = used.name().filter(|name| name.starts_with(PREFIX)) else {
            return;
        };
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let is_ours = server.set_aside(name);
        if matches!(used, Use::Prepare(_)) {
            server.stain(name);
        }
        if is_ours {
            self.close_ahead(name, context.ahead);
        }
    }

    /// A Bind, or a Describe of a statement.
    fn judge_use(
        &mut self,
        tag: Tag,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let Some(naming) = StatementUse::read(tag, body) else {
            return self.describe_portal(tag, body, context);
        };
        let meaning = self
            .statements
            .names
            .find(naming.name, self.ledger.client.pipeline());
        let mut definition = match meaning {
            Meaning::Unsure => return Some(Verdict::Wait),
            Meaning::Nothing => {
                if tag == frontend::BIND {
                    self.statements.portals.bind(naming.before, None);
                }
                return Some(self.use_unknown(tag, header, &naming, context));
            }
            Meaning::Statement(definition) => definition,
        };
        self.of_today(naming.name, &mut definition, context);
        if let Some(refused) = self.show_executed_by(tag, &definition.statement, context) {
            return Some(refused);
        }
        if tag == frontend::DESCRIBE
            && self.block_has_failed()
            && self.describe_stand_in(naming.name, &definition, context)
        {
            return Some(rewrite(tag, header, &naming, b"", context.ahead));
        }
        let found = match self.at_server(naming.name, &mut definition, context) {
            Place::Wait => return Some(Verdict::Wait),
            Place::Differs(_) if !self.have_refused(Why::Shape, context) => {
                return Some(Verdict::Wait);
            }
            Place::Differs(found) => {
                let told = definition.told.and_then(|told| told.parameters);
                if tag == frontend::DESCRIBE && told.is_some() {
                    self.tell_parameters(definition.types());
                }
                found
            }
            Place::Here(found) => found,
        };
        self.statements.names.row_shapes_mut().renewed = Stamp::FIRST;
        if tag == frontend::BIND {
            if self.kept_bytes() + naming.before.len() > context.bounds.client_bytes {
                return Some(Verdict::Full);
            }
            if self.runs_texts(&definition.statement, context) {
                self.note_values(body);
            }
            let is_unnamed = naming.name.is_empty();
            if definition.told.is_none() && !is_unnamed {
                self.describe_late(naming.name, &definition, found, context);
            }
            let bound = Bound {
                unnamed: is_unnamed.then_some(definition.own),
                statement: definition.statement,
            };
            self.statements.portals.bind(naming.before, Some(bound));
        } else {
            self.describes(naming.name, &definition, found.stamp);
        }
        self.ledger.sent(tag);
        Some(rewrite(
            tag,
            header,
            &naming,
            found.name.bytes(),
            context.ahead,
        ))
    }

    /// Bytes of the names that the client has given, and of what they stand for.
    fn kept_bytes(&self) -> usize {
        self.statements.names.bytes() + self.statements.portals.bytes()
    }

    /// A Describe of a portal: the client hears of its statement's rows.
    fn describe_portal(
        &mut self,
        tag: Tag,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let portal = named_portal(body).filter(|_| tag == frontend::DESCRIBE)?;
        self.hide_portal(portal, context);
        let bound = self.statements.portals.bound(portal)?;
        if bound.statement.flags.executes() {
            let statement = Rc::clone(&bound.statement);
            return self.show_executed_by(tag, &statement, context);
        }
        if let Some(own) = bound.unnamed {
            self.describes_portal(own);
        }
        None
    }

    /// The client asks for a portal: it finds nothing of ours there.
    #[inline]
    pub(crate) fn hide_portal(&mut self, portal: &[u8], context: &mut Context<'_>) {
        if self.statements.portals.take_ours(portal) {
            Writer::new(context.ahead)
                .close_object(Target::Portal, portal)
                .expect("the unnamed portal's name has no NUL");
            self.ledger.owe(Owed::OwnClose);
        }
    }

    /// The client uses a name that means nothing: the server must not find anything under it either, unless SQL
    /// put it there.
    fn use_unknown(
        &mut self,
        tag: Tag,
        header: Header,
        naming: &StatementUse<'_>,
        context: &mut Context<'_>,
    ) -> Verdict {
        let server = context.server.as_deref_mut().expect("a server is at hand");
        if naming.name.is_empty() && !server.has_no_unnamed() {
            server.doubt_unnamed();
            self.close_ahead(b"", context.ahead);
        }
        self.ledger.sent(tag);
        if naming.name.starts_with(PREFIX) && !server.is_stained_by(naming.name) {
            let nobodys = [naming.name, &[NOBODYS]].concat();
            return rewrite(tag, header, naming, &nobodys, context.ahead);
        }
        Verdict::Forward
    }

    fn judge_close(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<Verdict> {
        let Some(naming) = StatementUse::read(frontend::CLOSE, body) else {
            self.close_portal(body);
            return None;
        };
        match self
            .statements
            .names
            .find(naming.name, self.ledger.client.pipeline())
        {
            Meaning::Unsure => return Some(Verdict::Wait),
            Meaning::Nothing if !naming.name.is_empty() && !naming.name.starts_with(PREFIX) => {
                // SQL may have prepared it.
                return None;
            }
            Meaning::Nothing | Meaning::Statement(_) => {}
        }
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let is_sent = server.is_stained_by(naming.name);
        self.note_change(None, Change::Remove(names::key(naming.name).into()));
        if is_sent {
            return None;
        }
        self.ledger.owe(Owed::SaidClose);
        Some(Verdict::Discard)
    }

    fn close_portal(&mut self, body: &[u8]) {
        if let Some(portal) = named_portal(body) {
            self.statements.portals.bind(portal, None);
            self.ledger.closes_portal();
        }
    }

    /// True while a portal may have more rows for the client.
    pub(crate) fn has_open_portal(&self) -> bool {
        self.statements.portals.has_named() || self.ledger.is_suspended()
    }

    /// True when names are rewritten at all: where a connection belongs to one session they are its own.
    pub(crate) fn shares_names(&self) -> bool {
        self.mode() != PoolMode::Session
    }
}

/// Writes a Parse of an empty statement.
fn parse_nothing(name: &[u8], ahead: &mut Vec<u8>) {
    Writer::new(ahead)
        .parse(name, "", [])
        .expect("what ended at a NUL has none");
}

/// The message with another name: its beginning is written to `ahead`, the rest is the client's.
fn rewrite(
    tag: Tag,
    header: Header,
    naming: &StatementUse<'_>,
    name: &[u8],
    ahead: &mut Vec<u8>,
) -> Verdict {
    if name == naming.name {
        return Verdict::Forward;
    }
    let rest = header.body_bytes() - naming.bytes;
    if tag == frontend::BIND {
        write_head(tag.0, &[naming.before, name], rest, ahead);
    } else {
        write_head(tag.0, &[], 1 + name.len() + 1 + rest, ahead);
        ahead.extend_from_slice(naming.before);
        ahead.extend_from_slice(name);
        ahead.push(0);
    }
    Verdict::Instead(Header::BYTES + naming.bytes)
}
