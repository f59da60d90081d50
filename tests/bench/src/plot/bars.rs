//! Horizontal bars, each with its name to the left and its value to the right.

use plotters::{
    prelude::{BLACK, Color, Rectangle, Text},
    style::text_anchor::{HPos, VPos},
};

use super::style::{self, Area, Drawn, GREY};
use crate::{
    race::Rounds,
    report::{number, ratio},
};

const HEAD: u32 = 28;
const STEP: u32 = 21;
const NAMES: i32 = 178;
const VALUES: i32 = 110;

/// One panel.
pub struct Bars {
    /// Title above the panel.
    pub title: String,
    /// Bars from top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
pub struct Bar {
    /// Name to the left of the bar.
    pub name: String,
    /// Value, shown as the length of the bar.
    pub value: f64,
    /// Label to the right of the bar.
    pub label: String,
}

impl Bars {
    /// Creates a panel of the ratios of a race to one of its arms, in the order of the race.
    pub fn ratios(title: impl Into<String>, rounds: &Rounds, reference: &str, unit: &str) -> Self {
        let bar = |name: &String| {
            let value = rounds.ratio(name, reference);
            let label = format!("{} ({} {unit})", ratio(value), number(rounds.median(name)));
            Bar { name: name.clone(), value: value.unwrap_or(f64::NAN), label }
        };
        Self { title: title.into(), bars: rounds.names().iter().map(bar).collect() }
    }

    pub(super) fn height(&self) -> u32 {
        HEAD + STEP * u32::try_from(self.bars.len()).unwrap_or(0) + 16
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> Drawn {
        style::heading(area, &self.title)?;
        let width = area.dim_in_pixel().0.cast_signed();
        let longest = self.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(width - NAMES - VALUES);
        for (row, bar) in (0_i32..).zip(&self.bars) {
            let top = HEAD.cast_signed() + STEP.cast_signed() * row;
            let middle = top + STEP.cast_signed() / 2;
            #[expect(clippy::cast_possible_truncation, reason = "it is at most `room`")]
            let length = ((bar.value / longest * room).round() as i32).max(1);
            let ours = style::is_ours(&bar.name);
            let (fill, ink) =
                if ours { (style::colour("ours", 0), BLACK) } else { (style::colour("", 0), GREY) };
            let name = style::text(12, ink, HPos::Right, VPos::Center);
            let value = style::text(12, ink, HPos::Left, VPos::Center);
            area.draw(&Text::new(bar.name.clone(), (NAMES - 8, middle), name))?;
            let corners = [(NAMES, top + 3), (NAMES + length, top + STEP.cast_signed() - 3)];
            area.draw(&Rectangle::new(corners, fill.mix(0.85).filled()))?;
            area.draw(&Text::new(bar.label.clone(), (NAMES + length + 6, middle), value))?;
        }
        Ok(())
    }
}
