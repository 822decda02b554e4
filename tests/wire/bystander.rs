//! A proxy with a mock server behind it, and a session that works on while others misbehave. Owns no test.

use std::{
    io::{ErrorKind, Write},
    time::Duration,
};

use crate::support::{
    PATIENCE,
    message::*,
    mock::{Backend, Backends, MockServer},
    peer::{Client, Wire},
    proxy::{Config, Proxy},
};

/// How long a peer must refuse bytes to count as stalled. On a busy machine it may be called so too early,
/// which makes a test weaker, never wrong.
const STALL: Duration = Duration::from_millis(200);

/// pgring in front of a mock server that lets everyone in.
pub(crate) struct Stage {
    pub(crate) proxy: Proxy,
    pub(crate) server: Backends,
}

impl Stage {
    /// Clients are trusted, transaction mode.
    pub(crate) fn set() -> Self {
        Self::set_with(|config| config)
    }

    pub(crate) fn set_with(change: impl FnOnce(Config) -> Config) -> Self {
        let server = MockServer::bind().log_in_everyone();
        let proxy = Proxy::start(&change(Config::trust(server.address())));
        Self { proxy, server }
    }

    /// A client that has logged in as `app`.
    pub(crate) fn client(&self) -> Client {
        self.proxy.client()
    }

    /// The server connection over which this client's first statement goes, which is answered.
    pub(crate) fn server_of(&self, client: &mut Client) -> Backend {
        client.send(query("SELECT 1"));
        let mut backend = self.server.expect(query("SELECT 1"));
        backend.answer(one_value("1"));
        client.expect("T D C Z");
        backend
    }

    /// A client inside a transaction, and the server connection it holds.
    pub(crate) fn in_transaction(&self) -> (Client, Backend) {
        let mut client = self.client();
        client.send(query("BEGIN;SELECT 1"));
        let mut backend = self.server.expect(query("BEGIN;SELECT 1"));
        backend.answer(all([command_complete("BEGIN"), ready_in_transaction()]));
        client.expect("C Z");
        (client, backend)
    }

    /// A session that keeps its own server connection by staying in a transaction.
    pub(crate) fn bystander(&self) -> Bystander {
        let (client, backend) = self.in_transaction();
        Bystander { client, backend }
    }
}

/// Somebody who must not be disturbed.
pub(crate) struct Bystander {
    client: Client,
    backend: Backend,
}

impl Bystander {
    /// One round trip.
    pub(crate) fn works_on(&mut self) {
        self.client.send(query("SELECT 'bystander'"));
        self.backend.expect_message(query("SELECT 'bystander'"));
        self.backend.answer(all([
            columns(&["value"]),
            row(&["bystander"]),
            command_complete("SELECT 1"),
            ready_in_transaction(),
        ]));
        self.client.expect("T D C Z");
    }
}

/// One round trip outside a transaction, over the server connection that `backend` is.
pub(crate) fn round_trip(client: &mut Client, backend: &mut Backend) {
    client.send(query("SELECT 1"));
    backend.expect_message(query("SELECT 1"));
    backend.answer(one_value("1"));
    client.expect("T D C Z");
}

/// Sends `bytes` again and again, `total` in all, until the peer takes no more; how many it took.
pub(crate) fn send_until_stalled(wire: &Wire, bytes: &[u8], total: usize) -> usize {
    let mut stream = wire.stream();
    stream.set_write_timeout(Some(STALL)).unwrap();
    let mut sent = 0;
    while sent < total {
        match stream.write(&bytes[sent % bytes.len()..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => wire.fail(&format!("sending failed: {error}")),
        }
    }
    // Whoever was kept waiting for so long is not told of room at once.
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}
