//! Where clients come in and where servers are: addresses, host names, socket folders.
//! Resolves host names, and so may wait for the network; opens nothing.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    path::{Path, PathBuf},
};

use toml::de::DeValue;

use super::{
    error::Wrong,
    form::{Form, text},
};
use crate::cluster::settings::NodeAddress;

/// PostgreSQL's own port.
const SERVER_PORT: u16 = 5432;

/// Longest path of a Unix socket, in bytes (`sun_path` without its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// One entry of `addresses`; `*` and host names can stand for several addresses.
pub(super) struct ListenAddress;

impl Form for ListenAddress {
    type Value = Vec<SocketAddr>;

    fn allowed(&self) -> String {
        "\"127.0.0.1:6432\", \"[::1]:6432\", \"localhost:6432\", or \"*:6432\" for every interface"
            .to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<Self::Value, Wrong> {
        match host_and_port(text(value)?)? {
            (Host::Literal(address), _) => Ok(vec![address]),
            (Host::Name("*"), port) => Ok(usable(vec![
                (Ipv4Addr::UNSPECIFIED, port).into(),
                (Ipv6Addr::UNSPECIFIED, port).into(),
            ])),
            (Host::Name(name), port) => resolve(name, port).map(usable),
        }
    }
}

/// `address` of a node: `host:port`, or a folder with a Unix socket.
pub(super) struct ServerAddress;

impl Form for ServerAddress {
    type Value = NodeAddress;

    fn allowed(&self) -> String {
        "\"host:port\" with a name, an IPv4 or an [IPv6] address, or the absolute path of a socket \
         folder such as \"/run/postgresql\" or \"/run/postgresql:5433\""
            .to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<NodeAddress, Wrong> {
        let address = text(value)?;
        if address.starts_with('/') {
            return socket_path(address).map(NodeAddress::Unix);
        }
        match host_and_port(address)? {
            (Host::Literal(address), _) => Ok(NodeAddress::Tcp(address)),
            (Host::Name(name), port) => resolve(name, port).and_then(first).map(NodeAddress::Tcp),
        }
    }
}

/// An absolute folder for our own Unix socket.
pub(super) struct SocketFolder;

impl Form for SocketFolder {
    type Value = PathBuf;

    fn allowed(&self) -> String {
        "the absolute path of a folder, short enough for a socket in it (107 bytes)".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
        let folder = text(value)?;
        // The longest port that `[listen]` can name.
        socket_in(folder, u16::MAX)?;
        Ok(folder.into())
    }
}

/// A file that pgring writes.
pub(super) struct AbsoluteFile;

impl Form for AbsoluteFile {
    type Value = PathBuf;

    fn allowed(&self) -> String {
        "the absolute path of a file in a folder that pgring may write to".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
        let path = Path::new(text(value)?);
        match path {
            _ if !path.is_absolute() => Err(Wrong::NotAbsolute),
            _ if path.as_os_str().as_encoded_bytes().contains(&0) => Err(Wrong::Nul),
            _ if path.file_name().is_none() => Err(Wrong::Empty),
            _ => Ok(path.to_owned()),
        }
    }
}

/// Permission bits, as `chmod` writes them.
pub(super) struct Permissions;

impl Form for Permissions {
    type Value = u32;

    fn allowed(&self) -> String {
        "an octal number in quotes, from \"0000\" to \"0777\"".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<u32, Wrong> {
        let bits = u32::from_str_radix(text(value)?, 8).map_err(|_| Wrong::NotOctal)?;
        if bits > 0o777 {
            Err(Wrong::TooLarge)
        } else {
            Ok(bits)
        }
    }
}

enum Host<'t> {
    Literal(SocketAddr),
    Name(&'t str),
}

fn host_and_port(text: &str) -> Result<(Host<'_>, u16), Wrong> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Wrong::Brackets);
    }
    if text.ends_with(']') {
        return Err(Wrong::NoPort);
    }
    let (host, port) = text.rsplit_once(':').ok_or(Wrong::NoPort)?;
    let port = port_number(port)?;
    match host {
        "" => Err(Wrong::NoHost),
        _ if host.starts_with('[') => {
            let address: SocketAddrV6 = text.parse().map_err(|_| Wrong::Ipv6)?;
            Ok((Host::Literal(address.into()), port))
        }
        _ if host.contains(':') => Err(Wrong::Brackets),
        _ => Ok((named(host, port), port)),
    }
}

fn named(host: &str, port: u16) -> Host<'_> {
    match host.parse::<Ipv4Addr>() {
        Ok(address) => Host::Literal((address, port).into()),
        Err(_) => Host::Name(host),
    }
}

fn port_number(text: &str) -> Result<u16, Wrong> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(Wrong::Port),
    }
}

fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, Wrong> {
    match (name, port).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(Wrong::Unresolved(error.to_string())),
    }
}

/// One address of a server. IPv4 when it has both: servers that listen on IPv6 alone are rarer
/// than servers whose name has an IPv6 address on which they do not listen.
fn first(addresses: Vec<SocketAddr>) -> Result<SocketAddr, Wrong> {
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    let chosen = ipv4.or(addresses.first()).copied();
    chosen.ok_or_else(|| Wrong::Unresolved("it has no address".to_owned()))
}

/// Leaves out what was not asked for by number and cannot work: IPv6 on a machine without it.
fn usable(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) && !machine_has_ipv6() {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses
}

/// The kernel lists its IPv6 addresses there; the file is absent or empty when IPv6 is off.
fn machine_has_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|list| !list.is_empty())
}

/// The socket file for `folder` or `folder:port`.
fn socket_path(text: &str) -> Result<PathBuf, Wrong> {
    match text.rsplit_once(':') {
        Some((folder, port)) if !port.contains('/') => socket_in(folder, port_number(port)?),
        _ => socket_in(text, SERVER_PORT),
    }
}

fn socket_in(folder: &str, port: u16) -> Result<PathBuf, Wrong> {
    if folder.contains('\0') {
        return Err(Wrong::Nul);
    }
    if !folder.starts_with('/') {
        return Err(Wrong::NotAbsolute);
    }
    let path = Path::new(folder).join(format!(".s.PGSQL.{port}"));
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(Wrong::TooLong);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<F: Form>(form: &F, text: &str) -> Result<F::Value, Wrong> {
        form.read(&DeValue::String(text.into()))
    }

    fn listen(text: &str) -> Result<Vec<String>, Wrong> {
        let addresses = read(&ListenAddress, text)?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(listen("127.0.0.1:6432").unwrap(), ["127.0.0.1:6432"]);
        assert_eq!(listen("[::1]:6432").unwrap(), ["[::1]:6432"]);
        assert_eq!(listen("*:6432").unwrap()[0], "0.0.0.0:6432");
        assert!(
            listen("localhost:6432")
                .unwrap()
                .contains(&"127.0.0.1:6432".to_owned())
        );
    }

    #[test]
    fn wrong_addresses_say_why() {
        assert_eq!(listen("127.0.0.1"), Err(Wrong::NoPort));
        assert_eq!(listen("[::1]"), Err(Wrong::NoPort));
        assert_eq!(listen("::1"), Err(Wrong::Brackets));
        assert_eq!(listen("2001:db8::1:6432"), Err(Wrong::Brackets));
        assert_eq!(listen("[localhost]:6432"), Err(Wrong::Ipv6));
        assert_eq!(listen(":6432"), Err(Wrong::NoHost));
        assert_eq!(listen("localhost:"), Err(Wrong::Port));
        assert_eq!(listen("localhost:0"), Err(Wrong::Port));
        assert_eq!(listen("localhost:+1"), Err(Wrong::Port));
        assert_eq!(listen("localhost:65536"), Err(Wrong::Port));
    }

    #[test]
    fn a_name_nobody_knows_is_not_an_address() {
        let error = listen("no..such..host:6432").unwrap_err();
        assert!(matches!(error, Wrong::Unresolved(_)), "{error}");
    }

    #[test]
    fn a_node_is_an_address_or_a_folder() {
        let unix = |text| match read(&ServerAddress, text) {
            Ok(NodeAddress::Unix(path)) => path.display().to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(unix("/run/postgresql"), "/run/postgresql/.s.PGSQL.5432");
        assert_eq!(
            unix("/run/postgresql:5433"),
            "/run/postgresql/.s.PGSQL.5433"
        );
        assert_eq!(unix("/run/a:b/c"), "/run/a:b/c/.s.PGSQL.5432");
        let tcp = NodeAddress::Tcp("127.0.0.1:5432".parse().unwrap());
        assert_eq!(read(&ServerAddress, "localhost:5432"), Ok(tcp));
        assert_eq!(read(&ServerAddress, "/run/postgresql:x"), Err(Wrong::Port));
        assert_eq!(read(&ServerAddress, "run/postgresql"), Err(Wrong::NoPort));
        assert_eq!(
            read(&ServerAddress, &format!("/{}", "x".repeat(94))),
            Err(Wrong::TooLong)
        );
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(read(&Permissions, "0770"), Ok(0o770));
        assert_eq!(read(&Permissions, "0789"), Err(Wrong::NotOctal));
        assert_eq!(read(&Permissions, "1777"), Err(Wrong::TooLarge));
    }
}
