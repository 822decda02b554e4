//! Owns what the mock server knows of settings: which were set in a session, and what pgring asks about them. (pure)

use std::collections::BTreeMap;

/// Text by which the state query of pgring is known.
const QUESTION: &str = "SELECT 'b', 'statement_timeout'";

/// Settings of one session, names in lower case.
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
    pub(crate) fn rows(&self, user: &str) -> impl Iterator<Item = [String; 3]> {
        let set = self.0.iter();
        let set = set.map(|(name, value)| ["s".into(), hex(name), hex(value)]);
        set.chain([["u".into(), String::new(), hex(user)]])
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// True for the question.
pub(crate) fn is_question(text: &str) -> bool {
    text.contains(QUESTION)
}

/// True for its second half, of which there is nothing to tell.
pub(crate) fn is_rest_of_question(text: &str) -> bool {
    text.contains("AS is_limit")
}

/// The settings that `SELECT pg_catalog.set_config(E'name',E'value',false), ...` sets, or takes back, with NULL for a
/// value; nothing for other texts. Those of the transaction alone are left out.
pub(crate) fn configured(text: &str) -> Vec<(String, Option<String>)> {
    let calls = text.split("pg_catalog.set_config(E'").skip(1);
    let pair = |call: &str| {
        if let Some((name, _)) = call.split_once("',NULL,false)") {
            return Some((name.into(), None));
        }
        let (name, rest) = call.split_once("',E'")?;
        let (value, _) = rest.split_once("',false)")?;
        Some((name.into(), Some(value.into())))
    };
    calls.filter_map(pair).collect()
}
