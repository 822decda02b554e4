//! One of the others: a session that does some random work at a time and checks that it finds its own state,
//! and nobody else's. Never leaves a state behind that would keep a server connection from the rest for long.

use std::{collections::BTreeMap, net::SocketAddr};

use pgring::random::Seeded;

use super::{
    message::*,
    session::{Answer, Session},
};

/// What a session starts with, for each setting that is changed here.
const SETTINGS: [(&str, &str, [&str; 2]); 11] = [
    ("TimeZone", "Etc/UTC", ["Asia/Tokyo", "America/Lima"]),
    ("DateStyle", "ISO, MDY", ["German, DMY", "SQL, YMD"]),
    (
        "IntervalStyle",
        "postgres",
        ["iso_8601", "postgres_verbose"],
    ),
    ("work_mem", "4MB", ["5MB", "77MB"]),
    (
        "search_path",
        "\"$user\", public",
        ["other, public", "public"],
    ),
    ("statement_timeout", "0", ["1h", "2h"]),
    ("application_name", "", ["it's", "a \"name\""]),
    ("client_encoding", "UTF8", ["LATIN1", "SQL_ASCII"]),
    ("standard_conforming_strings", "on", ["off", "on"]),
    ("my.var", "", ["one", "two $$ words"]),
    (
        "default_transaction_isolation",
        "read committed",
        ["serializable", "repeatable read"],
    ),
];

/// What a new session must not find.
const NOTHING_OF_OTHERS: &str = "SELECT (SELECT count(*) FROM pg_listening_channels()), \
     to_regclass('pg_temp.scratch') IS NULL, \
     (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), \
     (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
     (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
     current_user";

/// A logged-in client.
pub struct Other<'a> {
    session: Session,
    random: &'a mut Seeded,
    /// What it has set.
    settings: BTreeMap<&'static str, &'static str>,
    /// The role it has taken.
    role: &'static str,
}

type Done = Result<(), String>;

impl<'a> Other<'a> {
    /// Logs in and looks around.
    pub fn login(address: SocketAddr, random: &'a mut Seeded) -> Result<Self, String> {
        let who = [
            ("user", "app"),
            ("database", "app"),
            ("TimeZone", SETTINGS[0].1),
        ];
        let session =
            Session::login_with(address, &who).map_err(|refused| format!("login: {refused:?}"))?;
        let mut other = Self {
            session,
            random,
            settings: BTreeMap::new(),
            role: "app",
        };
        other.row("new session", NOTHING_OF_OTHERS, "0|t|0|0|0|app")?;
        Ok(other)
    }

    /// One piece of work, after a look at its settings.
    pub fn work(&mut self) -> Done {
        self.look()?;
        match self.random.below(15) {
            0 => self.set(),
            1 => self.set_config(),
            2 => self.prepare_by_protocol(),
            3 => self.prepare_by_sql(),
            4 => self.abort(),
            5 => self.listen(),
            6 => self.temporary_table(),
            7 => self.lock(),
            8 => self.reset_everything("DISCARD ALL"),
            9 => self.reset_everything("RESET ALL"),
            10 => self.deallocate_all(),
            11 => self.transaction(),
            12 => self.held_cursor(),
            13 => self.take_role(),
            _ => self.read_only(),
        }
    }

    /// Says goodbye, or just goes.
    pub fn leave(mut self) -> Done {
        match self.random.below(3) {
            0 => self.session.reset(),
            1 => drop(self.session.send(&terminate())),
            _ => {}
        }
        Ok(())
    }

    /// Its own settings, all of them.
    fn look(&mut self) -> Done {
        let names = SETTINGS.map(|(name, ..)| format!("current_setting('{name}', true)"));
        let text = format!("SELECT {}, current_user", names.join(", "));
        let values = SETTINGS.map(|(name, usual, _)| *self.settings.get(name).unwrap_or(&usual));
        let expected = format!("{}|{}", values.join("|"), self.role);
        self.row("settings", &text, &expected)
    }

    fn any_setting(&mut self) -> (&'static str, &'static str) {
        let (name, _, values) = SETTINGS[self.random.below(SETTINGS.len() as u64) as usize];
        (name, values[self.random.below(2) as usize])
    }

    fn set(&mut self) -> Done {
        for _ in 0..=self.random.below(3) {
            let (name, value) = self.any_setting();
            // A list of names is not one name.
            let quoted = match name {
                "search_path" | "DateStyle" => value.to_owned(),
                _ => format!("'{}'", value.replace('\'', "''")),
            };
            self.row("SET", &format!("SET {name} = {quoted}"), "")?;
            self.settings.insert(name, value);
        }
        self.look()
    }

    fn set_config(&mut self) -> Done {
        let (name, value) = self.any_setting();
        let request = all([
            parse("", "SELECT set_config($1, $2, false)"),
            bind("", "", &[name, value]),
            execute(""),
            sync(),
        ]);
        self.answer_is("set_config", &request, value)?;
        self.settings.insert(name, value);
        self.look()
    }

    fn prepare_by_protocol(&mut self) -> Done {
        let name = format!("s{}", self.random.below(3));
        let marker = self.marker();
        let text = format!("SELECT {marker}");
        let request = all([close_statement(&name), parse(&name, &text), sync()]);
        self.answer_is("Parse", &request, "")?;
        let request = all([bind("", &name, &[]), execute(""), sync()]);
        for _ in 0..3 {
            self.answer_is("Bind", &request, &marker)?;
        }
        Ok(())
    }

    fn prepare_by_sql(&mut self) -> Done {
        let marker = self.marker();
        self.row("PREPARE", "DEALLOCATE ALL", "")?;
        self.row("PREPARE", &format!("PREPARE s AS SELECT {marker}"), "")?;
        self.row("EXECUTE", "EXECUTE s", &marker)?;
        self.row("EXECUTE", "EXECUTE s", &marker)?;
        if self.random.below(2) == 0 {
            self.row("DEALLOCATE", "DEALLOCATE s", "")?;
            self.fails("EXECUTE", "EXECUTE s", "26000")?;
        }
        self.row("DEALLOCATE", "DEALLOCATE ALL", "")
    }

    fn deallocate_all(&mut self) -> Done {
        self.row("DEALLOCATE ALL", "DEALLOCATE ALL", "")?;
        let request = all([bind("", "s1", &[]), execute(""), sync()]);
        match self.session.ask(&request) {
            Answer::Error(sqlstate, _) if sqlstate == "26000" => Ok(()),
            answer => Err(format!("Bind after DEALLOCATE ALL: {answer:?}")),
        }
    }

    fn abort(&mut self) -> Done {
        self.row("abort", "BEGIN", "")?;
        self.row("abort", "SET work_mem = '99MB'", "")?;
        self.row("abort", "SET my.var = 'aborted'", "")?;
        if self.random.below(2) == 0 {
            self.fails("abort", "SELECT 1/0", "22012")?;
            self.fails("abort", "SELECT 1", "25P02")?;
        }
        self.row("abort", "ROLLBACK", "")?;
        self.look()
    }

    fn listen(&mut self) -> Done {
        self.row("LISTEN", "LISTEN noise", "")?;
        self.row("NOTIFY", "NOTIFY noise, 'it'", "")?;
        let channels = "SELECT string_agg(c, ',') FROM pg_listening_channels() c";
        self.row("channels", channels, "noise")?;
        self.row("UNLISTEN", "UNLISTEN *", "")
    }

    fn temporary_table(&mut self) -> Done {
        let marker = self.marker();
        let make = format!("CREATE TEMP TABLE scratch AS SELECT {marker} AS n");
        self.row("temporary", &make, "")?;
        self.row("temporary", "SELECT n FROM pg_temp.scratch", &marker)?;
        let end = ["DROP TABLE pg_temp.scratch", "DISCARD TEMP"][self.random.below(2) as usize];
        self.row("temporary", end, "")
    }

    fn lock(&mut self) -> Done {
        let key = 1_000_000 + self.random.below(1 << 40);
        let held =
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
        self.row("lock", &format!("SELECT pg_advisory_lock({key})"), "")?;
        self.row("lock", held, "1")?;
        let unlock = format!("SELECT pg_advisory_unlock({key})");
        self.row("unlock", &unlock, "t")?;
        self.row("unlock", held, "0")
    }

    fn reset_everything(&mut self, how: &'static str) -> Done {
        self.row(how, how, "")?;
        self.settings.clear();
        if how == "DISCARD ALL" {
            self.role = "app";
        }
        self.look()
    }

    fn transaction(&mut self) -> Done {
        let marker = self.marker();
        self.row("BEGIN", "BEGIN", "")?;
        self.row("SET LOCAL", "SET LOCAL work_mem = '33MB'", "")?;
        for _ in 0..3 {
            self.row("transaction", &format!("SELECT {marker}"), &marker)?;
        }
        self.row("transaction", "SHOW work_mem", "33MB")?;
        self.row("COMMIT", "COMMIT", "")
    }

    fn held_cursor(&mut self) -> Done {
        let marker = self.marker();
        let declare = format!("DECLARE held CURSOR WITH HOLD FOR SELECT {marker}");
        self.row("cursor", &declare, "")?;
        self.row("cursor", "FETCH held", &marker)?;
        self.row("cursor", "CLOSE held", "")
    }

    fn take_role(&mut self) -> Done {
        let role = ["reader", "writer", "app"][self.random.below(3) as usize];
        self.row("SET ROLE", &format!("SET ROLE {role}"), "")?;
        self.role = role;
        self.look()?;
        if self.random.below(2) == 0 {
            self.row("RESET ROLE", "RESET ROLE", "")?;
            self.role = "app";
        }
        self.look()
    }

    fn read_only(&mut self) -> Done {
        self.row("read only", "SET default_transaction_read_only = on", "")?;
        self.fails("read only", "INSERT INTO items VALUES (0, '')", "25006")?;
        self.row("read only", "RESET default_transaction_read_only", "")
    }

    /// A number that nobody else has.
    fn marker(&mut self) -> String {
        self.random.below(1 << 50).to_string()
    }

    /// A query with this one row, or none.
    fn row(&mut self, what: &str, text: &str, expected: &str) -> Done {
        self.answer_is(what, &query(text), expected)
    }

    fn answer_is(&mut self, what: &str, request: &[u8], expected: &str) -> Done {
        match self.session.ask(request) {
            Answer::Rows(rows) if rows.concat() == expected => Ok(()),
            Answer::Rows(rows) => Err(format!("{what}: {rows:?} and not {expected:?}")),
            other => Err(format!("{what}: {other:?}")),
        }
    }

    fn fails(&mut self, what: &str, text: &str, sqlstate: &str) -> Done {
        match self.session.query(text) {
            Answer::Error(given, _) if given == sqlstate => Ok(()),
            answer => Err(format!("{what}: {answer:?} and not {sqlstate}")),
        }
    }
}
