//! The listening sockets: TCP ones per worker, the Unix one shared.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
};

use nix::unistd::Group;

use super::error::ControlError;
use crate::{
    cluster::settings::{AdminSocket, Listen, Settings},
    net::Listener,
};

/// Opens every listening socket; one list for each worker.
pub(super) fn open(listen: &Listen, workers: usize) -> Result<Vec<Vec<Listener>>, ControlError> {
    let mut all = vec![Vec::new(); workers];
    let failed = |address: &SocketAddr| {
        let address = address.to_string();
        move |error| ControlError::Listen(address, error)
    };
    // Before any is opened: one of ours may stand for all addresses.
    for address in listen.addresses.iter().filter(|_| !listen.share_addresses) {
        Listener::check_free(*address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ControlError::InUse(address.to_string()),
            _ => failed(address)(error),
        })?;
    }
    for address in &listen.addresses {
        for listeners in &mut all {
            listeners.push(Listener::tcp(*address, listen.backlog).map_err(failed(address))?);
        }
    }
    if let Some(path) = unix_path(listen) {
        let failed = |error| ControlError::Listen(path.display().to_string(), error);
        let listener = Listener::unix(&path, listen.backlog).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(listen.unix_socket_mode))
            .map_err(failed)?;
        all.iter_mut()
            .for_each(|listeners| listeners.push(listener.clone()));
    }
    Ok(all)
}

/// Opens the socket of the operators.
pub(super) fn open_admin(socket: &AdminSocket) -> Result<Listener, ControlError> {
    const BACKLOG: u32 = 64;
    let failed = |error| ControlError::Listen(socket.path.display().to_string(), error);
    let listener = Listener::unix(&socket.path, BACKLOG).map_err(failed)?;
    // The group first: a mode that is for it must not be for another one meanwhile.
    if let Some(name) = &socket.group {
        let group = Group::from_name(name).ok().flatten();
        let group =
            group.ok_or_else(|| failed(io::Error::other(format!("there is no group {name}"))))?;
        chown(&socket.path, None, Some(group.gid.as_raw())).map_err(failed)?;
    }
    fs::set_permissions(&socket.path, fs::Permissions::from_mode(socket.mode)).map_err(failed)?;
    Ok(listener)
}

/// Takes the Unix socket files away.
pub(super) fn clean_up(settings: &Settings) {
    let admin = settings
        .admin
        .socket
        .as_ref()
        .map(|socket| socket.path.clone());
    for path in unix_path(&settings.listen).into_iter().chain(admin) {
        let _ = fs::remove_file(path);
    }
}

/// Where libpq looks for the socket of this port.
fn unix_path(listen: &Listen) -> Option<PathBuf> {
    let port = listen
        .addresses
        .first()
        .map_or(6432, |address| address.port());
    Some(
        listen
            .unix_socket_dir
            .as_ref()?
            .join(format!(".s.PGSQL.{port}")),
    )
}
