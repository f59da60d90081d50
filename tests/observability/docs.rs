//! The tables in the documentation are those of the code.

use cached_aside::{METRICS, SPANS};

const PAGE: &str = include_str!("../../docs/observability.md");

fn rows(begin: &str) -> Vec<&'static str> {
    PAGE.lines().filter(|line| line.starts_with(begin)).collect()
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn table_of_metrics_matches_the_code() {
    let of_code: Vec<_> = METRICS
        .iter()
        .map(|m| {
            let words = quoted(m.outcomes);
            let words = if words.is_empty() { words } else { format!(" ({words})") };
            format!("| `{}` | {} | {}{words} | {} |", m.name, m.kind.name(), quoted(m.labels), m.help)
        })
        .collect();
    assert_eq!(rows("| `cached_aside_"), of_code, "\n{}", of_code.join("\n"));
}

#[test]
fn table_of_spans_matches_the_code() {
    let of_code: Vec<_> = SPANS
        .iter()
        .map(|span| format!("| `{}` | {} | {} |", span.name, span.level, quoted(span.outcomes)))
        .collect();
    assert_eq!(rows("| `cached_aside."), of_code, "\n{}", of_code.join("\n"));
}
