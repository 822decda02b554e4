//! The command of `--exec` while it runs. Never looks at what it prints.

use std::{
    io::{IsTerminal, stdin},
    os::unix::process::CommandExt,
};

use signal_hook::consts::{SIGHUP, SIGINT};

use super::{
    error::{Error, cannot},
    events::Events,
    stage::Stage,
};
use crate::cli::postgres::{Signal, signal, signal_group};

/// A shell and what it runs.
#[derive(Debug)]
pub(super) struct Command {
    pid: u32,
    /// It leads a process group of its own, and does not share ours.
    leads: bool,
}

impl Command {
    /// Starts it; its end will be an event. On a terminal it shares our process group, for only that group
    /// may read the terminal, and psql shall.
    pub(super) fn start(stage: &Stage, text: &str, events: &Events) -> Result<Self, Error> {
        let mut shell = stage.shell(text);
        let leads = !stdin().is_terminal();
        if leads {
            shell.process_group(0);
        }
        let child = shell.spawn().map_err(cannot("start the command's shell"))?;
        let pid = child.id();
        events.watch_command(child);
        Ok(Self { pid, leads })
    }

    /// Passes on a signal that we were sent. On a terminal Ctrl-C has reached the command already, and what
    /// it means is the command's affair: in psql it cancels a statement.
    pub(super) fn pass_on(&self, number: i32) {
        let which = match number {
            SIGINT => Signal::Interrupt,
            SIGHUP => Signal::Hangup,
            _ => Signal::Terminate,
        };
        match (self.leads, which) {
            (true, _) => signal_group(self.pid, which),
            (false, Signal::Interrupt) => {}
            (false, _) => signal(self.pid, which),
        }
    }
}
