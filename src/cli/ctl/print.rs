//! Tables of `pgring ctl`: for people, and as JSON for scripts.

use serde_json::{Map, Value};

use super::connection::{Answer, Column};

/// One JSON array, an object for each row.
pub(super) fn json(answer: &Answer) -> String {
    let row = |row: &Vec<String>| {
        let pairs = answer.columns.iter().zip(row);
        let pairs = pairs.map(|(column, value)| (column.name.clone(), json_value(column, value)));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    Value::Array(answer.rows.iter().map(row).collect()).to_string()
}

/// Numbers are numbers, where they are any.
fn json_value(column: &Column, value: &str) -> Value {
    let number = value.parse::<i64>().ok().filter(|_| column.is_number);
    number.map_or_else(|| Value::from(value), Value::from)
}

/// Columns of the same width, under their names; what is empty everywhere is left out.
pub(super) fn table(answer: &Answer) -> String {
    let is_shown = |place: &usize| answer.rows.iter().any(|row| !row[*place].is_empty());
    let places: Vec<usize> = (0..answer.columns.len()).filter(is_shown).collect();
    let width = |place: &usize| {
        let values = answer.rows.iter().map(|row| row[*place].chars().count());
        let name = answer.columns[*place].name.chars().count();
        values.chain([name]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = places.iter().map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    };
    line(
        &mut places
            .iter()
            .map(|place| answer.columns[*place].name.as_str()),
    );
    for row in &answer.rows {
        line(&mut places.iter().map(|place| row[*place].as_str()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let column = |name: &str, is_number| Column {
            name: name.to_owned(),
            is_number,
        };
        Answer {
            columns: vec![
                column("name", false),
                column("lag", true),
                column("why", false),
            ],
            rows: vec![
                vec!["é".to_owned(), "12".to_owned(), String::new()],
                vec!["b \"x\"".to_owned(), "?".to_owned(), String::new()],
            ],
        }
    }

    #[test]
    fn a_table_has_its_columns_below_each_other() {
        assert_eq!(table(&answer()), "name   lag\né      12\nb \"x\"  ?\n");
        assert_eq!(table(&Answer::default()), "\n");
    }

    #[test]
    fn numbers_are_numbers() {
        let expected = r#"[{"lag":12,"name":"é","why":""},{"lag":"?","name":"b \"x\"","why":""}]"#;
        assert_eq!(json(&answer()), expected);
    }
}
