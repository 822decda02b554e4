//! Asking a server what session state there is at a connection, and reading its answer. Pure.
//!
//! The server is the only one who surely knows: after rollbacks, savepoints, functions and refused commands.
//! (PostgreSQL manual: `pg_settings`, `pg_prepared_statements`, `pg_cursors`, `pg_locks`, `pg_listening_channels`.)

use super::parameters::put_literal;
use super::pin::Pin;
use crate::protocol::{ProtocolError, backend::DataRow};

/// An expression as hexadecimal digits of what it is in the database's own encoding: the same for every client.
macro_rules! hex {
    ($value:literal) => {
        concat!(
            "pg_catalog.encode(pg_catalog.convert_to(",
            $value,
            ", pg_catalog.getdatabaseencoding()), 'hex')"
        )
    };
}

/// Lifts a limit for this transaction: a row with what it was before.
macro_rules! lift {
    ($name:literal) => {
        concat!(
            "SELECT 'b', '",
            $name,
            "', pg_catalog.current_setting('",
            $name,
            "', true), CASE WHEN pg_catalog.current_setting('",
            $name,
            "', true) IS NOT NULL THEN pg_catalog.set_config('",
            $name,
            "', '0', true) END"
        )
    };
}

/// Outside a transaction, ours must neither wait for a safe snapshot nor fail at a standby, whatever the session's
/// transactions begin as.
pub(crate) const OF_OUR_OWN: &str =
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE;";

/// Inside of one, what is set for the question is taken back behind it.
const APART: &str = "SAVEPOINT pgring;";
const BACK: &str = ";ROLLBACK TO SAVEPOINT pgring;RELEASE SAVEPOINT pgring";

/// Asks for the session's user and role and for the limits of time that it has set itself, which from here on do not
/// hold for the question. The rest is asked as the session's user, who may see more than a role that it has taken.
const WHO: &str = concat!(
    lift!("statement_timeout"),
    " UNION ALL ",
    lift!("lock_timeout"),
    " UNION ALL ",
    lift!("transaction_timeout"),
    " UNION ALL SELECT 'u', NULL, ",
    hex!("session_user::pg_catalog.text"),
    ", NULL UNION ALL SELECT 'o', 'role', ",
    hex!("pg_catalog.current_setting('role')"),
    ", pg_catalog.set_config('role', 'none', true) \
     WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none';"
);

/// Asks for the session state that there is. Each row has a letter that says of what kind it is: `s` a setting (name,
/// value), `d` the value of a limit where nobody has set it, `x` a setting that the session's user could not be given,
/// and letters for state that cannot be carried. The transaction's own settings are no session state. Functions and
/// operators are named with their schema, so that nobody's `search_path` can have it lie.
const WHAT: &str = concat!(
    "SELECT CASE WHEN is_limit THEN 'd' WHEN context OPERATOR(pg_catalog.=) 'superuser' \
     AND NOT pg_catalog.has_parameter_privilege(name, 'SET') THEN 'x' ELSE 's' END, ",
    hex!("name"),
    ", ",
    hex!("CASE WHEN is_limit THEN pg_catalog.set_config(name, reset_val, true) ELSE setting END"),
    " FROM (SELECT name, setting, reset_val, source, context, name OPERATOR(pg_catalog.=) ANY \
     (ARRAY['statement_timeout', 'lock_timeout', 'transaction_timeout']::pg_catalog.text[]) AS is_limit \
     FROM pg_catalog.pg_settings) AS settings \
     WHERE (is_limit OR source OPERATOR(pg_catalog.=) 'session') AND name OPERATOR(pg_catalog.<>) ALL \
     (ARRAY['transaction_isolation', 'transaction_read_only', 'transaction_deferrable', 'role', \
     'session_authorization']::pg_catalog.text[]) \
     UNION ALL SELECT 'l', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
     UNION ALL SELECT 'p', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) \
     UNION ALL SELECT 'c', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
     UNION ALL SELECT 'a', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
     WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
     UNION ALL SELECT 't', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend \
     WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
     AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
     UNION ALL SELECT 'n', NULL, NULL WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
     UNION ALL SELECT 'h', NULL, NULL WHERE NOT pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')"
);

/// Asks for the values of those settings, of the names that follow, that are not the session's own.
const OWN: &[u8] = concat!(
    " UNION ALL SELECT 'r', ",
    hex!("name"),
    ", ",
    hex!("pg_catalog.current_setting(name)"),
    " FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.<>) 'session' \
     AND name OPERATOR(pg_catalog.=) ANY (ARRAY["
)
.as_bytes();

/// The question, with those settings that no view shows: their names have a dot. `reported`: of these it is asked what
/// the server's own are. Nothing of it depends on what the
/// session has set.
pub(crate) fn question<'a>(
    custom: impl Iterator<Item = &'a str>,
    reported: impl Iterator<Item = &'a str>,
    in_transaction: bool,
) -> Vec<u8> {
    let before = if in_transaction { APART } else { OF_OUR_OWN };
    let mut text = [before, WHO, WHAT].concat().into_bytes();
    for name in custom {
        text.extend_from_slice(b" UNION ALL SELECT 's', '");
        put_hex(name.as_bytes(), &mut text);
        text.extend_from_slice(
            b"', pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(",
        );
        put_literal(name.as_bytes(), &mut text);
        text.extend_from_slice(b", true), pg_catalog.getdatabaseencoding()), 'hex')");
    }
    let mut separator = OWN;
    for name in reported {
        text.extend_from_slice(separator);
        put_literal(name.as_bytes(), &mut text);
        separator = b", ";
    }
    if separator != OWN {
        text.extend_from_slice(b"]::pg_catalog.text[])");
    }
    if in_transaction {
        text.extend_from_slice(BACK.as_bytes());
    }
    text
}

fn put_hex(bytes: &[u8], text: &mut Vec<u8>) {
    for byte in bytes {
        text.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

/// The bytes that hexadecimal digits stand for.
fn read_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// Session state at a connection, as its server has told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StateQuery {
    /// Settings that are not what the connection was opened with: names and values, in the database's encoding.
    pub(crate) settings: Vec<(String, Vec<u8>)>,
    /// The session user.
    pub(crate) user: Vec<u8>,
    /// Reason to keep the connection: state that cannot be carried.
    pub(crate) pin: Option<Pin>,
    /// Statements were prepared by SQL.
    pub(crate) prepared: bool,
    /// The connection has a schema for temporary objects, which stays as long as itself.
    pub(crate) temporary: bool,
    /// There may be settings that the session's user is not shown.
    pub(crate) blind: bool,
    /// The server could not tell.
    pub(crate) failed: bool,
    /// Settings that are the server's own, of those that it has reported.
    pub(crate) own: Vec<(String, Vec<u8>)>,
    /// Limits that are as the server has them, whether or not they were set.
    pub(crate) defaults: Vec<(String, Vec<u8>)>,
    /// Values that the limits had that were lifted for the question, as the server writes them.
    limits: Vec<(String, Vec<u8>)>,
}

impl StateQuery {
    /// Reads one row; `body` is that of a DataRow.
    pub(crate) fn read(&mut self, body: &[u8]) -> Result<(), ProtocolError> {
        let mut columns = DataRow::read(body)?;
        let mut next = || columns.next().flatten();
        let (letter, name, value) = (next(), next().unwrap_or_default(), next());
        match letter.unwrap_or_default() {
            b"s" | b"d" => self.read_setting(letter == Some(b"d"), name, value),
            b"b" => {
                let value = value.unwrap_or_default().to_vec();
                self.limits
                    .push((String::from_utf8_lossy(name).into_owned(), value));
            }
            b"o" => match value.and_then(read_hex) {
                Some(role) => self.settings.push(("role".to_owned(), role)),
                None => self.add(Pin::Setting),
            },
            b"u" => self.user = value.and_then(read_hex).unwrap_or_default(),
            b"r" => {
                let name = read_hex(name).and_then(|name| String::from_utf8(name).ok());
                self.own.extend(name.zip(value.and_then(read_hex)));
            }
            b"n" => self.temporary = true,
            b"h" => self.blind = true,
            b"p" => {
                self.prepared = true;
                self.add(Pin::PreparedStatement);
            }
            b"l" => self.add(Pin::Listen),
            b"c" => self.add(Pin::HeldCursor),
            b"a" => self.add(Pin::AdvisoryLock),
            b"t" => self.add(Pin::TemporaryObject),
            _ => self.add(Pin::Setting),
        }
        Ok(())
    }

    /// A setting, or what a limit is at a connection that nobody has given another.
    fn read_setting(&mut self, is_limit: bool, name: &[u8], value: Option<&[u8]>) {
        // A setting without a value is one that was never there.
        let Some(value) = value else { return };
        let name = read_hex(name).and_then(|name| String::from_utf8(name).ok());
        let (Some(name), Some(value)) = (name, read_hex(value)) else {
            return self.add(Pin::Setting);
        };
        let name = name.to_ascii_lowercase();
        if !is_limit {
            return self.settings.push((name, value));
        }
        let before = self.limits.iter().find(|(limit, _)| *limit == name);
        match before {
            Some((_, before)) if *before == value => self.defaults.push((name, value)),
            Some((_, before)) => self.settings.push((name, before.clone())),
            None => self.add(Pin::Setting),
        }
    }

    /// The first reason is the one that is told.
    fn add(&mut self, pin: Pin) {
        self.pin = self.pin.or(Some(pin));
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
        let mut state_query = StateQuery::default();
        let rows = [
            [
                Some("s"),
                Some("446174655374796c65"),
                Some("49534f2c20444d59"),
            ],
            [Some("u"), None, Some("617070")],
            [Some("l"), None, None],
            [Some("t"), None, None],
        ];
        for columns in rows {
            state_query.read(&row(columns)).unwrap();
        }
        assert_eq!(
            state_query.settings,
            [("datestyle".to_owned(), b"ISO, DMY".to_vec())]
        );
        assert_eq!(state_query.user, b"app");
        assert_eq!(state_query.pin, Some(Pin::Listen));
    }

    #[test]
    fn a_limit_that_was_lifted_is_a_setting_when_it_is_not_the_servers() {
        let mut state_query = StateQuery::default();
        let rows = [
            [Some("b"), Some("statement_timeout"), Some("5ms")],
            [Some("b"), Some("lock_timeout"), Some("0")],
            [Some("b"), Some("transaction_timeout"), None],
            [
                Some("d"),
                Some("73746174656d656e745f74696d656f7574"),
                Some("30"),
            ],
            [Some("d"), Some("6c6f636b5f74696d656f7574"), Some("30")],
        ];
        for columns in rows {
            state_query.read(&row(columns)).unwrap();
        }
        let limit = ("statement_timeout".to_owned(), b"5ms".to_vec());
        assert_eq!((state_query.settings, state_query.pin), (vec![limit], None));
        assert_eq!(
            state_query.defaults,
            [("lock_timeout".to_owned(), b"0".to_vec())]
        );
    }

    #[test]
    fn what_is_no_hexadecimal_number_cannot_be_carried() {
        let mut state_query = StateQuery::default();
        state_query
            .read(&row([Some("s"), Some("61"), Some("6x")]))
            .unwrap();
        assert_eq!(state_query.pin, Some(Pin::Setting));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(StateQuery::default().read(b"").is_err());
    }
}
