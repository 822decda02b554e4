//! A table as plain data: what it is called, its columns with their types and meaning, rows of values. Pure; knows no
//! wire format.

use std::fmt;

use crate::{
    cluster::{
        report::{Report, ReportKind},
        snapshot::Snapshot,
    },
    ids::NodeId,
};

use super::route::Route;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Any text.
    Text,
    /// A whole number of 64 bits.
    Int8,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name, the key under which scripts look for it.
    pub name: &'static str,
    /// Its type.
    pub column_type: ColumnType,
    /// Its meaning, with the unit of a number, in one sentence.
    pub doc: &'static str,
}

/// A column of text.
pub(super) const fn text(name: &'static str, doc: &'static str) -> Column {
    Column {
        name,
        column_type: ColumnType::Text,
        doc,
    }
}

/// A column of whole numbers.
pub(super) const fn int8(name: &'static str, doc: &'static str) -> Column {
    Column {
        name,
        column_type: ColumnType::Int8,
        doc,
    }
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a column of text; and of one of numbers where there is no number, as for the port of an odd path.
    Text(String),
    /// Of a column of numbers.
    Int8(i64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Int8(number) => number.fmt(f),
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int8(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int8(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int8(number.into())
    }
}

impl From<u64> for Value {
    /// A count that does not fit stands at the largest number there is.
    fn from(number: u64) -> Self {
        Self::Int8(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Values in the order of their table's columns.
pub type Row = Vec<Value>;

/// Program whose columns a table has, because scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Numbers are of type int8 in SQL.
    PgBouncer,
    /// All values are text in SQL.
    Pgpool,
}

/// Facts that rows are made of.
pub struct Sources<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// Reports of the cores, of the kind that the table wants.
    pub reports: &'a [Report],
    /// How long the cores have counted, in seconds, at least one.
    pub seconds_up: u64,
    /// Node that takes the reads of the session that asks; `None` for those who have no session.
    pub reads: Option<NodeId>,
    /// Where the statement in question would go; `None` for those who have no session.
    pub route: Option<Route>,
}

/// A table that operators can ask for, before it has rows.
pub struct Listing {
    /// Its name in lower case, as in `SHOW name`.
    pub name: &'static str,
    /// Meaning of its rows, in one sentence.
    pub doc: &'static str,
    /// Whose columns it has.
    pub dialect: Dialect,
    /// Its columns.
    pub columns: &'static [Column],
    /// Reports that it is made of; `None` when the snapshot is enough.
    pub wants: Option<ReportKind>,
    pub(super) rows: fn(&Sources<'_>) -> Vec<Row>,
}

/// A listing with its rows.
pub struct Table {
    /// Its name, its columns, their meaning.
    pub listing: &'static Listing,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Listing {
    /// The table as of these facts.
    pub fn table(&'static self, sources: &Sources<'_>) -> Table {
        let rows = (self.rows)(sources);
        let is_full = |row: &Row| row.len() == self.columns.len();
        debug_assert!(rows.iter().all(is_full), "a row has a value per column");
        Table {
            listing: self,
            rows,
        }
    }
}

/// Columns that two tables share, and those that only one has behind them.
pub(super) const fn joined<const N: usize>(first: &[Column], then: &[Column]) -> [Column; N] {
    assert!(first.len() + then.len() == N, "every column has its place");
    let mut columns = [text("", ""); N];
    let mut place = 0;
    while place < N {
        columns[place] = if place < first.len() {
            first[place]
        } else {
            then[place - first.len()]
        };
        place += 1;
    }
    columns
}
