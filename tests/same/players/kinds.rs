//! The kinds of state that a client can leave behind, and statements that do it. Owns the words only; how they are
//! said is in `ways`.

use pgring::random::Seeded;

/// Statements of one kind. `{n}` is a number that has not been there before, `{m}` one of few.
const KINDS: [&[&str]; 13] = [
    // Settings.
    &[
        "SET work_mem = '{n}kB'",
        "SET SESSION work_mem TO {n}",
        "SET DateStyle = German",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET TIME ZONE 'America/Lima'",
        "SET statement_timeout = '{n}s'",
        "SET transaction_timeout = '{n}s'",
        "SET idle_in_transaction_session_timeout = '{n}s'",
        "SET search_path = public, s{n}",
        "SET SCHEMA 'public'",
        "SET enable_seqscan = off",
        "SET default_transaction_isolation = 'serializable'",
        "SET default_transaction_deferrable = on",
        "SET bytea_output = escape",
        "SET NAMES 'LATIN1'",
        "SET application_name = 'player {n}'",
        "SET row_security = off",
    ],
    &[
        "SELECT pg_catalog.set_config('work_mem', '{n}kB', false)",
        "SELECT set_config('lock' || '_timeout', '{n}s', false)",
        "SELECT set_config(name, '{n}', false) FROM pg_settings WHERE name = 'work_mem'",
        "UPDATE pg_settings SET setting = '{n}' WHERE name = 'work_mem'",
        "UPDATE pg_catalog.pg_settings SET setting = '{n}' WHERE name LIKE 'lock\\_time%'",
    ],
    &[
        "SET LOCAL work_mem = '{n}kB'",
        "RESET work_mem",
        "RESET ALL",
        "SET work_mem TO DEFAULT",
        "SELECT set_config('work_mem', NULL, false)",
    ],
    // Settings with a dot.
    &[
        "SET app.v = 'v{n}'",
        "SET app . v = 'v{n}'",
        "SET app/**/.v = 'v{n}'",
        "SET APP.V = v{n}",
        "SET \"app.v\" = 'v{n}'",
        "SET U&\"my\\002ev\" = 'v{n}'",
        "SET \"My\".v = 'v{n}'",
        "RESET app.v",
    ],
    &[
        "SELECT set_config('app.v', 'v{n}', false)",
        "SELECT set_config('app.' || 'v', 'v{n}', false)",
        "SELECT set_config(E'my\\x2ev', 'v{n}', false)",
        "SELECT set_config('odd.n' || {m}, 'v{n}', false)",
        "SELECT set_config('app.v', 'local', true)",
    ],
    // Roles.
    &[
        "SET ROLE reader",
        "SET ROLE 'writer'",
        "SET SESSION ROLE reader",
        "SELECT set_config('ro' || 'le', 'reader', false)",
        "SET SESSION AUTHORIZATION app",
        "SET LOCAL ROLE reader",
        "RESET ROLE",
        "SET ROLE postgres",
    ],
    // Temporary objects.
    &[
        "CREATE TEMP TABLE scratch{m} (n int)",
        "CREATE TEMPORARY VIEW scratch{m} AS SELECT {n} AS n",
        "CREATE TEMP SEQUENCE scratch{m} START {n}",
        "CREATE LOCAL TEMP TABLE scratch{m} AS SELECT {n} AS n",
        "CREATE TABLE pg_temp.scratch{m} AS SELECT {n} AS n",
        "SELECT {n} AS n INTO TEMP scratch{m}",
        "CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT {n} AS n",
    ],
    // Advisory locks.
    &[
        "SELECT pg_try_advisory_lock({m})",
        "SELECT pg_try_advisory_lock(1, {m})",
        "SELECT pg_try_advisory_lock_shared({m})",
        "SELECT pg_try_advisory_xact_lock({m})",
        "SELECT pg_advisory_unlock({m})",
    ],
    // Channels.
    &[
        "LISTEN channel{m}",
        "LISTEN \"Other {m}\"",
        "UNLISTEN channel{m}",
        "NOTIFY nobody",
    ],
    // Statements and cursors.
    &[
        "PREPARE prepared{m} AS SELECT {n}",
        "PREPARE prepared{m} (int) AS SELECT $1 + {n}",
        "EXECUTE prepared{m}",
        "DEALLOCATE prepared{m}",
    ],
    &[
        "DECLARE held{m} CURSOR WITH HOLD FOR SELECT {n}",
        "FETCH held{m}",
        "CLOSE held{m}",
    ],
    // Sequences, and what random numbers follow.
    &[
        "SELECT nextval('public.numbers')",
        "INSERT INTO public.numbered DEFAULT VALUES",
        "SELECT setval('public.others', {n})",
    ],
    // All of it at once.
    &[
        "DISCARD ALL",
        "DISCARD TEMP",
        "DISCARD SEQUENCES",
        "DEALLOCATE ALL",
        "UNLISTEN *",
        "CLOSE ALL",
        "SELECT pg_advisory_unlock_all()",
    ],
];

/// One of them, with these numbers.
pub(super) fn statement(random: &mut Seeded, number: u64) -> String {
    let kind = any(random, &KINDS);
    let text = any(random, kind);
    text.replace("{n}", &number.to_string())
        .replace("{m}", &random.below(3).to_string())
}

/// One of these.
pub(super) fn any<T: Copy>(random: &mut Seeded, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}
