//! Tables: in columns where the terminal is wide enough, else row by row.

use super::term;
use std::fmt::Write as _;
use std::io::{self, Write};

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
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    match room {
        Some(room) if text.lines().any(|line| line.chars().count() > room) => row_by_row(rows, room),
        _ => text,
    }
}

fn row_by_row<const N: usize>(rows: &[[String; N]], room: usize) -> String {
    let Some((head, rows)) = rows.split_first() else { return String::new() };
    let width = head.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        for (name, cell) in head.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
            let mut used = width + 2;
            let _ = write!(text, "{name:<width$}  ");
            for (at, word) in cell.split(' ').enumerate() {
                let wide = word.chars().count();
                if at > 0 && used + 1 + wide > room {
                    let _ = write!(text, "\n{:width$}  ", "");
                    used = width + 2;
                } else if at > 0 {
                    text.push(' ');
                    used += 1;
                }
                text.push_str(word);
                used += wide;
            }
            text.push('\n');
        }
    }
    text
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
