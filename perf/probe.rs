//! Owns the question "does this proxy answer yet?": one login and one query over a plain socket. It judges no answer.

use crate::{
    frames::{Scanner, put, put_text},
    messages::startup_packet,
    script::TERMINATE,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

/// How long a login or a query of the probe may take; a proxy that is still starting is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether `user` can log in at `address` and gets an answer without an error.
pub(crate) fn answers(address: SocketAddrV4, user: &str) -> bool {
    conversation(address, user).unwrap_or(false)
}

fn conversation(address: SocketAddrV4, user: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&startup_packet(user, user))?;
    let mut query = Vec::new();
    put(&mut query, b'Q', |b| put_text(b, b"SELECT 1"));
    let logged_in = until_ready(&mut stream)?;
    stream.write_all(&query)?;
    let answered = until_ready(&mut stream)?;
    stream.write_all(TERMINATE)?;
    Ok(logged_in && answered)
}

/// Reads up to ReadyForQuery; false on an error or when the stream ends first.
fn until_ready(stream: &mut TcpStream) -> std::io::Result<bool> {
    let (mut scanner, mut bytes) = (Scanner::default(), [0; 4096]);
    let (mut ready, mut failed) = (false, false);
    while !ready && !failed {
        let length = stream.read(&mut bytes)?;
        let scanned = scanner.scan(&bytes[..length], |tag, _| {
            ready |= tag == b'Z';
            failed |= tag == b'E';
        });
        failed |= length == 0 || scanned.is_err();
    }
    Ok(ready && !failed)
}
