//! The copies of a client's statements at server connections: whether one may be used in place of what the client's
//! own Parse has made, and how another one is made. Pure.
//!
//! PostgreSQL finds what the names in a text mean when it parses it, and says then what rows come and what parameters
//! go. So a copy is good when it was parsed after the client's Parse was answered, and what the server says of it is
//! what it said then.

use std::rc::Rc;

use super::names::{self, Change, Definition};
use super::{
    Statement,
    server::{Found, Presence, ServerName},
    write_head,
};
use crate::session::{context::Context, conversation::Conversation, ledger::owed::Owed};
use crate::{
    cluster::stamps::Stamp,
    protocol::{Writer, tag::frontend},
};

/// Where a statement that a message names can be found.
pub(crate) enum Place {
    /// There.
    Here(Found),
    /// There, but its rows or parameters are not what they were when the client defined it.
    Differs(Found),
    /// That depends on answers that have not come.
    Wait,
}

impl Conversation {
    /// The server reads names under the settings of today; then it is another statement to those who share it.
    /// Literals it has read once and for all.
    #[inline]
    pub(crate) fn of_today(
        &mut self,
        name: &[u8],
        definition: &mut Definition,
        context: &Context<'_>,
    ) {
        let statement = &definition.statement;
        let Some(settings) = statement.shared_under() else {
            return;
        };
        let same = settings == context.settings || statement.has_literals();
        if same || self.state.pending.is_unsettled() || !self.statements.names.is_settled() {
            return;
        }
        let today = context
            .store
            .of(statement.content(), Some(context.settings));
        if let Some(defined) = self.statements.names.defined(name, definition.own) {
            // Its content is the same, and so are its bytes.
            defined.statement = Rc::clone(&today);
        }
        definition.statement = today;
    }

    /// The copy that is to be used; what is missing is parsed ahead.
    pub(crate) fn at_server(
        &mut self,
        name: &[u8],
        definition: &mut Definition,
        context: &mut Context<'_>,
    ) -> Place {
        match self.find_copy(name, definition, context) {
            Presence::Unsure => Place::Wait,
            Presence::Here(found) if found.stamp == definition.own => Place::Here(found),
            Presence::Here(found) => self.compare(name, definition, found, context),
            Presence::Absent => self.parse_anew(name, definition, context),
        }
    }

    /// Asks for the description of a statement that is about to be executed, where none was asked for at its client's
    /// Parse, as it should have been.
    #[cold]
    pub(crate) fn describe_late(
        &mut self,
        name: &[u8],
        definition: &Definition,
        found: Found,
        context: &mut Context<'_>,
    ) {
        let is_telling = || {
            self.statements
                .names
                .row_shapes()
                .is_telling(definition.own)
        };
        if !definition.statement.is_plain() && !self.block_had_failed() && !is_telling() {
            self.ask_for_client(name, definition, found, context);
        }
    }

    /// Asks for the shape of a copy, which counts as what the client was told of its own statement.
    fn ask_for_client(
        &mut self,
        name: &[u8],
        definition: &Definition,
        found: Found,
        context: &mut Context<'_>,
    ) {
        let tells = Some((names::key(name).into(), definition.own));
        let statement = &definition.statement;
        self.ask_shape(statement, found.stamp, found.name, tells, context.ahead);
    }

    /// The copy at hand, if it was not parsed too early.
    #[inline]
    fn find_copy(
        &mut self,
        name: &[u8],
        definition: &Definition,
        context: &mut Context<'_>,
    ) -> Presence {
        let pipeline = self.ledger.client.pipeline();
        let renewed = self.statements.names.row_shapes().renewed;
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let is_allowed = |found: &Found| found.stamp == renewed || definition.allows(found.stamp);
        let statement = &definition.statement;
        if name.is_empty() {
            match server.unnamed(statement, pipeline) {
                Presence::Here(found) if is_allowed(&found) => return Presence::Here(found),
                Presence::Unsure => return Presence::Unsure,
                Presence::Here(_) | Presence::Absent => {}
            }
        }
        match server.named(statement, pipeline) {
            Presence::Here(found) if is_allowed(&found) => Presence::Here(found),
            // Whatever it is, it is nobody's who has no name for it.
            Presence::Unsure if !name.is_empty() => Presence::Unsure,
            _ => Presence::Absent,
        }
    }

    /// A copy that another Parse has made.
    fn compare(
        &mut self,
        name: &[u8],
        definition: &mut Definition,
        found: Found,
        context: &mut Context<'_>,
    ) -> Place {
        let statement = &definition.statement;
        // PostgreSQL does not look at EXECUTE again, but at what it executes, when it does.
        let is_fixed = statement.is_plain() || statement.flags.executes();
        if is_fixed || self.block_had_failed() {
            self.find_again(name, definition, found.stamp);
            return Place::Here(found);
        }
        let Some(told) = definition.told else {
            return self.use_untold(name, definition, found, context);
        };
        match found.shape {
            Some(shape) if told.fits(shape) => {
                self.find_again(name, definition, found.stamp);
                Place::Here(found)
            }
            Some(_) if self.statements.names.row_shapes().renewed == found.stamp => {
                Place::Differs(found)
            }
            None if self.statements.names.row_shapes().is_asked(found.stamp) => Place::Wait,
            None if self.statements.names.row_shapes().renewed == found.stamp => {
                let statement = &definition.statement;
                self.ask_shape(statement, found.stamp, found.name, None, context.ahead);
                Place::Wait
            }
            // It was parsed while there was another schema than before, and perhaps than now; or it could not even be
            // described.
            Some(_) | None => self.parse_anew(name, definition, context),
        }
    }

    /// Nothing was said yet of what the client has parsed: the first copy that is used says it.
    #[cold]
    fn use_untold(
        &mut self,
        name: &[u8],
        definition: &mut Definition,
        found: Found,
        context: &mut Context<'_>,
    ) -> Place {
        if self
            .statements
            .names
            .row_shapes()
            .is_telling(definition.own)
        {
            return Place::Wait;
        }
        let is_new = self.statements.names.row_shapes().renewed == found.stamp;
        if !name.is_empty() && found.shape.is_none() && !is_new {
            return self.parse_anew(name, definition, context);
        }
        // What the client's own Parse has made may be something else.
        self.take_for_own(name, definition, found.stamp);
        if name.is_empty() {
            return Place::Here(found);
        }
        if let Some(shape) = found.shape {
            self.statements
                .names
                .tell(name, definition.own, shape.into(), None);
        } else {
            self.ask_for_client(name, definition, found, context);
        }
        Place::Here(found)
    }

    /// The unnamed statement is that copy from now on: it would not be found otherwise.
    fn find_again(&mut self, name: &[u8], definition: &mut Definition, stamp: Stamp) {
        if name.is_empty() {
            self.take_for_own(name, definition, stamp);
        }
    }

    /// The copy that the Parse with this stamp has made counts as what the client's own Parse has made.
    fn take_for_own(&mut self, name: &[u8], definition: &mut Definition, stamp: Stamp) {
        if let Some(defined) = self.statements.names.defined(name, definition.own) {
            defined.own = stamp;
            definition.own = stamp;
        }
    }

    /// Parses the client's statement once more.
    fn parse_anew(
        &mut self,
        name: &[u8],
        definition: &mut Definition,
        context: &mut Context<'_>,
    ) -> Place {
        let failed = self.block_had_failed();
        if definition.told.is_none()
            && !failed
            && self
                .statements
                .names
                .row_shapes()
                .is_telling(definition.own)
        {
            return Place::Wait;
        }
        let (there, back) = self.steps_to_its_settings(&definition.statement, context);
        self.take_steps(&there, context.ahead);
        // The steps themselves have no names.
        let is_unnamed = name.is_empty() && back.is_empty();
        let found = self.make_copy(definition, is_unnamed, context);
        if !back.is_empty() {
            let server = context.server.as_deref_mut().expect("a server is at hand");
            server.doubt_unnamed();
            self.take_steps(&back, context.ahead);
        }
        if !failed {
            self.statements.names.row_shapes_mut().renewed = found.stamp;
        }
        self.compare(name, definition, found, context)
    }

    /// A failed transaction parses nothing any more, and still describes what returns no rows: in place of a copy that the
    /// connection lacks, an empty statement with the same parameters is described. False when there is no need.
    #[cold]
    pub(crate) fn describe_stand_in(
        &mut self,
        name: &[u8],
        definition: &Definition,
        context: &mut Context<'_>,
    ) -> bool {
        let fits = definition
            .told
            .is_some_and(|told| told.is_only(definition.types()));
        if !fits || !matches!(self.find_copy(name, definition, context), Presence::Absent) {
            return false;
        }
        let server = context.server.as_deref_mut().expect("a server is at hand");
        server.doubt_unnamed();
        write_head(
            frontend::PARSE.0,
            &[b"", b""],
            definition.types().len(),
            context.ahead,
        );
        context.ahead.extend_from_slice(definition.types());
        self.ledger.owe(Owed::OwnParse);
        self.ledger.sent(frontend::DESCRIBE);
        true
    }

    fn make_copy(
        &mut self,
        definition: &Definition,
        is_unnamed: bool,
        context: &mut Context<'_>,
    ) -> Found {
        let pipeline = self.ledger.client.pipeline();
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let statement = &definition.statement;
        let (name, stamp) = if is_unnamed {
            let stamp = Stamp::apart(context.store.number());
            server.prepare_unnamed(statement, stamp, pipeline);
            (ServerName::UNNAMED, stamp)
        } else {
            let stamp = context.stamps.next();
            (server.prepare_named(statement, stamp, pipeline), stamp)
        };
        definition.write_parse(name.bytes(), context.ahead);
        self.note_parse_ahead(name, statement);
        Found {
            name,
            stamp,
            shape: None,
        }
    }

    /// The statements that bring the connection to the settings under which the client parsed this one, and back.
    fn steps_to_its_settings(
        &self,
        statement: &Statement,
        context: &Context<'_>,
    ) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        match statement.under().filter(|_| statement.has_literals()) {
            Some(then) if then != context.settings && !self.state.pending.is_unsettled() => {
                (context.settings.steps(then), then.steps(context.settings))
            }
            _ => Default::default(),
        }
    }

    /// Has the server execute statements of ours, as part of the client's pipeline.
    #[cold]
    fn take_steps(&mut self, steps: &[Vec<u8>], ahead: &mut Vec<u8>) {
        for step in steps {
            let mut writer = Writer::new(ahead);
            let none: [&[u8]; 0] = [];
            let written = writer
                .parse("", step, [])
                .and_then(|()| writer.bind("", "", none.map(Some)))
                .and_then(|()| writer.execute("", 0));
            written.expect("the steps are ASCII without NUL");
            self.ledger.owe(Owed::OwnParse);
            self.ledger.owe(Owed::OwnBind);
            self.ledger.owe(Owed::OwnExecute);
        }
    }

    /// Prepares a statement that is nobody's under a name of ours ahead of the client's message.
    pub(crate) fn prepare_ours(
        &mut self,
        statement: &Rc<Statement>,
        context: &mut Context<'_>,
    ) -> ServerName {
        let server = context.server.as_deref_mut().expect("a server is at hand");
        let name = server.prepare_named(
            statement,
            context.stamps.next(),
            self.ledger.client.pipeline(),
        );
        statement.write_parse(name.bytes(), statement.types(), context.ahead);
        self.note_parse_ahead(name, statement);
        name
    }

    fn note_parse_ahead(&mut self, name: ServerName, statement: &Rc<Statement>) {
        self.note_change(Some(name), Change::Prepare(Rc::clone(statement)));
        self.ledger.owe(Owed::OwnParse);
    }
}
