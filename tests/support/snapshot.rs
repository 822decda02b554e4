//! A cluster on paper: a primary and two standbys that have replayed 100 bytes, all well. Owns no test.

use std::{path::Path, sync::Arc};

use pgring::{
    cluster::{
        node::{Live, NodeState, Role, Status},
        snapshot::Snapshot,
    },
    control::config,
    ids::{Epoch, NodeId},
};

pub(crate) const P: NodeId = NodeId(0);

/// Nodes `p`, `s1` and `s2` of these weights. `routing`: lines of `[routing]`; what follows `[x]` in it comes after.
pub(crate) fn nodes(weights: [u32; 3], routing: &str) -> Snapshot {
    let (routing, rest) = routing.split_once("[x]").unwrap_or((routing, ""));
    let mut text = format!(
        "[auth]\nmethod = \"trust\"\nunknown_users = true\n[health]\nuser = \"w\"\n[routing]\n{routing}\n{rest}\n"
    );
    for (name, weight) in ["p", "s1", "s2"].iter().zip(weights) {
        text += &format!(
            "[[node]]\nname = \"{name}\"\naddress = \"127.0.0.1:5432\"\nweight = {weight}\n"
        );
    }
    let settings = config::parse(&text, Path::new("snapshot.toml")).expect("it is a configuration");
    Snapshot {
        epoch: Epoch(1),
        settings: Arc::new(settings),
        users: Default::default(),
        nodes: [Role::Primary, Role::Standby, Role::Standby]
            .map(node)
            .into(),
        primary: Some(P),
        catalogs: Default::default(),
        unreadable: Default::default(),
        failover: Default::default(),
        overrides: Default::default(),
    }
}

fn node(role: Role) -> NodeState {
    let live = Arc::new(Live::default());
    live.set_position(100, 0, 0);
    NodeState {
        role,
        status: Status::Up,
        since_us: 0,
        reason: "".into(),
        timeline: 1,
        is_cut: false,
        takes_reads: role == Role::Standby,
        replication_state: "".into(),
        sync_state: "".into(),
        answers: Some(true),
        claims: Some(role),
        live,
    }
}
