//! The table of `docs/resilience.md`.

use std::{
    collections::HashMap,
    env, fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{matrix::MATRIX, tally::Tally};

pub(crate) const BEGIN: &str = "<!-- the matrix, written by its tests -->\n";
pub(crate) const END: &str = "<!-- the end of the matrix -->\n";

const TABLE_HEAD: &str = "\
| fault | calls | errors | old values | paid | p50 | p99 | max | told / not told | normal after |
|---|---|---|---|---|---|---|---|---|---|
";

/// Measurements of one fault.
#[derive(Debug)]
pub(crate) struct TableRow {
    pub(crate) tally: Tally,
    /// Time from the end of the fault until all was well.
    pub(crate) recovery: Duration,
}

/// Prints the row. Writes the table on request, after the last row.
pub(crate) fn record(fault: &'static str, row: &TableRow) {
    static ROWS: Mutex<Option<HashMap<&'static str, String>>> = Mutex::new(None);
    let line = line(fault, row);
    print!("{line}");
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = rows.get_or_insert_default();
    rows.insert(fault, line);
    if env::var("RESILIENCE_TABLE").is_ok_and(|value| value == "write") && rows.len() == MATRIX.len() {
        write(&MATRIX.iter().map(|fault| rows[fault].as_str()).collect::<String>());
    }
}

fn line(fault: &str, TableRow { tally, recovery }: &TableRow) -> String {
    let Tally { calls, failed, outdated, wrong, delayed, acknowledged, not_propagated, .. } = tally;
    let [p50, p99, max, normal] = [tally.p50, tally.p99, tally.longest, *recovery].map(time);
    let old = outdated + wrong;
    format!(
        "| {fault} | {calls} | {failed} | {old} | {delayed} | {p50} | {p99} | {max} | {acknowledged} / {not_propagated} | {normal} |\n"
    )
}

fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => format!("{micros:.0} µs"),
        ..10_000.0 => format!("{:.1} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

fn write(rows: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/resilience.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning is marked");
    let (_, after) = rest.split_once(END).expect("the table's end is marked");
    fs::write(path, format!("{before}{BEGIN}{TABLE_HEAD}{rows}{END}{after}"))
        .expect("the page can be written");
}

#[test]
fn times_are_rounded_and_have_a_unit() {
    let texts = [17, 999, 1500, 49_600, 1_260_000].map(|micros| time(Duration::from_micros(micros)));
    assert_eq!(texts, ["17 µs", "999 µs", "1.5 ms", "50 ms", "1.3 s"]);
}
