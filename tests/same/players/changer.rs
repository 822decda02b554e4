//! The player who changes the schema by every way while statements are in use, prepared under several names, described
//! or not, with text and binary results. Owns what was told of each statement: no row goes out in another shape.

use std::collections::BTreeMap;

use pgring::{
    protocol::{
        Frame, Tag,
        tag::backend::{DATA_ROW, ROW_DESCRIPTION},
    },
    random::Seeded,
};

use super::{
    kinds::any,
    look::May,
    world::{Complaint, World},
};
use crate::support::message::*;

/// Changes after which a statement that was prepared before means what it says now.
const CHANGES: [&str; 22] = [
    "ALTER TABLE public.t ALTER COLUMN x TYPE bigint USING x::text::bigint",
    "ALTER TABLE public.t ALTER COLUMN x TYPE real USING x::text::real",
    "ALTER TABLE public.t ALTER COLUMN x TYPE text USING x::text",
    "ALTER TABLE public.t ALTER COLUMN x TYPE int USING x::text::int",
    "ALTER TABLE public.t ADD COLUMN y int DEFAULT {n}",
    "ALTER TABLE public.t DROP COLUMN y",
    "ALTER TABLE public.t RENAME COLUMN x TO z",
    "ALTER TABLE public.t RENAME COLUMN z TO x",
    "DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (x int); INSERT INTO public.t VALUES ({n})",
    "DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (x int, w text); INSERT INTO public.t VALUES ({n}, 'w')",
    "DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (x real); INSERT INTO public.t VALUES ({n})",
    "DROP TABLE public.t",
    "CREATE TABLE public.t AS SELECT {n} AS x",
    "CREATE OR REPLACE VIEW public.v AS SELECT {n} AS one",
    "CREATE OR REPLACE VIEW public.v AS SELECT 1 AS one, {n} AS two",
    "DROP VIEW IF EXISTS public.v; CREATE VIEW public.v AS SELECT 'w'::text AS one",
    "DROP VIEW IF EXISTS public.v; CREATE VIEW public.v AS SELECT {n} AS one",
    "CREATE OR REPLACE FUNCTION public.f(n int) RETURNS int LANGUAGE sql AS 'SELECT {n}'",
    "DROP FUNCTION public.f(int); CREATE FUNCTION public.f(n int) RETURNS int LANGUAGE sql AS 'SELECT {n}'",
    "DROP FUNCTION public.f(int); CREATE FUNCTION public.f(n int) RETURNS text LANGUAGE sql AS $f$ SELECT 'w' $f$",
    "ALTER TYPE public.mood ADD VALUE 'm{n}'",
    "ALTER TYPE public.pair ADD ATTRIBUTE z{n} int",
];

/// Changes after which a statement that was prepared before may still read what it read, until it is prepared anew.
const SHADOWS: [&str; 6] = [
    "CREATE TABLE a.t AS SELECT {n} AS x",
    "CREATE TABLE a.t AS SELECT 'w'::text AS x, {n} AS y",
    "CREATE VIEW a.t AS SELECT {n} AS x",
    "DROP TABLE a.t",
    "DROP VIEW a.t",
    "CREATE OR REPLACE FUNCTION public.f(n smallint) RETURNS int LANGUAGE sql AS 'SELECT {n}'",
];

/// What is prepared.
const TEXTS: [&str; 9] = [
    "SELECT x FROM t",
    "SELECT x FROM t",
    "SELECT * FROM t ORDER BY 1",
    "SELECT x, 'w' AS w FROM t",
    "SELECT * FROM v",
    "SELECT f(1::smallint)",
    "SELECT max(m)::text FROM unnest(enum_range(NULL::mood)) m",
    "SELECT (NULL::pair).*",
    "INSERT INTO t (x) VALUES (3) RETURNING *",
];

const NAMES: [&str; 4] = ["", "s1", "s2", "s3"];

/// A statement of one player.
#[derive(Clone, Debug)]
struct Statement {
    text: &'static str,
    /// How many shadows there had been.
    shadows: u64,
    /// Types of the columns that were announced.
    told: Option<Vec<u32>>,
}

/// What is known of all statements.
#[derive(Debug, Default)]
pub(super) struct Changer {
    statements: BTreeMap<(usize, &'static str), Statement>,
    shadows: u64,
}

impl Changer {
    /// A change, or the use of a statement.
    pub(super) fn play(
        &mut self,
        world: &mut World,
        random: &mut Seeded,
        player: usize,
        number: u64,
    ) -> Result<(), Complaint> {
        match random.below(8) {
            0 | 1 => self.change(world, random, player, number),
            2 => simple(world, random, player),
            3 => self.prepare(world, random, player),
            _ => self.use_one(world, random, player),
        }
    }

    /// A session is over, and its statements with it.
    pub(super) fn forget(&mut self, player: usize) {
        self.statements.retain(|(owner, _), _| *owner != player);
    }

    fn change(
        &mut self,
        world: &mut World,
        random: &mut Seeded,
        player: usize,
        number: u64,
    ) -> Result<(), Complaint> {
        let is_shadow = random.below(3) == 0;
        let text = if is_shadow {
            any(random, &SHADOWS)
        } else {
            any(random, &CHANGES)
        };
        self.shadows += u64::from(is_shadow);
        let text = text.replace("{n}", &number.to_string());
        let quoted = text.replace('\'', "''");
        let requests = match random.below(9) {
            0..3 => {
                world.aside(&text);
                return Ok(());
            }
            3 => vec![format!("SELECT public.run('{quoted}')")],
            4 => vec![format!("DO $do$ BEGIN EXECUTE '{quoted}'; END $do$")],
            5 => vec![format!("CALL public.perform('{quoted}')")],
            6 => vec![
                "BEGIN".to_owned(),
                text,
                any(random, &["COMMIT", "ROLLBACK"]).to_owned(),
            ],
            7 => vec![format!("SELECT 1; {text}")],
            _ => vec![text],
        };
        for text in requests {
            world.say(player, &text, &query(&text), May::Never)?;
        }
        Ok(())
    }

    /// Under a name that may be in use.
    fn prepare(
        &mut self,
        world: &mut World,
        random: &mut Seeded,
        player: usize,
    ) -> Result<(), Complaint> {
        let (name, text) = (any(random, &NAMES), any(random, &TEXTS));
        let is_described = random.below(3) > 0;
        let is_used = random.below(3) == 0;
        let mut bytes = [close_statement(name), parse(name, text)].concat();
        let mut shown = format!("Close and Parse {name:?}: {text}");
        if is_described {
            bytes.extend(describe_statement(name));
            shown += ", Describe";
        }
        if is_used {
            bytes.extend(all([bind("", name, &[]), execute("")]));
            shown += ", Bind, Execute";
        }
        bytes.extend(sync());
        self.statements.remove(&(player, name));
        let [direct, through] = world.say(player, &shown, &bytes, May::Never)?;
        // Parsed, whatever became of the rest; a server that refused it has none.
        if has(&direct, b'1') {
            let statement = Statement {
                text,
                shadows: self.shadows,
                told: told(&through),
            };
            self.statements.insert((player, name), statement);
        }
        Ok(())
    }

    fn use_one(
        &mut self,
        world: &mut World,
        random: &mut Seeded,
        player: usize,
    ) -> Result<(), Complaint> {
        let name = any(random, &NAMES);
        let Some(statement) = self.statements.get(&(player, name)).cloned() else {
            return self.prepare(world, random, player);
        };
        let may = match (&statement.told, statement.shadows == self.shadows) {
            (_, false) => May::ReadEither,
            (None, true) => May::BeAnew,
            (Some(_), true) => May::Never,
        };
        // What is written shall be the same in both worlds.
        if may != May::Never && statement.text.starts_with("INSERT") {
            return self.prepare(world, random, player);
        }
        let is_binary = random.below(2) == 0;
        let is_described = random.below(3) == 0;
        let mut bytes = bind_formats("", name, (&[], &[]), if is_binary { &[1] } else { &[] });
        if is_described {
            bytes.extend(describe_portal(""));
        }
        bytes.extend(all([execute(""), sync()]));
        let formats = if is_binary { "binary" } else { "text" };
        let shown = format!(
            "Bind {name:?} ({}), {formats}, described: {is_described}",
            statement.text
        );
        let [_, through] = world.say(player, &shown, &bytes, may)?;
        let announced = told(&through).or(statement.told);
        if let Some(types) = announced {
            let is_wrong = |(tag, body): &&(Tag, Vec<u8>)| {
                *tag == DATA_ROW && !fits(*tag, body, &types, is_binary)
            };
            if let Some((_, row)) = through.iter().find(is_wrong) {
                let row = row.escape_ascii();
                return Err(world.complaint(&format!(
                    "    told {types:?}, and then came the row {row}\n"
                )));
            }
            self.statements
                .entry((player, name))
                .and_modify(|one| one.told = Some(types));
        }
        Ok(())
    }
}

fn simple(world: &mut World, random: &mut Seeded, player: usize) -> Result<(), Complaint> {
    let text = any(random, &TEXTS);
    world.say(player, text, &query(text), May::Never).map(drop)
}

fn has(messages: &[(Tag, Vec<u8>)], letter: u8) -> bool {
    messages.iter().any(|(tag, _)| tag.0 == letter)
}

/// Types of the columns in the last description.
fn told(messages: &[(Tag, Vec<u8>)]) -> Option<Vec<u32>> {
    let (_, body) = messages
        .iter()
        .rev()
        .find(|(tag, _)| *tag == ROW_DESCRIPTION)?;
    let mut types = Vec::new();
    let mut rest = &body[2..];
    while let Some(name) = rest.iter().position(|&byte| byte == 0) {
        let field = &rest[name + 1..];
        types.push(u32::from_be_bytes(field[6..10].try_into().unwrap()));
        rest = &field[18..];
    }
    Some(types)
}

/// Whether a row can be one of columns of these types. Numbers here are small.
fn fits(tag: Tag, body: &[u8], types: &[u32], is_binary: bool) -> bool {
    const INT8: u32 = 20;
    const INT4: u32 = 23;
    const FLOAT4: u32 = 700;
    let columns = i16::from_be_bytes(body[..2].try_into().unwrap()) as usize;
    if columns != types.len() || !is_binary {
        return columns == types.len() && values(Frame { tag, body }).len() == columns;
    }
    let mut rest = &body[2..];
    types.iter().all(|&of| {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        let value = &rest[4..4 + length.max(0) as usize];
        rest = &rest[4 + value.len()..];
        match of {
            _ if length < 0 => true,
            INT4 => length == 4 && value[0] < 0x3f,
            FLOAT4 => length == 4 && (value[0] >= 0x3f || value == [0; 4]),
            INT8 => length == 8,
            _ => true,
        }
    })
}
