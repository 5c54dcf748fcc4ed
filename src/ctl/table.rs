// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Tables of plain text. (The crates for this, as comfy-table and tabled, are not in AOSP.)

use std::io::{self, Write};

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As names do.
    Left,
    /// As numbers do.
    Right,
}

/// Rows under titles; every column is as wide as what is in it.
#[derive(Debug)]
pub struct Table<const COLUMNS: usize> {
    columns: [(&'static str, Side); COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table without rows.
    pub fn new(columns: [(&'static str, Side); COLUMNS]) -> Table<COLUMNS> {
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells);
    }

    /// Writes titles and rows, two spaces between columns and none at the end of a line.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let widths: Vec<usize> = (0..COLUMNS).map(|column| self.width(column)).collect();
        let titles = self.columns.map(|(title, _)| title.to_owned());
        for cells in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, side)) in cells.iter().zip(&widths).zip(&self.columns) {
                let padded = match side {
                    Side::Left => format!("{cell:<width$}  "),
                    Side::Right => format!("{cell:>width$}  "),
                };
                line.push_str(&padded);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// In characters, as `format!` counts.
    fn width(&self, column: usize) -> usize {
        let title = self.columns.get(column).map_or(0, |(title, _)| title.chars().count());
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).fold(title, usize::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<const COLUMNS: usize>(table: &Table<COLUMNS>) -> String {
        let mut bytes = Vec::new();
        table.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table =
            Table::new([("ID", Side::Right), ("HEAP", Side::Left), ("NAME", Side::Left)]);
        assert_eq!(text(&table), "ID  HEAP  NAME\n");
        table.row(["7".into(), "system".into(), "größe".into()]);
        table.row(["1234".into(), "memfd".into(), "".into()]);
        let expected = "  ID  HEAP    NAME\n   7  system  größe\n1234  memfd\n";
        assert_eq!(text(&table), expected);
    }

    #[test]
    fn numbers_end_in_one_place() {
        let mut table = Table::new([("SIZE", Side::Right)]);
        for cell in ["4 KiB", "16 MiB", "0 B"] {
            table.row([cell.into()]);
        }
        assert_eq!(text(&table), "  SIZE\n 4 KiB\n16 MiB\n   0 B\n");
    }
}
