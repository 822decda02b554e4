//! Commands of operators: what is to be done, and whether it can be now. Pure.

use crate::{
    cluster::{
        failover_state::FailoverOrder,
        messages::Order,
        settings::{DrainFor, FailoverMode},
        snapshot::Snapshot,
    },
    ids::NodeId,
};

/// Something that an operator wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ATTACH NODE name`: the node is used again, whatever pgring believed of it.
    Attach(NodeId),
    /// `DETACH NODE name [GRACEFULLY]`: the node is not used any more; true lets end what is under way there.
    Detach(NodeId, bool),
    /// `RESUME FAILOVER [ACCEPT LOSS]`, `ABORT FAILOVER`, `SWITCHOVER TO name`,
    /// `PROMOTE NODE name`, which is the same as that.
    Failover(FailoverOrder),
    /// `RELOAD`: the configuration file is read again.
    Reload,
    /// `SHUTDOWN`, which ends everything now; `SHUTDOWN WAIT_FOR_SERVERS` lets transactions end, `WAIT_FOR_CLIENTS` lets
    /// clients leave. (PgBouncer's words.)
    Stop(Option<DrainFor>),
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
    /// The node cannot take the primary's place.
    #[error("node \"{0}\" cannot become the primary: {1}")]
    NoSuccessor(String, &'static str),
}

impl Impossible {
    /// Advice to the operator.
    pub fn hint(&self) -> String {
        match self {
            Self::NoNode(_, names) => format!("The nodes are {}.", names.join(", ")),
            Self::WrongPhase(_, FailoverOrder::Abort) => {
                "A failover, or a switchover, can be aborted until a standby is being promoted."
                    .to_owned()
            }
            Self::WrongPhase(_, FailoverOrder::SwitchOver(_)) => {
                "Nothing can be switched over while something else is under way; SHOW FAILOVER says what."
                    .to_owned()
            }
            Self::NoSuccessor(..) => {
                "It has to be a standby that follows the primary; SHOW POOL_NODES says what each node is."
                    .to_owned()
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
            ["detach", "node", _] => node(words[2], snapshot).map(|node| Self::Detach(node, false)),
            ["detach", "node", _, "gracefully"] => {
                node(words[2], snapshot).map(|node| Self::Detach(node, true))
            }
            ["promote", "node", _] => switchover(words[2], snapshot),
            ["reload"] => Ok(Self::Reload),
            ["shutdown"] => Ok(Self::Stop(None)),
            ["shutdown", "wait_for_servers"] => Ok(Self::Stop(Some(DrainFor::Transactions))),
            ["shutdown", "wait_for_clients"] => Ok(Self::Stop(Some(DrainFor::Clients))),
            ["resume", "failover"] => order(FailoverOrder::Resume, snapshot),
            ["resume", "failover", "accept", "loss"] => order(FailoverOrder::AcceptLoss, snapshot),
            ["abort", "failover" | "switchover"] => order(FailoverOrder::Abort, snapshot),
            ["switchover", "to", _] => switchover(words[2], snapshot),
            _ => return None,
        })
    }

    /// Tag of its CommandComplete.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Attach(_) => "ATTACH NODE",
            Self::Detach(..) => "DETACH NODE",
            Self::Reload => "RELOAD",
            Self::Stop(_) => "SHUTDOWN",
            Self::Failover(FailoverOrder::Abort) => "ABORT FAILOVER",
            Self::Failover(FailoverOrder::SwitchOver(_)) => "SWITCHOVER",
            Self::Failover(_) => "RESUME FAILOVER",
        }
    }

    /// The order to the control core that it is.
    pub fn order(self) -> Order {
        match self {
            Self::Attach(node) => Order::Attach(node),
            Self::Detach(node, lets_end) => Order::Detach(node, lets_end),
            Self::Failover(order) => Order::Failover(order),
            Self::Reload => Order::Reload,
            Self::Stop(until) => Order::Stop(until),
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
        FailoverOrder::Abort => {
            ["suspecting", "electing", "draining", "holding", "stopping"].contains(&phase)
        }
        FailoverOrder::SwitchOver(_) => ["steady", "done"].contains(&phase),
    };
    match takes {
        true => Ok(Command::Failover(order)),
        false => Err(Impossible::WrongPhase(phase, order)),
    }
}

/// A standby in use that follows the primary can take its place.
fn switchover(name: &str, snapshot: &Snapshot) -> Result<Command, Impossible> {
    let node = node(name, snapshot)?;
    let state = snapshot.state(node);
    let objection = match state {
        _ if snapshot.settings.failover.mode == FailoverMode::Off => {
            Some("[failover] mode is \"off\"")
        }
        _ if snapshot.primary == Some(node) => Some("it is the primary"),
        _ if snapshot.primary.is_none() => Some("there is no primary that it could replace"),
        Some(state) if !state.status.is_usable() => Some("it is not in use"),
        _ => None,
    };
    match objection {
        Some(why) => Err(Impossible::NoSuccessor(name.to_owned(), why)),
        None => order(FailoverOrder::SwitchOver(node), snapshot),
    }
}
