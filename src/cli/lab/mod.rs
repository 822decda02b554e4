//! `pgring lab`: a throw-away cluster with pgring in front, for as long as a person or a command wants it.
//! Never touches a PostgreSQL that it did not build; leaves nothing behind.

mod banner;
mod command;
mod error;
mod events;
mod stage;

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use signal_hook::consts::SIGTERM;

use super::command_line::LabArgs;
use command::Command;
use error::Error;
use events::{Event, Events};
use stage::{PROXY, Stage};

/// Builds the lab and keeps it until Ctrl-C, or until the command has ended.
pub(crate) fn run(args: &LabArgs) -> ExitCode {
    let outcome = match &args.exec {
        Some(command) => run_command(args, command),
        None => run_for_person(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("pgring lab: {error}");
        ExitCode::FAILURE
    })
}

fn run_for_person(args: &LabArgs) -> Result<ExitCode, Error> {
    let events = Events::listen()?;
    let mut stage = Stage::build(args, &events, |step| eprintln!("pgring lab: {step}"))?;
    print!("{}", banner::text(&stage));
    events.read_input();
    loop {
        match events.wait() {
            Event::Signal(_) => {
                eprintln!("\npgring lab: removing everything");
                return Ok(ExitCode::SUCCESS);
            }
            Event::Ended(name, status) if name == PROXY => return Err(stage.lost(name, status)),
            Event::Ended(name, status) => eprintln!(
                "pgring lab: {name} has ended ({status}); type its name and Enter to start it again"
            ),
            Event::Line(line) => start_again(&mut stage, line.trim(), &events),
            Event::CommandEnded(_) => unreachable!("no command was started"),
        }
    }
}

/// The person wants a server back.
fn start_again(stage: &mut Stage, name: &str, events: &Events) {
    match stage.start_again(name, events) {
        Ok(true) => eprintln!("pgring lab: {name} runs again"),
        Ok(false) if name.is_empty() => {}
        Ok(false) => eprintln!("pgring lab: no server called {name} has ended"),
        Err(error) => eprintln!("pgring lab: {error}"),
    }
}

fn run_command(args: &LabArgs, text: &str) -> Result<ExitCode, Error> {
    let events = Events::listen()?;
    // The output belongs to the command: nothing of ours but errors.
    let stage = Stage::build(args, &events, |_| {})?;
    let command = Command::start(&stage, text, &events)?;
    loop {
        match events.wait() {
            Event::CommandEnded(status) => return Ok(exit_code(status)),
            Event::Signal(signal) => command.pass_on(signal),
            Event::Ended(name, status) if name == PROXY => {
                command.pass_on(SIGTERM);
                return Err(stage.lost(name, status));
            }
            // Perhaps the command has killed it, to see what pgring does then.
            Event::Ended(name, status) => eprintln!("pgring lab: {name} has ended ({status})"),
            Event::Line(_) => {}
        }
    }
}

/// The command's own status; when a signal ended it, what a shell would say.
fn exit_code(status: ExitStatus) -> ExitCode {
    const SIGNALLED: i32 = 128;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_commands() {
        let code = |wait_status| format!("{:?}", exit_code(ExitStatus::from_raw(wait_status)));
        assert_eq!(code(0), format!("{:?}", ExitCode::from(0)));
        assert_eq!(code(3 << 8), format!("{:?}", ExitCode::from(3)));
        assert_eq!(code(15), format!("{:?}", ExitCode::from(143)));
    }
}
