//! Commits of which clients know, but whose positions were lost with their connections: the primary is asked how far
//! it has written by now, which is no less.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::{
    Watch,
    bell::Bell,
    questions::{POSITION, Reading},
};
use crate::{cluster::node::Lsn, control::line::Line};

/// Pauses between two attempts: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// How many there are.
#[derive(Default)]
pub(super) struct Lost {
    count: Cell<u32>,
    bell: Bell,
}

impl Lost {
    /// One more.
    pub(super) fn add(&self) {
        self.count.set(self.count.get() + 1);
        self.bell.ring();
    }
}

/// Finds their positions for as long as pgring runs. While nobody is to look at the nodes no standby is read
/// either, so they can wait.
pub(super) async fn run(watch: Rc<Watch>) {
    let mut pause = PAUSES[0];
    loop {
        let count = watch.lost.count.get();
        if count == 0 || !watch.is_on() {
            pause = PAUSES[0];
            watch.lost.bell.heard().await;
            continue;
        }
        match position(&watch).await {
            Some(lsn) => {
                watch.lost.count.set(watch.lost.count.get() - count);
                let commits = &watch.publishing.shared().commits;
                (0..count).for_each(|_| commits.found(lsn));
            }
            None => {
                watch.reactor.sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }
}

/// How far the primary has written.
async fn position(watch: &Watch) -> Option<Lsn> {
    let primary = watch.publishing.current().primary?;
    let to = watch.publishing.destination(primary, None)?;
    let line = Line::open(&watch.reactor, &to, &watch.deriver).await;
    let mut line = line.ok()?;
    let mut reading = Reading::default();
    let asked = line.ask(POSITION, |statement, row| reading.row(statement, row));
    asked.await.ok()?;
    line.close();
    reading
        .position
        .filter(|position| !position.in_recovery)
        .map(|position| position.lsn)
}

impl Watch {
    /// A commit's position was lost.
    pub(in crate::control) fn lost_commit(&self) {
        self.lost.add();
    }

    /// There is somebody to look again.
    pub(super) fn look_for_lost(&self) {
        self.lost.bell.ring();
    }
}
