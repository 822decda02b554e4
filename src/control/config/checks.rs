//! Whether values that are fine alone fit each other. Pure.

use std::{collections::HashMap, sync::Arc};

use super::{
    error::{Cause, Conflict, Problem},
    section::{Located, Report},
    sections::method_name,
};
use crate::cluster::settings::{
    Auth, AuthMethod, DatabaseSettings, Failover, FailoverMode, Health, NodeSettings, PoolSettings,
    Preference, Preferred, Routing, Runtime, Secret, UserSettings,
};

/// The parts of a configuration that have to agree.
pub(super) struct Parts<'p> {
    pub(super) runtime: &'p Located<Runtime>,
    pub(super) pool: &'p Located<PoolSettings>,
    pub(super) auth: &'p Located<Auth>,
    pub(super) nodes: &'p [Located<NodeSettings>],
    pub(super) databases: &'p [Located<DatabaseSettings>],
    pub(super) users: &'p [Located<Arc<UserSettings>>],
    pub(super) routing: &'p Located<Routing>,
    pub(super) preferences: &'p [Located<Preference>],
    pub(super) health: &'p Located<Health>,
    pub(super) failover: &'p Located<Failover>,
}

/// Records every conflict.
pub(super) fn check(parts: &Parts<'_>, report: &Report) {
    duplicates(parts.nodes, |node| &node.name, report);
    duplicates(parts.databases, |database| &database.name, report);
    duplicates(parts.users, |user| &user.name, report);
    presence(parts, report);
    buffers(parts.runtime, report);
    backoff(parts.pool, report);
    sizes(parts, report);
    for user in parts.users {
        passwords(user, parts.auth.value.method, report);
    }
    for preference in parts.preferences {
        preferred(preference, parts.nodes, report);
    }
    watching(parts, report);
}

fn preferred(preference: &Located<Preference>, nodes: &[Located<NodeSettings>], report: &Report) {
    let Preferred::Named(name) = &preference.value.node else {
        return;
    };
    let names = || nodes.iter().map(|node| &node.value.name);
    if !names().any(|known| known == name) {
        let known: Vec<_> = names().map(|name| format!("{name:?}")).collect();
        let known = known.join(", ");
        let conflict = Conflict::NoSuchNode { known };
        report.add(preference.place.problem("node", conflict));
    }
}

/// Several nodes need somebody to look at them.
fn watching(parts: &Parts<'_>, report: &Report) {
    let health = &parts.health;
    let splits = parts.routing.value.read_write_split && parts.nodes.len() > 1;
    if splits && health.value.user.is_none() {
        report.add(health.place.problem("user", Conflict::NobodyWatches));
    }
    if parts.failover.value.mode != FailoverMode::Off {
        let (user, file) = (&health.value.user, &health.value.status_file);
        if user.is_none() {
            report.add(
                health
                    .place
                    .problem("user", Conflict::FailoverNeeds("user")),
            );
        }
        if file.is_none() {
            let conflict = Conflict::FailoverNeeds("status_file");
            report.add(health.place.problem("status_file", conflict));
        }
    }
    if let Some(Secret::Scram(_)) = health.value.password {
        let conflict = Conflict::VerifierTowardsServer;
        report.add(health.place.problem("password", conflict));
    }
}

/// Names of sections that a section before them has; the unnamed ones have their own problem.
fn duplicates<T>(sections: &[Located<T>], name: impl Fn(&T) -> &String, report: &Report) {
    let mut seen = HashMap::new();
    for section in sections {
        let name = name(&section.value);
        let line = section.place.line("").unwrap_or_default();
        if let Some(line) = seen.get(name) {
            let (name, line) = (name.clone(), *line);
            report.add(
                section
                    .place
                    .problem("name", Cause::Duplicate { name, line }),
            );
        } else if !name.is_empty() {
            seen.insert(name, line);
        }
    }
}

fn presence(parts: &Parts<'_>, report: &Report) {
    if parts.nodes.is_empty() {
        report.add(absent("[[node]]", Conflict::NoNode));
    }
    if parts.users.is_empty() && !parts.auth.value.admits_all() {
        report.add(absent("[[user]]", Conflict::NoUser));
    }
}

fn absent(section: &str, conflict: Conflict) -> Problem {
    Problem {
        line: None,
        key: section.to_owned(),
        cause: conflict.into(),
    }
}

fn buffers(runtime: &Located<Runtime>, report: &Report) {
    let Runtime {
        client_buffers,
        server_buffers,
        high_water,
        ..
    } = runtime.value;
    let pools = [
        ("client_buffers", client_buffers),
        ("server_buffers", server_buffers),
    ];
    for (name, bytes) in pools {
        if high_water > bytes / 4 {
            report.add(
                runtime
                    .place
                    .problem("high_water", Conflict::HighWater(name)),
            );
        }
    }
}

fn backoff(pool: &Located<PoolSettings>, report: &Report) {
    let connections = &pool.value.connections;
    if connections.login_backoff > connections.login_backoff_max {
        report.add(pool.place.problem("login_backoff", Conflict::Backoff));
    }
}

/// Every `min_size` against the `size` it meets: in `[pool]`, in each database, for each user in
/// each database. A section is blamed once.
fn sizes(parts: &Parts<'_>, report: &Report) {
    let pool = &parts.pool.value;
    let is_above = |pool: &PoolSettings| pool.capacity.min_size > pool.capacity.size;
    let above = |pool: &PoolSettings, scope: String| Conflict::MinAboveSize {
        min_size: pool.capacity.min_size,
        size: pool.capacity.size,
        scope,
    };
    if is_above(pool) {
        report.add(
            parts
                .pool
                .place
                .problem("min_size", above(pool, "here".to_owned())),
        );
        return;
    }
    let mut reached = Vec::new();
    if parts.databases.is_empty() {
        reached.push(("here".to_owned(), pool.clone()));
    }
    for database in parts.databases {
        let pool = database.value.pool.over(pool);
        if is_above(&pool) {
            let conflict = above(&pool, "here".to_owned());
            report.add(database.place.problem("min_size", conflict));
        } else {
            reached.push((format!("in database {:?}", database.value.name), pool));
        }
    }
    for user in parts.users {
        let pools = reached
            .iter()
            .map(|(scope, pool)| (scope, user.value.pool.over(pool)));
        let wrong = pools.into_iter().find(|(_, pool)| is_above(pool));
        if let Some((scope, pool)) = wrong {
            report.add(user.place.problem("min_size", above(&pool, scope.clone())));
        }
    }
}

fn passwords(user: &Located<Arc<UserSettings>>, method: AuthMethod, report: &Report) {
    let conflict = match (&user.value.password, method) {
        (None, AuthMethod::Md5 | AuthMethod::ScramSha256) => {
            let method = method_name(method);
            Some(Conflict::NoPassword { method })
        }
        (Some(Secret::Md5(_)), AuthMethod::ScramSha256) => Some(Conflict::Md5ForScram),
        _ => None,
    };
    if let Some(conflict) = conflict {
        report.add(user.place.problem("password", conflict));
    }
    if let Some(Secret::Scram(_)) = user.value.server_password {
        let conflict = Conflict::VerifierTowardsServer;
        report.add(user.place.problem("server_password", conflict));
    }
}
