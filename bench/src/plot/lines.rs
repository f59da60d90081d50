//! Curves over a few named places, each with its name at its end.

use plotters::{
    prelude::{ChartBuilder, Circle, Color, LineSeries, PathElement, Text},
    style::text_anchor::{HPos, VPos},
};

use super::style::{self, Area, Drawn, GREY, RULE};

const NAMES: u32 = 158;
const LINE: i32 = 15;

/// One panel.
pub struct Lines {
    /// Above it.
    pub title: String,
    /// Below it.
    pub across: String,
    /// Above the axis.
    pub up: String,
    /// What the places are called.
    pub places: Vec<String>,
    /// Whether the axis begins at zero, and not just below the lowest value.
    pub from_zero: bool,
    /// By name, one value for each place; no more than there are.
    pub curves: Curves,
}

/// A name and its values.
pub type Curves = Vec<(String, Vec<f64>)>;

impl Lines {
    #[expect(clippy::unused_self, reason = "as the other plots")]
    pub(super) fn height(&self) -> u32 {
        330
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> Drawn {
        style::heading(area, &self.title)?;
        let values =
            || self.curves.iter().flat_map(|(_, values)| values).copied().filter(|value| value.is_finite());
        let highest = values().fold(f64::MIN_POSITIVE, f64::max);
        let lowest = if self.from_zero { 0.0 } else { values().fold(highest, f64::min) };
        let margin = (highest - lowest) * 0.05;
        let bottom = if self.from_zero { 0.0 } else { lowest - margin };
        let last = self.places.len().saturating_sub(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(46)
            .margin_left(6)
            .margin_right(NAMES)
            .x_label_area_size(44)
            .y_label_area_size(46)
            .build_cartesian_2d(-0.15..last + 0.15, bottom..highest + margin)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .light_line_style(RULE.mix(0.0))
            .bold_line_style(RULE.stroke_width(1))
            .axis_style(GREY.stroke_width(1))
            .label_style(style::text(11, GREY, HPos::Left, VPos::Top))
            .y_label_formatter(&|value| tick(*value, highest))
            .draw()?;
        let (left, low) = chart.backend_coord(&(-0.15, bottom));
        let (base, corner) = (area.get_base_pixel(), (left, low));
        let local = |(x, y): (i32, i32)| (x - base.0, y - base.1);
        let floor = local(corner).1;
        for (place, name) in (0_u32..).zip(&self.places) {
            let (x, _) = local(chart.backend_coord(&(f64::from(place), bottom)));
            area.draw(&Text::new(
                name.clone(),
                (x, floor + 7),
                style::text(11, GREY, HPos::Center, VPos::Top),
            ))?;
        }
        let (from, to) = (local(corner).0, local(chart.backend_coord(&(last + 0.15, bottom))).0);
        let below = style::text(11, GREY, HPos::Center, VPos::Top);
        area.draw(&Text::new(self.across.clone(), (from.midpoint(to), floor + 24), below))?;
        area.draw(&Text::new(self.up.clone(), (16, 26), style::text(11, GREY, HPos::Left, VPos::Top)))?;

        let mut ends = Vec::new();
        for (index, (name, values)) in self.curves.iter().enumerate() {
            let colour = style::colour(name, index);
            let width = if style::is_ours(name) { 3 } else { 2 };
            let points: Vec<_> = (0_u32..)
                .map(f64::from)
                .zip(values.iter().copied())
                .filter(|point| point.1.is_finite())
                .collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(width)))?;
            chart.draw_series(points.iter().map(|point| Circle::new(*point, width, colour.filled())))?;
            if let Some(end) = points.last() {
                ends.push((name, colour, local(chart.backend_coord(end))));
            }
        }
        ends.sort_by_key(|(_, _, (_, y))| *y);
        let heights = apart(&ends.iter().map(|(_, _, (_, y))| *y).collect::<Vec<_>>(), floor);
        for ((name, colour, (x, y)), height) in ends.iter().zip(heights) {
            let elbow = vec![(x + 5, *y), (to + 8, height), (to + 14, height)];
            area.draw(&PathElement::new(elbow, colour.mix(0.6).stroke_width(1)))?;
            let label = style::text(11, *colour, HPos::Left, VPos::Center);
            area.draw(&Text::new((*name).clone(), (to + 17, height), label))?;
        }
        Ok(())
    }
}

/// Where the names go, so that none covers another: as near as possible to the ends of the curves, which are sorted.
fn apart(ends: &[i32], floor: i32) -> Vec<i32> {
    let mut heights = ends.to_vec();
    for index in 1..heights.len() {
        heights[index] = heights[index].max(heights[index - 1] + LINE);
    }
    let mut limit = floor;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(limit);
        limit = *height - LINE;
    }
    heights
}

fn tick(value: f64, highest: f64) -> String {
    match highest {
        ..2.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE, apart};

    #[test]
    fn names_cover_neither_each_other_nor_the_axis() {
        let floor = 200;
        let heights = apart(&[20, 22, 24, 198, 199, 200], floor);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LINE), "{heights:?}");
        assert!(heights.iter().all(|height| *height <= floor), "{heights:?}");
        assert_eq!(heights[0], 20);
    }
}
