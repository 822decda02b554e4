//! The keys of SCRAM-SHA-256 (RFC 5802, section 3) and how they are derived from a password.
//! Keys are wiped when dropped and never printed.

use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of each key and of each signature.
pub const KEY_BYTES: usize = 32;

/// 32 bytes of key or signature.
pub(super) type Bytes = [u8; KEY_BYTES];

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Bytes);

        impl $name {
            /// Takes the bytes as they are.
            #[must_use]
            pub const fn new(bytes: [u8; KEY_BYTES]) -> $name {
                $name(bytes)
            }

            /// The bytes as they are.
            #[must_use]
            pub const fn bytes(&self) -> &[u8; KEY_BYTES] {
                &self.0
            }
        }

        /// In constant time.
        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

key! {
    /// Key that proves that its holder knows the password. As good as the password for every verifier with its salt.
    ClientKey
}

key! {
    /// Hash of the client key: checks a proof, cannot make one.
    StoredKey
}

key! {
    /// Key that proves to a client that the server knows the verifier.
    ServerKey
}

impl ClientKey {
    /// The stored key that belongs to this client key.
    #[must_use]
    pub fn stored(&self) -> StoredKey {
        StoredKey(Sha256::digest(self.0).into())
    }
}

/// All that a password gives for one salt and one count of rounds. Enough to log in wherever the verifier
/// has the same salt and count, so one derivation, or one client's login, serves every connection of its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaltedKeys {
    /// The salt, decoded.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Proves us.
    pub client: ClientKey,
    /// Proves the server.
    pub server: ServerKey,
}

impl SaltedKeys {
    /// The stored key that belongs to the client key.
    #[must_use]
    pub fn stored(&self) -> StoredKey {
        self.client.stored()
    }

    /// Whether these keys are for that salt and count.
    #[must_use]
    pub fn fit(&self, salt: &[u8], iterations: u32) -> bool {
        self.iterations == iterations && self.salt == salt
    }
}

/// Derives all keys from a password. The only place that runs PBKDF2: milliseconds of CPU, so never on a worker core.
///
/// The password is prepared with SASLprep; one that SASLprep refuses is taken as it is, as PostgreSQL does.
/// The caller has checked `iterations` and the length of the salt against `limits`.
#[must_use]
pub fn derive_with_pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> SaltedKeys {
    let mut salted = Zeroizing::new([0; KEY_BYTES]);
    let prepared = Zeroizing::new(prepare(password).into_owned());
    pbkdf2::pbkdf2_hmac::<Sha256>(&prepared, salt, iterations, salted.as_mut());
    SaltedKeys {
        salt: salt.to_vec(),
        iterations,
        client: ClientKey(sign(&salted, &[b"Client Key"])),
        server: ServerKey(sign(&salted, &[b"Server Key"])),
    }
}

/// SASLprep where it applies, else the bytes as they are.
fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(password).ok();
    let text = text.filter(|text| !text.chars().any(is_refused_unnormalized));
    match text.and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Owned(prepared)) if !prepared.is_empty() => Cow::Owned(prepared.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

/// PostgreSQL looks for prohibited characters before it normalizes, the RFC and the crate after it.
/// The two differ for a few deprecated characters, such as U+0340, that normalize to accepted ones.
fn is_refused_unnormalized(c: char) -> bool {
    use stringprep::tables;
    let mapped = tables::non_ascii_space_character(c) || tables::commonly_mapped_to_nothing(c);
    let refused = tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c);
    !mapped && refused
}

/// HMAC-SHA-256 over the parts in order.
pub(super) fn sign(key: &Bytes, parts: &[&[u8]]) -> Bytes {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Each byte of one combined with the same byte of the other.
pub(super) fn xor(one: &Bytes, other: &Bytes) -> Bytes {
    let mut result = *one;
    result.iter_mut().zip(other).for_each(|(a, b)| *a ^= b);
    result
}
