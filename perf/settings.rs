//! Owns what the mock server knows of settings: which were set in a session, and what pgring asks about them. (pure)

use std::collections::BTreeMap;

/// How the question begins that pgring asks for session state.
const QUESTION: &str = "SELECT 's', name, setting FROM pg_catalog.pg_settings";

/// What one session has set, names in lower case.
#[derive(Default)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_ascii_lowercase(), value.into());
    }

    /// Takes back one setting, or `ALL`.
    pub(crate) fn reset(&mut self, name: &str) {
        if name.eq_ignore_ascii_case("ALL") {
            self.0.clear();
        }
        self.0.remove(&name.to_ascii_lowercase());
    }

    /// The rows that answer the question: what was set, and who the session is.
    pub(crate) fn rows<'a>(&'a self, user: &'a str) -> impl Iterator<Item = [&'a str; 3]> {
        let set = self.0.iter();
        let set = set.map(|(name, value)| ["s", name.as_str(), value.as_str()]);
        set.chain([["u", "session_authorization", user]])
    }
}

/// True for the question.
pub(crate) fn is_question(text: &str) -> bool {
    text.starts_with(QUESTION)
}

/// The settings that `SELECT pg_catalog.set_config(E'name',E'value',false), ...` sets; nothing for other texts.
pub(crate) fn configured(text: &str) -> Vec<(String, String)> {
    let calls = text.split("pg_catalog.set_config(E'").skip(1);
    let pair = |call: &str| {
        let (name, rest) = call.split_once("',E'")?;
        let (value, _) = rest.split_once("',false)")?;
        Some((name.into(), value.into()))
    };
    calls.filter_map(pair).collect()
}
