//! The rights of the role of `[health]`, as a server says: at the start, and for `pgring check --connect`.

use std::{cell::RefCell, rc::Rc};

use super::{
    error::ControlError,
    failover::rights::{self, RIGHTS, Right},
    line::{Destination, Line, LineError, address_of},
    prepare,
};
use crate::{
    auth::derive_with_pbkdf2,
    cluster::settings::Settings,
    ids::Epoch,
    limits::CONTROL_BUFFERS_BYTES,
    net::{BufferSizes, Reactor, WakeHandle, task},
};

/// Rights that the role lacks which is logged in there.
pub(super) async fn missing(line: &mut Line) -> Result<Vec<Right>, LineError> {
    let mut version = 0;
    let ask = "SELECT pg_catalog.current_setting('server_version_num')";
    line.ask(ask, |_, mut row| {
        let text = row
            .next()
            .flatten()
            .and_then(|text| std::str::from_utf8(text).ok());
        version = text
            .and_then(|text| text.parse().ok())
            .ok_or("no version")?;
        Ok(())
    })
    .await?;
    let mut missing = Vec::new();
    line.ask(&rights::question(version), |_, row| {
        let lacks = row.zip(RIGHTS).filter(|(has, _)| *has != Some(b"t"));
        missing = lacks.map(|(_, right)| right).collect();
        Ok(())
    })
    .await?;
    Ok(missing)
}

/// A node that was connected to: its name, and the rights that the role of `[health]` lacks there, or why it cannot be
/// asked.
pub type NodeRights = (String, Result<Vec<Right>, String>);

/// Connects to every node as the role of `[health]` and asks for its rights; nothing when there is no such role.
pub(super) async fn look(settings: Settings) -> Result<Vec<NodeRights>, ControlError> {
    let made = |error| ControlError::Start("cannot make an event descriptor", error);
    let buffers = BufferSizes {
        client: 0,
        server: CONTROL_BUFFERS_BYTES,
    };
    let reactor = Reactor::new(buffers, WakeHandle::new().map_err(made)?)?;
    let asked = Rc::new(RefCell::new(None));
    let (found, look) = (Rc::clone(&asked), reactor.clone());
    task::spawn(async move {
        let all = look_at_all(&look, settings).await;
        found.replace(Some(all));
    });
    reactor
        .run(|| asked.borrow().is_some())
        .await
        .map_err(|error| ControlError::Start("the control ring failed", error))?;
    Ok(asked.take().unwrap_or_default())
}

async fn look_at_all(reactor: &Reactor, settings: Settings) -> Vec<NodeRights> {
    let snapshot = prepare::snapshot(settings, Epoch(1));
    let (settings, user) = (&snapshot.settings, prepare::watcher(&snapshot));
    let health = &settings.health;
    let Some(role) = health.user.as_deref() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for node in &settings.nodes {
        let to = Destination {
            address: address_of(&node.address),
            role: role.into(),
            database: (&*health.database).into(),
            user: user.clone(),
            timeout: health.timeout,
        };
        let asked = async {
            // Nobody waits beside this one for what it takes.
            let derive = async |password: String, salt: Vec<u8>, iterations| {
                Some(derive_with_pbkdf2(password.as_bytes(), &salt, iterations).into())
            };
            let mut line = Line::open_with(reactor, &to, derive).await?;
            missing(&mut line).await
        };
        all.push((
            node.name.clone(),
            asked.await.map_err(|error| error.to_string()),
        ));
    }
    all
}
