//! From settings to a snapshot: passwords become what logins are checked against.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::state::view::View;
use crate::{
    auth::{self, Md5Hash, SaltedKeys, Verifier, derive_with_pbkdf2},
    cluster::{
        node::{NodeState, Role, Status},
        settings::{Routing, Secret, Settings, UserSettings},
        snapshot::{Snapshot, User},
    },
    ids::{Epoch, NodeId},
    random,
    sql::class::overrides::Overrides,
    time,
};

/// The first snapshot.
pub(super) fn snapshot(settings: Settings, epoch: Epoch) -> Snapshot {
    let users = settings
        .users
        .iter()
        .map(|user| (user.name.clone(), Arc::new(prepare(user))));
    Snapshot {
        epoch,
        users: users.collect(),
        nodes: (0..settings.nodes.len()).map(unwatched).collect(),
        // Who looks at the nodes will find it.
        primary: settings.health.user.is_none().then_some(NodeId(0)),
        overrides: overrides(&settings.routing),
        settings: Arc::new(settings),
        catalogs: HashMap::new(),
        unreadable: HashSet::new(),
        failover: Arc::default(),
    }
}

/// The snapshot after `current`. Users that did not change keep what was derived and learned for them.
pub(super) fn next_snapshot(current: &Snapshot, settings: Settings) -> Snapshot {
    let users: HashMap<_, _> = settings
        .users
        .iter()
        .map(|user| {
            let known = current
                .users
                .get(&user.name)
                .filter(|known| known.settings == *user);
            (
                user.name.clone(),
                known.map_or_else(|| Arc::new(prepare(user)), Arc::clone),
            )
        })
        .collect();
    Snapshot {
        epoch: Epoch(current.epoch.0 + 1),
        users,
        overrides: overrides(&settings.routing),
        settings: Arc::new(settings),
        nodes: current.nodes.clone(),
        primary: current.primary,
        catalogs: current.catalogs.clone(),
        unreadable: current.unreadable.clone(),
        failover: Arc::clone(&current.failover),
    }
}

/// Functions and patterns of `[routing]` that stand above the catalogs.
fn overrides(routing: &Routing) -> Arc<Overrides> {
    let made = Overrides::new(
        &routing.read_functions,
        &routing.write_functions,
        &routing.primary_patterns,
    );
    Arc::new(made.expect("the lists were checked when the file was read"))
}

/// A node that nobody has looked at: the first one is taken for the primary, the others get no reads.
pub(super) fn unwatched(place: usize) -> NodeState {
    NodeState {
        role: if place == 0 {
            Role::Primary
        } else {
            Role::Standby
        },
        status: Status::Waiting,
        since_us: time::unix_micros(),
        reason: "pgring has started".into(),
        timeline: 0,
        takes_reads: false,
        is_cut: false,
        replication_state: "".into(),
        sync_state: "".into(),
        answers: None,
        claims: None,
        live: Default::default(),
    }
}

/// Makes a node of the snapshot what the state believes it to be.
pub(super) fn show(node: &mut NodeState, view: &View) {
    let keep = |kept: &mut Arc<str>, text: &str| {
        if **kept != *text {
            *kept = text.into();
        }
    };
    node.role = view.role;
    node.status = view.status;
    node.since_us = view.since_us;
    node.timeline = view.timeline;
    node.takes_reads = view.takes_reads;
    node.is_cut = view.is_cut;
    node.answers = view.is_alive;
    node.claims = view.claims;
    keep(&mut node.reason, &view.reason);
    keep(&mut node.replication_state, &view.replication_state);
    keep(&mut node.sync_state, &view.sync_state);
}

/// The role that looks at nodes: with the password of `[health]`, else with that of the `[[user]]` of its name,
/// else with none.
pub(super) fn watcher(snapshot: &Snapshot) -> Option<Arc<User>> {
    let health = &snapshot.settings.health;
    let name = health.user.as_ref()?;
    if let Some(known) = snapshot.users.get(name)
        && health.password.is_none()
    {
        return Some(Arc::clone(known));
    }
    let settings = UserSettings {
        name: name.clone(),
        password: health.password.clone(),
        server_password: None,
        limits: Default::default(),
        pool: Default::default(),
    };
    Some(Arc::new(User {
        settings: Arc::new(settings),
        verifier: None,
        md5: None,
        keys: Default::default(),
    }))
}

/// Derives what logins need. PBKDF2 runs here, on the control core, once for each plain text.
fn prepare(settings: &Arc<UserSettings>) -> User {
    let keys = match &settings.password {
        Some(Secret::Plain(text)) => Some(derive(text)),
        _ => None,
    };
    let verifier = match (&settings.password, &keys) {
        (Some(Secret::Scram(text)), _) => text.parse().ok(),
        (_, Some(keys)) => Some(Verifier::of(keys)),
        _ => None,
    };
    let md5 = match &settings.password {
        Some(Secret::Plain(text)) => Some(Md5Hash::of(settings.name.as_bytes(), text.as_bytes())),
        Some(Secret::Md5(hash)) => hash.parse().ok(),
        _ => None,
    };
    User {
        settings: Arc::clone(settings),
        verifier,
        md5,
        keys: Default::default(),
    }
}

fn derive(password: &str) -> SaltedKeys {
    let mut salt = [0; auth::SALT_BYTES];
    random::fill(&mut salt);
    derive_with_pbkdf2(password.as_bytes(), &salt, auth::ITERATIONS)
}
