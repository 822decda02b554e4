//! Encodings in which the second byte of a character may be a backslash, an at sign or a bar: what looks like the
//! inside of a string is a statement to the server. What it leaves behind is its client's alone.

use crate::{
    session::{Answer, Session},
    stage::Stage,
    support::{message::*, proxy::Config},
};

/// Each with a character whose second byte is a backslash, and one whose second byte cannot be in a name.
const ENCODINGS: [(&str, [&[u8]; 2]); 5] = [
    ("SJIS", [b"\x83\x5c", b"\x83\x40"]),
    ("BIG5", [b"\xa5\x5c", b"\xa5\x40"]),
    ("GBK", [b"\x81\x5c", b"\x81\x40"]),
    ("GB18030", [b"\x81\x5c", b"\x81\x40"]),
    ("SHIFT_JIS_2004", [b"\x83\x5c", b"\x83\x40"]),
];

/// What is hidden, and how it is seen that it was done.
const HIDDEN: [(&str, &str, &str); 6] = [
    (
        "SET work_mem = '99MB'",
        "SELECT current_setting('work_mem')",
        "4MB",
    ),
    ("SET my.v = 'x'", "SELECT current_setting('my.v', true)", ""),
    ("SET ROLE reader", "SELECT current_user", "app"),
    (
        "LISTEN mine",
        "SELECT count(*) FROM pg_listening_channels()",
        "0",
    ),
    (
        "CREATE TEMP TABLE scratch (n int)",
        "SELECT to_regclass('pg_temp.scratch') IS NULL",
        "t",
    ),
    (
        "SELECT pg_advisory_lock(7)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
    ),
];

/// One connection with which everybody is served, and a second one for who comes while that is kept.
fn adapt(config: Config) -> Config {
    config.set("pool", "size = 2")
}

/// A simple query of these bytes.
fn query_of(text: &[u8]) -> Vec<u8> {
    let mut message = query(&"x".repeat(text.len()));
    let start = message.len() - text.len() - 1;
    message[start..start + text.len()].copy_from_slice(text);
    message
}

/// Texts of which a reader that knows nothing of the encoding takes the statement for a part of a string.
fn hiding(statement: &str, [backslash, at]: [&[u8]; 2]) -> Vec<Vec<u8>> {
    let statement = statement.replace('\'', "$$");
    let hidden = format!("; {statement}; --'");
    vec![
        [b"SELECT E'", backslash, b"'", hidden.as_bytes()].concat(),
        [
            b"SELECT 1 AS \"",
            at,
            b"\", E'a",
            backslash,
            b"'",
            hidden.as_bytes(),
        ]
        .concat(),
        [b"SELECT $", at, b"$'$", at, b"$", hidden.as_bytes()].concat(),
    ]
}

/// Parameters of a login.
type Startup = Vec<(&'static str, &'static str)>;

/// How a client comes to its encoding: at login, or later, with the words in question close behind.
fn ways_in(encoding: &'static str, text: &[u8]) -> Vec<(Startup, Vec<Vec<u8>>)> {
    let who = vec![("user", "app"), ("database", "app")];
    let at_login = [&who[..], &[("client_encoding", encoding)]].concat();
    let set = query(&format!("SET client_encoding = '{encoding}'"));
    let set_names = query(&format!("SET NAMES '{encoding}'"));
    let in_function = query(&format!(
        "SELECT set_config('client_' || 'encoding', '{encoding}', false)"
    ));
    let said = query_of(text);
    vec![
        (at_login, vec![said.clone()]),
        (who.clone(), vec![set.clone(), said.clone()]),
        (who.clone(), vec![in_function, said.clone()]),
        // One after the other without waiting.
        (who.clone(), vec![[set_names, said.clone()].concat()]),
        (who, vec![query("BEGIN"), set, said, query("COMMIT")]),
    ]
}

#[test]
fn what_an_encoding_hides_is_its_clients_alone() {
    let mut stage = Stage::trusting(adapt);
    stage.sql("CREATE ROLE reader; GRANT reader TO app; GRANT TEMP ON DATABASE app TO reader");
    let mut complaints = Vec::new();
    for (encoding, characters) in ENCODINGS {
        stage.renew(adapt);
        for (statement, look, clean) in HIDDEN {
            for text in hiding(statement, characters) {
                for (startup, requests) in ways_in(encoding, &text) {
                    let shown = text.escape_ascii();
                    let what = complaint_about(&stage, &startup, &requests, look, clean);
                    let name = format!("{encoding}, {} requests: {shown}", requests.len());
                    if let Err(what) = what {
                        complaints.push(format!("{name}: {what}"));
                        stage.renew(adapt);
                    }
                }
            }
        }
    }
    let count = complaints.len();
    assert!(
        complaints.is_empty(),
        "{count} complaints\n{}",
        complaints.join("\n")
    );
}

/// Says all of it, and reads as many answers as there are, which must be no errors.
fn say(session: &mut Session, requests: &[Vec<u8>]) -> Result<(), String> {
    for request in requests {
        session.send(request).unwrap();
        // A simple query begins with Q and its length, nothing in these texts looks like another one.
        let header = |at: usize| u32::from_be_bytes(request[at + 1..at + 5].try_into().unwrap());
        let mut at = 0;
        while at < request.len() {
            let answer = session.answer();
            if !matches!(answer, Answer::Rows(_)) {
                return Err(format!("{answer:?}"));
            }
            at += 1 + header(at) as usize;
        }
    }
    Ok(())
}

fn complaint_about(
    stage: &Stage,
    startup: &[(&str, &str)],
    requests: &[Vec<u8>],
    look: &str,
    clean: &str,
) -> Result<(), String> {
    let mut direct = Session::login_with(stage.server.primary.address(), startup).unwrap();
    say(&mut direct, requests).unwrap();
    let own = direct.query(look).row();
    assert_ne!(own, clean, "nothing is hidden in {requests:?}");
    drop(direct);
    // Its lock is given back when the server has noticed.
    stage.sql("SELECT pg_advisory_xact_lock(7)");
    let login = || Session::login(stage.proxy.address()).unwrap();
    let mut one = Session::login_with(stage.proxy.address(), startup).unwrap();
    let mut earlier = login();
    say(&mut one, requests)?;
    let told = [earlier.query(look).row(), login().query(look).row()];
    let found = one.query(look).row();
    drop(one);
    let left = [earlier.query(look).row(), login().query(look).row()];
    let strangers = [told, left].concat();
    if strangers.iter().any(|found| found != clean) {
        return Err(format!("others find {strangers:?}"));
    }
    match found == own {
        true => Ok(()),
        false => Err(format!("its owner finds {found}, not {own}")),
    }
}
