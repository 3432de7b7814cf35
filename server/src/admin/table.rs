//! Lists for people: columns as wide as their widest cell.

use std::fmt::Write as _;

/// A list of rows with named columns.
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The whole table, a line for each row, no line for no rows.
    pub(super) fn render(&self) -> String {
        if self.rows.is_empty() {
            return "none\n".to_owned();
        }
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let name = self.columns.get(column).map_or(0, |name| name.len());
            cells.max().unwrap_or(0).max(name)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                // Names come from users: what a terminal would obey is not shown.
                let plain: String = cell.chars().filter(|c| !c.is_control()).collect();
                let _infallible = write!(line, "{plain:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(&mut self.columns.iter().copied());
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_are_left_out() {
        let mut table = Table::new(&["id", "name"]);
        table.row(["1".to_owned(), "Zoë".to_owned()]);
        table.row(["1234".to_owned(), "red\u{1b}[31m".to_owned()]);
        assert_eq!(table.render(), "id    name\n1     Zoë\n1234  red[31m\n");
        assert_eq!(Table::new(&["id"]).render(), "none\n");
    }
}
