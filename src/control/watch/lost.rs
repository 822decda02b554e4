//! Commits of which clients know, but whose positions were lost with their connections: the primary is asked how far
//! it has written by now, which is no less.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::{
    bell::Bell,
    dialer::Dialer,
    questions::{POSITION, Reading},
};
use crate::cluster::node::Lsn;

/// Pauses between two attempts: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// Commits whose positions are not known, counted.
pub(super) struct Lost {
    dialer: Rc<Dialer>,
    count: Cell<u32>,
    bell: Bell,
}

impl Lost {
    pub(super) fn new(dialer: Rc<Dialer>) -> Self {
        Self {
            dialer,
            count: Cell::new(0),
            bell: Bell::default(),
        }
    }

    /// One more.
    pub(super) fn add(&self) {
        self.count.set(self.count.get() + 1);
        self.bell.ring();
    }

    /// There may be somebody to look as again.
    pub(super) fn look(&self) {
        self.bell.ring();
    }
}

/// Finds their positions for as long as pgring runs. While nobody is to look at the nodes no standby is read
/// either, so they can wait.
pub(super) async fn run(lost: Rc<Lost>) {
    let mut pause = PAUSES[0];
    loop {
        let count = lost.count.get();
        if count == 0 || !lost.dialer.is_on() {
            pause = PAUSES[0];
            lost.bell.heard().await;
            continue;
        }
        match position(&lost.dialer).await {
            Some(lsn) => {
                lost.count.set(lost.count.get() - count);
                let commits = &lost.dialer.publishing.shared().commits;
                (0..count).for_each(|_| commits.found(lsn));
            }
            None => {
                lost.dialer.reactor.sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }
}

/// How far the primary has written.
async fn position(dialer: &Dialer) -> Option<Lsn> {
    let primary = dialer.publishing.current().primary?;
    let to = dialer.publishing.destination(primary, None)?;
    let line = dialer.open(&to).await;
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
