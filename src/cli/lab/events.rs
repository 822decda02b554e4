//! Events that a lab waits for: signals to it, the end of one of its processes, the end of its command.
//! Never polls.

use std::{
    process::{Child, ExitStatus},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::error::{Error, cannot};
use crate::cli::postgres::Process;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGINT, SIGTERM or SIGHUP.
    Signal(i32),
    /// A process of the lab has ended.
    Ended(String, ExitStatus),
    /// The command of `--exec` has ended.
    CommandEnded(ExitStatus),
    /// The person has typed a line.
    Line(String),
}

/// The queue of events.
#[derive(Debug)]
pub(super) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl Events {
    /// From here on signals do not end us, they are events.
    pub(super) fn listen() -> Result<Self, Error> {
        let (sender, receiver) = channel();
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot("listen for signals"))?;
        let events = Self {
            sender: sender.clone(),
            receiver,
        };
        thread::spawn(move || {
            signals
                .forever()
                .try_for_each(|signal| sender.send(Event::Signal(signal)))
        });
        Ok(events)
    }

    /// Makes the end of this process an event.
    pub(super) fn watch(&self, process: &Process) {
        let (name, ended) = (process.name().to_owned(), process.ended());
        self.report(move || Event::Ended(name, ended.wait()));
    }

    /// Makes each line of the standard input an event.
    pub(super) fn read_input(&self) {
        let sender = self.sender.clone();
        thread::spawn(move || {
            let mut lines = std::io::stdin().lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(Event::Line(line)))
        });
    }

    /// Makes the end of the command an event.
    pub(super) fn watch_command(&self, mut child: Child) {
        let mut wait = move || {
            child
                .wait()
                .expect("the child is ours and nobody else waits for it")
        };
        self.report(move || Event::CommandEnded(wait()));
    }

    /// Waits for the next event.
    pub(super) fn wait(&self) -> Event {
        self.receiver.recv().expect("this holds a sender itself")
    }

    /// An error when something happened meanwhile: nothing should, until the lab stands.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.receiver.try_recv().is_ok() {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    fn report(&self, event: impl FnOnce() -> Event + Send + 'static) {
        let sender = self.sender.clone();
        // Nobody listens any more when the lab is being removed.
        thread::spawn(move || sender.send(event()).ok());
    }
}
