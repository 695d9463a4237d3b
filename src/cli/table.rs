//! Tables: in columns where the terminal is wide enough, else row by row.

use super::term;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// Rows, the first of which is the head, as the terminal has room for them.
pub fn shown<const N: usize>(rows: &[[String; N]]) -> String {
    in_columns(rows, term::columns())
}

/// Prints rows, the first of which is the head, as the terminal has room for them.
pub fn print_table<const N: usize>(rows: &[[String; N]], out: &mut impl Write) -> io::Result<()> {
    out.write_all(shown(rows).as_bytes())
}

/// Columns are as wide as their widest cell. Where that is wider than `room`, each cell has a line of its own behind the name
/// of its column: a line that the terminal breaks is no row any more.
fn in_columns<const N: usize>(rows: &[[String; N]], room: Option<usize>) -> String {
    let table = plain(rows).trim_fmt();
    match room {
        Some(room) if table.lines().any(|line| line.width() > room) => row_by_row(rows, room),
        _ => ended(table),
    }
}

fn row_by_row<const N: usize>(rows: &[[String; N]], room: usize) -> String {
    let Some((head, rows)) = rows.split_first() else { return String::new() };
    let filled = |row: &[String; N]| -> Vec<[String; 2]> {
        head.iter()
            .zip(row)
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(name, cell)| [name.clone(), cell.clone()])
            .collect()
    };
    let cells: Vec<_> = rows.iter().map(filled).collect::<Vec<_>>().join(&[String::new(), String::new()]);
    let mut table = plain(&cells);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(room.try_into().unwrap_or(u16::MAX));
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    ended(table.trim_fmt())
}

/// Without lines, two spaces between columns.
fn plain<const N: usize>(rows: &[[String; N]]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at + 1 < N { 2 } else { 0 }));
    }
    table
}

fn ended(text: String) -> String {
    if text.is_empty() { text } else { text + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_wide_is_shown_row_by_row() {
        let rows = [["KEY", "HOSTS"], ["openai", "api.openai.com"], ["b", ""]].map(|row| row.map(str::to_owned));
        let columns = "KEY     HOSTS\nopenai  api.openai.com\nb\n";
        assert_eq!(in_columns(&rows, None), columns);
        assert_eq!(in_columns(&rows, Some(22)), columns);
        assert_eq!(in_columns(&rows, Some(21)), "KEY    openai\nHOSTS  api.openai.com\n\nKEY    b\n");
        assert_eq!(
            in_columns(&[["A".into()], ["b.example, c.example".into()]], Some(14)),
            "A  b.example,\n   c.example\n"
        );
        assert_eq!(in_columns::<2>(&[], Some(1)), "");
    }
}
