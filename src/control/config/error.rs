//! Errors of a configuration file, in words that say where and how to mend it. Never shows a password.

use std::{fmt, io, path::PathBuf};

/// Why there are no [`Settings`](crate::cluster::settings::Settings).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// As given on the command line.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file was read; this is wrong with it.
    #[error("{0}")]
    Invalid(Problems),
}

/// Everything that is wrong with one file, in the order of its lines; never empty.
#[derive(Debug)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str, mut list: Vec<Problem>) -> Self {
        assert!(!list.is_empty(), "a refusal needs a reason");
        // What belongs to no line, such as a missing section, comes last.
        list.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Self {
            file: file.to_owned(),
            list,
        }
    }

    /// The single problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    /// One line per problem, without a newline at the end: `file:line: key: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file)?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            write!(f, " ")?;
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            write!(f, "{}", problem.cause)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Problem {
    /// Counted from 1; absent when no single line is to blame.
    pub line: Option<usize>,
    /// Section and key as the file writes them, e.g. `[pool] size`.
    pub key: String,
    /// Kind of problem, with its cure.
    pub cause: Cause,
}

/// The ways in which a configuration can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// A key or section that does not exist here.
    #[error("no such {kind}{}; allowed: {}", clue(nearest, home), allowed.join(", "))]
    Unknown {
        /// `key` or `section`.
        kind: &'static str,
        /// The valid name that is most like it, as the file would write it.
        nearest: Option<String>,
        /// The section that does have this key.
        home: Option<&'static str>,
        /// All valid names.
        allowed: Vec<String>,
    },
    /// A key that must be given.
    #[error("missing; allowed: {allowed}")]
    Missing {
        /// Values that the key may have.
        allowed: String,
    },
    /// A key whose value cannot be used.
    #[error("{found} {why}; allowed: {allowed}")]
    Value {
        /// Value in the file.
        found: String,
        /// Fault of that value.
        why: Wrong,
        /// Values that the key may have.
        allowed: String,
    },
    /// `[[pool]]` for `[pool]`, or `pool = 3`.
    #[error("must be one section, headed {0}")]
    NotSection(&'static str),
    /// `[node]` for `[[node]]`, or `node = 3`.
    #[error("each one must be headed {0}, with two brackets")]
    NotSections(&'static str),
    /// A name that an earlier section has.
    #[error("{name:?} is already the name of the section at line {line}; each needs its own")]
    Duplicate {
        /// The name.
        name: String,
        /// Where the earlier one starts.
        line: usize,
    },
    /// Something about a password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Values that do not fit each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// The part of a message that tells what was probably meant.
fn clue(nearest: &Option<String>, home: &Option<&str>) -> String {
    match (home, nearest) {
        (Some(home), _) => format!(", it belongs in {home}"),
        (None, Some(nearest)) => format!(", did you mean {nearest}?"),
        (None, None) => String::new(),
    }
}

/// Why a value cannot be used; reads on from the value itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Another TOML type.
    #[error("is {0}")]
    Kind(&'static str),
    /// Below the range.
    #[error("is too small")]
    TooSmall,
    /// Above the range.
    #[error("is too large")]
    TooLarge,
    /// No character.
    #[error("is empty")]
    Empty,
    /// More bytes than its place can hold.
    #[error("is too long")]
    TooLong,
    /// The protocol ends its strings with NUL.
    #[error("contains a NUL character")]
    Nul,
    /// None of the valid words.
    #[error("is not known{}", clue(nearest, &None))]
    Word {
        /// The most similar valid one.
        nearest: Option<String>,
    },
    /// A word with a meaning of its own.
    #[error("is reserved for pgring itself")]
    Reserved,
    /// `30` for `"30s"`.
    #[error("has no unit")]
    NoUnit,
    /// `"64MB"` for `"64MiB"`.
    #[error("has the unknown unit {0:?}")]
    Unit(String),
    /// `"1.5s"`.
    #[error("is not a whole number")]
    Fraction,
    /// Not even a number.
    #[error("is not a number with a unit")]
    Quantity,
    /// `"localhost"`.
    #[error("has no port")]
    NoPort,
    /// `":6432"`.
    #[error("has no host")]
    NoHost,
    /// `"localhost:99999"`.
    #[error("has no port from 1 to 65535 after its colon")]
    Port,
    /// `"::1:6432"`.
    #[error("needs brackets around its IPv6 address")]
    Brackets,
    /// Brackets with something else inside.
    #[error("has no IPv6 address between its brackets")]
    Ipv6,
    /// A name that the resolver does not know.
    #[error("cannot be resolved ({0})")]
    Unresolved(String),
    /// A relative path.
    #[error("is not an absolute path")]
    NotAbsolute,
    /// `"0789"`.
    #[error("is not an octal number")]
    NotOctal,
    /// Refused by the log filter's own parser.
    #[error("is not a log filter")]
    Filter,
    /// `"f("`.
    #[error("is not the name of a function")]
    Function,
    /// `"("`.
    #[error("is not a regular expression ({0})")]
    Expression(String),
    /// An expression that would take megabytes.
    #[error("is a regular expression that takes too much memory")]
    TooCostly,
}

/// Why a password cannot be used. None of these shows it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither text nor a table.
    #[error("is {found}; allowed: {}", Self::ALLOWED)]
    Kind {
        /// The TOML type.
        found: &'static str,
    },
    /// A table that does not name exactly one source.
    #[error("must name one source; allowed: {{ file = \"...\" }} or {{ env = \"...\" }}")]
    Source,
    /// The file it is in.
    #[error("the file {} cannot be read: {source}", path.display())]
    File {
        /// Complete path.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The environment variable it is in.
    #[error("the environment variable {0} is not set, or not UTF-8")]
    Environment(String),
    /// PostgreSQL takes no empty password.
    #[error("is empty; no server accepts that, leave the key out instead")]
    Empty,
    /// Longer than any server accepts.
    #[error("is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The protocol ends its strings with NUL.
    #[error("contains a NUL character")]
    Nul,
    /// Cut off or mistyped.
    #[error(
        "starts like a SCRAM verifier but is not one; \
         allowed: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as `pgring passwd` prints it"
    )]
    Verifier,
}

impl SecretError {
    /// Forms that a password may have.
    pub(super) const ALLOWED: &str = "a SCRAM verifier, \"md5...\", plain text, \
        { file = \"...\" } or { env = \"...\" }";
}

/// Values that are fine alone but not together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// More to keep than may exist.
    #[error("{min_size} is above size, which is {size} {scope}; lower one or raise the other")]
    MinAboveSize {
        /// `min_size` that results.
        min_size: u32,
        /// `size` that results.
        size: u32,
        /// Where both meet, e.g. `for database "app"`.
        scope: String,
    },
    /// First pause longer than the longest.
    #[error("is above login_backoff_max; the pause starts here and grows to that")]
    Backoff,
    /// One slow peer would hold all buffers.
    #[error("is more than a quarter of {0}, so that a few slow peers would hold all of it")]
    HighWater(&'static str),
    /// No server to send anything to.
    #[error("at least one is needed: the servers behind pgring")]
    NoNode,
    /// Nobody may come in.
    #[error(
        "none is listed, so nobody can log in; add one, or say method = \"trust\" and \
         unknown_users = true in [auth] when every client may be believed"
    )]
    NoUser,
    /// A user without a password where one is asked for.
    #[error(
        "missing, so this user can never log in with method = \"{method}\"; \
         make one with `pgring passwd`"
    )]
    NoPassword {
        /// `[auth] method`.
        method: &'static str,
    },
    /// MD5 cannot be turned into SCRAM.
    #[error(
        "is an md5 hash, so this user can never log in with method = \"scram-sha-256\"; \
         give a verifier (`pgring passwd`) or plain text, or say method = \"md5\" in [auth]"
    )]
    Md5ForScram,
    /// A preference for nobody.
    #[error("no [[node]] has this name; there are {known}")]
    NoSuchNode {
        /// The names there are.
        known: String,
    },
    /// Nobody would notice which node is the primary.
    #[error(
        "missing, and with more than one [[node]] pgring must be able to see which one is the primary and how \
         far the others have followed; make a role for that on the primary, CREATE ROLE pgring LOGIN PASSWORD \
         '...' IN ROLE pg_monitor, and give user = \"pgring\" and its password here; or say read_write_split = \
         false in [routing], then the first node takes everything"
    )]
    NobodyWatches,
    /// A failover without eyes, or without a memory, is none.
    #[error("is missing: [failover] mode = \"sql\" needs a {0} here")]
    FailoverNeeds(&'static str),
    /// A verifier only checks; it proves nothing.
    #[error(
        "is a SCRAM verifier, which can check a password but not log in with it; \
         give plain text, best from {{ file = \"...\" }} or {{ env = \"...\" }}"
    )]
    VerifierTowardsServer,
}
