//! Plots as SVG, on a white card, so that they are readable on light and on dark pages.

mod bars;
mod lines;
mod style;

use plotters::{drawing::IntoDrawingArea, prelude::SVGBackend};

pub use bars::{Bar, Bars};
pub use lines::{Lines, Scale};

/// A drawing and the name of its file.
pub struct Plot {
    name: String,
    title: String,
    drawing: Drawing,
}

enum Drawing {
    Bars(Vec<Bars>),
    Lines(Vec<Lines>),
}

impl Plot {
    /// Creates a plot of bar panels, two beside each other.
    pub fn bars(name: &str, title: &str, panels: Vec<Bars>) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), drawing: Drawing::Bars(panels) }
    }

    /// Creates a plot of curve panels, two beside each other.
    pub fn lines(name: &str, title: &str, panels: Vec<Lines>) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), drawing: Drawing::Lines(panels) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    pub(crate) fn svg(&self) -> String {
        match &self.drawing {
            Drawing::Bars(panels) => grid(&self.title, panels, Bars::height, Bars::draw),
            Drawing::Lines(panels) => grid(&self.title, panels, Lines::height, Lines::draw),
        }
    }
}

/// Draws the panels in two columns, or in one if there is a single panel.
fn grid<T>(
    title: &str,
    panels: &[T],
    height: impl Fn(&T) -> u32,
    draw: impl Fn(&T, &style::Area<'_>) -> style::Drawn,
) -> String {
    let columns = panels.len().clamp(1, 2);
    let rows: Vec<_> = panels.chunks(columns).map(|row| row.iter().map(&height).max().unwrap_or(0)).collect();
    let width = if columns == 1 { style::WIDE } else { 2 * style::PANEL };
    let total = style::TITLE + rows.iter().sum::<u32>();
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, total)).into_drawing_area();
        let drawn = style::card(&root, title).and_then(|()| {
            let (_, mut rest) = root.split_vertically(style::TITLE);
            for (row, height) in panels.chunks(columns).zip(&rows) {
                let (strip, below) = rest.split_vertically(*height);
                for (cell, panel) in strip.split_evenly((1, columns)).iter().zip(row) {
                    draw(panel, cell)?;
                }
                rest = below;
            }
            root.present()
        });
        drawn.expect("a text takes whatever is drawn");
    }
    svg
}
