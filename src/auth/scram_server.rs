//! SCRAM-SHA-256 towards a client: two states, each consumed by the message it waits for.
//! The exchange is the same whether or not the user exists. No channel binding yet (that needs TLS).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroize;

use super::failed::password_failed;
use super::keys::{self, ClientKey, SaltedKeys, ServerKey, StoredKey};
use super::scram_message::{
    Attributes, MECHANISM, MessageError, NONCE_BYTES, is_nonce, split_at_comma,
};
use super::verifier::{SALT_BYTES, Verifier, read_key};
use crate::protocol::{ErrorReport, SqlState};

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It chose a mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism, offered was {MECHANISM}")]
    Mechanism,
    /// Its message cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It binds to a TLS channel although the mechanism it chose does not.
    #[error(
        "malformed SCRAM message: {MECHANISM} was chosen, but the message demands channel binding"
    )]
    ChannelBinding,
    /// Its second message contradicts its first about channel binding.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    ChannelBindingChanged,
    /// It wants to act as somebody else.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// It demands an extension.
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    /// It answers to another challenge.
    #[error("invalid SCRAM response: nonce does not match")]
    Nonce,
    /// It does not know the password, or the user does not exist.
    #[error("the SCRAM proof does not match")]
    Proof,
}

impl ServerError {
    /// The code PostgreSQL uses for this cause.
    #[must_use]
    pub const fn sqlstate(&self) -> SqlState {
        match self {
            ServerError::Proof => SqlState::INVALID_PASSWORD,
            ServerError::AuthorizationIdentity | ServerError::Extension => {
                SqlState::FEATURE_NOT_SUPPORTED
            }
            _ => SqlState::PROTOCOL_VIOLATION,
        }
    }

    /// Report that the client reads before the connection ends.
    #[must_use]
    pub fn report(&self, user: &[u8]) -> ErrorReport {
        match self {
            ServerError::Proof => password_failed(user),
            other => ErrorReport::fatal(other.sqlstate(), other.to_string()),
        }
    }
}

/// A random secret of this process, from which verifiers of users that do not exist are made up.
pub struct MockSecret([u8; 32]);

impl MockSecret {
    /// Takes 32 random bytes, drawn once per process.
    #[must_use]
    pub const fn new(random: [u8; 32]) -> MockSecret {
        MockSecret(random)
    }

    /// A number for this name, always the same one, that a stranger cannot foretell.
    #[must_use]
    pub fn number(&self, user: &[u8]) -> u64 {
        let bytes = keys::sign(&self.0, &[b"number", user]);
        bytes
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A verifier for this name that no password matches; the same name always gets the same salt.
    fn verifier(&self, user: &[u8], iterations: u32) -> Verifier {
        let salt = keys::sign(&self.0, &[b"salt", user]);
        Verifier {
            iterations,
            salt: salt.iter().copied().take(SALT_BYTES).collect(),
            stored: StoredKey::new(keys::sign(&self.0, &[b"stored", user])),
            server: ServerKey::new(keys::sign(&self.0, &[b"server", user])),
        }
    }
}

impl Drop for MockSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for MockSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockSecret(..)")
    }
}

/// Verifier that a client's proof is checked against; a made-up one for a user who cannot log in.
#[derive(Clone, Debug)]
pub struct Credentials {
    verifier: Verifier,
    doomed: bool,
}

impl Credentials {
    /// Of a user with a verifier.
    #[must_use]
    pub const fn of(verifier: Verifier) -> Credentials {
        Credentials {
            verifier,
            doomed: false,
        }
    }

    /// Of a user that does not exist or has no password. The exchange runs as any other and fails at its end.
    /// `iterations` should be what real verifiers here have, or a stranger could tell them apart.
    #[must_use]
    pub fn mock(secret: &MockSecret, user: &[u8], iterations: u32) -> Credentials {
        Credentials {
            verifier: secret.verifier(user, iterations),
            doomed: true,
        }
    }
}

/// Waits for the client's first message.
#[derive(Debug)]
pub struct ScramServer {
    credentials: Credentials,
}

impl ScramServer {
    /// Begins after AuthenticationSASL has been sent.
    #[must_use]
    pub const fn new(credentials: Credentials) -> ScramServer {
        ScramServer { credentials }
    }

    /// Takes mechanism and data of the SASLInitialResponse (no data are as good as empty data, which is refused)
    /// and fresh random bytes; gives the data of AuthenticationSASLContinue.
    pub fn client_first(
        self,
        mechanism: &[u8],
        data: &[u8],
        random: [u8; NONCE_BYTES],
    ) -> Result<(Challenge, Vec<u8>), ServerError> {
        if mechanism != MECHANISM.as_bytes() {
            return Err(ServerError::Mechanism);
        }
        let first = ClientFirst::read(data)?;
        let mut nonce = first.nonce.to_vec();
        nonce.extend(BASE64_STANDARD.encode(random).bytes());
        let message = server_first(&nonce, &self.credentials.verifier);
        let challenge = Challenge {
            credentials: self.credentials,
            channel_binding: first.channel_binding,
            client_first_bare: first.bare.to_vec(),
            server_first: message.clone(),
            nonce,
        };
        Ok((challenge, message))
    }
}

fn server_first(nonce: &[u8], verifier: &Verifier) -> Vec<u8> {
    let salt = BASE64_STANDARD.encode(&verifier.salt);
    let tail = format!(",s={salt},i={}", verifier.iterations);
    [b"r=", nonce, tail.as_bytes()].concat()
}

/// The client's first message, taken apart.
struct ClientFirst<'a> {
    /// Value that its second message must have in `c=`, in base64.
    channel_binding: &'static [u8],
    bare: &'a [u8],
    nonce: &'a [u8],
}

impl<'a> ClientFirst<'a> {
    fn read(message: &'a [u8]) -> Result<ClientFirst<'a>, ServerError> {
        let (flag, rest) = split_at_comma(message);
        let channel_binding = channel_binding(flag)?;
        let (identity, bare) = split_at_comma(rest);
        match identity {
            [] => {}
            [b'a', ..] => return Err(ServerError::AuthorizationIdentity),
            _ => return Err(MessageError::NoAttribute.into()),
        }
        if bare.first() == Some(&b'm') {
            return Err(ServerError::Extension);
        }
        let mut attributes = Attributes::new(bare)?;
        // The name here is ignored, as PostgreSQL does: the one in the startup packet counts.
        attributes.expect(b'n')?;
        let nonce = attributes.expect(b'r')?;
        attributes.skip_extensions()?;
        if !is_nonce(nonce) {
            return Err(MessageError::Value { attribute: b'r' }.into());
        }
        Ok(ClientFirst {
            channel_binding,
            bare,
            nonce,
        })
    }
}

/// The GS2 header in base64, for the flags we accept: the client cannot bind, or thinks that we cannot.
fn channel_binding(flag: &[u8]) -> Result<&'static [u8], ServerError> {
    match flag {
        b"n" => Ok(b"biws"),
        b"y" => Ok(b"eSws"),
        [b'p', ..] => Err(ServerError::ChannelBinding),
        b"" => Err(MessageError::Empty.into()),
        _ => Err(MessageError::NoAttribute.into()),
    }
}

/// Waits for the client's proof.
#[derive(Debug)]
pub struct Challenge {
    credentials: Credentials,
    channel_binding: &'static [u8],
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    nonce: Vec<u8>,
}

/// The client knows the password.
#[derive(Debug)]
pub struct Proven {
    /// Data of AuthenticationSASLFinal.
    pub server_final: Vec<u8>,
    /// The keys, with the client key recovered from the proof: they open servers with the same verifier.
    pub keys: SaltedKeys,
}

impl Challenge {
    /// Takes the data of the SASLResponse.
    pub fn client_final(self, data: &[u8]) -> Result<Proven, ServerError> {
        let last = ClientFinal::read(data)?;
        if last.channel_binding != self.channel_binding {
            return Err(ServerError::ChannelBindingChanged);
        }
        if last.nonce != self.nonce {
            return Err(ServerError::Nonce);
        }
        let Verifier {
            iterations,
            salt,
            stored,
            server,
        } = self.credentials.verifier;
        let exchange: [&[u8]; 5] = [
            &self.client_first_bare,
            b",",
            &self.server_first,
            b",",
            last.without_proof,
        ];
        let signature = keys::sign(stored.bytes(), &exchange);
        let client = ClientKey::new(keys::xor(&last.proof, &signature));
        // Both are computed before either is looked at, so that a made-up user costs as much time as a real one.
        let matches = client.stored() == stored;
        let server_signature = BASE64_STANDARD.encode(keys::sign(server.bytes(), &exchange));
        if !matches || self.credentials.doomed {
            return Err(ServerError::Proof);
        }
        let keys = SaltedKeys {
            salt,
            iterations,
            client,
            server,
        };
        Ok(Proven {
            server_final: format!("v={server_signature}").into_bytes(),
            keys,
        })
    }
}

/// The client's second message, taken apart.
struct ClientFinal<'a> {
    channel_binding: &'a [u8],
    nonce: &'a [u8],
    without_proof: &'a [u8],
    proof: keys::Bytes,
}

impl<'a> ClientFinal<'a> {
    fn read(message: &'a [u8]) -> Result<ClientFinal<'a>, MessageError> {
        let mut attributes = Attributes::new(message)?;
        let channel_binding = attributes.expect(b'c')?;
        let nonce = attributes.expect(b'r')?;
        let (without_proof, proof) = read_proof(message, &mut attributes)?;
        if attributes.remaining() > 0 {
            return Err(MessageError::Garbage);
        }
        let proof = read_key(proof).ok_or(MessageError::Value { attribute: b'p' })?;
        Ok(ClientFinal {
            channel_binding,
            nonce,
            without_proof,
            proof,
        })
    }
}

/// Skips extensions up to the proof; gives what stands before it (without its comma) and its value.
fn read_proof<'a>(
    message: &'a [u8],
    attributes: &mut Attributes<'a>,
) -> Result<(&'a [u8], &'a [u8]), MessageError> {
    loop {
        let before = message.len() - attributes.remaining();
        if let (b'p', proof) = attributes.any()? {
            let without_proof = message.get(..before.saturating_sub(1)).unwrap_or_default();
            return Ok((without_proof, proof));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    /// The example of RFC 7677, section 3. Its server nonce is not base64, so the state is made by hand.
    fn example(doomed: bool) -> (SaltedKeys, Result<Proven, ServerError>) {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = keys::derive_with_pbkdf2(b"pencil", &salt, 4096);
        let verifier = Verifier::of(&keys);
        let server_first = server_first(SERVER_NONCE.as_bytes(), &verifier);
        let expected = format!("r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert_eq!(server_first, expected.as_bytes());

        let first = ClientFirst::read(FIRST).unwrap();
        let challenge = Challenge {
            credentials: Credentials { verifier, doomed },
            channel_binding: first.channel_binding,
            client_first_bare: first.bare.to_vec(),
            server_first,
            nonce: SERVER_NONCE.into(),
        };
        let last =
            format!("c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        (keys, challenge.client_final(last.as_bytes()))
    }

    #[test]
    fn the_example_of_rfc_7677_is_proven() {
        let (keys, result) = example(false);
        let proven = result.unwrap();
        assert_eq!(
            proven.server_final,
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        assert_eq!(proven.keys, keys);
    }

    #[test]
    fn a_doomed_exchange_fails_even_with_the_right_proof() {
        assert_eq!(example(true).1.unwrap_err(), ServerError::Proof);
    }
}
