//! Plots as inline SVG that takes its colours from the page.
//!
//! The plotting crate writes colours as they are given, so they are given as CSS variables and one
//! drawing serves the light and the dark page. Names of lines stay outside, in a legend of the
//! page, where they wrap on a narrow screen.

use std::sync::Arc;

use kuva::plot::BarPlot;
use kuva::plot::LinePlot;
use kuva::plot::line::LineStyle;
use kuva::plot::scatter::{MarkerShape, ScatterPlot};
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::theme::Theme;

use crate::{markup, number};

/// Colours that the page's style defines as `--s0` to `--s7`.
pub const N_COLORS: usize = 8;

/// Lines that can still be told apart in one drawing.
pub const N_SERIES_MAX: usize = 10;

/// Narrow, so that the letters can still be read when a phone shows all of it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 290.0;

/// Larger numbers than these are no measurement, and axes break down on them.
const DRAWN: std::ops::RangeInclusive<f64> = 1e-9..=1e15;

const MARKERS: [MarkerShape; N_COLORS] = [
    MarkerShape::Circle,
    MarkerShape::Square,
    MarkerShape::Triangle,
    MarkerShape::Diamond,
    MarkerShape::TriangleDown,
    MarkerShape::Pentagon,
    MarkerShape::Plus,
    MarkerShape::Cross,
];

const DASHES: [&str; 5] = ["", "8 4", "2 3", "9 3 2 3", "14 5"];

/// How one thing that is shown looks in every plot of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style(pub usize);

impl Style {
    /// Its colour.
    pub fn color(self) -> String {
        format!("var(--s{})", self.0 % N_COLORS)
    }

    /// Its dashes, as SVG writes them; none of a line without.
    pub fn dash(self) -> &'static str {
        DASHES[self.0 % DASHES.len()]
    }

    fn marker(self) -> MarkerShape {
        MARKERS[self.0 % MARKERS.len()]
    }
}

/// A value and what it may be in truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// The ends of the interval of `y`.
    pub ends: Option<[f64; 2]>,
}

/// One line of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// How it looks.
    pub style: Style,
    /// Its points, from left to right.
    pub points: Vec<Point>,
}

/// How the horizontal axis is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Horizontal {
    /// From zero.
    Linear,
    /// Logarithmic, without markers: the outline of a histogram.
    Logarithmic,
    /// Days since 1970.
    Time,
    /// 0 is the first of these words, 1 the second.
    Words(Vec<&'static str>),
}

/// How the vertical axis is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vertical {
    FromZero,
    Logarithmic,
}

/// Lines with markers and error bars over a vertical axis from zero; `None` without points.
pub fn lines(series: &[Series], horizontal: &Horizontal, labels: [&str; 2]) -> Option<String> {
    draw(series, horizontal, Vertical::FromZero, labels)
}

/// The same over a vertical axis on which a step up is a factor; a point at zero has no place.
pub fn lines_by_factors(
    series: &[Series],
    horizontal: &Horizontal,
    labels: [&str; 2],
) -> Option<String> {
    draw(series, horizontal, Vertical::Logarithmic, labels)
}

fn draw(
    series: &[Series],
    horizontal: &Horizontal,
    vertical: Vertical,
    labels: [&str; 2],
) -> Option<String> {
    let is_drawn = |point: &Point| {
        let x_is_drawn = match horizontal {
            Horizontal::Logarithmic => DRAWN.contains(&point.x),
            _ => point.x == 0.0 || DRAWN.contains(&point.x),
        };
        let may_be_zero = vertical == Vertical::FromZero;
        x_is_drawn && ((may_be_zero && point.y == 0.0) || DRAWN.contains(&point.y))
    };
    let mut plots: Vec<Plot> = Vec::new();
    let mut drawn: Vec<Point> = Vec::new();
    for Series { style, points } in series {
        let points: Vec<Point> = points.iter().copied().filter(is_drawn).collect();
        if points.is_empty() {
            continue;
        }
        let line = LinePlot::new()
            .with_data(points.iter().map(|point| (point.x, point.y)))
            .with_color(style.color())
            .with_line_style(match style.dash() {
                "" => LineStyle::Solid,
                dash => LineStyle::Custom(dash.into()),
            });
        plots.push(line.into());
        if *horizontal != Horizontal::Logarithmic {
            plots.push(markers(*style, &points).into());
        }
        drawn.extend(points);
    }
    if drawn.is_empty() {
        return None;
    }
    let layout = match vertical {
        Vertical::FromZero => from_zero(base(&plots, HEIGHT, labels), &drawn),
        Vertical::Logarithmic => base(&plots, HEIGHT, labels)
            .with_log_y()
            .with_y_tick_format(TickFormat::Custom(Arc::new(trimmed))),
    };
    Some(finish(plots, with_horizontal(layout, horizontal, &drawn)))
}

fn markers(style: Style, points: &[Point]) -> ScatterPlot {
    let arms = points.iter().map(|point| match point.ends {
        Some([low, high]) if low <= point.y && point.y <= high && DRAWN.contains(&high) => {
            (point.y - low.max(0.0), high - point.y)
        }
        _ => (0.0, 0.0),
    });
    ScatterPlot::new()
        .with_data(points.iter().map(|point| (point.x, point.y)))
        .with_y_err_asymmetric(arms)
        .with_color(style.color())
        .with_marker(style.marker())
        .with_size(4.5)
}

fn from_zero(layout: Layout, drawn: &[Point]) -> Layout {
    let top = |point: &Point| point.ends.map_or(point.y, |[_, high]| high.max(point.y));
    let highest = drawn.iter().map(top).filter(|y| DRAWN.contains(y)).fold(0.0, f64::max);
    let highest = if highest == 0.0 { 1.0 } else { highest * 1.08 };
    layout.with_y_axis_min(0.0).with_y_axis_max(highest)
}

fn with_horizontal(layout: Layout, horizontal: &Horizontal, drawn: &[Point]) -> Layout {
    let [first, last] = [f64::min as fn(f64, f64) -> f64, f64::max]
        .map(|pick| drawn.iter().map(|point| point.x).reduce(pick).expect("there is a point"));
    match horizontal {
        Horizontal::Linear => {
            let last = if last == 0.0 { 1.0 } else { last * 1.04 };
            layout.with_x_axis_min(-0.02 * last).with_x_axis_max(last)
        }
        Horizontal::Logarithmic => layout
            .with_log_x()
            .with_x_axis_min(first / 1.05)
            .with_x_axis_max(last * 1.05)
            .with_x_tick_format(TickFormat::Custom(Arc::new(trimmed))),
        Horizontal::Time => {
            let margin = ((last - first) * 0.04).max(1.0 / 48.0);
            let is_short = last - first < 3.0;
            layout
                .with_x_axis_min(first - margin)
                .with_x_axis_max(last + margin)
                .with_ticks(5)
                .with_x_tick_format(TickFormat::Custom(Arc::new(move |days| {
                    number::date(days, is_short)
                })))
        }
        Horizontal::Words(words) => {
            let words = words.clone();
            layout
                .with_x_axis_min(-0.3)
                .with_x_axis_max(words.len() as f64 - 0.7)
                .with_x_tick_step(1.0)
                .with_x_tick_format(TickFormat::Custom(Arc::new(move |x| {
                    let is_whole = (x - x.round()).abs() < 1e-6 && x > -0.5;
                    let word = is_whole.then(|| words.get(x.round() as usize)).flatten();
                    word.copied().unwrap_or_default().to_owned()
                })))
        }
    }
}

/// At most four digits that count, and no zeros behind them.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A bar with a name: one part, or several beside each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Length and number of the colour of each part.
    pub parts: Vec<(f64, usize)>,
    /// The interval of the length, where there is one part.
    pub ends: Option<[f64; 2]>,
}

/// Bars from left to right, the first on top; `None` without a length to draw.
pub fn bars(bars: &[Bar], label: &str) -> Option<String> {
    let is_drawn = |bar: &&Bar| bar.parts.iter().any(|(length, _)| DRAWN.contains(length));
    let mut plot = BarPlot::new().with_horizontal(true).with_stacked().with_width(0.7);
    let mut arms: Vec<(f64, f64)> = Vec::new();
    let mut longest = 0.0_f64;
    let drawn: Vec<&Bar> = bars.iter().filter(is_drawn).collect();
    for bar in drawn.iter().rev() {
        let parts: Vec<(f64, String)> = bar
            .parts
            .iter()
            .map(|&(length, color)| {
                let length = if DRAWN.contains(&length) { length } else { 0.0 };
                (length, format!("var(--s{})", color % N_COLORS))
            })
            .collect();
        let length: f64 = parts.iter().map(|(length, _)| length).sum();
        arms.push(match bar.ends {
            Some([low, high]) if low <= length && length <= high && DRAWN.contains(&high) => {
                longest = longest.max(high);
                (length - low.max(0.0), high - length)
            }
            _ => (0.0, 0.0),
        });
        longest = longest.max(length);
        plot = plot.with_group(bar_label(&bar.label), parts);
    }
    if drawn.is_empty() {
        return None;
    }
    let has_arms = arms.iter().any(|&arm| arm != (0.0, 0.0));
    if has_arms && drawn.iter().all(|bar| bar.parts.len() == 1) {
        plot = plot.with_asymmetric_error(arms).with_error_color("var(--text)");
    }
    let plots = vec![plot.into()];
    let height = 76.0 + 30.0 * drawn.len() as f64;
    let layout = base(&plots, height, [label, ""]).with_x_axis_min(0.0);
    Some(finish(plots, layout.with_x_axis_max(longest * 1.06).with_ticks(5)))
}

/// Words of labels that have a short form where there is little room.
const SHORT: [(&str, &str); 3] =
    [("onnxruntime", "ort"), ("default threads", "default"), (" threads", " thr")];

/// What has room beside a bar; the whole name is in the legend and the tables.
fn bar_label(label: &str) -> String {
    // Names begin and end with what tells them apart.
    const N_CHARACTERS_KEPT: usize = 18;
    let label =
        SHORT.iter().fold(label.to_owned(), |label, (long, short)| label.replace(long, short));
    let n_characters = label.chars().count();
    let shortened: String = match n_characters.checked_sub(2 * N_CHARACTERS_KEPT + 1) {
        Some(1..) => {
            let start = label.chars().take(N_CHARACTERS_KEPT);
            let end = label.chars().skip(n_characters - N_CHARACTERS_KEPT);
            start.chain(['…']).chain(end).collect()
        }
        _ => label,
    };
    // The plotting crate sets what stands between dollars as mathematics, and escapes markup.
    markup::printable(&shortened).replace('$', "\\$")
}

fn base(plots: &[Plot], height: f64, [x_label, y_label]: [&str; 2]) -> Layout {
    let variable = |name: &str| format!("var(--{name})");
    let theme = Theme {
        background: "none".into(),
        axis_color: variable("axis"),
        grid_color: variable("grid"),
        tick_color: variable("axis"),
        text_color: variable("text"),
        legend_bg: "none".into(),
        legend_border: "none".into(),
        pie_leader: variable("text"),
        box_median: variable("text"),
        violin_border: variable("text"),
        colorbar_border: variable("text"),
        font_family: Some("inherit".into()),
        show_grid: true,
    };
    let mut layout = Layout::auto_from_plots(plots)
        .with_theme(theme)
        .with_width(WIDTH)
        .with_height(height)
        .with_label_size(13)
        .with_tick_size(12);
    // An empty label would take as much room as any.
    if !x_label.is_empty() {
        layout = layout.with_x_label(x_label);
    }
    if !y_label.is_empty() {
        layout = layout.with_y_label(y_label);
    }
    layout
}

/// The drawing as an element of the page: it scales, and the page says what it shows.
fn finish(plots: Vec<Plot>, layout: Layout) -> String {
    let height = layout.height.unwrap_or(HEIGHT);
    let svg = kuva::render_to_svg(plots, layout);
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let style = "font-family=\"inherit\" fill=\"var(--text)\"";
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" {style}>{body}")
}

/// Give the clip paths of a drawing the next numbers of the page, so that equal records make equal
/// pages.
pub fn renumber(svg: &str, n_clips: &mut usize) -> String {
    // A quotation mark is escaped in text, so that this is never part of a name.
    const ID: &str = "id=\"kuva-clip-";
    let mut renumbered = svg.to_owned();
    for (place, _) in svg.match_indices(ID) {
        let rest = &svg[place + ID.len()..];
        let number = rest.split('"').next().unwrap_or_default();
        let new = *n_clips;
        renumbered = renumbered
            .replace(&format!("\"kuva-clip-{number}\""), &format!("\"clip-{new}\""))
            .replace(&format!("\"url(#kuva-clip-{number})\""), &format!("\"url(#clip-{new})\""));
        *n_clips += 1;
    }
    renumbered
}

/// A sample of a line for a legend: dash, colour and marker.
pub fn swatch(style: Style) -> String {
    let color = style.color();
    let dash = match style.dash() {
        "" => String::new(),
        dash => format!(" stroke-dasharray=\"{dash}\""),
    };
    let fill = format!("fill=\"{color}\"");
    let stroke = format!("stroke=\"{color}\" stroke-width=\"2\"");
    let marker = match style.marker() {
        MarkerShape::Square => format!("<rect x=\"14\" y=\"3\" width=\"8\" height=\"8\" {fill} />"),
        MarkerShape::Triangle => format!("<polygon points=\"18,2 23,11 13,11\" {fill} />"),
        MarkerShape::TriangleDown => format!("<polygon points=\"18,12 23,3 13,3\" {fill} />"),
        MarkerShape::Diamond => format!("<polygon points=\"18,1 24,7 18,13 12,7\" {fill} />"),
        MarkerShape::Pentagon => {
            format!("<polygon points=\"18,2 23,5.6 21,11.5 15,11.5 13,5.6\" {fill} />")
        }
        MarkerShape::Plus => format!("<path d=\"M18 2V12M13 7H23\" {stroke} />"),
        MarkerShape::Cross => format!("<path d=\"M14 3L22 11M22 3L14 11\" {stroke} />"),
        _ => format!("<circle cx=\"18\" cy=\"7\" r=\"4.5\" {fill} />"),
    };
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 36 14\" aria-hidden=\"true\"><line x1=\"0\" \
         y1=\"7\" x2=\"36\" y2=\"7\" {stroke}{dash} />{marker}</svg>"
    )
}

#[cfg(test)]
mod tests;
