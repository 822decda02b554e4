//! Commands of operators: what is to be done, and whether it can be now. Pure.

use crate::{
    cluster::{failover_state::FailoverOrder, messages::ToControl, snapshot::Snapshot},
    ids::NodeId,
};

/// Something that an operator wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ATTACH NODE name`: the node is used again, whatever pgring believed of it.
    Attach(NodeId),
    /// `DETACH NODE name`: the node is not used any more.
    Detach(NodeId),
    /// `RESUME FAILOVER [ACCEPT LOSS]`, `ABORT FAILOVER`.
    Failover(FailoverOrder),
}

/// Why a command cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// There is no node of that name, but those.
    #[error("there is no node \"{0}\"")]
    NoNode(String, Vec<String>),
    /// A failover in this phase does not take the order.
    #[error("failover is {0}")]
    WrongPhase(&'static str, FailoverOrder),
}

impl Impossible {
    /// Advice to the operator.
    pub fn hint(&self) -> String {
        match self {
            Self::NoNode(_, names) => format!("The nodes are {}.", names.join(", ")),
            Self::WrongPhase(_, FailoverOrder::Abort) => {
                "A failover can be aborted until a standby is being promoted.".to_owned()
            }
            Self::WrongPhase(..) => "Only a failover that is halted can be resumed.".to_owned(),
        }
    }
}

impl Command {
    /// Reads a command; `None` for what is none. Words are in any case, names of nodes as they are configured, without
    /// quotes.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn read(text: &str, snapshot: &Snapshot) -> Option<Result<Self, Impossible>> {
        let words: Vec<_> = text
            .trim()
            .trim_end_matches(';')
            .split_ascii_whitespace()
            .collect();
        let lower: Vec<_> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let lower: Vec<_> = lower.iter().map(String::as_str).collect();
        Some(match lower[..] {
            ["attach", "node", _] => node(words[2], snapshot).map(Self::Attach),
            ["detach", "node", _] => node(words[2], snapshot).map(Self::Detach),
            ["resume", "failover"] => order(FailoverOrder::Resume, snapshot),
            ["resume", "failover", "accept", "loss"] => order(FailoverOrder::AcceptLoss, snapshot),
            ["abort", "failover"] => order(FailoverOrder::Abort, snapshot),
            _ => return None,
        })
    }

    /// Tag of its CommandComplete.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Attach(_) => "ATTACH NODE",
            Self::Detach(_) => "DETACH NODE",
            Self::Failover(FailoverOrder::Abort) => "ABORT FAILOVER",
            Self::Failover(_) => "RESUME FAILOVER",
        }
    }

    /// The control core does it on this message.
    pub fn message(self) -> ToControl {
        match self {
            Self::Attach(node) => ToControl::Attach(node),
            Self::Detach(node) => ToControl::Detach(node),
            Self::Failover(order) => ToControl::Failover(order),
        }
    }
}

fn node(name: &str, snapshot: &Snapshot) -> Result<NodeId, Impossible> {
    let found = snapshot.ids().find(|id| snapshot.node(*id).name == name);
    found.ok_or_else(|| {
        let name_of = |id| snapshot.node(id).name.clone();
        Impossible::NoNode(name.to_owned(), snapshot.ids().map(name_of).collect())
    })
}

/// A failover takes an order in some of its phases only.
fn order(order: FailoverOrder, snapshot: &Snapshot) -> Result<Command, Impossible> {
    let phase = snapshot.failover.phase();
    let takes = match order {
        FailoverOrder::Resume | FailoverOrder::AcceptLoss => phase == "halted",
        FailoverOrder::Abort => ["suspecting", "electing", "draining"].contains(&phase),
    };
    match takes {
        true => Ok(Command::Failover(order)),
        false => Err(Impossible::WrongPhase(phase, order)),
    }
}
