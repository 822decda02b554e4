//! What a server says of its own settings changes: by ALTER DATABASE, ALTER ROLE, ALTER SYSTEM, through pgring and from
//! outside. Who logs in next is told what holds, and nobody is told one thing and runs with another.

use std::{thread, time::Duration};

use pgring::protocol::tag::backend::{PARAMETER_STATUS, READY_FOR_QUERY};

use crate::{
    property::exchange,
    support::{
        eventually,
        message::{query, startup},
        session::Session,
        stage::Stage,
        versions::postgres_versions,
    },
};

/// What a login may rely on for so long; see `greeting_age`.
const AGE: Duration = Duration::from_millis(300);

/// Statements that wait at the gate.
const WAITS: &str =
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'gate'::regclass";

const LOOK: &str = "SELECT current_setting('DateStyle'), date '2024-02-01', current_setting('TimeZone'), \
    current_setting('default_transaction_read_only'), current_setting('IntervalStyle'), interval '1 day 2 hours'";

/// Changes, and what takes them back.
const CHANGES: [[&str; 2]; 5] = [
    [
        "ALTER DATABASE app SET DateStyle = 'German'",
        "ALTER DATABASE app RESET DateStyle",
    ],
    [
        "ALTER ROLE app SET TimeZone = 'Asia/Tokyo'",
        "ALTER ROLE app RESET TimeZone",
    ],
    [
        "ALTER ROLE app IN DATABASE app SET IntervalStyle = 'iso_8601'",
        "ALTER ROLE app IN DATABASE app RESET IntervalStyle",
    ],
    [
        "ALTER DATABASE app SET default_transaction_read_only = on",
        "ALTER DATABASE app RESET default_transaction_read_only",
    ],
    [
        "ALTER DATABASE app SET DateStyle = 'SQL, DMY'; ALTER DATABASE app SET TimeZone = 'America/Lima'",
        "ALTER DATABASE app RESET ALL",
    ],
];

fn stage(size: u32, workers: u16) -> Stage {
    let stage = Stage::trusting(|config| {
        config
            .set("pool", &format!("size = {size}"))
            .workers(workers)
    });
    stage.sql("CREATE ROLE boss LOGIN SUPERUSER");
    stage
}

/// One client, directly and through pgring.
struct Pair([Session; 2]);

impl Pair {
    /// Logs in with these startup parameters, and is told the same.
    fn login(stage: &Stage, more: &[(&str, &str)], when: &str) -> Self {
        let who = [("user", "app"), ("database", "app")];
        let hello = startup(&[&who, more].concat());
        let addresses = [stage.server.primary.address(), stage.proxy.address()];
        let mut pair = Self(addresses.map(|address| Session::connect(address).unwrap()));
        pair.says_the_same(&hello, when);
        pair
    }

    fn says_the_same(&mut self, bytes: &[u8], when: &str) {
        let [direct, through] = self.0.each_mut().map(|session| exchange(session, bytes, 1));
        if let Some(difference) = direct.difference(&through, ["direct", "pgring"]) {
            panic!("{when}\n{difference}");
        }
    }

    /// The same messages come, reports of settings somewhere among them.
    fn hears_the_same(&mut self, bytes: &[u8], when: &str) {
        let [direct, through] = self.0.each_mut().map(|session| {
            session.send(bytes).unwrap();
            let mut all = Vec::new();
            while !matches!(all.last(), Some((READY_FOR_QUERY, _))) {
                all.push(session.message().unwrap());
            }
            all.sort_by_key(|(tag, _)| *tag != PARAMETER_STATUS);
            all
        });
        assert_eq!(direct, through, "{when}");
    }

    fn look(&mut self, when: &str) {
        self.says_the_same(&query(LOOK), when);
    }
}

#[test]
fn who_logs_in_is_told_what_holds_and_who_is_there_keeps_what_he_was_told() {
    for (size, workers) in [(1, 1), (3, 2)] {
        let stage = stage(size, workers);
        let mut old = Pair::login(&stage, &[], "at first");
        let mut named = Pair::login(&stage, &[("TimeZone", "UTC")], "at first");
        old.look("at first");
        for [change, back] in CHANGES {
            for sql in [change, back] {
                stage.server.primary.sql("postgres", sql).unwrap();
                thread::park_timeout(AGE);
                for round in 0..4 {
                    let when = format!("{sql}, round {round}, {workers} workers");
                    Pair::login(&stage, &[], &when).look(&when);
                    Pair::login(&stage, &[("DateStyle", "ISO, MDY")], &when).look(&when);
                    old.look(&format!("{when}, from before"));
                    named.look(&format!("{when}, from before with TimeZone"));
                }
                let when = format!("{sql}, after RESET");
                old.says_the_same(&query("SET DateStyle = 'Postgres'"), &when);
                old.says_the_same(&query("RESET DateStyle"), &when);
                old.look(&when);
            }
        }
    }
}

/// What goes through pgring itself is known at once.
#[test]
fn a_change_through_pgring_needs_no_time() {
    let stage = stage(2, 2);
    let mut boss = Session::login_as(stage.proxy.address(), "boss", "app").unwrap();
    boss.query("SET default_transaction_read_only = off");
    let mut old = Pair::login(&stage, &[], "at first");
    for [change, back] in CHANGES {
        for sql in [change, back] {
            for statement in sql.split("; ") {
                boss.query(statement);
            }
            Pair::login(&stage, &[], sql).look(sql);
            old.look(sql);
        }
    }
}

/// A reload changes the settings of connections that are there: each is told so at its next statement.
#[test]
fn a_reload_is_heard_by_all() {
    for installation in postgres_versions() {
        let stage = Stage::trusting_of(&installation, |config| config.set("pool", "size = 1"));
        let mut one = Pair::login(&stage, &[], "at first");
        one.look("at first");
        for style in ["'German'", "'SQL, DMY'", "DEFAULT"] {
            stage.sql(&format!("ALTER SYSTEM SET DateStyle = {style}"));
            stage.sql("SELECT pg_reload_conf()");
            // The server reads its files when it finds the time.
            thread::park_timeout(AGE);
            for round in 0..3 {
                // The server reports it when it is ready, which may be with the answer to something of pgring's.
                one.hears_the_same(&query("SELECT 1"), &format!("{style}, {round}"));
                one.look(&format!("{style}, {round}"));
            }
            for _ in 0..3 {
                Pair::login(&stage, &[], style).look(style);
            }
            thread::park_timeout(AGE);
            Pair::login(&stage, &[("TimeZone", "UTC")], style).look(style);
            one.look(style);
        }
    }
}

/// Whoever logs in while a change is being made hears what held before it, which is not taken for what holds after it.
#[test]
fn what_is_heard_during_a_change_is_not_taken_for_newer_than_it() {
    let stage = Stage::trusting(|config| {
        config
            .set("pool", "size = 3")
            .set("pool", "greeting_age = \"1h\"")
    });
    stage.sql("CREATE ROLE boss LOGIN SUPERUSER; CREATE TABLE gate ()");
    let mut boss = Session::login_as(stage.proxy.address(), "boss", "app").unwrap();
    for [change, back] in CHANGES {
        for sql in [change, back] {
            // Another one of the server's roles keeps the change from being done.
            let mut porter =
                Session::login_as(stage.server.primary.address(), "boss", "app").unwrap();
            porter.query("BEGIN; LOCK TABLE gate");
            boss.send(&query(&format!("LOCK TABLE gate; {sql}")))
                .unwrap();
            eventually("the change waits", || stage.sql(WAITS) == "1");
            Pair::login(&stage, &[], &format!("during {sql}"));
            porter.query("COMMIT");
            while boss.message().unwrap().0 != READY_FOR_QUERY {}
            Pair::login(&stage, &[], &format!("after {sql}")).look(sql);
        }
    }
}
