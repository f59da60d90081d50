//! Colours, sizes and fonts of the plots.

use std::io;

use plotters::{
    coord::Shift,
    prelude::{
        BLACK, Color, DrawingArea, DrawingAreaErrorKind, IntoFont, RGBColor, Rectangle, SVGBackend, Text,
        TextStyle, WHITE,
    },
    style::text_anchor::{HPos, Pos, VPos},
};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// Width of a panel beside another one, in pixels.
pub(super) const PANEL: u32 = 500;
/// Width of a single panel, in pixels.
pub(super) const WIDE: u32 = 760;
/// Height of the title above the panels, in pixels.
pub(super) const TITLE: u32 = 44;

pub(super) const GREY: RGBColor = RGBColor(110, 118, 129);
pub(super) const RULE: RGBColor = RGBColor(216, 222, 228);
/// Colour of `cached-aside`.
const OURS: RGBColor = RGBColor(207, 34, 46);
const OTHERS: [RGBColor; 14] = [
    RGBColor(9, 105, 218),
    RGBColor(26, 127, 55),
    RGBColor(130, 80, 223),
    RGBColor(191, 135, 0),
    RGBColor(27, 124, 131),
    RGBColor(191, 57, 137),
    RGBColor(125, 78, 36),
    RGBColor(87, 96, 106),
    RGBColor(84, 174, 255),
    RGBColor(74, 194, 107),
    RGBColor(0, 32, 96),
    RGBColor(218, 165, 232),
    RGBColor(150, 160, 20),
    RGBColor(30, 30, 30),
];

pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("ours")
}

/// Returns the colour of a name.
///
/// A name has one colour in all panels of a plot, if they show the same names.
pub(super) fn colour(name: &str, index: usize) -> RGBColor {
    match name {
        "ours" | "ours, async" => OURS,
        _ if is_ours(name) => RGBColor(250, 130, 100),
        _ => OTHERS[index % OTHERS.len()],
    }
}

pub(super) fn text(size: u32, colour: RGBColor, across: HPos, down: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour.to_rgba()).pos(Pos::new(across, down))
}

pub(super) fn card(root: &Area<'_>, title: &str) -> Drawn {
    let (width, height) = root.dim_in_pixel();
    let (right, bottom) = (width.cast_signed() - 1, height.cast_signed() - 1);
    root.fill(&WHITE)?;
    root.draw(&Rectangle::new([(0, 0), (right, bottom)], RULE.stroke_width(1)))?;
    root.draw(&Text::new(title.to_owned(), (16, 14), text(17, BLACK, HPos::Left, VPos::Top)))
}

pub(super) fn heading(area: &Area<'_>, title: &str) -> Drawn {
    area.draw(&Text::new(title.to_owned(), (16, 4), text(13, BLACK, HPos::Left, VPos::Top)))
}
