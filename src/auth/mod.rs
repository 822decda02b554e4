//! How a password is proved, towards clients and towards servers: SCRAM-SHA-256 and md5.
//! Takes and gives messages and random bytes; never waits, never looks a user up, and never runs PBKDF2
//! except in [`keys::derive_with_pbkdf2`], which callers run away from a worker core.

#![deny(clippy::indexing_slicing)]

use crate::protocol::{ErrorReport, SqlState};

pub mod keys;
pub mod md5;
pub mod scram_client;
pub mod scram_message;
pub mod scram_server;
pub mod verifier;

pub use keys::{ClientKey, SaltedKeys, ServerKey, StoredKey, derive_with_pbkdf2};
pub use md5::Md5Hash;
pub use scram_client::{ClientError, ScramClient};
pub use scram_server::{Credentials, MockSecret, ScramServer, ServerError};
pub use verifier::{Verifier, VerifierError};

/// Name of the one SASL mechanism we speak.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Random bytes in our part of a SCRAM nonce, as many as PostgreSQL takes.
pub const NONCE_BYTES: usize = 18;

/// Bytes of a new salt, as many as PostgreSQL makes.
pub const SALT_BYTES: usize = 16;

/// PBKDF2 rounds of a new verifier: PostgreSQL's default.
pub const ITERATIONS: u32 = 4096;

/// What a client reads when its proof is wrong, or when there is no such user: the same in both cases.
#[must_use]
pub fn password_failed(user: &[u8]) -> ErrorReport {
    let user = String::from_utf8_lossy(user);
    let message = format!("password authentication failed for user \"{user}\"");
    ErrorReport::fatal(SqlState::INVALID_PASSWORD, message)
}

#[cfg(test)]
mod tests;
