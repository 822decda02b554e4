//! PostgreSQL's md5 passwords: the stored hash, the answer to a salt, and the check of an answer.
//! Old and weak; here because installed bases still have it.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Beginning of a stored hash and of an answer.
pub const PREFIX: &str = "md5";

/// Hexadecimal digits of an MD5 sum.
const DIGITS: usize = 32;

/// md5(password, user) in hexadecimal digits, without the prefix.
#[derive(Clone)]
pub struct Md5Hash([u8; DIGITS]);

/// A text is no md5 hash of PostgreSQL. Does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an md5 password is \"md5\" and {DIGITS} hexadecimal digits in lower case")]
pub struct Md5HashError;

impl Md5Hash {
    /// The hash PostgreSQL stores for this user and password. The name is part of it: renaming the user breaks it.
    #[must_use]
    pub fn of(user: &[u8], password: &[u8]) -> Md5Hash {
        Md5Hash(hexadecimal(&[password, user]))
    }

    /// Body of the PasswordMessage that answers AuthenticationMD5Password.
    #[must_use]
    pub fn answer(&self, salt: [u8; 4]) -> String {
        let digits = hexadecimal(&[&self.0, &salt]);
        format!("{PREFIX}{}", text(&digits))
    }

    /// Whether a client's answer to this salt is right, in constant time.
    #[must_use]
    pub fn check(&self, salt: [u8; 4], answer: &[u8]) -> bool {
        self.answer(salt).as_bytes().ct_eq(answer).into()
    }
}

impl FromStr for Md5Hash {
    type Err = Md5HashError;

    fn from_str(text: &str) -> Result<Md5Hash, Md5HashError> {
        let digits = text.strip_prefix(PREFIX).ok_or(Md5HashError)?;
        let digits: [u8; DIGITS] = digits.as_bytes().try_into().map_err(|_| Md5HashError)?;
        let valid = digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        valid.then_some(Md5Hash(digits)).ok_or(Md5HashError)
    }
}

/// The text form, as PostgreSQL stores it.
impl fmt::Display for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", text(&self.0))
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

impl Drop for Md5Hash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn hexadecimal(parts: &[&[u8]]) -> [u8; DIGITS] {
    let mut sum = Md5::new();
    parts.iter().for_each(|part| sum.update(part));
    let nibbles = sum
        .finalize()
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    let mut digits = [0; DIGITS];
    for (digit, nibble) in digits.iter_mut().zip(nibbles) {
        *digit = if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        };
    }
    digits
}

fn text(digits: &[u8; DIGITS]) -> &str {
    std::str::from_utf8(digits).expect("hexadecimal digits are ASCII")
}
