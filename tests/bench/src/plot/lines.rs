//! Curves over a few named places, each with its name at its end.

use plotters::{
    prelude::{ChartBuilder, Circle, Color, LineSeries, PathElement, Text},
    style::text_anchor::{HPos, VPos},
};

use super::style::{self, Area, Drawn, GREY, RULE};

const NAMES: u32 = 206;
const LINE: i32 = 15;

/// One panel.
pub struct Lines {
    /// Title above the panel.
    pub title: String,
    /// Name of the horizontal axis, below it.
    pub across: String,
    /// Name of the vertical axis, above it.
    pub up: String,
    /// Names of the places.
    pub places: Vec<String>,
    /// Mapping of values to heights.
    pub scale: Scale,
    /// Curves, each with one value for each place and no further ones.
    pub curves: Curves,
}

/// Mapping of values to heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Linear scale that begins at zero.
    Whole,
    /// Linear scale that begins just below the lowest value.
    Near,
    /// Logarithmic scale: equal ratios are equal distances.
    Log,
}

/// Names of curves, each with the values of the curve.
pub type Curves = Vec<(String, Vec<f64>)>;

impl Lines {
    #[expect(clippy::unused_self, reason = "as the other plots")]
    pub(super) fn height(&self) -> u32 {
        330
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> Drawn {
        style::heading(area, &self.title)?;
        let all =
            || self.curves.iter().flat_map(|(_, values)| values).copied().filter(|value| value.is_finite());
        let highest = all().fold(f64::MIN_POSITIVE, f64::max);
        let lowest = if self.scale == Scale::Whole { 0.0 } else { all().fold(highest, f64::min) };
        let height = |value: f64| if self.scale == Scale::Log { value.log10() } else { value };
        let margin = ((height(highest) - height(lowest)) * 0.05).max(1e-3);
        let bottom = if self.scale == Scale::Whole { 0.0 } else { height(lowest) - margin };
        let (left, right) = (-0.15, self.places.len().saturating_sub(1) as f64 + 0.15);
        let mut chart = ChartBuilder::on(area)
            .margin_top(46)
            .margin_left(6)
            .margin_right(NAMES)
            .x_label_area_size(44)
            .y_label_area_size(46)
            .build_cartesian_2d(left..right, bottom..height(highest) + margin)?;
        let base = area.get_base_pixel();
        let local = |(x, y): (i32, i32)| (x - base.0, y - base.1);
        let ((from, floor), (to, _)) =
            (local(chart.backend_coord(&(left, bottom))), local(chart.backend_coord(&(right, bottom))));
        for tick in ticks(self.scale, lowest, highest) {
            let (_, y) = local(chart.backend_coord(&(left, height(tick))));
            area.draw(&PathElement::new(vec![(from, y), (to, y)], RULE.stroke_width(1)))?;
            let label = style::text(11, GREY, HPos::Right, VPos::Center);
            area.draw(&Text::new(short(tick), (from - 7, y), label))?;
        }
        area.draw(&PathElement::new(vec![(from, floor), (to, floor)], GREY.stroke_width(1)))?;
        for (place, name) in (0_u32..).zip(&self.places) {
            let (x, _) = local(chart.backend_coord(&(f64::from(place), bottom)));
            area.draw(&Text::new(
                name.clone(),
                (x, floor + 7),
                style::text(11, GREY, HPos::Center, VPos::Top),
            ))?;
        }
        let below = style::text(11, GREY, HPos::Center, VPos::Top);
        area.draw(&Text::new(self.across.clone(), (from.midpoint(to), floor + 24), below))?;
        area.draw(&Text::new(self.up.clone(), (16, 26), style::text(11, GREY, HPos::Left, VPos::Top)))?;

        let mut ends = Vec::new();
        // The `cached-aside` curves are drawn last, so that they are above the others.
        let (ours, others): (Vec<_>, Vec<_>) =
            self.curves.iter().enumerate().partition(|(_, (name, _))| style::is_ours(name));
        for (index, (name, values)) in others.into_iter().chain(ours) {
            let colour = style::colour(name, index);
            let width = if style::is_ours(name) { 3 } else { 2 };
            let places = (0_u32..).map(f64::from);
            let heights = values.iter().map(|value| height(*value));
            let points: Vec<_> = places.zip(heights).filter(|point| point.1.is_finite()).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(width)))?;
            chart.draw_series(points.iter().map(|point| Circle::new(*point, width, colour.filled())))?;
            if let Some(end) = points.last() {
                ends.push((name, colour, local(chart.backend_coord(end))));
            }
        }
        ends.sort_by_key(|(_, _, (_, y))| *y);
        let heights = spread_labels(&ends.iter().map(|(_, _, (_, y))| *y).collect::<Vec<_>>(), floor);
        for ((name, colour, (x, y)), height) in ends.iter().zip(heights) {
            let elbow = vec![(x + 5, *y), (to + 8, height), (to + 14, height)];
            area.draw(&PathElement::new(elbow, colour.mix(0.6).stroke_width(1)))?;
            let label = style::text(11, *colour, HPos::Left, VPos::Center);
            area.draw(&Text::new((*name).clone(), (to + 17, height), label))?;
        }
        Ok(())
    }
}

/// Returns the heights of the names, so that none covers another.
///
/// Each is as near as possible to the end of its curve. The ends are sorted.
fn spread_labels(ends: &[i32], floor: i32) -> Vec<i32> {
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

/// Returns round values within the range: at most about six, or on a logarithmic scale all that begin with 1,
/// 2 or 5.
fn ticks(scale: Scale, lowest: f64, highest: f64) -> Vec<f64> {
    let powers = || (-6..12).map(|power| 10_f64.powi(power));
    let rounds = || powers().flat_map(|power| [power, 2.0 * power, 5.0 * power]);
    let within = |value: &f64| *value >= lowest * 0.999 && *value <= highest * 1.001;
    if scale == Scale::Log {
        return rounds().filter(within).collect();
    }
    let step = rounds().find(|step| (highest - lowest) / step <= 6.0).unwrap_or(highest);
    let all = (0..1_000_000).map(|count| f64::from(count) * step);
    all.skip_while(|value| *value < lowest).take_while(within).collect()
}

fn short(value: f64) -> String {
    let text = if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::{LINE, Scale, short, spread_labels, ticks};

    #[test]
    fn ticks_are_round_and_within_the_range() {
        let texts =
            |scale, lowest, highest| ticks(scale, lowest, highest).into_iter().map(short).collect::<Vec<_>>();
        assert_eq!(texts(Scale::Whole, 0.0, 17.0), ["0", "5", "10", "15"]);
        assert_eq!(texts(Scale::Near, 33.0, 78.0), ["40", "50", "60", "70"]);
        assert_eq!(texts(Scale::Log, 0.4, 12.0), ["0.5", "1", "2", "5", "10"]);
    }

    #[test]
    fn labels_overlap_neither_each_other_nor_the_axis() {
        let floor = 200;
        let heights = spread_labels(&[20, 22, 24, 198, 199, 200], floor);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LINE), "{heights:?}");
        assert!(heights.iter().all(|height| *height <= floor), "{heights:?}");
        assert_eq!(heights[0], 20);
    }
}
