//! Aligned Markdown tables.

/// Formats a table. The first row is the head; all columns but the first hold numbers.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column| rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0).max(1);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = widths.iter().enumerate().map(|(column, &width)| match column {
            0 => format!("| {:<width$} |", cell(row, column)),
            _ => format!(" {:>width$} |", cell(row, column)),
        });
        cells.collect::<String>() + "\n"
    };
    let rule = widths.iter().enumerate().map(|(column, &width)| match column {
        0 => format!("|{}|", "-".repeat(width + 2)),
        _ => format!("{}:|", "-".repeat(width + 1)),
    });
    let Some((head, body)) = rows.split_first() else { return String::new() };
    line(head) + &rule.collect::<String>() + "\n" + &body.iter().map(line).collect::<String>()
}
