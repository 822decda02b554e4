//! A TCP port for a server that is about to start. Never keeps the port itself.

use std::net::{Ipv4Addr, TcpListener};

use super::error::Error;

/// First port given out: below are the well-known ones.
const PORT_MIN: u16 = 10_000;

/// Ports from here on are the kernel's to hand to outgoing connections (`ip_local_port_range`). A client
/// that keeps connecting to such a port while its server is down can end up connected to itself.
const PORT_END: u16 = 32_768;

/// Ports tried before giving up.
const TRIES: u32 = 200;

/// A port of 127.0.0.1 that nothing listens on, chosen at random so that parallel tests do not meet.
pub fn free_port() -> Result<u16, Error> {
    for _ in 0..TRIES {
        let port = random_port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::NoPort { tried: TRIES })
}

/// Evenly enough distributed: the range is a third of what two bytes hold.
fn random_port() -> u16 {
    let chance = getrandom::u32().expect("the system has random numbers") as u16;
    PORT_MIN + chance % (PORT_END - PORT_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_not_the_kernels() {
        let port = free_port().unwrap();
        assert!((PORT_MIN..PORT_END).contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
