//! SQL's own commands for prepared statements, in sessions whose names pgring keeps. Pure.
//!
//! EXECUTE and DEALLOCATE of a name that the client prepared by protocol find it at the server, because it is
//! parsed there under the client's own name first; the connection is reset before anybody else has it.

use super::{conversation::Conversation, desk::Desk, names::Meaning, owed::Owed};
use crate::worker::classify::{self, Facts, Use};

impl Conversation {
    /// A text that goes to the server; what it needs there is sent ahead. True when it must wait.
    #[inline]
    pub(super) fn prepare_commands(
        &mut self,
        facts: Facts,
        text: &[u8],
        desk: &mut Desk<'_>,
    ) -> bool {
        let concerned = facts.deallocates() || facts.executes() || facts.prepares();
        concerned && self.shares_names() && self.prepare_uses(text, desk)
    }

    #[cold]
    fn prepare_uses(&mut self, text: &[u8], desk: &mut Desk<'_>) -> bool {
        if !self.names.is_settled() || self.waits_for_command() {
            return true;
        }
        let uses = classify::uses(text);
        for name in uses.iter().filter_map(existing) {
            self.show_to_server(name, desk);
        }
        let ends = |used: &Use| {
            matches!(
                used,
                Use::Deallocate(_) | Use::DeallocateAll | Use::DiscardAll
            )
        };
        self.commands = uses.into_iter().filter(ends).collect();
        self.commands_ticket = self.ledger.ticket();
        false
    }

    /// The server gets a statement of the protocol under the client's own name.
    fn show_to_server(&mut self, name: &[u8], desk: &mut Desk<'_>) {
        let Meaning::Statement(statement) = self.names.find(name, self.ledger.pipeline()) else {
            return;
        };
        if !name.is_empty() && !self.block_has_failed() {
            self.take_name(name, desk);
            statement.write_parse(name, desk.ahead);
            self.ledger.owe(Owed::OwnParse);
        }
    }

    /// True while the outcome of a DEALLOCATE is open.
    pub(super) fn waits_for_command(&self) -> bool {
        !self.commands.is_empty() && self.ledger.settled() <= self.commands_ticket
    }
}

/// The name of a statement that the server must know about, if it is there.
fn existing(used: &Use) -> Option<&[u8]> {
    match used {
        Use::Prepare(name) | Use::Execute(name) | Use::Deallocate(name) => Some(name),
        Use::DeallocateAll | Use::DiscardAll => None,
    }
}

/// What a CommandComplete with this tag says was done, of what was asked.
pub(super) fn done(commands: &mut Vec<Use>, tag: &[u8]) -> Option<Use> {
    let is_it = |asked: &Use| match asked {
        Use::Deallocate(_) => tag == b"DEALLOCATE",
        Use::DeallocateAll => tag == b"DEALLOCATE ALL",
        Use::DiscardAll => tag == b"DISCARD ALL",
        Use::Prepare(_) | Use::Execute(_) => false,
    };
    let place = commands.iter().position(is_it)?;
    Some(commands.remove(place))
}
