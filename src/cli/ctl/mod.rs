//! `pgring ctl`: an operator's word to a running pgring, over its admin socket. Decides nothing: pgring says whether it can
//! be done.

mod connection;
mod failure;
mod plan;
mod print;
mod wait;

use std::{path::PathBuf, process::ExitCode};

use self::{
    connection::{Answer, Connection, CtlError},
    failure::Failure,
    plan::plan,
};
use super::command_line::CtlArgs;
use crate::control::config;

/// Does what the command line says.
pub(crate) fn run(args: &CtlArgs) -> ExitCode {
    match carry_out(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pgring ctl: {failure}");
            if let Failure::Ctl(CtlError::Refused { hint, .. }) = &failure
                && !hint.is_empty()
            {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(failure.status())
        }
    }
}

fn carry_out(args: &CtlArgs) -> Result<(), Failure> {
    let mut connection = Connection::open(&socket(args)?)?;
    let plan = plan(&args.command);
    let answer = connection.ask(&plan.sql)?;
    if plan.shows {
        print(args, &answer);
    }
    match args.wait {
        true => wait::wait(connection, &plan.until, args.timeout),
        false => Ok(()),
    }
}

/// Where pgring listens for operators.
fn socket(args: &CtlArgs) -> Result<PathBuf, Failure> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let settings = config::load(&args.config).map_err(|error| {
        Failure::NoSocket(format!("{error}\nName the socket itself with --socket."))
    })?;
    settings
        .admin
        .socket
        .map(|socket| socket.path)
        .ok_or_else(|| {
            let file = args.config.display();
            Failure::NoSocket(format!("{file} has no [admin] socket"))
        })
}

fn print(args: &CtlArgs, answer: &Answer) {
    match args.json {
        true => println!("{}", print::json(answer)),
        false => print!("{}", print::table(answer)),
    }
}
