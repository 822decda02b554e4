//! The two questions that a database is asked for its catalog, and what their rows mean. Who asks them, and when, is
//! the control plane's affair.

use thiserror::Error;

use super::own::{looking_functions, primary_functions};

/// Functions that call themselves volatile, and aggregates over such: an aggregate says that it is immutable, whatever
/// it calls.
macro_rules! is_volatile {
    () => {
        "(p.provolatile = 'v' OR p.oid IN (SELECT a.aggfnoid FROM pg_catalog.pg_proc s \
         JOIN pg_catalog.pg_aggregate a ON s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, \
         a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) WHERE s.provolatile = 'v'))"
    };
}

/// Functions of which `p.oid` is so.
macro_rules! functions {
    ($is:literal) => {
        concat!(
    "SELECT n.nspname, p.proname, pg_catalog.bool_or",
    is_volatile!(),
    ", pg_catalog.bool_or(p.provolatile = 'v' AND t.oid IS NOT NULL AND (t.typtype IN ('c', 'd') \
     OR t.typname IN ('record', 'any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray'))) \
     FROM pg_catalog.pg_proc p \
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     LEFT JOIN pg_catalog.pg_type t ON p.pronargs > 0 AND t.oid = p.proargtypes[0] \
     WHERE p.prokind <> 'p' AND p.oid ",
            $is,
            " GROUP BY n.nspname, p.proname"
        )
    };
}

/// One row per schema and name of functions, its columns those of [`FunctionFact::from_columns`].
pub const FUNCTIONS_SQL: &str = functions!(">= 16384");

/// As [`FUNCTIONS_SQL`], for what comes with the server and does not change.
pub const OWN_FUNCTIONS_SQL: &str = functions!("< 16384");

/// Relations whose numbers in `pg_class` are so. What a view or a policy calls is found in its stored tree, since
/// `pg_depend` does not name PostgreSQL's own functions.
macro_rules! relations {
    ($is:literal) => {
        concat!(
    "WITH writers AS MATERIALIZED (SELECT p.oid::text AS oid FROM pg_catalog.pg_proc p WHERE ",
    is_volatile!(),
    " AND NOT (p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(",
    looking_functions!(),
    ")$') OR p.pronamespace = 'pg_catalog'::regnamespace AND (p.proname LIKE 'pg\\_stat\\_get\\_%' OR p.proname ~ '^(",
    primary_functions!(),
    ")$')), \
     trees AS (SELECT ev_class AS relation, ev_action::text AS tree FROM pg_catalog.pg_rewrite WHERE ev_type = '1' AND ev_class ",
            $is,
            " UNION ALL SELECT polrelid, polqual::text FROM pg_catalog.pg_policy WHERE polqual IS NOT NULL AND polrelid ",
            $is,
            "), \
     callers AS MATERIALIZED (SELECT DISTINCT t.relation FROM trees t, \
     pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.replace(t.tree, 'fnoid ', 'funcid '), 'funcid ')) piece \
     WHERE pg_catalog.split_part(piece, ' ', 1) IN (SELECT w.oid FROM writers w) \
     UNION SELECT relation FROM trees WHERE tree ~ ':rowMarks [(]'), \
     steps AS (SELECT r.ev_class AS relation, d.refobjid AS base FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass \
     AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> r.ev_class \
     UNION SELECT p.polrelid, d.refobjid FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_policy p ON p.oid = d.objid WHERE d.classid = 'pg_catalog.pg_policy'::regclass \
     AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> p.polrelid \
     UNION SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits), \
     bases AS MATERIALIZED (SELECT relation, pg_catalog.string_agg(base::text, ' ') AS oids FROM steps GROUP BY relation) \
     SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, b.oids, w.relation IS NOT NULL \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN bases b ON b.relation = c.oid LEFT JOIN callers w ON w.relation = c.oid \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid ",
            $is
        )
    };
}

/// One row per relation that a query may name, its columns those of [`RelationFact::from_columns`].
pub const RELATIONS_SQL: &str = relations!(">= 16384");

/// As [`RELATIONS_SQL`], for what comes with the server and does not change.
pub const OWN_RELATIONS_SQL: &str = relations!("< 16384");

/// A row that is none of those that were asked for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FactError {
    /// Another number of columns.
    #[error("the server answered {found} columns where {expected} were asked for")]
    Columns {
        /// As the query has them.
        expected: usize,
        /// As they came.
        found: usize,
    },
    /// A value that the column cannot have.
    #[error("the server answered {value:?} in column {column}, which is no {wanted}")]
    Value {
        /// Its number, from 1.
        column: usize,
        /// The kind of values that the column has.
        wanted: &'static str,
        /// The value that came.
        value: String,
    },
}

/// All functions of one name in one schema. Procedures are none: SQL cannot call them in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFact {
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Any of them is volatile, or an aggregate that calls such a function.
    pub volatile: bool,
    /// A volatile one takes a row as its first argument, so that `t.f` calls it.
    pub projects: bool,
}

/// A table, a view or another relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationFact {
    /// Its number in `pg_class`.
    pub oid: u32,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `relkind`: `r`, `p`, `v`, `m`, `f`, `S`.
    pub kind: char,
    /// `relpersistence`: `p`, `u`, `t`.
    pub persistence: char,
    /// Row level security is on.
    pub row_security: bool,
    /// Relations that it reads when it is read: those in the definition of a view, partitions, heirs. One step only.
    pub bases: Vec<u32>,
    /// Its definition or its policies call a function that must not run on a standby.
    pub calls_writers: bool,
}

impl FunctionFact {
    /// A row of [`FUNCTIONS_SQL`] in text format.
    pub fn from_columns(columns: &[Option<&str>]) -> Result<Self, FactError> {
        let row = Row::new(columns, 4)?;
        Ok(Self {
            schema: row.text(0),
            name: row.text(1),
            volatile: row.truth(2)?,
            projects: row.truth(3)?,
        })
    }
}

impl RelationFact {
    /// A row of [`RELATIONS_SQL`] in text format.
    pub fn from_columns(columns: &[Option<&str>]) -> Result<Self, FactError> {
        let row = Row::new(columns, 8)?;
        let bases = row.value(6).split_ascii_whitespace();
        Ok(Self {
            oid: row.oid(0)?,
            schema: row.text(1),
            name: row.text(2),
            kind: row.letter(3)?,
            persistence: row.letter(4)?,
            row_security: row.truth(5)?,
            bases: bases.map(|base| oid(base, 6)).collect::<Result<_, _>>()?,
            calls_writers: row.truth(7)?,
        })
    }
}

/// One row, with the right number of columns.
pub(super) struct Row<'r>(&'r [Option<&'r str>]);

impl<'r> Row<'r> {
    pub(super) fn new(columns: &'r [Option<&'r str>], expected: usize) -> Result<Self, FactError> {
        let found = columns.len();
        if found == expected {
            Ok(Self(columns))
        } else {
            Err(FactError::Columns { expected, found })
        }
    }

    /// Null is the empty text.
    fn value(&self, column: usize) -> &'r str {
        self.0.get(column).copied().flatten().unwrap_or_default()
    }

    pub(super) fn text(&self, column: usize) -> String {
        self.value(column).to_owned()
    }

    fn truth(&self, column: usize) -> Result<bool, FactError> {
        match self.value(column) {
            "t" => Ok(true),
            "f" => Ok(false),
            value => Err(wrong(value, column, "truth value")),
        }
    }

    /// That the value is none of what the column has.
    pub(super) fn wrong(&self, column: usize, wanted: &'static str) -> FactError {
        wrong(self.value(column), column, wanted)
    }

    pub(super) fn letter(&self, column: usize) -> Result<char, FactError> {
        let value = self.value(column);
        let mut letters = value.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Ok(letter),
            _ => Err(wrong(value, column, "single letter")),
        }
    }

    pub(super) fn oid(&self, column: usize) -> Result<u32, FactError> {
        oid(self.value(column), column)
    }
}

fn oid(value: &str, column: usize) -> Result<u32, FactError> {
    value
        .parse()
        .map_err(|_| wrong(value, column, "object number"))
}

fn wrong(value: &str, column: usize, wanted: &'static str) -> FactError {
    FactError::Value {
        column: column + 1,
        wanted,
        value: value.to_owned(),
    }
}
