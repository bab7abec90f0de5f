//! Figures as a table whose cells have bars, all to one scale.

use maud::{Markup, Render, html};

use crate::sizes::{BatchSizes, Bucket};
use crate::style::grouped;

/// A table of figures.
pub(crate) struct Bars<'b> {
    /// What is compared.
    pub(crate) caption: &'b str,
    /// What the rows are.
    pub(crate) rows_are: &'b str,
    /// Names of the columns.
    pub(crate) columns: &'b [String],
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

/// A row: its name, and a figure for each column that has one.
pub(crate) struct Row {
    /// What the figures are of.
    pub(crate) name: String,
    /// The figures.
    pub(crate) figures: Vec<Option<u64>>,
}

impl<'b> Bars<'b> {
    /// Hypercalls by their sizes, a column for each of `sizes` that is known.
    pub(crate) fn of_sizes(caption: &'b str, columns: &'b [String], sizes: &[Option<BatchSizes>]) -> Self {
        let buckets: Vec<Option<Vec<Bucket>>> =
            sizes.iter().map(|sizes| sizes.as_ref().map(BatchSizes::buckets)).collect();
        let longest = buckets.iter().flatten().max_by_key(|buckets| buckets.len()).into_iter().flatten();
        let row = |(number, bucket): (usize, &Bucket)| {
            let of = |buckets: &Vec<Bucket>| buckets.get(number).map_or(0, |bucket| bucket.hypercalls);
            Row { name: bucket.label(), figures: buckets.iter().map(|buckets| buckets.as_ref().map(of)).collect() }
        };
        Self { caption, rows_are: "operations", columns, rows: longest.enumerate().map(row).collect() }
    }
}

impl Render for Bars<'_> {
    fn render(&self) -> Markup {
        let most = self.rows.iter().flat_map(|row| &row.figures).flatten().max().copied().unwrap_or(0).max(1);
        html! {
            table.bars {
                caption { (self.caption) }
                thead { tr { th scope="col" { (self.rows_are) } @for column in self.columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in &self.rows {
                        tr {
                            th scope="row" { (row.name) }
                            @for (column, figure) in row.figures.iter().enumerate() {
                                td { @if let Some(figure) = figure { (bar(*figure, most, column)) } @else { "\u{2013}" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A figure with its bar, of the longest for `most`, in the colour of this column.
pub(crate) fn bar(figure: u64, most: u64, column: usize) -> Markup {
    let share = figure as f64 / most as f64;
    html! {
        span.bar.{ "series" (column % 4) }.none[figure == 0] style={ "--share:" (format!("{share:.4}")) } {} (grouped(figure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_the_largest_figure() {
        let columns = ["a".to_owned(), "<b>".to_owned()];
        let rows = vec![
            Row { name: "one".into(), figures: vec![Some(5000), None] },
            Row { name: "two".into(), figures: vec![Some(0), Some(2500)] },
        ];
        let table = Bars { caption: "c", rows_are: "r", columns: &columns, rows }.render().into_string();
        for part in [
            "--share:1.0000\"></span>5,000",
            "\u{2013}</td>",
            "series1\" style=\"--share:0.5000\"></span>2,500",
            "&lt;b&gt;",
        ] {
            assert!(table.contains(part), "no `{part}` in:\n{table}");
        }
    }
}
