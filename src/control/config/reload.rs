//! Settings that a reload changes, and those that wait for a restart. Pure.

use std::{collections::BTreeSet, sync::Arc};

use crate::cluster::settings::{
    Admin, Auth, Capacity, ConnectionSettings, Failover, Health, Listen, Log, NodeSettings,
    PoolSettings, Routing, Runtime, Settings, Timeouts,
};

/// The outcome of reading the file again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Settings that hold from now on: the old ones with the new `[pool]`, `[[database]]`, `[[user]]`, `[routing]`,
    /// `[[preference]]`, `[health]` and `[failover]`, the new `login_timeout`, and of each `[[node]]` the new
    /// `max_connections`, `weight`, `application_name`, `failover_priority` and `standby_address`.
    pub settings: Settings,
    /// Keys that have changed and hold, as the file names them: `[pool] size`, `[[user]] app`.
    pub applied: Vec<String>,
    /// Keys that have changed in the file but hold only after a restart.
    pub needs_restart: Vec<String>,
}

/// The one key of its section that needs no restart.
const LOGIN_TIMEOUT: &str = "[listen] login_timeout";

/// Compares the running settings with those just read.
pub fn changes(old: &Settings, new: &Settings) -> Reload {
    let mut settings = old.clone();
    settings.pool = new.pool.clone();
    settings.databases = new.databases.clone();
    settings.users = new.users.clone();
    settings.listen.login_timeout = new.listen.login_timeout;
    settings.routing = new.routing.clone();
    settings.health = new.health.clone();
    settings.failover = new.failover;
    settings.nodes = with_new_keys(&old.nodes, &new.nodes);
    Reload {
        settings,
        applied: reloadable(old, new),
        needs_restart: fixed(old, new),
    }
}

/// Lists the fields that differ. Naming all of them makes a forgotten one an error.
macro_rules! differing {
    ($type:ident, $title:literal, $old:expr, $new:expr, $($field:ident),+ $(,)?) => {{
        let ($type { $($field),+ }, new) = ($old, $new);
        let differs = [$((stringify!($field), *$field != new.$field)),+];
        let differing = differs.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| format!("{} {key}", $title)).collect::<Vec<_>>()
    }};
}

fn reloadable(old: &Settings, new: &Settings) -> Vec<String> {
    let mut keys = pool(&old.pool, &new.pool);
    keys.extend(named(
        "[[database]]",
        &old.databases,
        &new.databases,
        |it| &it.name,
    ));
    let listen = listen(&old.listen, &new.listen).into_iter();
    keys.extend(listen.filter(|key| key == LOGIN_TIMEOUT));
    keys.extend(named("[[user]]", &old.users, &new.users, |it: &Arc<_>| {
        &it.name
    }));
    keys.extend(node_keys(&old.nodes, &new.nodes));
    keys.extend(routing(&old.routing, &new.routing));
    keys.extend(health(&old.health, &new.health));
    keys.extend(differing!(
        Failover,
        "[failover]",
        &old.failover,
        &new.failover,
        hold,
        mode,
        second_opinion,
        max_lost_bytes,
        promote_timeout,
        follow_timeout,
        switchover_timeout,
    ));
    keys
}

/// Keys of `[pool]` that differ, groups of settings being no sections in the file.
fn pool(old: &PoolSettings, new: &PoolSettings) -> Vec<String> {
    let keys = differing!(
        PoolSettings,
        "[pool]",
        old,
        new,
        mode,
        capacity,
        timeouts,
        connections,
        login_waits,
        state_check,
        sequence_values,
        pin,
        statements_per_connection,
        statement_bytes_per_client,
        reset_query,
    );
    let in_file = |key: String| match key.as_str() {
        "[pool] capacity" => capacity(&old.capacity, &new.capacity),
        "[pool] timeouts" => timeouts(&old.timeouts, &new.timeouts),
        "[pool] connections" => connections(&old.connections, &new.connections),
        _ => vec![key],
    };
    keys.into_iter().flat_map(in_file).collect()
}

fn capacity(old: &Capacity, new: &Capacity) -> Vec<String> {
    differing!(
        Capacity,
        "[pool]",
        old,
        new,
        size,
        min_size,
        reserve_size,
        reserve_after,
        max_waiters,
    )
}

fn timeouts(old: &Timeouts, new: &Timeouts) -> Vec<String> {
    differing!(
        Timeouts,
        "[pool]",
        old,
        new,
        checkout_timeout,
        query_timeout,
        transaction_timeout,
        idle_in_transaction_timeout,
        client_idle_timeout,
    )
}

fn connections(old: &ConnectionSettings, new: &ConnectionSettings) -> Vec<String> {
    differing!(
        ConnectionSettings,
        "[pool]",
        old,
        new,
        connect_timeout,
        idle_timeout,
        lifetime,
        check_after_idle,
        greeting_age,
        login_backoff,
        login_backoff_max,
    )
}

fn routing(old: &Routing, new: &Routing) -> Vec<String> {
    let keys = differing!(
        Routing,
        "[routing]",
        old,
        new,
        read_write_split,
        balance,
        strategy,
        consistency,
        max_lag_bytes,
        max_lag,
        laggards,
        leading_reads,
        read_only_transactions,
        read_functions,
        write_functions,
        primary_patterns,
        replay_poll,
        catalog_refresh,
        preferences,
    );
    let in_file = |key: String| match key.as_str() {
        "[routing] preferences" => "[[preference]]".to_owned(),
        _ => key,
    };
    keys.into_iter().map(in_file).collect()
}

fn health(old: &Health, new: &Health) -> Vec<String> {
    differing!(
        Health,
        "[health]",
        old,
        new,
        user,
        password,
        database,
        period,
        timeout,
        retries,
        retry_delay,
        status_file,
    )
}

/// The keys of `[[node]]` that may change while running.
fn node_keys(old: &[NodeSettings], new: &[NodeSettings]) -> Vec<String> {
    let after = with_new_keys(old, new);
    let mut keys = Vec::new();
    for (old, new) in old.iter().zip(&after) {
        let changed = [
            ("weight", old.weight != new.weight),
            (
                "max_connections",
                old.max_connections != new.max_connections,
            ),
            (
                "application_name",
                old.application_name != new.application_name,
            ),
            (
                "failover_priority",
                old.failover_priority != new.failover_priority,
            ),
            (
                "standby_address",
                old.standby_address != new.standby_address,
            ),
        ];
        let changed = changed.iter().filter(|(_, changed)| *changed);
        keys.extend(changed.map(|(key, _)| format!("[[node]] {} {key}", old.name)));
    }
    keys
}

/// The old nodes with what the new ones say about what may change while running, by name.
fn with_new_keys(old: &[NodeSettings], new: &[NodeSettings]) -> Vec<NodeSettings> {
    let changed = |node: &NodeSettings| match new.iter().find(|it| it.name == node.name) {
        None => node.clone(),
        Some(named) => NodeSettings {
            max_connections: named.max_connections,
            weight: named.weight,
            application_name: named.application_name.clone(),
            failover_priority: named.failover_priority,
            standby_address: named.standby_address.clone(),
            ..node.clone()
        },
    };
    old.iter().map(changed).collect()
}

fn fixed(old: &Settings, new: &Settings) -> Vec<String> {
    let mut keys = runtime(&old.runtime, &new.runtime);
    let listen = listen(&old.listen, &new.listen).into_iter();
    keys.extend(listen.filter(|key| key != LOGIN_TIMEOUT));
    keys.extend(differing!(
        Auth,
        "[auth]",
        &old.auth,
        &new.auth,
        method,
        unknown_users
    ));
    keys.extend(nodes(&with_new_keys(&old.nodes, &new.nodes), &new.nodes));
    keys.extend(differing!(
        Admin, "[admin]", &old.admin, &new.admin, users, socket
    ));
    keys.extend(differing!(Log, "[log]", &old.log, &new.log, level, format));
    keys
}

fn runtime(old: &Runtime, new: &Runtime) -> Vec<String> {
    differing!(
        Runtime,
        "[runtime]",
        old,
        new,
        workers,
        pin,
        control_cpu,
        client_buffers,
        server_buffers,
        high_water,
    )
}

fn listen(old: &Listen, new: &Listen) -> Vec<String> {
    differing!(
        Listen,
        "[listen]",
        old,
        new,
        addresses,
        unix_socket_dir,
        unix_socket_mode,
        share_addresses,
        max_clients,
        backlog,
        login_timeout,
        drain,
        drain_timeout,
    )
}

/// Nodes are known by their place in the list, so that a new order is a change too.
fn nodes(old: &[NodeSettings], new: &[NodeSettings]) -> Vec<String> {
    let changed = named("[[node]]", old, new, |node| &node.name);
    if changed.is_empty() && old != new {
        return vec!["[[node]], their order".to_owned()];
    }
    changed
}

/// Sections that are new, gone or different, by name.
fn named<T: PartialEq>(
    title: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &String,
) -> Vec<String> {
    let one_sided = |ours: &[T], theirs: &[T]| {
        let changed = ours.iter().filter(|it| !theirs.contains(it));
        changed.map(|it| name(it).clone()).collect::<BTreeSet<_>>()
    };
    let names = &one_sided(old, new) | &one_sided(new, old);
    names.iter().map(|name| format!("{title} {name}")).collect()
}
