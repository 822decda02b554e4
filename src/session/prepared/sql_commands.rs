//! SQL's own commands for prepared statements, in sessions whose names pgring keeps. Pure.
//!
//! EXECUTE and DEALLOCATE of a name that the client prepared by protocol find it at the server, because it is
//! parsed there under the client's own name first; the connection is reset before anybody else has it.

use std::rc::Rc;

use super::{
    Statement,
    names::{self, Definition, Meaning},
    row_shape::Shown,
};
use crate::session::{
    context::Context,
    conversation::{Conversation, Verdict},
    ledger::owed::Owed,
    refusal::Why,
};
use crate::{
    cluster::messages::Shape,
    protocol::{Tag, tag::frontend},
    sql::effects::{self, StatementFlags, Use},
};

/// Whether the server knows a name, and means the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Same,
    /// Its rows have another shape than when the client prepared it.
    Different,
    /// The server has been asked.
    Unknown,
}

impl Conversation {
    /// A text that is to be executed; what it needs at the server is sent ahead. What becomes of its message when that
    /// cannot go on.
    #[inline]
    pub(crate) fn prepare_commands(
        &mut self,
        tag: Tag,
        flags: StatementFlags,
        text: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let concerned = flags.deallocates() || flags.executes() || flags.prepares();
        if !concerned || !self.shares_names() {
            return None;
        }
        self.prepare_uses(tag, text, context)
    }

    #[cold]
    fn prepare_uses(
        &mut self,
        tag: Tag,
        text: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let uses = effects::uses(text);
        let ends = |used: &Use| {
            matches!(
                used,
                Use::Deallocate(_) | Use::DeallocateAll | Use::DiscardAll
            )
        };
        let is_unsure = uses.iter().any(ends) && !self.statements.names.is_settled();
        if is_unsure || self.waits_for_command() {
            return Some(Verdict::Wait);
        }
        // A Query's answer says itself what its rows are.
        let compares = tag != frontend::QUERY;
        match self.show_all(&uses, compares, context) {
            Sight::Same => {}
            Sight::Unknown => return Some(Verdict::Wait),
            Sight::Different => return Some(self.refuse_message(tag, Why::Shape, context)),
        }
        self.statements.commands = uses.into_iter().filter(ends).collect();
        self.statements.commands_ticket = self.ledger.client.ticket();
        None
    }

    /// A statement is parsed, bound or described, which may execute others by their names: the server looks for these then,
    /// and at their rows when it is described. What becomes of the message when it cannot go on.
    #[inline]
    pub(crate) fn show_executed_by(
        &mut self,
        tag: Tag,
        statement: &Rc<Statement>,
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let executes = statement.flags.executes();
        executes.then(|| self.show_executed(tag, statement.text(), context))?
    }

    #[cold]
    fn show_executed(
        &mut self,
        tag: Tag,
        text: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        let uses = effects::uses(text);
        match self.show_all(&uses, tag == frontend::DESCRIBE, context) {
            Sight::Same => None,
            Sight::Unknown => Some(Verdict::Wait),
            Sight::Different => Some(self.refuse_message(tag, Why::Shape, context)),
        }
    }

    /// The server gets all that is used and there, in order.
    fn show_all(&mut self, uses: &[Use], compares: bool, context: &mut Context<'_>) -> Sight {
        let mut sight = Sight::Same;
        for used in uses {
            let compares = compares && matches!(used, Use::Execute(_));
            match self.show(used, compares, context) {
                Sight::Same => {}
                Sight::Unknown => return Sight::Unknown,
                Sight::Different => sight = Sight::Different,
            }
        }
        sight
    }

    /// The server gets a statement of the protocol under the client's own name, once in a pipeline.
    fn show(&mut self, used: &Use, compares: bool, context: &mut Context<'_>) -> Sight {
        let Some(name) = used.name() else {
            return Sight::Same;
        };
        let pipeline = self.ledger.client.pipeline();
        let definition = match self.statements.names.find(name, pipeline) {
            Meaning::Statement(definition) => definition,
            Meaning::Unsure => return Sight::Unknown,
            Meaning::Nothing => {
                self.hide_ours(used, context);
                return Sight::Same;
            }
        };
        if name.is_empty() || self.block_has_failed() {
            return Sight::Same;
        }
        if self.shown(name).is_none() {
            let shown = &mut self.statements.names.row_shapes_mut().shown;
            shown.retain(|shown| shown.pipeline == pipeline);
            shown.push(Shown {
                name: name.into(),
                pipeline,
                shape: None,
            });
            let below = match definition.statement.flags.executes() {
                true => effects::uses(definition.statement.text()),
                false => Vec::new(),
            };
            if self.show_all(&below, false, context) == Sight::Unknown {
                self.forget_shown(Some(name));
                return Sight::Unknown;
            }
            self.take_name(name, context);
            definition.write_parse(name, context.ahead);
            self.ledger.owe(Owed::OwnParse);
        }
        if compares {
            return self.compare_shown(name, &definition, context);
        }
        Sight::Same
    }

    fn compare_shown(
        &mut self,
        name: &[u8],
        definition: &Definition,
        context: &mut Context<'_>,
    ) -> Sight {
        let Some(told) = definition.told else {
            let is_telling = self
                .statements
                .names
                .row_shapes()
                .is_telling(definition.own);
            return if is_telling {
                Sight::Unknown
            } else {
                Sight::Same
            };
        };
        match self.shown(name).and_then(|shown| shown.shape) {
            Some(shape) if told.fits(shape) => Sight::Same,
            Some(_) => Sight::Different,
            None if self.statements.names.row_shapes().is_asked_shown(name) => Sight::Unknown,
            None => {
                self.ask_shown(name, context.ahead);
                Sight::Unknown
            }
        }
    }

    /// Statement that was parsed at the server under this name of the client's own, in the pipeline at hand.
    fn shown(&self, name: &[u8]) -> Option<&Shown> {
        let pipeline = self.ledger.client.pipeline();
        let mut all = self.statements.names.row_shapes().shown.iter();
        all.find(|shown| shown.name == name && shown.pipeline == pipeline)
    }

    /// The server has described what it has under the client's own name.
    pub(crate) fn note_shown(&mut self, name: &[u8], shape: Shape) {
        let all = self.statements.names.row_shapes_mut().shown.iter_mut();
        for shown in all.filter(|shown| shown.name == name) {
            shown.shape = Some(shape);
        }
    }

    /// Forgets that the server has a statement under this name of the client's own, or under any (`None`).
    pub(crate) fn forget_shown(&mut self, name: Option<&[u8]>) {
        let all = &mut self.statements.names.row_shapes_mut().shown;
        all.retain(|shown| name.is_some_and(|name| names::key(name) != names::key(&shown.name)));
    }

    /// True while the outcome of a DEALLOCATE is open.
    pub(crate) fn waits_for_command(&self) -> bool {
        !self.statements.commands.is_empty()
            && self.ledger.client.settled() <= self.statements.commands_ticket
    }
}

/// Takes out of `commands` the first one that a CommandComplete with this tag says was done.
pub(crate) fn done(commands: &mut Vec<Use>, tag: &[u8]) -> Option<Use> {
    let is_it = |asked: &Use| match asked {
        Use::Deallocate(_) => tag == b"DEALLOCATE",
        Use::DeallocateAll => tag == b"DEALLOCATE ALL",
        Use::DiscardAll => tag == b"DISCARD ALL",
        Use::Prepare(_) | Use::Execute(_) => false,
    };
    let place = commands.iter().position(is_it)?;
    Some(commands.remove(place))
}
