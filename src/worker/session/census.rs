//! Asking a server what session state there is at a connection, and reading its answer. Pure.
//!
//! The server is the only one who surely knows: after rollbacks, savepoints, functions and refused commands.
//! (PostgreSQL manual: `pg_settings`, `pg_prepared_statements`, `pg_cursors`, `pg_locks`, `pg_listening_channels`.)

use super::pin::Pin;
use crate::{
    protocol::{ProtocolError, backend::DataRow},
    worker::parameters::put_literal,
};

/// What is asked. Each row has a letter and what it is about: `s` a setting (name, value), `o` a role or session
/// user that is not the one who logged in, and letters of what cannot be carried. Operators are named with their
/// schema, so that nobody's `search_path` can have it lie.
const QUESTION: &str = "\
SELECT 's', name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' \
 AND name OPERATOR(pg_catalog.!~~) 'transaction\\_%' AND name OPERATOR(pg_catalog.<>) 'seed' \
UNION ALL SELECT 'o', 'role', pg_catalog.current_setting('role') \
 WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' \
UNION ALL SELECT 'u', 'session_authorization', session_user::pg_catalog.text \
UNION ALL SELECT 'l', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
UNION ALL SELECT 'p', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) \
UNION ALL SELECT 'c', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
UNION ALL SELECT 'a', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
 WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
UNION ALL SELECT 't', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend \
 WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
 AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())";

/// The question, with those settings that no view shows: their names have a dot.
pub(super) fn question<'a>(hidden: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut text = QUESTION.as_bytes().to_vec();
    for name in hidden {
        text.extend_from_slice(b" UNION ALL SELECT 's', ");
        put_literal(name.as_bytes(), &mut text);
        text.extend_from_slice(b", pg_catalog.current_setting(");
        put_literal(name.as_bytes(), &mut text);
        text.extend_from_slice(b", true)");
    }
    text
}

/// What a server answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Settings that are not what the connection was opened with: names and values.
    pub(crate) settings: Vec<(String, Vec<u8>)>,
    /// The session user.
    pub(crate) user: Vec<u8>,
    /// What cannot be carried.
    pub(crate) pin: Option<Pin>,
    /// Statements were prepared by SQL.
    pub(crate) prepared: bool,
}

impl Census {
    /// Reads one row; `body` is that of a DataRow.
    pub(crate) fn read(&mut self, body: &[u8]) -> Result<(), ProtocolError> {
        let mut columns = DataRow::read(body)?;
        let mut next = || columns.next().flatten();
        let (letter, name, value) = (next(), next().unwrap_or_default(), next());
        let pin = match letter.unwrap_or_default() {
            // A setting without a value is one that was never there.
            b"s" if value.is_none() => return Ok(()),
            b"s" | b"o" => {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                self.settings
                    .push((name, value.unwrap_or_default().to_vec()));
                return Ok(());
            }
            b"u" => {
                self.user = value.unwrap_or_default().to_vec();
                return Ok(());
            }
            b"l" => Pin::Listen,
            b"p" => {
                self.prepared = true;
                Pin::PreparedStatement
            }
            b"c" => Pin::HeldCursor,
            b"a" => Pin::AdvisoryLock,
            b"t" => Pin::TemporaryObject,
            _ => Pin::Setting,
        };
        self.pin = self.pin.or(Some(pin));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Header, Writer};

    fn row(columns: [Option<&str>; 3]) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out).data_row(columns);
        out[Header::BYTES..].to_vec()
    }

    #[test]
    fn rows_become_settings_and_a_reason() {
        let mut census = Census::default();
        let rows = [
            [Some("s"), Some("DateStyle"), Some("ISO, DMY")],
            [Some("u"), Some("session_authorization"), Some("app")],
            [Some("l"), None, None],
            [Some("t"), None, None],
        ];
        for columns in rows {
            census.read(&row(columns)).unwrap();
        }
        assert_eq!(
            census.settings,
            [("datestyle".to_owned(), b"ISO, DMY".to_vec())]
        );
        assert_eq!(census.user, b"app");
        assert_eq!(census.pin, Some(Pin::Listen));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(Census::default().read(b"").is_err());
    }
}
