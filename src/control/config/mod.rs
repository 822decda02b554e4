//! Reads the configuration: one TOML file in, [`Settings`] or a list of everything wrong out.
//! Raw TOML never leaves this folder.

mod address;
mod checks;
mod error;
mod form;
mod pattern;
mod quantity;
mod reload;
mod routing;
mod secret;
mod section;
mod sections;
#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeTable;

pub use error::{Cause, ConfigError, Conflict, Problem, Problems, SecretError, Wrong};
pub(crate) use quantity::written_duration;
pub use reload::{Reload, changes};
pub(crate) use sections::{method_name, mode_name};

use crate::cluster::settings::{Routing, Settings};
use checks::Parts;
use secret::Surroundings;
use section::{Located, Report, Section};

/// Reads and checks a configuration file.
///
/// Reads other files, resolves host names, and so may block; never call it on a worker core.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        let path = path.to_owned();
        ConfigError::Unreadable { path, source }
    })?;
    parse(&text, path)
}

/// Checks the text of a configuration; `path` is its name in messages, and relative file names in
/// it start at that folder.
pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    let around = Surroundings {
        folder: path.parent().unwrap_or(Path::new("")),
        environment: &system_environment,
    };
    let report = Report::new(text);
    let settings = read(text, &report, &around);
    settings.filter(|_| report.is_clean()).ok_or_else(|| {
        let file = path.display().to_string();
        ConfigError::Invalid(Problems::new(&file, report.into_problems()))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a password may be kept in the environment"
)]
fn system_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The settings; what is wrong with them is in the report. `None` when the text is not TOML.
fn read(text: &str, report: &Report, around: &Surroundings<'_>) -> Option<Settings> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add(Problem {
            line: error.span().map(|span| report.line(span.start)),
            key: String::new(),
            cause: Cause::Syntax(syntax(error.message())),
        });
    }
    errors
        .is_empty()
        .then(|| document_settings(document.get_ref(), report, around))
}

/// The parser's words, except where it takes the first letter of an unquoted text for a boolean.
/// Only its message is shown, never its excerpt, which could be a password.
fn syntax(message: &str) -> String {
    match message.starts_with("invalid boolean") {
        true => "neither true nor false; a text needs quotes".to_owned(),
        false => message.to_owned(),
    }
}

fn document_settings(
    document: &DeTable<'_>,
    report: &Report,
    around: &Surroundings<'_>,
) -> Settings {
    let mut root = Section::root(report, document);
    let runtime = sections::runtime(root.section("runtime", "[runtime]"));
    let listen = sections::listen(root.section("listen", "[listen]"));
    let pool = sections::pool(root.section("pool", "[pool]"));
    let auth = sections::auth(root.section("auth", "[auth]"));
    let nodes = each(root.sections("node", "[[node]]"), sections::node);
    let databases = each(
        root.sections("database", "[[database]]"),
        sections::database,
    );
    let user = |section| sections::user(section, around);
    let users = each(root.sections("user", "[[user]]"), user);
    let routing = routing::routing(root.section("routing", "[routing]"));
    let preferences = each(
        root.sections("preference", "[[preference]]"),
        routing::preference,
    );
    let health = routing::health(root.section("health", "[health]"), around);
    let failover = routing::failover(root.section("failover", "[failover]"));
    let admin = sections::admin(root.section("admin", "[admin]"));
    let log = sections::log(root.section("log", "[log]"));
    root.finish(());

    // A default put in place of a wrong value would only make up conflicts.
    if report.is_clean() {
        let parts = Parts {
            runtime: &runtime,
            pool: &pool,
            auth: &auth,
            nodes: &nodes,
            databases: &databases,
            users: &users,
            routing: &routing,
            preferences: &preferences,
            health: &health,
            failover: &failover,
        };
        checks::check(&parts, report);
    }
    Settings {
        runtime: runtime.value,
        listen: listen.value,
        pool: pool.value,
        auth: auth.value,
        nodes: values(nodes),
        databases: values(databases),
        users: values(users),
        routing: Routing {
            preferences: values(preferences),
            ..routing.value
        },
        health: health.value,
        failover: failover.value,
        admin: admin.value,
        log: log.value,
    }
}

fn each<'d, T>(
    sections: Vec<Section<'d>>,
    read: impl Fn(Section<'d>) -> Located<T>,
) -> Vec<Located<T>> {
    sections.into_iter().map(read).collect()
}

fn values<T>(sections: Vec<Located<T>>) -> Vec<T> {
    sections.into_iter().map(|section| section.value).collect()
}
