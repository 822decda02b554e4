//! Waiting for the end of what an operator has ordered, by looking again and again.

use std::time::Duration;

use super::{
    connection::{Answer, Connection, CtlError},
    failure::Failure,
    plan::Until,
};
use crate::time;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// How it stands.
enum Stands {
    Over,
    NotYet,
    /// It will not come about; in words.
    Never(String),
}

/// Waits until it is over, for so many seconds at most.
pub(super) fn wait(mut connection: Connection, until: &Until, seconds: u64) -> Result<(), Failure> {
    let deadline = time::now() + Duration::from_secs(seconds);
    if let Until::IsGone = until {
        return match connection.ends_within(Duration::from_secs(seconds)) {
            true => Ok(()),
            false => Err(Failure::TooLate(seconds)),
        };
    }
    loop {
        match look(&mut connection, until)? {
            Stands::Over => return Ok(()),
            Stands::Never(why) => return Err(Failure::NotDone(why)),
            Stands::NotYet if time::now() > deadline => return Err(Failure::TooLate(seconds)),
            Stands::NotYet if connection.ends_within(LOOK) => return Err(CtlError::Ended.into()),
            Stands::NotYet => {}
        }
    }
}

fn look(connection: &mut Connection, until: &Until) -> Result<Stands, CtlError> {
    let mut ask = |sql: &str| connection.ask(sql).map(Table);
    Ok(match until {
        Until::Told | Until::IsGone => Stands::Over,
        Until::Rests => rests(&ask("SHOW FAILOVER")?),
        Until::IsPrimary(node) => {
            let nodes = ask("SHOW NODES")?;
            match (nodes.of(node, "role"), rests(&ask("SHOW FAILOVER")?)) {
                (Some("primary"), Stands::Over) => Stands::Over,
                (_, Stands::Over) => Stands::Never(format!(
                    "node {node} has not become the primary; pgring's log says why"
                )),
                (_, stands) => stands,
            }
        }
        Until::IsUsed(node) => match ask("SHOW NODES")?.of(node, "status") {
            Some("up" | "waiting") => Stands::Over,
            _ => Stands::NotYet,
        },
        Until::IsLeft(node) => match ask("SHOW SERVERS")?.has("node", node) {
            true => Stands::NotYet,
            false => Stands::Over,
        },
    })
}

/// Whether a failover or switchover is under way.
fn rests(failover: &Table) -> Stands {
    match failover.first("phase") {
        Some("steady" | "done") => Stands::Over,
        Some("halted") => Stands::Never(format!(
            "halted: {}",
            failover.first("why").unwrap_or_default()
        )),
        _ => Stands::NotYet,
    }
}

/// An answer by the names of its columns.
struct Table(Answer);

impl Table {
    fn place(&self, column: &str) -> Option<usize> {
        self.0.columns.iter().position(|it| it.name == column)
    }

    fn first(&self, column: &str) -> Option<&str> {
        let place = self.place(column)?;
        self.0.rows.first().map(|row| row[place].as_str())
    }

    /// The value in the row of this node.
    fn of(&self, node: &str, column: &str) -> Option<&str> {
        let (name, place) = (self.place("name")?, self.place(column)?);
        let row = self.0.rows.iter().find(|row| row[name] == node)?;
        Some(&row[place])
    }

    fn has(&self, column: &str, value: &str) -> bool {
        let place = self.place(column);
        place.is_some_and(|place| self.0.rows.iter().any(|row| row[place] == value))
    }
}
