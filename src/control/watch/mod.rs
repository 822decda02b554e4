//! The shell around the beliefs: tasks that probe and ask, and what becomes of their answers. Decides nothing
//! itself; without a `[health]` user it does nothing at all.

mod asking;
mod bell;
mod catalogs;
mod dialer;
mod failover;
mod lag;
mod lost;
mod nodes;
mod probing;
mod questions;
mod rights;
mod steps;
mod switchover;
mod tail;

use std::rc::Rc;

use crate::net::task;

pub(super) use nodes::{Watch, members, rules};

/// Starts the tasks. They sleep for good until there is a user to look as.
pub(super) fn start(watch: &Rc<Watch>) {
    task::spawn(asking::keep_time(Rc::clone(watch)));
    task::spawn(catalogs::run(Rc::clone(&watch.catalogs)));
    task::spawn(lost::run(Rc::clone(&watch.lost)));
    task::spawn(failover::run(Rc::clone(watch)));
    task::spawn(rights::run(Rc::clone(watch)));
    for place in 0..watch.nodes.len() {
        task::spawn(asking::run(Rc::clone(watch), place));
        task::spawn(probing::run(Rc::clone(watch), place));
    }
}
