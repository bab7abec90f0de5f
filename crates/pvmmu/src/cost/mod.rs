//! `pvmmu cost`: what each operation costs on the real Xen, by the number of operations.

mod line;
mod table;

use anyhow::{Context, Result};

use crate::cli::Format;
use crate::measured;
use crate::verdict::Verdict;

use self::table::{Operation, Table};

/// Measures, in one boot, and renders the table.
///
/// # Errors
/// There is no lab, the run failed, or its answer is no table.
pub(crate) fn run(format: Format) -> Result<(String, Verdict)> {
    let (setup, lines) = measured::run("cost", "")?;
    let table = Table { setup, operations: operations(&lines)? };
    let text = match format {
        Format::Text => table.text(),
        Format::Json => table.json()?,
    };
    Ok((text, Verdict::Clean))
}

/// A row is a name, a number of operations, and what they cost together.
fn operations(lines: &[String]) -> Result<Vec<Operation>> {
    let mut operations: Vec<Operation> = Vec::new();
    for line in lines {
        let [name, size, cost] = measured::words(line)?;
        let number = |word: &str| word.parse().with_context(|| format!("`{line}` has no number where one is due"));
        let point = (number(size)?, number(cost)?);
        match operations.iter_mut().find(|operation| operation.name == name) {
            Some(known) => known.costs.push(point),
            None => operations.push(Operation { name: name.to_owned(), costs: vec![point] }),
        }
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_operation_are_put_together() {
        let lines = ["a 1 10", "b 1 7", "a 2 20"].map(str::to_owned);
        let operations = operations(&lines).unwrap();
        let found: Vec<_> = operations.iter().map(|operation| (&*operation.name, &*operation.costs)).collect();
        assert_eq!(found, [("a", &[(1, 10), (2, 20)][..]), ("b", &[(1, 7)])]);
    }

    #[test]
    fn what_is_no_row_is_an_error_that_shows_it() {
        for (line, part) in [("a 1", "`a 1`"), ("a one 10", "`a one 10`"), ("a 1 2 3", "3 words")] {
            let error = operations(&[line.to_owned()]).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
