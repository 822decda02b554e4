//! The greeting of a server: the ParameterStatus messages of a login, as they are replayed to clients.

use crate::protocol::{Writer, backend::ParameterStatus};

/// Longest application_name that a server surely reports as it was given, in bytes (PostgreSQL: `NAMEDATALEN` - 1).
const NAME_BYTES_MAX: usize = 63;

/// Reported values, in the order in which the server sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Welcome {
    values: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Welcome {
    /// Notes a reported value; a later one replaces an earlier one.
    pub fn report(&mut self, status: ParameterStatus<'_>) {
        let known = self.values.iter_mut().find(|(name, _)| name == status.name);
        match known {
            Some((_, value)) => *value = status.value.to_vec(),
            None => self
                .values
                .push((status.name.to_vec(), status.value.to_vec())),
        }
    }

    /// These words, after a connection that heard `old` has heard `new`: what was the same as there has changed alike.
    #[must_use]
    pub fn amended(&self, old: &Self, new: &Self) -> Self {
        let mut amended = self.clone();
        for (name, value) in new.iter() {
            let before = old.value(name);
            if before != Some(value) && self.value(name) == before {
                amended.report(ParameterStatus { name, value });
            }
        }
        amended
    }

    /// The greeting of a client that starts with these settings (names in lower case) as well, when that is certain without
    /// asking a server: each is reported already with that very value, or is an `application_name` that no server changes.
    pub fn foretell<'a>(
        &self,
        settings: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<Self> {
        let mut told = self.clone();
        for (name, value) in settings {
            let known = told
                .values
                .iter_mut()
                .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
            let (_, known) = known?;
            if name == "application_name" && is_plain_name(value) {
                *known = value.to_vec();
            } else if known != value {
                return None;
            }
        }
        Some(told)
    }

    /// The value that was reported of a setting.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let known = self.values.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| &**value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.values.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The greeting of a primary with the same configuration.
    #[must_use]
    pub fn of_primary(&self) -> Self {
        let mut told = self.clone();
        for (name, value) in &mut told.values {
            if name == b"in_hot_standby" {
                *value = b"off".to_vec();
            }
        }
        told
    }

    /// Appends the messages.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        for (name, value) in &self.values {
            writer.parameter_status(name, value);
        }
    }
}

fn is_plain_name(value: &[u8]) -> bool {
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    value.len() <= NAME_BYTES_MAX && value.iter().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(values: &[(&str, &str)]) -> Welcome {
        let pair =
            |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        Welcome {
            values: values.iter().map(pair).collect(),
        }
    }

    fn foretell(settings: &[(&str, &str)]) -> Option<Vec<u8>> {
        let plain = welcome(&[("application_name", ""), ("TimeZone", "UTC")]);
        let settings = settings
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        plain.foretell(settings).map(|told| {
            let mut out = Vec::new();
            told.write(&mut out);
            out
        })
    }

    #[test]
    fn names_and_values_that_are_reported_already_are_foretold() {
        let mut expected = Vec::new();
        welcome(&[("application_name", "psql"), ("TimeZone", "UTC")]).write(&mut expected);
        let told = foretell(&[("application_name", "psql"), ("timezone", "UTC")]);
        assert_eq!(told, Some(expected));
    }

    #[test]
    fn what_a_server_may_change_or_refuse_is_not() {
        for (name, value) in [
            ("timezone", "utc"),
            ("work_mem", "4MB"),
            ("application_name", "caf\u{e9}"),
            ("application_name", &"x".repeat(64)),
        ] {
            assert_eq!(foretell(&[(name, value)]), None, "{name} = {value}");
        }
    }
}
