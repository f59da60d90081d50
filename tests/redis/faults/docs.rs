//! The page lists the faults that are tested.

use crate::{
    matrix::MATRIX,
    table::{BEGIN, END},
};

#[test]
fn page_lists_the_faults_of_the_matrix() {
    let page = include_str!("../../../docs/resilience.md");
    let table = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).expect("it is marked").0;
    let rows = table.lines().skip(2).filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    assert_eq!(
        rows.collect::<Vec<_>>(),
        MATRIX,
        "write the table again: see the head of this test's main.rs"
    );
}
