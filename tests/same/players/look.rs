//! What a player looks for: all state that anybody may have left at its connection. Owns the questions, and the few
//! answers that may differ from a direct connection's.

use pgring::protocol::{Tag, tag::backend::ERROR_RESPONSE};

use crate::support::message;

/// All that PostgreSQL shows of a session, but for what the other questions are about, in bytes that every encoding
/// has. NULL and '' of a setting with a dot are the same, as README says.
pub(super) const STATE: &str = "SELECT \
    (SELECT pg_catalog.encode(pg_catalog.convert_to( \
        pg_catalog.string_agg(s.name || '=' || s.setting, ', ' ORDER BY s.name), 'UTF8'), 'escape') \
     FROM pg_catalog.pg_settings s LEFT JOIN public.baseline b ON b.name = s.name \
     WHERE b.setting IS DISTINCT FROM s.setting) AS settings, \
    (SELECT pg_catalog.encode(pg_catalog.convert_to( \
        pg_catalog.string_agg(n || '=' || pg_catalog.current_setting(n, true), ', ' ORDER BY n), 'UTF8'), 'escape') \
     FROM pg_catalog.unnest(ARRAY['app.v', 'my.v', 'odd.n0', 'odd.n1', 'odd.n2', U&'app.\\00e9']) n \
     WHERE pg_catalog.current_setting(n, true) <> '') AS custom, \
    current_user, session_user, \
    (SELECT pg_catalog.string_agg(relname || relkind::text, ', ' ORDER BY relname) FROM pg_catalog.pg_class \
     WHERE relnamespace = pg_catalog.pg_my_temp_schema()) AS temporary, \
    (SELECT pg_catalog.string_agg(objid || ' ' || objsubid || mode, ', ' ORDER BY objid, objsubid, mode) \
     FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) AS locks, \
    (SELECT pg_catalog.string_agg(c, ', ' ORDER BY c) FROM pg_catalog.pg_listening_channels() c) AS channels, \
    (SELECT pg_catalog.string_agg(name || ': ' || statement, ', ' ORDER BY name) \
     FROM pg_catalog.pg_prepared_statements WHERE from_sql) AS prepared, \
    (SELECT pg_catalog.string_agg(name, ', ' ORDER BY name) FROM pg_catalog.pg_cursors WHERE is_holdable) AS held";

/// What a fresh connection has; made by a client, so that it sees what clients see. That somebody has used PL/pgSQL is
/// no state of a session, though it brings settings of its own.
pub(super) const BASELINE: &str = "DO $$ BEGIN END $$; \
    CREATE TABLE public.baseline AS SELECT name, setting FROM pg_catalog.pg_settings; \
    GRANT SELECT ON public.baseline TO public";

/// Of sequences.
pub(super) const NUMBERS: [&str; 2] = [
    "SELECT pg_catalog.currval('public.numbers')",
    "SELECT pg_catalog.lastval()",
];

/// Whether this connection has made temporary objects.
pub(super) const NAMESPACE: &str = "SELECT pg_catalog.pg_my_temp_schema() <> 0";

/// How an answer through pgring may differ from the direct one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// Not at all.
    Never,
    /// "Not yet defined in this session" (55000) in the place of a value: what sequences gave, and what follows a
    /// seed, holds within a transaction, as README says. A value is the right one.
    BeUndefined,
    /// Without what was used and is gone again: `f` in the place of `t`, and a first use of temporary objects in the
    /// place of another one.
    BeCleaner,
    /// A statement that was prepared before another object of the name it reads came or went may go on with the old
    /// one, as it does at a direct connection, or read the new one, or be refused because its shape is another.
    ReadEither,
    /// An answer in the place of "cached plan must not change result type": of a statement that was never described to
    /// the client no shape was announced that could be broken.
    BeAnew,
}

impl May {
    /// Whether the second is an answer like this, given the first.
    pub(super) fn allows(self, [direct, through]: [&[(Tag, Vec<u8>)]; 2]) -> bool {
        match self {
            Self::Never => false,
            Self::BeUndefined => {
                sqlstate(direct).is_none() && sqlstate(through).as_deref() == Some("55000")
            }
            Self::BeCleaner => {
                let codes = [sqlstate(direct), sqlstate(through)];
                let is_first =
                    codes.each_ref().map(Option::as_deref) == [Some("55000"), Some("0A000")];
                is_first || is_row(direct, b"t") && is_row(through, b"f")
            }
            Self::BeAnew => {
                sqlstate(direct).as_deref() == Some("0A000") && sqlstate(through).is_none()
            }
            Self::ReadEither => match sqlstate(through) {
                Some(refused) => refused == "0A000" || sqlstate(direct).is_some(),
                None => true,
            },
        }
    }
}

/// Of the first error.
pub(super) fn sqlstate(messages: &[(Tag, Vec<u8>)]) -> Option<String> {
    let (_, body) = messages.iter().find(|(tag, _)| *tag == ERROR_RESPONSE)?;
    Some(message::error_fields(body).0)
}

fn is_row(messages: &[(Tag, Vec<u8>)], value: &[u8]) -> bool {
    messages
        .iter()
        .any(|(tag, body)| tag.0 == b'D' && body.ends_with(value))
}
