//! A SCRAM verifier: what a server stores instead of a password, in the text form of `pg_authid.rolpassword`.
//! Checks its own text; never checks a proof.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::keys::{KEY_BYTES, SaltedKeys, ServerKey, StoredKey};
use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_SALT_BYTES_MAX};

/// Beginning of every verifier.
pub const PREFIX: &str = "SCRAM-SHA-256$";

/// Bytes of a new salt, as many as PostgreSQL makes.
pub const SALT_BYTES: usize = 16;

/// PBKDF2 rounds of a new verifier: PostgreSQL's default.
pub const ITERATIONS: u32 = 4096;

/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, decoded and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// Rounds of PBKDF2: 1 to [`SCRAM_ITERATIONS_MAX`].
    pub iterations: u32,
    /// The salt, decoded: 1 to [`SCRAM_SALT_BYTES_MAX`] bytes.
    pub salt: Vec<u8>,
    /// Checks a client's proof.
    pub stored: StoredKey,
    /// Proves us to the client.
    pub server: ServerKey,
}

/// Why a text is no verifier. None of these shows any part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// It begins otherwise.
    #[error("a SCRAM verifier begins with {PREFIX}")]
    Prefix,
    /// Separators are missing or too many.
    #[error("a SCRAM verifier has the form {PREFIX}iterations:salt$StoredKey:ServerKey")]
    Layout,
    /// The count is no number or out of bounds.
    #[error("the iterations of a SCRAM verifier are a number from 1 to {SCRAM_ITERATIONS_MAX}")]
    Iterations,
    /// The salt is not base64 or has an impossible length.
    #[error("the salt of a SCRAM verifier is 1 to {SCRAM_SALT_BYTES_MAX} bytes in base64")]
    Salt,
    /// A key is not base64 or has another length.
    #[error("the {key} of a SCRAM verifier is {KEY_BYTES} bytes in base64")]
    Key {
        /// `StoredKey` or `ServerKey`.
        key: &'static str,
    },
}

impl Verifier {
    /// The verifier of a password whose keys have been derived.
    #[must_use]
    pub fn of(keys: &SaltedKeys) -> Verifier {
        Verifier {
            iterations: keys.iterations,
            salt: keys.salt.clone(),
            stored: keys.stored(),
            server: keys.server.clone(),
        }
    }
}

impl FromStr for Verifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Verifier, VerifierError> {
        let text = text.strip_prefix(PREFIX).ok_or(VerifierError::Prefix)?;
        let (cost, keys) = text.split_once('$').ok_or(VerifierError::Layout)?;
        let (iterations, salt) = cost.split_once(':').ok_or(VerifierError::Layout)?;
        let (stored, server) = keys.split_once(':').ok_or(VerifierError::Layout)?;
        Ok(Verifier {
            iterations: read_iterations(iterations.as_bytes()).ok_or(VerifierError::Iterations)?,
            salt: read_salt(salt.as_bytes()).ok_or(VerifierError::Salt)?,
            stored: StoredKey::new(
                read_key(stored.as_bytes()).ok_or(VerifierError::Key { key: "StoredKey" })?,
            ),
            server: ServerKey::new(
                read_key(server.as_bytes()).ok_or(VerifierError::Key { key: "ServerKey" })?,
            ),
        })
    }
}

/// The text form, as PostgreSQL stores it.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let salt = BASE64_STANDARD.encode(&self.salt);
        let stored = BASE64_STANDARD.encode(self.stored.bytes());
        let server = BASE64_STANDARD.encode(self.server.bytes());
        write!(f, "{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

/// A count of PBKDF2 rounds within bounds, digits only.
pub(super) fn read_iterations(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let iterations = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=SCRAM_ITERATIONS_MAX)
        .contains(&iterations)
        .then_some(iterations)
}

/// A salt in base64, of a length within bounds.
pub(super) fn read_salt(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > SCRAM_SALT_BYTES_MAX.div_ceil(3) * 4 {
        return None;
    }
    let salt = BASE64_STANDARD.decode(text).ok()?;
    (salt.len() <= SCRAM_SALT_BYTES_MAX).then_some(salt)
}

/// A key, proof or signature in base64.
pub(super) fn read_key(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if text.len() != KEY_BYTES.div_ceil(3) * 4 {
        return None;
    }
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}
