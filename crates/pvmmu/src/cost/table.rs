//! The table, for a person and for a program.

use std::fmt::Write;

use anyhow::Result;
use serde_json::json;

use super::line::Line;
use crate::measured::{Setup, UNIT};
use crate::style::grouped;

/// Every operation's costs, and what they were measured on.
pub(super) struct Table {
    pub(super) setup: Setup,
    pub(super) operations: Vec<Operation>,
}

/// An operation, and what a number of it costs together.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: String,
    /// Number and cost, in the order measured.
    pub(super) costs: Vec<(u64, u64)>,
}

impl Table {
    pub(super) fn text(&self) -> String {
        const HEAD: &str = "operation";
        let names = self.operations.iter().map(|operation| operation.name.len());
        let width = names.max().unwrap_or(0).max(HEAD.len());
        let mut text = format!("{}; {UNIT}\n\n", self.setup);
        let _ = writeln!(text, "{:<width$}  {:>9}  {:>9}  measured", HEAD, "fixed", "each");
        for operation in &self.operations {
            let [fixed, each, measured] = operation.cells();
            let _ = writeln!(text, "{:<width$}  {fixed:>9}  {each:>9}  {measured}", operation.name);
        }
        text
    }

    /// One object; an operation takes a line, so that two tables can be compared by lines.
    pub(super) fn json(&self) -> Result<String> {
        let operations = self.operations.iter().map(|operation| serde_json::to_string(&operation.json()));
        let operations = operations.collect::<Result<Vec<_>, _>>()?.join(",\n");
        let setup = serde_json::to_string(&self.setup)?;
        Ok(format!("{{\"hypervisor\":{setup},\n\"unit\":\"{UNIT}\",\n\"operations\":[\n{operations}\n]}}\n"))
    }
}

impl Operation {
    fn cells(&self) -> [String; 3] {
        let ends = [self.costs.first(), self.costs.last()].map(|end| end.copied().unwrap_or_default());
        let [first, last] = ends.map(|(number, cost)| format!("{number}: {}", grouped(cost)));
        match Line::through(&self.costs) {
            None => [grouped(ends[0].1), String::new(), first],
            Some(line) => {
                let off = if line.deviation == 0.0 {
                    String::new()
                } else {
                    format!("  (off the line by up to {:.1})", line.deviation)
                };
                [format!("{:.0}", line.fixed), format!("{:.1}", line.per_operation), format!("{first}, {last}{off}")]
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({ "operation": self.name, "line": Line::through(&self.costs), "costs": self.costs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let operation = |name: &str, costs: &[(u64, u64)]| Operation { name: name.to_owned(), costs: costs.to_vec() };
        let setup = Setup { xen: "4.17".to_owned(), qemu: "7.2".to_owned(), processor: "any" };
        let operations = vec![
            operation("exact", &[(1, 885), (512, 254_341)]),
            operation("bent", &[(1, 10), (2, 20), (3, 90)]),
            operation("one", &[(1, 222)]),
        ];
        Table { setup, operations }
    }

    #[test]
    fn the_text_says_where_costs_are_no_line() {
        let text = table().text();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(line("exact"), "exact            389      496.0  1: 885, 512: 254,341");
        assert!(line("bent").ends_with("(off the line by up to 20.0)"), "{text}");
        assert_eq!(line("one"), "one              222             1: 222");
    }

    #[test]
    fn the_json_is_one_object_with_a_line_for_each_operation() {
        let text = table().json().unwrap();
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["operations"][0]["line"]["fixed"], 389.0);
        assert_eq!(object["operations"][2]["line"], serde_json::Value::Null);
        assert_eq!(text.lines().filter(|line| line.starts_with("{\"costs\"")).count(), 3, "{text}");
    }
}
