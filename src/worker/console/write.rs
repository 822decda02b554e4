//! A table as the answer to a query: RowDescription, DataRows, CommandComplete. Decides nothing.

use crate::{
    admin::{TEXTS, Table},
    protocol::{Writer, backend::Field},
};

impl Table {
    /// Appends the answer to a Query, but for ReadyForQuery.
    pub(in crate::worker) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let is_text = |name: &str| !self.has_numbers || TEXTS.contains(&name);
        writer.row_description(self.columns.iter().map(|name| match is_text(name) {
            true => Field::text(name.as_bytes()),
            false => Field::int8(name.as_bytes()),
        }));
        self.write_rows(out);
    }

    /// The same without the description of the columns.
    pub(in crate::worker) fn write_rows(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        for row in &self.rows {
            writer.data_row(row.iter().map(|value| Some(value.as_bytes())));
        }
        writer.command_complete("SHOW");
    }
}
