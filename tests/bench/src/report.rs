//! What a group has found, for the terminal and for the page.

use crate::{options::Options, plot::Plot, race::Rounds, table::aligned};

/// One group of arms.
pub struct Group {
    /// For `--only`, for the markers in the page, and for the names of the plots.
    pub name: &'static str,
    /// Runs with `--long` or `--only` only.
    pub long: bool,
    /// Of these crates the head of the group names the version.
    pub crates: &'static [&'static str],
    /// Measures.
    pub run: fn(&Options) -> Report,
}

/// What a group has found.
#[derive(Default)]
pub struct Report {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Plot(Plot),
}

impl Report {
    /// A line or a paragraph.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// A table. The first row is its head; all columns but the first hold numbers.
    #[must_use]
    pub fn table(self, title: &str, rows: &[Vec<String>]) -> Self {
        self.text(format!("**{title}**\n\n{}", aligned(rows).trim_end()))
    }

    /// A race: what each arm costs in `unit`, and what the references take of that.
    #[must_use]
    pub fn race(self, title: &str, unit: &str, rounds: &Rounds, references: &[&str]) -> Self {
        let known = |name: &str| rounds.names().iter().any(|arm| arm == name);
        let columns = references
            .iter()
            .filter(|name| known(name))
            .map(|name| Beside::new(format!("÷ {name}"), move |_| Some((*name).to_owned())));
        self.race_beside(title, unit, rounds, &columns.collect::<Vec<_>>())
    }

    /// A race in which the arms of one column may have different references.
    #[must_use]
    pub fn race_beside(self, title: &str, unit: &str, rounds: &Rounds, columns: &[Beside<'_>]) -> Self {
        self.table(title, &race_rows(unit, rounds, columns))
    }

    /// A plot, in a file of its own.
    #[must_use]
    pub fn plot(mut self, plot: Plot) -> Self {
        self.parts.push(Part::Plot(plot));
        self
    }

    /// All there is to read.
    pub fn markdown(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Plot(plot) => format!("![{}](performance/{}.svg)", plot.title(), plot.name()),
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join("\n\n")
    }

    /// What there is to look at.
    pub fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.parts.iter().filter_map(|part| match part {
            Part::Plot(plot) => Some(plot),
            Part::Text(_) => None,
        })
    }
}

/// A column of ratios.
pub struct Beside<'a> {
    title: String,
    of: Box<Reference<'a>>,
}

/// The reference of an arm, by name.
type Reference<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl<'a> Beside<'a> {
    /// `of` says what an arm is divided by, if by anything.
    pub fn new(title: impl Into<String>, of: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { title: title.into(), of: Box::new(of) }
    }
}

fn race_rows(unit: &str, rounds: &Rounds, columns: &[Beside<'_>]) -> Vec<Vec<String>> {
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

/// With about three digits.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// Two digits are more than any of them deserves.
pub fn ratio(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 99.5 => format!("{value:.0}"),
        Some(value) if value >= 9.95 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
