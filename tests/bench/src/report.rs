//! Results of a group, for the terminal and for the page.

use crate::{options::Options, plot::Plot, race::Rounds, table::aligned};

/// One group of arms.
pub struct Group {
    /// Name for `--only`, for the markers in the page, and for the plots.
    pub name: &'static str,
    /// Restricts the group to runs with `--long` or `--only`.
    pub long: bool,
    /// Crates with versions in the head of the group.
    pub crates: &'static [&'static str],
    /// Measures the group.
    pub run: fn(&Options) -> Report,
}

/// Results of a group.
#[derive(Default)]
pub struct Report {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Plot(Plot),
}

impl Report {
    /// Adds a line or a paragraph.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Adds a table. The first row is its head; all columns but the first hold numbers.
    #[must_use]
    pub fn table(self, title: &str, rows: &[Vec<String>]) -> Self {
        self.text(format!("**{title}**\n\n{}", aligned(rows).trim_end()))
    }

    /// Adds the table of a race.
    ///
    /// It has the cost of each arm in `unit`, and its ratio to each of the references.
    #[must_use]
    pub fn race(self, title: &str, unit: &str, rounds: &Rounds, references: &[&str]) -> Self {
        let known = |name: &str| rounds.names().iter().any(|arm| arm == name);
        let columns = references
            .iter()
            .filter(|name| known(name))
            .map(|name| RatioColumn::new(format!("÷ {name}"), move |_| Some((*name).to_owned())));
        self.race_with_columns(title, unit, rounds, &columns.collect::<Vec<_>>())
    }

    /// Adds the table of a race in which the arms of one column may have different references.
    #[must_use]
    pub fn race_with_columns(
        self,
        title: &str,
        unit: &str,
        rounds: &Rounds,
        columns: &[RatioColumn<'_>],
    ) -> Self {
        self.table(title, &race_rows(unit, rounds, columns))
    }

    /// Adds a plot, which has a file of its own.
    #[must_use]
    pub fn plot(mut self, plot: Plot) -> Self {
        self.parts.push(Part::Plot(plot));
        self
    }

    /// Returns the report as Markdown.
    pub fn markdown(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Plot(plot) => format!("![{}](performance/{}.svg)", plot.title(), plot.name()),
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join("\n\n")
    }

    /// Returns the plots of the report.
    pub fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.parts.iter().filter_map(|part| match part {
            Part::Plot(plot) => Some(plot),
            Part::Text(_) => None,
        })
    }
}

/// A column of ratios.
pub struct RatioColumn<'a> {
    title: String,
    of: Box<Reference<'a>>,
}

/// Function from the name of an arm to the name of its reference.
type Reference<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl<'a> RatioColumn<'a> {
    /// Creates a column. `of` returns the reference by which an arm is divided, if there is one.
    pub fn new(title: impl Into<String>, of: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { title: title.into(), of: Box::new(of) }
    }
}

fn race_rows(unit: &str, rounds: &Rounds, columns: &[RatioColumn<'_>]) -> Vec<Vec<String>> {
    let mut head = vec!["arm".to_owned(), unit.to_owned(), "spread".to_owned()];
    head.extend(columns.iter().map(|column| column.title.clone()));
    let row = |name: &String| {
        let spread = rounds.spread(name).map_or(f64::NAN, |spread| 100.0 * spread);
        let mut row = vec![name.clone(), number(rounds.median(name)), format!("{spread:.0} %")];
        row.extend(
            columns
                .iter()
                .map(|column| ratio((column.of)(name).and_then(|reference| rounds.ratio(name, &reference)))),
        );
        row
    };
    [head].into_iter().chain(rounds.names().iter().map(row)).collect()
}

/// Formats a number with about three digits.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// Formats a ratio with at most two decimals.
///
/// The measurements are less precise than that.
pub fn ratio(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 99.5 => format!("{value:.0}"),
        Some(value) if value >= 9.95 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
