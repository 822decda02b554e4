//! The command line: what may be typed after `pgring`, and what its help says. Does nothing of it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  Try it: a PostgreSQL primary, two standbys and pgring in front, all in a temporary folder
    pgring lab

  The same, only for the time of one command
    pgring lab --exec 'pgbench -i -s 10 && pgbench -S -c 16 -T 10'

  For real: write a file, check it, run it
    pgring passwd --user app            # prints the verifier to paste into the file
    pgring check -c /etc/pgring/pgring.toml
    pgring run -c /etc/pgring/pgring.toml
    psql -h 127.0.0.1 -p 6432 -U app app

Every setting, with its default and its meaning, is in config/pgring.toml.";

/// A PostgreSQL proxy: many clients share few server connections.
#[derive(Debug, Parser)]
#[command(name = "pgring", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve clients until told to stop.
    Run(RunArgs),
    /// Say whether a configuration file is right, and what it means.
    Check(CheckArgs),
    /// Start a throw-away PostgreSQL cluster with pgring in front.
    Lab(LabArgs),
    /// Turn a password into the text that belongs in the configuration file.
    Passwd(PasswdArgs),
    /// Tell a running pgring what to do, over its admin socket.
    Ctl(CtlArgs),
}

const RUN_NOTES: &str = "\
Signals:
  SIGHUP           read the file again; [pool], [[database]] and [[user]] take effect at once,
                   the log names what needs a restart; a wrong file changes nothing
  SIGTERM          accept nobody new, let transactions end or clients leave (drain, drain_timeout), then stop
  SIGTERM, SIGINT  a second SIGTERM, or SIGINT: stop now

Exit status: 0 after an orderly stop, 1 when it could not start or had to give up.";

/// Serve clients until told to stop.
#[derive(Args, Debug)]
#[command(after_help = RUN_NOTES)]
pub(crate) struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub(crate) config: PathBuf,
    /// Forget which nodes were down or fenced before
    #[arg(long)]
    pub(crate) discard_status: bool,
}

const CHECK_NOTES: &str = "\
Everything that is wrong is printed at once, one line each: file:line: key: what is allowed.
It also opens the password files, looks at the environment and resolves the host names that the
file mentions, as `pgring run` would. It connects to nobody, unless it is told to.

With --connect it logs in to every node as the role of [health], and names the rights that failover
and switchover would lack.

Exit status: 0 the file is right, and every node answers and gives the rights where asked for;
1 something is not so, 2 the command line is wrong.

Example:
  pgring check -c pgring.toml && systemctl reload pgring";

/// Say whether a configuration file is right, and what it means.
#[derive(Args, Debug)]
#[command(after_help = CHECK_NOTES)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub(crate) config: PathBuf,
    /// Log in to every node as the user of the section health, and say which rights it lacks
    #[arg(long)]
    pub(crate) connect: bool,
}

const LAB_NOTES: &str = "\
It uses the PostgreSQL that is installed on this machine, in a temporary folder and on free ports;
nothing else on the machine is touched. Ctrl-C stops everything and removes the folder.

With --exec it runs that command in a shell, with PGHOST, PGPORT, PGUSER, PGDATABASE and PGRING_SOCKET
pointing at pgring, then removes everything and exits with the command's status.

Examples:
  pgring lab
  pgring lab --standbys 0 --port 6432
  pgring lab --exec 'psql -c \"SELECT version()\"'";

/// Start a throw-away PostgreSQL cluster with pgring in front.
#[derive(Args, Debug)]
#[command(after_help = LAB_NOTES)]
pub(crate) struct LabArgs {
    /// How many standbys follow the primary
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=16))]
    pub(crate) standbys: u16,
    /// How many worker cores pgring uses
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,
    /// Run this shell command against pgring, then stop
    #[arg(long, value_name = "CMD")]
    pub(crate) exec: Option<String>,
    /// Port of pgring on 127.0.0.1 [default: 6432, or a free one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

const PASSWD_NOTES: &str = "\
Asks twice on a terminal, without showing what is typed; else reads the first line of its input.
Only the result goes to standard output. A verifier lets pgring check a password without knowing
it: that is the form to keep in a file.

Examples:
  pgring passwd --user app
  pgring passwd < /run/secrets/app
  pgring passwd --user old --method md5";

/// Turn a password into the text that belongs in the configuration file.
#[derive(Args, Debug)]
#[command(after_help = PASSWD_NOTES)]
pub(crate) struct PasswdArgs {
    /// Name of the role; md5 needs it, because it is part of the hash
    #[arg(long, value_name = "NAME", required_if_eq("method", "md5"))]
    pub(crate) user: Option<String>,
    /// How clients will prove the password
    #[arg(long, value_enum, default_value_t = Method::ScramSha256)]
    pub(crate) method: Method,
}

const CTL_NOTES: &str = "\
It connects to [admin] socket of the configuration file; who may use that is a matter of the file's
owner, group and mode, and pgring checks the account at the other end.

Exit status: 0 done, or begun where --wait is not given; 1 pgring refused, or it has not come about;
2 the command line is wrong; 3 no pgring is there; 4 it is not over after --timeout.

Examples:
  pgring ctl node list
  pgring ctl node list --json | jq -r '.[] | select(.role == \"primary\") | .name'
  pgring ctl switchover b --wait
  pgring ctl failover --accept-loss --wait";

/// Tell a running pgring what to do, over its admin socket.
#[derive(Args, Debug)]
#[command(after_help = CTL_NOTES)]
pub(crate) struct CtlArgs {
    /// The configuration file, which says where the socket is
    #[arg(short, long, global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub(crate) config: PathBuf,
    /// The socket itself
    #[arg(short, long, global = true, value_name = "FILE", env = "PGRING_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Tables as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Wait until it has come about
    #[arg(long, global = true)]
    pub(crate) wait: bool,
    /// Wait for so many seconds at most
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

/// An operator's word.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// The nodes: what they are, and whether they are used
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Make this standby the primary, while the primary lives; clients notice a pause
    Switchover {
        /// Name of the standby in the configuration
        node: String,
    },
    /// The replacement of a lost primary
    Failover {
        #[command(subcommand)]
        command: Option<FailoverCommand>,
        /// Go on, whatever is lost
        #[arg(long)]
        accept_loss: bool,
    },
    /// Read the configuration file again; a wrong one changes nothing, and is status 1
    Reload,
    /// Accept nobody new, let transactions end, then stop
    Stop {
        /// End everything at once
        #[arg(long)]
        now: bool,
    },
}

/// An operator's word about nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Show them
    List,
    /// Use a node again, whatever pgring believes of it
    Attach {
        /// Name of the node in the configuration
        node: String,
    },
    /// Do not use a node any more; what runs there is ended
    Detach {
        /// Name of the node in the configuration
        node: String,
        /// Let transactions there end, and pinned sessions leave
        #[arg(long)]
        gracefully: bool,
    },
    /// Make this standby the primary, as switchover does (a lost primary is replaced by failover)
    Promote {
        /// Name of the standby in the configuration
        node: String,
    },
}

/// An operator's word about failovers.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum FailoverCommand {
    /// Show where it stands (this is what it does without a command)
    Status,
    /// Try again what was halted
    Resume,
    /// Put an end to it until there is a primary; undo a switchover
    Abort,
}

/// Password method that clients will be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// A SCRAM-SHA-256 verifier
    #[value(name = "scram-sha-256")]
    ScramSha256,
    /// PostgreSQL's md5 hash, only for clients that know nothing better
    Md5,
}

/// Where packages and service files put the configuration.
const DEFAULT_FILE: &str = "/etc/pgring/pgring.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn md5_asks_for_the_user() {
        let parse = |words: &[&str]| CommandLine::try_parse_from(words).is_ok();
        assert!(parse(&["pgring", "passwd"]));
        assert!(!parse(&["pgring", "passwd", "--method", "md5"]));
        assert!(parse(&[
            "pgring", "passwd", "--method", "md5", "--user", "app"
        ]));
    }
}
