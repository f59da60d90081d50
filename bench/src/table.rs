//! Aligned Markdown.

/// The first row is the head; all columns but the first hold numbers.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, &width))| match column {
            0 => format!("| {cell:<width$} |"),
            _ => format!(" {cell:>width$} |"),
        });
        padded.collect::<String>()
    };
    let rule = widths.iter().enumerate().map(|(column, &width)| match column {
        0 => format!("|{}|", "-".repeat(width + 2)),
        _ => format!("{}:|", "-".repeat(width + 1)),
    });
    let head = [line(&rows[0]), rule.collect()];
    head.into_iter().chain(rows[1..].iter().map(line)).map(|line| line + "\n").collect()
}
