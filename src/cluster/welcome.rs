//! What a server says of itself at login: the ParameterStatus messages, as they are replayed to clients.

use crate::protocol::{Writer, backend::ParameterStatus};

/// Reported values, in the order in which the server sent them.
#[derive(Clone, Debug, Default)]
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

    /// Appends the messages.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        for (name, value) in &self.values {
            writer.parameter_status(name, value);
        }
    }
}
