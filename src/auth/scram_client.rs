//! SCRAM-SHA-256 towards a server: three states, each consumed by the message it waits for.
//! Between the server's challenge and our proof the caller brings the keys, so that PBKDF2 can run elsewhere.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;

use super::keys::{self, SaltedKeys, ServerKey};
use super::scram_message::{Attributes, MessageError, NONCE_BYTES, is_nonce};
use super::verifier::{read_iterations, read_key, read_salt};

/// Header before our first message: no channel binding, no other identity.
const GS2_HEADER: &[u8] = b"n,,";

/// Why the exchange with a server fails. Except for `Keys` the server, or someone in between, is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Its message cannot be read.
    #[error("from the server: {0}")]
    Message(#[from] MessageError),
    /// It answers to another client.
    #[error("the server's SCRAM nonce does not continue ours")]
    Nonce,
    /// It says why it refuses.
    #[error("the server ended the SCRAM exchange: {reason}")]
    Refused {
        /// Its words, printable ASCII only.
        reason: String,
    },
    /// Its signature is wrong: it does not know the verifier.
    #[error("the server's SCRAM signature is wrong: it does not know this user's verifier")]
    Signature,
    /// The keys at hand belong to another verifier.
    #[error(
        "the keys at hand are for another salt or iteration count than the server's verifier: \
         use the verifier of this very server, or give the password"
    )]
    Keys,
}

/// Has said hello and waits for the server's challenge.
#[derive(Debug)]
pub struct ScramClient {
    nonce: String,
}

impl ScramClient {
    /// Begins with fresh random bytes.
    #[must_use]
    pub fn new(random: [u8; NONCE_BYTES]) -> ScramClient {
        ScramClient {
            nonce: BASE64_STANDARD.encode(random),
        }
    }

    /// Data of the SASLInitialResponse. The user name stays empty: the startup packet has told it.
    #[must_use]
    pub fn client_first(&self) -> Vec<u8> {
        [GS2_HEADER, &self.client_first_bare()].concat()
    }

    fn client_first_bare(&self) -> Vec<u8> {
        format!("n=,r={}", self.nonce).into_bytes()
    }

    /// Takes the data of AuthenticationSASLContinue.
    pub fn server_first(self, data: &[u8]) -> Result<ServerFirst, ClientError> {
        let mut attributes = Attributes::new(data)?;
        let nonce = attributes.expect(b'r')?;
        if !nonce.starts_with(self.nonce.as_bytes()) || !is_nonce(nonce) {
            return Err(ClientError::Nonce);
        }
        let salt = read_salt(attributes.expect(b's')?);
        let iterations = read_iterations(attributes.expect(b'i')?);
        attributes.skip_extensions()?;
        Ok(ServerFirst {
            salt: salt.ok_or(MessageError::Value { attribute: b's' })?,
            iterations: iterations.ok_or(MessageError::Value { attribute: b'i' })?,
            without_proof: [b"c=biws,r=", nonce].concat(),
            client_first_bare: self.client_first_bare(),
            message: data.to_vec(),
        })
    }
}

/// Has the challenge and waits for the keys that fit it: cached, recovered from a client, or derived elsewhere.
#[derive(Debug)]
pub struct ServerFirst {
    salt: Vec<u8>,
    iterations: u32,
    client_first_bare: Vec<u8>,
    message: Vec<u8>,
    without_proof: Vec<u8>,
}

impl ServerFirst {
    /// The salt of the server's verifier, decoded: 1 to `limits::SCRAM_SALT_BYTES_MAX` bytes.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The rounds of the server's verifier: 1 to `limits::SCRAM_ITERATIONS_MAX`.
    #[must_use]
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Gives the data of the SASLResponse.
    pub fn finish(self, keys: &SaltedKeys) -> Result<(ServerFinal, Vec<u8>), ClientError> {
        if !keys.fit(&self.salt, self.iterations) {
            return Err(ClientError::Keys);
        }
        let exchange = [
            &self.client_first_bare[..],
            &self.message,
            &self.without_proof,
        ]
        .join(&b","[..]);
        let signature = keys::sign(keys.stored().bytes(), &[&exchange]);
        let proof = BASE64_STANDARD.encode(keys::xor(keys.client.bytes(), &signature));
        let message = [&self.without_proof, &b",p="[..], proof.as_bytes()].concat();
        Ok((
            ServerFinal {
                expected: signature_of(&keys.server, &exchange),
            },
            message,
        ))
    }
}

fn signature_of(server: &ServerKey, exchange: &[u8]) -> keys::Bytes {
    keys::sign(server.bytes(), &[exchange])
}

/// Has sent the proof and waits for the server's own.
pub struct ServerFinal {
    expected: keys::Bytes,
}

impl ServerFinal {
    /// Takes the data of AuthenticationSASLFinal: only with `Ok` is the server known to be the right one.
    pub fn verify(self, data: &[u8]) -> Result<(), ClientError> {
        let mut attributes = Attributes::new(data)?;
        let value = match attributes.any()? {
            (b'v', value) => value,
            (b'e', reason) => {
                return Err(ClientError::Refused {
                    reason: printable(reason),
                });
            }
            _ => return Err(MessageError::Attribute { expected: b'v' }.into()),
        };
        attributes.skip_extensions()?;
        let signature = read_key(value).ok_or(MessageError::Value { attribute: b'v' })?;
        match bool::from(signature.ct_eq(&self.expected)) {
            true => Ok(()),
            false => Err(ClientError::Signature),
        }
    }
}

/// A stranger's words for our log: short, and nothing that could forge a line.
fn printable(text: &[u8]) -> String {
    let shown = text.iter().take(100).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3. Its client names a user, which ours never does, so the state is made by hand.
    #[test]
    fn the_example_of_rfc_7677_is_answered() {
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let message = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let client = ScramClient {
            nonce: "rOprNGfwEbeRWgbNEkqO".into(),
        };
        assert_eq!(client.client_first(), b"n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        let mut state = client.server_first(message.as_bytes()).unwrap();
        state.client_first_bare = b"n=user,r=rOprNGfwEbeRWgbNEkqO".to_vec();

        let keys = keys::derive_with_pbkdf2(b"pencil", state.salt(), state.iterations());
        let (last, answer) = state.finish(&keys).unwrap();
        let expected = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(answer, expected.as_bytes());
        assert_eq!(
            last.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
            Ok(())
        );
    }
}
