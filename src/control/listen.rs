//! The listening sockets: TCP ones per worker, the Unix one shared.

use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf};

use super::error::ControlError;
use crate::{cluster::settings::Listen, net::Listener};

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

/// Takes the Unix socket file away.
pub(super) fn clean_up(listen: &Listen) {
    if let Some(path) = unix_path(listen) {
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
