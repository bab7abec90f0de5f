//! What regions hand over, beside Linux's algorithm.

use arch_model::{Row, figures, fill_rates};

fn row<'r>(rows: &'r [Row], arch: &str, load: &str) -> &'r Row {
    rows.iter().find(|row| row.arch == arch && row.load == load).unwrap()
}

#[test]
fn nothing_takes_more_than_linux_and_sorting_fills_blocks() {
    let rows = figures();
    for row in &rows {
        assert!(row.ours <= row.linux && row.ours <= row.single, "{row:?}");
    }
    let blocks = |load| row(&rows, "powerpc64-block", load).ours;
    // 512 pages in batches of 192: 24, 24 and 16 blocks.
    assert_eq!(blocks("range-512"), 64);
    assert_eq!(row(&rows, "powerpc64-bulk", "range-512").ours, 128);
    assert_eq!(
        (blocks("sparse-64"), row(&rows, "sparc64", "range-512").ours, row(&rows, "arm64", "range-512").ours),
        (16, 3, 2)
    );
    let (_, sorted, unsorted) = fill_rates().into_iter().find(|(load, ..)| *load == "scattered-512").unwrap();
    // Where blocks stay emptier than four pages all the same, bulk removals take fewer calls.
    assert_eq!(blocks("scattered-512"), 128);
    assert!(sorted > 2.0 * unsorted, "{sorted} and {unsorted} pages for each call");
}

#[test]
fn the_document_says_what_is_counted() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/arch/README.md");
    let document = std::fs::read_to_string(path).unwrap();
    for Row { arch, load, unit, pages, ours, linux, single } in figures() {
        let line = format!("| {arch} | {load} | {unit} | {pages} | {ours} | {linux} | {single} |");
        assert!(document.contains(&line), "not in the document:\n{line}");
    }
}
