//! `[auth]`, `[[database]]` and `[[user]]`: who may come in, where, and what is theirs alone. Pure.

use super::pool::PoolOverride;

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Not at all.
    Trust,
    /// MD5 challenge; a user with a SCRAM verifier is asked for SCRAM, as PostgreSQL does.
    Md5,
    /// SCRAM-SHA-256.
    ScramSha256,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `method`.
    pub method: AuthMethod,
    /// With `trust`: names that have no `[[user]]` section may log in, too.
    pub unknown_users: bool,
}

impl Auth {
    /// True when every name that a server knows may come in.
    pub fn admits_all(&self) -> bool {
        self.method == AuthMethod::Trust && self.unknown_users
    }
}

/// `[[database]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Name clients use; `"*"` matches every name not listed.
    pub name: String,
    /// Name on the server; the client's name when absent.
    pub server_name: Option<String>,
    /// Limits of all its users together; for `"*"`, of each database that it stands for.
    pub limits: Limits,
    /// Pool settings given here.
    pub pool: PoolOverride,
}

/// Limits of all pools of one database, or of one user, together; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `max_connections`: server connections.
    pub max_connections: Option<u32>,
    /// `max_clients`: clients that are logged in.
    pub max_clients: Option<u32>,
}

/// Password of a user, as the configuration has it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Plain text.
    Plain(String),
    /// `md5` and 32 hexadecimal digits.
    Md5(String),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, its text.
    Scram(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Md5(_) => "Md5(..)",
            Self::Scram(_) => "Scram(..)",
        })
    }
}

/// `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSettings {
    /// Name of the role.
    pub name: String,
    /// Password that clients prove, and that is used towards servers unless `server_password` is given.
    pub password: Option<Secret>,
    /// Password towards servers, when it differs.
    pub server_password: Option<Secret>,
    /// Limits of all its databases together.
    pub limits: Limits,
    /// Pool settings given here.
    pub pool: PoolOverride,
}
