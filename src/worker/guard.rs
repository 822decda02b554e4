//! Authentication of a client: what it is asked, and whether the answer proves who it is. Never looks at a server.

use std::sync::Arc;

use super::{core::Worker, refused::Refused};
use crate::{
    auth::{self, Credentials, NONCE_BYTES, ScramServer},
    cluster::{
        settings::AuthMethod,
        snapshot::{Snapshot, User},
    },
    limits::AUTHENTICATION_BYTES_MAX,
    link::wire::{Wire, WireError},
    net::Stream,
    protocol::{
        ErrorReport, SqlState, Writer,
        frontend::{Password, SaslInitialResponse, SaslResponse},
        tag::frontend,
    },
    random,
};

/// Authenticates one client.
pub(super) struct Guard<'a, 'w> {
    pub(super) worker: &'a Worker,
    pub(super) snapshot: &'a Snapshot,
    pub(super) user: &'a str,
    pub(super) stream: &'a Stream,
    pub(super) wire: &'a mut Wire<'w>,
}

impl Guard<'_, '_> {
    /// Ends well when the client is who it says.
    pub(super) async fn authenticate(mut self) -> Result<(), Refused> {
        let user = self.snapshot.users.get(self.user).cloned();
        let auth = &self.snapshot.settings.auth;
        let like = user.clone().or_else(|| self.decoy());
        match auth.method {
            AuthMethod::Trust if user.is_some() || auth.unknown_users => {}
            AuthMethod::Trust => return Err(unknown_user(self.user).into()),
            AuthMethod::Md5 if like.as_ref().is_none_or(|like| like.md5.is_some()) => {
                self.ask_md5(user.as_deref()).await?;
            }
            AuthMethod::Md5 | AuthMethod::ScramSha256 => {
                let verifier = like.as_ref().and_then(|like| like.verifier.as_ref());
                let iterations = verifier.map_or(auth::ITERATIONS, |verifier| verifier.iterations);
                self.ask_scram(user.as_deref(), iterations).await?;
            }
        }
        self.send(|writer| {
            writer.authentication_ok();
        });
        Ok(())
    }

    /// A user whom a name that nobody has resembles to who tries to log in: always the same one, so that what is asked
    /// does not tell which names there are.
    fn decoy(&self) -> Option<Arc<User>> {
        let users = &self.snapshot.users;
        let number = self.worker.shared.mock_secret.number(self.user.as_bytes());
        let place = number.checked_rem(users.len() as u64)? as usize;
        let mut names: Vec<_> = users.keys().collect();
        let (_, name, _) = names.select_nth_unstable(place);
        users.get(*name).cloned()
    }

    fn send(&self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        self.stream.send(out.into());
    }

    fn failed(&self) -> Refused {
        auth::password_failed(self.user.as_bytes()).into()
    }

    /// The body of the next password message.
    async fn answer(&mut self) -> Result<Vec<u8>, Refused> {
        let answer = self
            .wire
            .message(AUTHENTICATION_BYTES_MAX, |tag, body| match tag {
                frontend::PASSWORD => Ok(body.to_vec()),
                _ => Err(ErrorReport::fatal(
                    SqlState::PROTOCOL_VIOLATION,
                    format!("expected password response, got message type {tag}"),
                )),
            });
        Ok(answer.await??)
    }

    async fn ask_md5(&mut self, user: Option<&User>) -> Result<(), Refused> {
        let mut salt = [0; 4];
        random::fill(&mut salt);
        self.send(|writer| {
            writer.authentication_md5(salt);
        });
        let body = self.answer().await?;
        let answer = Password::read(&body).map_err(WireError::from)?.password;
        let known = user.and_then(|user| user.md5.as_ref());
        match known.is_some_and(|hash| hash.check(salt, answer)) {
            true => Ok(()),
            false => Err(self.failed()),
        }
    }

    /// `iterations`: those of a user whom there is not.
    async fn ask_scram(&mut self, user: Option<&User>, iterations: u32) -> Result<(), Refused> {
        self.send(|writer| {
            writer.authentication_sasl([auth::MECHANISM]);
        });
        let verifier = user.and_then(|user| user.verifier.clone());
        let credentials = match verifier {
            Some(verifier) => Credentials::of(verifier),
            None => Credentials::mock(
                &self.worker.shared.mock_secret,
                self.user.as_bytes(),
                iterations,
            ),
        };
        let body = self.answer().await?;
        let first = SaslInitialResponse::read(&body).map_err(WireError::from)?;
        let mut nonce = [0; NONCE_BYTES];
        random::fill(&mut nonce);
        let scram = ScramServer::new(credentials);
        let challenged = scram.client_first(first.mechanism, first.data.unwrap_or_default(), nonce);
        let (challenge, data) = challenged.map_err(|error| error.report(self.user.as_bytes()))?;
        self.send(|writer| {
            writer.authentication_sasl_continue(&data);
        });
        let body = self.answer().await?;
        let proven = challenge.client_final(SaslResponse::read(&body).data);
        let proven = proven.map_err(|error| error.report(self.user.as_bytes()))?;
        self.send(|writer| {
            writer.authentication_sasl_final(&proven.server_final);
        });
        if let Some(user) = user.filter(|user| user.keys.load().is_none()) {
            // A server with the same verifier accepts these keys, so pgring needs no password of its own.
            user.keys.store(Some(Arc::new(proven.keys)));
        }
        Ok(())
    }
}

/// A name that no `[[user]]` section has, with `method = "trust"`.
fn unknown_user(name: &str) -> ErrorReport {
    ErrorReport::fatal(
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        format!("no [[user]] section names \"{name}\""),
    )
    .with_hint("unknown_users = true in [auth] lets in every name that the servers know.")
}
