//! A table as SQL clients read it: RowDescription, DataRows, CommandComplete. Decides nothing.

use crate::{
    admin::table::{Column, ColumnType, Dialect, Listing, Table},
    protocol::{Writer, backend::Field},
};

/// Appends the RowDescription of a table.
pub(crate) fn describe(listing: &Listing, out: &mut Vec<u8>) {
    let is_text = |column: &Column| {
        listing.dialect == Dialect::Pgpool || column.column_type == ColumnType::Text
    };
    let fields = listing.columns.iter().map(|column| match is_text(column) {
        true => Field::text(column.name.as_bytes()),
        false => Field::int8(column.name.as_bytes()),
    });
    Writer::new(out).row_description(fields);
}

/// Appends the answer to an Execute: the rows and CommandComplete.
pub(crate) fn write_rows(table: &Table, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    for row in &table.rows {
        writer.data_row(row.iter().map(|value| Some(value.to_string())));
    }
    writer.command_complete("SHOW");
}

/// Appends the answer to a Query, but for ReadyForQuery.
pub(crate) fn write(table: &Table, out: &mut Vec<u8>) {
    describe(table.listing, out);
    write_rows(table, out);
}
