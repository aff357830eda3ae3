//! Charts as inline SVG: lines over a linear or logarithmic axis, and horizontal bars.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// A line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether every point is marked.
    pub(super) marked: bool,
}

/// What stands beside the lines.
pub(super) struct Frame<'a> {
    /// Read out by a screen reader.
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    /// Whether a step up is a factor.
    pub(super) logarithmic: bool,
}

/// Lines in one frame, with a legend where there are several.
pub(super) fn lines(frame: &Frame<'_>, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let finite = |value: &f64| value.is_finite();
    let Some((x_min, x_max)) = range(points().map(|(x, _)| x).filter(finite)) else {
        return String::new();
    };
    let scaled = |y: f64| if frame.logarithmic { y.max(f64::MIN_POSITIVE).log10() } else { y };
    let Some((y_min, y_max)) = range(points().map(|(_, y)| scaled(y)).filter(finite)) else {
        return String::new();
    };
    let margin = ((y_max - y_min) * 0.06).max(1e-9);
    let (y_min, y_max) = (y_min - margin, y_max + margin);
    let to_x = |x: f64| LEFT + (x - x_min) / (x_max - x_min).max(1e-12) * (WIDTH - LEFT - RIGHT);
    let to_y = |y: f64| TOP + (y_max - y) / (y_max - y_min) * (HEIGHT - TOP - BOTTOM);

    let mut svg = open(frame.title, HEIGHT);
    let y_ticks = if frame.logarithmic { factors(y_min, y_max) } else { ticks(y_min, y_max) };
    for tick in y_ticks {
        let value = if frame.logarithmic { 10f64.powf(tick) } else { tick };
        let y = to_y(tick);
        let _ = write!(
            svg,
            "<line class=grid x1={LEFT} x2={} y1={y:.1} y2={y:.1} />\
             <text class=tick x={} y={:.1} text-anchor=end>{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            number(value)
        );
    }
    for tick in ticks(x_min, x_max) {
        let x = to_x(tick);
        let _ = write!(
            svg,
            "<text class=tick x={x:.1} y={} text-anchor=middle>{}</text>",
            HEIGHT - BOTTOM + 16.0,
            number(tick)
        );
    }
    for (idx, line) in lines.iter().enumerate() {
        let place = |&(x, y): &(f64, f64)| (to_x(x), to_y(scaled(y)));
        let drawn: Vec<(f64, f64)> =
            line.points.iter().filter(|(_, y)| y.is_finite()).map(place).collect();
        let path: Vec<String> = drawn.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(svg, "<polyline class=\"line c{}\" points=\"{}\" />", idx, path.join(" "));
        for (x, y) in drawn.iter().filter(|_| line.marked) {
            let _ = write!(svg, "<circle class=\"mark c{idx}\" cx={x:.1} cy={y:.1} r=3 />");
        }
    }
    axis_names(&mut svg, frame);
    svg.push_str("</svg>");
    if 1 < lines.len() {
        svg.push_str(&legend(lines));
    }
    svg
}

/// Horizontal bars from 0, each with its value behind it.
pub(super) fn bars(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
    const ROW: f64 = 26.0;
    const NAME: f64 = 130.0;
    let largest = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let mut svg = open(title, ROW * bars.len() as f64 + 10.0);
    for (idx, (name, value)) in bars.iter().enumerate() {
        let y = 5.0 + ROW * idx as f64;
        let width = value / largest.max(1e-12) * (WIDTH - NAME - 90.0);
        let _ = write!(
            svg,
            "<text class=tick x={} y={:.1} text-anchor=end>{}</text>\
             <rect class=\"bar\" x={NAME} y={:.1} width={width:.1} height={} rx=2 />\
             <text class=tick x={:.1} y={:.1}>{} {unit}</text>",
            NAME - 8.0,
            y + 15.0,
            escape(name),
            y + 2.0,
            ROW - 8.0,
            NAME + width + 6.0,
            y + 15.0,
            number(*value)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Text that cannot end an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Four digits that matter, without trailing zeros.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let n_before = value.abs().log10().floor() as i32 + 1;
    let n_after = usize::try_from((4 - n_before).clamp(0, 6)).unwrap_or(0);
    let text = format!("{value:.n_after$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn open(title: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"{}\">", escape(title))
}

fn axis_names(svg: &mut String, frame: &Frame<'_>) {
    let middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
    let _ = write!(
        svg,
        "<text class=axis x={} y={} text-anchor=middle>{}</text>\
         <text class=axis x=14 y={middle} text-anchor=middle \
         transform=\"rotate(-90 14 {middle})\">{}</text>",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        HEIGHT - 8.0,
        escape(frame.x),
        escape(frame.y)
    );
}

fn legend(lines: &[Line]) -> String {
    let entries: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(idx, line)| {
            format!("<span><i class=\"key k{idx}\"></i>{}</span>", escape(&line.name))
        })
        .collect();
    format!("<p class=legend>{}</p>", entries.join(" "))
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found, value| match found {
        None => Some((value, value)),
        Some((min, max)) => Some((min.min(value), max.max(value))),
    })
}

/// Some five round numbers between two.
fn ticks(min: f64, max: f64) -> Vec<f64> {
    let span = (max - min).max(1e-12);
    let rough = span / 5.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
    let step = steps.into_iter().find(|step| rough <= *step).unwrap_or(10.0 * magnitude);
    let first = (min / step).ceil();
    let count = ((max / step).floor() - first).max(0.0) as usize;
    (0..=count.min(20)).map(|idx| (first + idx as f64) * step).collect()
}

/// The logarithms of round numbers between two logarithms: powers of ten, and where these are few
/// their doubles and fivefolds too.
fn factors(min: f64, max: f64) -> Vec<f64> {
    let steps: &[f64] = if max - min < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = min.floor() as i32..=max.ceil() as i32;
    let all =
        decades.flat_map(|decade| steps.iter().map(move |step| f64::from(decade) + step.log10()));
    let found: Vec<f64> = all.filter(|tick| (min..=max).contains(tick)).collect();
    if found.len() < 2 { ticks(min, max) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0");
        check(0.25, "0.25");
        check(53.018_44, "53.02");
        check(83_736.2, "83736");
        check(0.001_234_6, "0.001235");
        check(-1.5, "-1.5");
        check(100.0, "100");
        check(f64::INFINITY, "inf");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let found = ticks(0.0, 1.0);
        assert_eq!(found.len(), 6);
        assert!((found[1] - 0.2).abs() < 1e-12, "{found:?}");
        for (min, max) in [(0.13, 0.19), (-3.0, 12.0), (27.0, 83_736.0)] {
            let found = ticks(min, max);
            assert!(2 <= found.len(), "{found:?}");
            assert!(found.iter().all(|tick| (min..=max).contains(tick)), "{found:?}");
        }
    }

    #[test]
    fn factors_are_round_numbers() {
        let check = |min: f64, max: f64, expected: &[f64]| {
            let found: Vec<f64> = factors(min, max).iter().map(|log| 10f64.powf(*log)).collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
            }
        };
        check(-1.1, 1.1, &[0.1, 1.0, 10.0]);
        check(1.6, 2.5, &[50.0, 100.0, 200.0]);
    }

    #[test]
    fn names_cannot_leave_their_element() {
        let bad = "<script>\"&";
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)],
            marked: true,
        };
        let frame = Frame { title: bad, x: bad, y: bad, logarithmic: true };
        let drawn = lines(&frame, &[line(bad), line("b")]) + &bars(bad, "us", &[(bad.into(), 1.0)]);
        assert!(!drawn.contains("<script>"), "{drawn}");
        // What is no number is left out.
        assert!(!drawn.contains("NaN"), "{drawn}");
        assert_eq!(drawn.matches("<circle").count(), 4);
    }
}
