//! Logging in at a server: startup packet, authentication, what the server says of itself.
//! Never retries, never sets a time limit: its caller does.

use std::{io, rc::Rc, sync::Arc};

use super::wire::{Wire, WireError};
use crate::{
    auth::{ClientError, NONCE_BYTES, SaltedKeys, ScramClient},
    cluster::{snapshot::User, welcome::Welcome},
    limits::LOGIN_MESSAGE_BYTES_MAX,
    net::{Address, Reactor, Stream},
    protocol::{
        ProtocolError, SqlState, Writer,
        backend::{Authentication, BackendKeyData, ErrorFields, ParameterStatus},
        startup::ProtocolVersion,
        tag::backend,
    },
    random,
};

/// Why a server connection could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The server said no.
    #[error("the server refused: {}", message_of(.0))]
    Refused(Rc<[u8]>),
    /// It cannot be reached.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// Which server.
        address: String,
        /// Why.
        reason: String,
    },
    /// It does not answer in time.
    #[error("{0} did not complete the login in time")]
    TooSlow(String),
    /// It spoke out of turn, or closed.
    #[error("login at {address} failed: {reason}")]
    Broken {
        /// Which server.
        address: String,
        /// Why.
        reason: String,
    },
    /// It asks for what we do not have.
    #[error(
        "the server asks for {0}, and [[user]] has none that fits: give server_password in plain text"
    )]
    NoPassword(&'static str),
}

fn message_of(body: &[u8]) -> String {
    match ErrorFields::read(body) {
        Ok(fields) => String::from_utf8_lossy(fields.message()).into_owned(),
        Err(_) => "an unreadable error".to_owned(),
    }
}

impl LoginError {
    /// True when the same attempt may succeed later without anybody's doing here.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(body) => {
                let sqlstate = ErrorFields::read(body)
                    .ok()
                    .and_then(|fields| fields.sqlstate());
                sqlstate.is_some_and(|code| matches!(&code.class(), b"53" | b"57"))
            }
            Self::NoPassword(_) => false,
            Self::Unreachable { .. } | Self::TooSlow(_) | Self::Broken { .. } => true,
        }
    }

    /// SQLSTATE of the server's refusal; `None` when it is no refusal of a server.
    pub(crate) fn sqlstate(&self) -> Option<SqlState> {
        match self {
            Self::Refused(body) => ErrorFields::read(body).ok()?.sqlstate(),
            _ => None,
        }
    }
}

/// Role that logs in, and its database.
pub(crate) struct Identity<'a> {
    /// Name of the role.
    pub(crate) name: &'a str,
    /// Name of the database on the server.
    pub(crate) database: &'a str,
    /// Secrets that it can prove itself with; none without.
    pub(crate) user: Option<&'a User>,
    /// Settings for the connection.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

/// A connection that is logged in.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// Process id and cancel key.
    pub(crate) key: (i32, Box<[u8]>),
    /// Parameters that the server reported.
    pub(crate) welcome: Welcome,
}

/// Connects and logs in. `derive` runs PBKDF2 (password, salt, rounds) somewhere else; `None` when it cannot.
pub(crate) async fn open(
    reactor: &Reactor,
    address: &Address,
    identity: &Identity<'_>,
    derive: impl AsyncFn(String, Vec<u8>, u32) -> Option<Arc<SaltedKeys>>,
) -> Result<Opened, LoginError> {
    let unreachable = |error: io::Error| LoginError::Unreachable {
        address: address.to_string(),
        reason: error.to_string(),
    };
    let stream = reactor.connect(address).await.map_err(unreachable)?;
    let who = [("user", identity.name), ("database", identity.database)];
    let parameters = who.iter().chain(identity.settings).copied();
    let mut packet = Vec::new();
    let written = Writer::new(&mut packet).startup(ProtocolVersion::V3_0, parameters);
    written.map_err(|error| LoginError::Broken {
        address: address.to_string(),
        reason: error.to_string(),
    })?;
    stream.send(packet.into());
    let login = Login {
        identity,
        derive,
        stream: &stream,
        wire: Wire::new(&stream),
    };
    let (key, welcome) = login.run().await.map_err(|failure| failure.at(address))?;
    Ok(Opened {
        stream,
        key,
        welcome,
    })
}

/// A login in progress.
struct Login<'a, D> {
    identity: &'a Identity<'a>,
    derive: D,
    stream: &'a Stream,
    wire: Wire<'a>,
}

/// Why it stopped.
enum Failure {
    Refused(Vec<u8>),
    Wire(WireError),
    NoPassword(&'static str),
    Scram(ClientError),
    Unexpected(&'static str),
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        Self::Wire(error.into())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Scram(error)
    }
}

impl Failure {
    fn at(self, address: &Address) -> LoginError {
        let reason = match self {
            Self::Refused(body) => return LoginError::Refused(body.into()),
            Self::NoPassword(what) => return LoginError::NoPassword(what),
            Self::Wire(error) => error.to_string(),
            Self::Scram(error) => error.to_string(),
            Self::Unexpected(what) => format!("the server sent {what}"),
        };
        LoginError::Broken {
            address: address.to_string(),
            reason,
        }
    }
}

/// Proof that the server asks for next.
enum Asked {
    Nothing,
    Cleartext,
    Md5([u8; 4]),
    Scram,
}

impl<D: AsyncFn(String, Vec<u8>, u32) -> Option<Arc<SaltedKeys>>> Login<'_, D> {
    async fn run(mut self) -> Result<((i32, Box<[u8]>), Welcome), Failure> {
        self.authenticate().await?;
        let mut welcome = Welcome::default();
        let mut key = (0, Box::default());
        loop {
            let ready = self
                .wire
                .message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                    backend::PARAMETER_STATUS => ParameterStatus::read(body)
                        .map(|status| {
                            welcome.report(status);
                            false
                        })
                        .map_err(Failure::from),
                    backend::BACKEND_KEY_DATA => BackendKeyData::read(body)
                        .map(|data| {
                            key = (data.process_id, data.key.into());
                            false
                        })
                        .map_err(Failure::from),
                    backend::READY_FOR_QUERY => Ok(true),
                    backend::ERROR_RESPONSE => Err(Failure::Refused(body.to_vec())),
                    backend::NOTICE_RESPONSE | backend::NEGOTIATE_VERSION => Ok(false),
                    _ => Err(Failure::Unexpected("an unknown message during login")),
                });
            if ready.await?? {
                return Ok((key, welcome));
            }
        }
    }

    async fn authenticate(&mut self) -> Result<(), Failure> {
        loop {
            let asked = self
                .wire
                .message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                    backend::AUTHENTICATION => what_is_asked(body),
                    backend::ERROR_RESPONSE => Err(Failure::Refused(body.to_vec())),
                    backend::NOTICE_RESPONSE | backend::NEGOTIATE_VERSION => Ok(None),
                    _ => Err(Failure::Unexpected("no authentication request")),
                });
            match asked.await?? {
                None => {}
                Some(Asked::Nothing) => return Ok(()),
                Some(Asked::Cleartext) => self.answer_cleartext()?,
                Some(Asked::Md5(salt)) => self.answer_md5(salt)?,
                Some(Asked::Scram) => self.answer_scram().await?,
            }
        }
    }

    fn send(
        &self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), ProtocolError>,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out))?;
        self.stream.send(out.into());
        Ok(())
    }

    fn answer_cleartext(&self) -> Result<(), Failure> {
        let password = self.identity.user.and_then(|user| user.server_password());
        let password = password.ok_or(Failure::NoPassword("a password"))?;
        self.send(|writer| writer.password(password))
    }

    fn answer_md5(&self, salt: [u8; 4]) -> Result<(), Failure> {
        let hash = self.identity.user.and_then(|user| user.server_md5());
        let hash = hash.ok_or(Failure::NoPassword("an md5 password"))?;
        self.send(|writer| writer.password(hash.answer(salt)))
    }

    async fn answer_scram(&mut self) -> Result<(), Failure> {
        let mut nonce = [0; NONCE_BYTES];
        random::fill(&mut nonce);
        let client = ScramClient::new(nonce);
        let first = client.client_first();
        self.send(|writer| writer.sasl_initial_response(crate::auth::MECHANISM, Some(&first)))?;
        let data = self.sasl(|authentication| match authentication {
            Authentication::SaslContinue { data } => Some(data.to_vec()),
            _ => None,
        });
        let server_first = client.server_first(&data.await?)?;
        let keys = self
            .keys(server_first.salt(), server_first.iterations())
            .await?;
        let (server_final, answer) = server_first.finish(&keys)?;
        self.send(|writer| {
            writer.sasl_response(&answer);
            Ok(())
        })?;
        let data = self.sasl(|authentication| match authentication {
            Authentication::SaslFinal { data } => Some(data.to_vec()),
            _ => None,
        });
        let data = data.await?;
        server_final.verify(&data)?;
        if let Some(user) = self.identity.user {
            user.keys.store(Some(keys));
        }
        Ok(())
    }

    async fn sasl(
        &mut self,
        pick: impl FnOnce(Authentication<'_>) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Failure> {
        let picked = self
            .wire
            .message(LOGIN_MESSAGE_BYTES_MAX, |tag, body| match tag {
                backend::AUTHENTICATION => Ok(pick(Authentication::read(body)?)),
                backend::ERROR_RESPONSE => Err(Failure::Refused(body.to_vec())),
                _ => Ok(None),
            });
        picked
            .await??
            .ok_or(Failure::Unexpected("an answer that is not part of SCRAM"))
    }

    /// Keys for the server's salt: learned before, or derived on another core.
    async fn keys(&self, salt: &[u8], iterations: u32) -> Result<Arc<SaltedKeys>, Failure> {
        let none = Failure::NoPassword("a SCRAM password");
        let Some(user) = self.identity.user else {
            return Err(none);
        };
        if let Some(keys) = user
            .keys
            .load_full()
            .filter(|keys| keys.fit(salt, iterations))
        {
            return Ok(keys);
        }
        let Some(password) = user.server_password() else {
            return Err(none);
        };
        tracing::debug!(user = self.identity.name, iterations, "deriving SCRAM keys");
        (self.derive)(password.to_owned(), salt.to_vec(), iterations)
            .await
            .ok_or(none)
    }
}

/// The request in an Authentication message, if it is one that is answered.
fn what_is_asked(body: &[u8]) -> Result<Option<Asked>, Failure> {
    match Authentication::read(body)? {
        Authentication::Ok => Ok(Some(Asked::Nothing)),
        Authentication::Cleartext => Ok(Some(Asked::Cleartext)),
        Authentication::Md5 { salt } => Ok(Some(Asked::Md5(salt))),
        Authentication::Sasl { mut mechanisms } => {
            let known = mechanisms.any(|mechanism| mechanism == crate::auth::MECHANISM.as_bytes());
            if known {
                Ok(Some(Asked::Scram))
            } else {
                Err(Failure::Unexpected("no SASL mechanism we know"))
            }
        }
        _ => Err(Failure::Unexpected(
            "an authentication request we do not know (GSSAPI, SSPI, ...)",
        )),
    }
}
