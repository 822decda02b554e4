//! How a password is proved, towards clients and towards servers: SCRAM-SHA-256 and md5.
//! Takes and gives messages and random bytes; never waits, never looks a user up, and never runs PBKDF2
//! except in [`keys::derive_with_pbkdf2`], which callers run away from a worker core.

#![deny(clippy::indexing_slicing)]

mod failed;
pub mod keys;
pub mod md5;
pub mod scram_client;
pub mod scram_message;
pub mod scram_server;
pub mod verifier;

pub use failed::password_failed;
pub use keys::{ClientKey, SaltedKeys, ServerKey, StoredKey, derive_with_pbkdf2};
pub use md5::Md5Hash;
pub use scram_client::{ClientError, ScramClient};
pub use scram_message::{MECHANISM, NONCE_BYTES};
pub use scram_server::{Credentials, MockSecret, ScramServer, ServerError};
pub use verifier::{ITERATIONS, SALT_BYTES, Verifier, VerifierError};

#[cfg(test)]
mod tests;
