//! Loss of a session's server connection: the errors that the client is told then, and whether the session goes on.
//! Pure.

use super::{
    block::Turns,
    failed_block::{FailedBlock, lost_in_transaction},
};
use crate::session::{
    conversation::{AfterLoss, Conversation},
    state::pin::Pin,
};
use crate::{
    cluster::settings::PoolMode,
    protocol::{ErrorReport, Severity, SqlState, Writer, backend::TransactionStatus},
};

impl Conversation {
    /// The server connection is gone. Writes what the client is owed: an error and ReadyForQuery for each
    /// request, and puts a transaction that was open into the failed state. `words`: what the server said before it went,
    /// as an error. `mid_message`: the client has got the beginning of a message. `is_read_only`: it could commit nothing.
    pub fn server_lost(
        &mut self,
        why: &str,
        words: Option<ErrorReport>,
        mid_message: bool,
        is_read_only: bool,
        out: &mut Vec<u8>,
    ) -> AfterLoss {
        let mut loss = self.loss();
        loss.perhaps_committed &= !is_read_only;
        let pin = self.pinned();
        self.statements.names.abandon();
        self.refusals.at_server = None;
        self.statements.portals.clear();
        self.state.pending.connection_is_gone();
        let was_restoring = self.state.restore.connection_is_gone();
        self.statements.commands.clear();
        self.statements.replan.give_up();
        let already_skipping = self.ledger.is_skipping();
        let (owed, mid_pipeline) = self.ledger.abandon();
        (self.turns.rolls_back, self.turns.is_unread) = (false, false);
        self.internal.asked.clear();
        if mid_message {
            return AfterLoss::Ends;
        }
        if self.mode() == PoolMode::Session || pin.is_some() {
            Writer::new(out).error(&lost_with_state(why, words, pin, loss));
            return AfterLoss::Ends;
        }
        let report = loss.report(why, words);
        let readies = owed.iter().filter(|owed| owed.ends_with_ready()).count();
        for _ in 0..readies + usize::from(was_restoring) {
            Writer::new(out).error(&report).ready_for_query(loss.status);
        }
        if mid_pipeline && !already_skipping {
            Writer::new(out).error(&report);
        }
        if loss.status == TransactionStatus::Failed {
            let told = mid_pipeline || was_restoring || !owed.is_empty();
            let untold = (!told).then(|| Box::new(report));
            self.block
                .lose(Some(FailedBlock::new(untold, mid_pipeline)));
        } else {
            self.block.lose(None);
            self.refusals.skip_to_sync(mid_pipeline);
        }
        AfterLoss::GoesOn
    }

    /// The server has answered nothing of the only pipeline that it was sent, which will be judged again. Writes the
    /// answers of ours that are due before it.
    pub(crate) fn forget_attempt(&mut self, out: &mut Vec<u8>) {
        while let Some(said) = self.said(None) {
            out.extend_from_slice(said);
        }
        self.statements.names.abandon();
        self.statements.portals.clear();
        self.state.pending.connection_is_gone();
        self.statements.commands.clear();
        self.statements.replan.give_up();
        self.ledger.abandon();
        self.turns = Turns::default();
        self.internal.asked.clear();
    }

    /// Loss that the client would suffer now.
    fn loss(&self) -> Loss {
        let in_transaction = self.ledger.status() != TransactionStatus::Idle;
        let committing = self.ledger.client.is_committing();
        let failed = in_transaction && !committing && !self.turns.rolls_back;
        Loss {
            in_transaction,
            perhaps_committed: committing || in_transaction && self.turns.is_unread,
            status: if failed {
                TransactionStatus::Failed
            } else {
                TransactionStatus::Idle
            },
        }
    }
}

/// Consequences of a lost connection for the client.
#[derive(Clone, Copy)]
struct Loss {
    in_transaction: bool,
    perhaps_committed: bool,
    /// Where the client stands afterwards.
    status: TransactionStatus,
}

impl Loss {
    fn report(self, why: &str, words: Option<ErrorReport>) -> ErrorReport {
        if let Some(words) = words.filter(|_| !self.perhaps_committed) {
            return with_detail_of_loss(words);
        }
        let report = match self {
            Loss {
                perhaps_committed: true,
                ..
            } => lost_while_committing(),
            Loss {
                in_transaction: true,
                ..
            } => lost_in_transaction(),
            _ => lost_outside_transaction(),
        };
        report.with_detail(why.to_owned())
    }
}

fn lost_outside_transaction() -> ErrorReport {
    ErrorReport::error(
        SqlState::CONNECTION_FAILURE,
        "the server connection was lost while the statement was running",
    )
    .with_hint(
        "It is not known whether the statement took effect. The session goes on with another connection.",
    )
}

fn lost_while_committing() -> ErrorReport {
    ErrorReport::error(
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        "the server connection was lost, and it is not known whether the transaction was committed",
    )
    .with_hint("Find out whether it was committed before you repeat it.")
}

/// The server's own words, and what they mean for the client's session.
fn with_detail_of_loss(words: ErrorReport) -> ErrorReport {
    match words.detail {
        Some(_) => words,
        None => words.with_detail(
            "The server connection was lost. The session goes on with another connection.",
        ),
    }
}

fn lost_with_state(
    why: &str,
    words: Option<ErrorReport>,
    pin: Option<Pin>,
    loss: Loss,
) -> ErrorReport {
    let sqlstate = if loss.perhaps_committed {
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN
    } else {
        SqlState::CONNECTION_FAILURE
    };
    let report = ErrorReport::fatal(
        sqlstate,
        "the server connection was lost, and with it what this session kept there",
    );
    let kept = pin.map_or("session pooling mode", Pin::reason);
    let report = match words.filter(|_| !loss.perhaps_committed) {
        Some(words) => ErrorReport {
            severity: Severity::Fatal,
            ..words
        },
        None => report,
    };
    report.with_detail(format!("{why}; kept: {kept}"))
}
