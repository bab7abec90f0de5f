//! Data flows downward only: the table of `docs/architecture.md` is what every manifest says.

use std::fs;

use pages::{
    dependencies::{Edge, packages, rows, violations},
    root,
};

/// All crates, and what their manifests say of one another.
fn graph() -> (Vec<String>, Vec<Edge>) {
    let packages = packages(&root()).unwrap();
    let crates: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    let among = |edge: &Edge| crates.contains(&edge.to) && edge.from != edge.to;
    let edges = packages.iter().flat_map(|package| package.dependencies.clone()).filter(among).collect();
    (crates, edges)
}

fn table() -> Vec<Vec<String>> {
    rows(&fs::read_to_string(root().join("docs/architecture.md")).unwrap())
}

#[test]
fn every_crate_depends_on_what_is_below_it_only() {
    let (crates, edges) = graph();
    assert!(crates.len() > 20 && edges.len() > 40, "hardly a crate found: {crates:?}");
    let violations = violations(&table(), &crates, &edges);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The crates of the table, as if that were right.
fn placed() -> Vec<String> {
    table().concat()
}

#[test]
fn a_judge_that_shares_code_with_the_judged_is_found() {
    let planted = [
        ("mock-xen", "pv-mmu", false),
        ("mock-xen", "pv-mmu", true),
        ("pv-mmu", "mock-xen", false),
        ("hypercall", "pv-mmu", false),
        ("guest-model", "workloads", false),
        ("xen-program", "pvmmu", false),
    ];
    for (from, to, is_for_tests) in planted {
        let edge = Edge { from: from.into(), to: to.into(), is_for_tests };
        let found = violations(&table(), &placed(), &[edge]);
        assert_eq!(found, [format!("`{from}` depends on `{to}`, which is not below it")]);
    }
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
    let mut crates = placed();
    crates.retain(|name| name != "papr-lab");
    crates.push("newcomer".into());
    let found = violations(&table(), &crates, &[]);
    assert!(found.len() == 2 && found[0].contains("`newcomer`") && found[1].contains("`papr-lab`"), "{found:?}");
}
