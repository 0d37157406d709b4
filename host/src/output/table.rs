//! Tables without lines: one row a line, headings in bold where that can be seen.
//!
//! In a narrow terminal the widest column is wrapped. When even that does not fit, each row becomes a block of names
//! and values, since columns of four characters are no table any more.

use super::{OutputError, print_line, printable};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement};

/// Space between two columns.
const GAP_WIDTH: usize = 2;
/// The widest column is wrapped down to this width, and no further.
const WRAPPED_WIDTH_MIN: usize = 20;

/// A table for people.
pub(crate) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
    right_aligned: Vec<usize>,
    /// The terminal's width; nothing without a terminal, where lines stay whole for grep and awk.
    width: Option<usize>,
}

impl Table {
    /// A table with these headings; without any it is one of names and values.
    pub(crate) fn new<H: AsRef<str>>(headings: &[H]) -> Table {
        let headings = headings.iter().map(|heading| printable(heading.as_ref()).into_owned()).collect();
        let width = comfy_table::Table::new().width().map(usize::from);
        Table { headings, rows: Vec::new(), right_aligned: Vec::new(), width }
    }

    /// Adds a row of texts.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.cells(cells.into_iter().map(|text| text_cell(text.as_ref())));
    }

    /// Adds a row of cells.
    pub(crate) fn cells(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Puts the numbers of these columns under each other.
    pub(crate) fn align_right(&mut self, columns: impl IntoIterator<Item = usize>) {
        self.right_aligned.extend(columns);
    }

    /// Whether it is printed as a table, and not in blocks because the terminal is too narrow.
    pub(crate) fn fits(&self, margin: &str) -> bool {
        self.width.is_none_or(|width| self.least_width() <= width.saturating_sub(margin.len()))
    }

    /// Prints the table, each line behind `margin`.
    pub(crate) fn print(self, margin: &str) -> Result<(), OutputError> {
        print_line(&self.text(margin))
    }

    /// The table as text, each line behind `margin`.
    pub(crate) fn text(self, margin: &str) -> String {
        let width = self.width.map(|width| width.saturating_sub(margin.len()));
        let text = match width {
            Some(width) if !self.headings.is_empty() && !self.fits(margin) => self.blocks(width),
            _ => self.columns(width),
        };
        // The padding of the last column is trimmed, and so is the margin of an empty line.
        text.lines().map(|line| format!("{margin}{line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// Width with the widest column wrapped as far as it may be.
    fn least_width(&self) -> usize {
        let widths = self.plain().column_max_content_widths();
        let widest = usize::from(widths.iter().copied().max().unwrap_or(0));
        let all: usize = widths.iter().map(|width| usize::from(*width) + GAP_WIDTH).sum();
        all - widest + widest.min(WRAPPED_WIDTH_MIN)
    }

    fn columns(&self, width: Option<usize>) -> String {
        let mut table = self.plain();
        set_width(&mut table, width);
        let widths = table.column_max_content_widths();
        let widest = (0..widths.len()).max_by_key(|column| widths[*column]);
        for column in 0..widths.len() {
            let Some(style) = table.column_mut(column) else { continue };
            style.set_padding((0, GAP_WIDTH as u16));
            if Some(column) != widest {
                style.set_constraint(ColumnConstraint::ContentWidth);
            }
            if self.right_aligned.contains(&column) {
                style.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    fn blocks(self, width: usize) -> String {
        let blocks = self.rows.into_iter().map(|row| {
            let mut table = Table { headings: Vec::new(), rows: Vec::new(), right_aligned: Vec::new(), width: None };
            for (heading, cell) in self.headings.iter().zip(row) {
                table.cells([Cell::new(heading), cell]);
            }
            table.columns(Some(width))
        });
        blocks.collect::<Vec<_>>().join("\n\n")
    }

    fn plain(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        if !self.headings.is_empty() {
            table.set_header(self.headings.iter().map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
        }
        table.add_rows(self.rows.iter().cloned());
        table
    }
}

fn set_width(table: &mut comfy_table::Table, width: Option<usize>) {
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> Table {
        let mut table = Table::new(&["NAME", "CALLS", "MESSAGES"]);
        table.width = width;
        table.row(["cpu", "5", "CPU_TASK, CANCEL_TASK, BATCH_TASK"]);
        table.row(["memory\n", "12", ""]);
        table.align_right([1]);
        table
    }

    #[test]
    fn without_a_terminal_lines_stay_whole() {
        let expected = "\
NAME      CALLS  MESSAGES
cpu           5  CPU_TASK, CANCEL_TASK, BATCH_TASK
memory\\n     12";
        assert_eq!(table(None).text(""), expected);
    }

    #[test]
    fn the_widest_column_is_wrapped() {
        let text = table(Some(44)).text("  ");
        assert!(text.lines().all(|line| line.len() <= 44 && line.starts_with("  ")), "{text}");
        assert!(text.contains("  cpu           5  CPU_TASK, CANCEL_TASK,"), "{text}");
    }

    #[test]
    fn a_very_narrow_table_becomes_blocks() {
        let text = table(Some(30)).text("");
        assert!(text.starts_with("NAME      cpu\nCALLS     5\nMESSAGES  CPU_TASK,"), "{text}");
        assert!(text.contains("\n\nNAME      memory\\n\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 30), "{text}");
        assert_eq!([None, Some(44), Some(30)].map(|width| table(width).fits("")), [true, true, false]);
    }
}
