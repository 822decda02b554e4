//! Commands of `pgring ctl` in the words of the console, and when each is over. Pure.

use crate::cli::command_line::{CtlCommand, FailoverCommand, NodeCommand};

/// Words of a command to pgring, and what is waited for then.
pub(super) struct Plan {
    pub(super) sql: String,
    /// Its answer is for people.
    pub(super) shows: bool,
    pub(super) until: Until,
}

/// When a command is over.
pub(super) enum Until {
    /// At once.
    Told,
    /// The node has become the primary; or it has not.
    IsPrimary(String),
    /// Nothing is under way any more.
    Rests,
    /// The node is used.
    IsUsed(String),
    /// No server connection leads there any more.
    IsLeft(String),
    /// pgring has ended.
    IsGone,
}

/// The plan of a command.
pub(super) fn plan(command: &CtlCommand) -> Plan {
    let told = |sql: String, until| Plan {
        sql,
        shows: false,
        until,
    };
    let shown = |sql: &str| Plan {
        sql: sql.to_owned(),
        shows: true,
        until: Until::Told,
    };
    let switchover = |node: &String| {
        told(
            format!("SWITCHOVER TO {node}"),
            Until::IsPrimary(node.clone()),
        )
    };
    match command {
        CtlCommand::Node { command } => match command {
            NodeCommand::List => shown("SHOW NODES"),
            NodeCommand::Attach { node } => {
                told(format!("ATTACH NODE {node}"), Until::IsUsed(node.clone()))
            }
            NodeCommand::Detach { node, gracefully } => {
                let how = if *gracefully { " GRACEFULLY" } else { "" };
                told(
                    format!("DETACH NODE {node}{how}"),
                    Until::IsLeft(node.clone()),
                )
            }
            NodeCommand::Promote { node } => switchover(node),
        },
        CtlCommand::Switchover { node } => switchover(node),
        CtlCommand::Failover {
            command,
            accept_loss,
        } => match (command, accept_loss) {
            (None, true) | (Some(FailoverCommand::Resume), true) => {
                told("RESUME FAILOVER ACCEPT LOSS".to_owned(), Until::Rests)
            }
            (Some(FailoverCommand::Resume), false) => {
                told("RESUME FAILOVER".to_owned(), Until::Rests)
            }
            (Some(FailoverCommand::Abort), _) => told("ABORT FAILOVER".to_owned(), Until::Rests),
            (None | Some(FailoverCommand::Status), _) => shown("SHOW FAILOVER"),
        },
        CtlCommand::Reload => told("RELOAD".to_owned(), Until::Told),
        CtlCommand::Stop { now: true } => told("SHUTDOWN".to_owned(), Until::IsGone),
        CtlCommand::Stop { now: false } => {
            told("SHUTDOWN WAIT_FOR_SERVERS".to_owned(), Until::IsGone)
        }
    }
}
