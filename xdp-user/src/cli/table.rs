//! Tables without borders: a header, columns two blanks apart, numbers to the right.

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style};

use super::format;

/// A column's header and side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    header: &'static str,
    numeric: bool,
}

/// A column of words.
pub(crate) const fn words(header: &'static str) -> Column {
    Column {
        header,
        numeric: false,
    }
}

/// A column of numbers.
pub(crate) const fn numbers(header: &'static str) -> Column {
    Column {
        header,
        numeric: true,
    }
}

/// Rows under their headers.
#[derive(Clone, Debug)]
pub(crate) struct Table<const WIDTH: usize> {
    columns: [Column; WIDTH],
    rows: Vec<[String; WIDTH]>,
}

impl<const WIDTH: usize> Table<WIDTH> {
    pub(crate) const fn new(columns: [Column; WIDTH]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [String; WIDTH]) {
        self.rows.push(cells.map(|cell| format::printable(&cell)));
    }

    /// Every line ends with a newline, none with blanks.
    pub(crate) fn render(&self) -> String {
        let mut builder = Builder::default();
        builder.push_record(self.columns.map(|column| column.header.to_uppercase()));
        for row in &self.rows {
            builder.push_record(row);
        }
        let mut table = builder.build();
        table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
        for (index, column) in self.columns.iter().enumerate() {
            if column.numeric {
                table.modify(Columns::one(index), Alignment::right());
            }
        }
        let text = table.to_string();
        text.lines()
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let mut table = Table::new([words("reason"), numbers("packets"), words("note")]);
        table.row(["accepted".into(), "1,234".into(), String::new()]);
        table.row(["land\n".into(), "5".into(), "x".into()]);
        assert_eq!(
            table.render(),
            "REASON    PACKETS  NOTE\n\
             accepted    1,234\n\
             land\\n          5  x\n"
        );
    }
}
