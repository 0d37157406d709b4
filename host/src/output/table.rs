//! Tables without lines: one row a line, columns that fit the terminal, headings in bold where that can be seen.

use super::{OutputError, print_line, printable};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement};

/// A table for people.
pub(crate) struct Table {
    table: comfy_table::Table,
    columns: usize,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<H: AsRef<str>>(headings: &[H]) -> Table {
        let mut new = Table::without_headings(headings.len());
        new.table.set_header(headings.iter().map(|text| text_cell(text.as_ref()).add_attribute(Attribute::Bold)));
        new
    }

    /// A table that needs no headings, such as names and their values.
    pub(crate) fn without_headings(columns: usize) -> Table {
        let mut table = comfy_table::Table::new();
        // Without a terminal there is no width to fit, and nothing is wrapped: lines stay whole for grep and awk.
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        Table { table, columns }
    }

    /// Adds a row of texts.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.cells(cells.into_iter().map(|text| text_cell(text.as_ref())));
    }

    /// Adds a row of cells.
    pub(crate) fn cells(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.table.add_row(cells);
    }

    /// Puts the numbers of a column under each other.
    pub(crate) fn align_right(&mut self, columns: impl IntoIterator<Item = usize>) {
        for column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }

    /// Prints the table, each line behind `margin`.
    pub(crate) fn print(mut self, margin: &str) -> Result<(), OutputError> {
        if let (Some(width), false) = (self.table.width(), margin.is_empty()) {
            self.table.set_width(width.saturating_sub(u16::try_from(margin.len()).unwrap_or(u16::MAX)));
        }
        for column in 0..self.columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_padding((0, 2));
            }
        }
        let text = self.table.to_string();
        let lines: Vec<String> = text.lines().map(|line| format!("{margin}{}", line.trim_end())).collect();
        print_line(&lines.join("\n"))
    }
}

/// A cell with a text that stays in its cell.
pub(crate) fn text_cell(text: &str) -> Cell {
    Cell::new(printable(text))
}

/// A cell whose colour tells good from bad, where colours can be seen and are wanted.
pub(crate) fn state_cell(text: &str, color: Option<Color>) -> Cell {
    match color {
        Some(color) if colors_are_wanted() => text_cell(text).fg(color),
        _ => text_cell(text),
    }
}

/// The convention of <https://no-color.org>.
fn colors_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
