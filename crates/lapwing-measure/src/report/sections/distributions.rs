//! How the times between tokens are spread.

use lapwing_report::plot::{self, Horizontal, Point, Series, Style};
use lapwing_report::statistics::RELATIVE_BIN_WIDTH;
use lapwing_report::{Cell, Page, Table};

use crate::record::{Histogram, TestKind};
use crate::report::overview::{Overview, first_places, test_name};

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let Some(test) = overview.usual_test(TestKind::Decode) else { return };
    let mut table = Table::new(
        "Time between tokens, milliseconds",
        &["Configuration"],
        &["p50", "p90", "p99", "max", "mean", "Tokens"],
    );
    let mut outlines: Vec<(usize, Vec<Point>)> = Vec::new();
    for (idx, record) in overview.newest(test) {
        let latency = record.latency.as_ref();
        if let Some(between) = latency.and_then(|latency| latency.inter_token_ms.as_ref()) {
            let figures = [between.p50, between.p90, between.p99, between.max, between.mean];
            let mut row = vec![Cell::text(overview.subjects[idx].label.clone())];
            row.extend(figures.map(|figure| Cell::number(Some(figure))));
            row.push(Cell::count(Some(between.n)));
            table.push(row);
            outlines.push((idx, outline(&between.histogram)));
        }
    }
    if table.is_empty() {
        return;
    }
    let (places, note) = first_places(outlines.iter().map(|&(idx, _)| idx).collect());
    let series: Vec<Series> = outlines
        .into_iter()
        .filter(|(idx, _)| places.contains(idx))
        .map(|(idx, points)| Series { style: Style(idx), points })
        .collect();
    page.section("distributions", "Latency distributions", |page| {
        let caption = format!(
            "Time between tokens ({}), logarithmic: the share of tokens in each step of \
             5\u{a0}% of time. A narrow peak is a steady stream; what lies far to the right is \
             felt as a pause.{note}",
            test_name(test)
        );
        let labels = ["ms from one token to the next", "share of tokens, %"];
        let svg = plot::lines(&series, &Horizontal::Logarithmic, labels);
        page.figures(|page| page.figure(&caption, svg, &overview.legend(&places)));
        page.table(&table);
    });
}

/// The corners of the histogram's outline: percent of all values for each bin of the usual width.
fn outline(histogram: &Histogram) -> Vec<Point> {
    let total: f64 = histogram.counts.iter().map(|&n| n as f64).sum();
    let point = |x: f64, y: f64| Point { x, y, ends: None };
    let mut corners = Vec::new();
    for (edges, &count) in histogram.edges_ms.windows(2).zip(&histogram.counts) {
        let n_widths = (edges[1] / edges[0]).ln() / RELATIVE_BIN_WIDTH.ln_1p();
        let percent = 100.0 * count as f64 / total / n_widths;
        corners.extend([point(edges[0], percent), point(edges[1], percent)]);
    }
    if let (Some(&first), Some(&last)) = (corners.first(), corners.last()) {
        corners.insert(0, point(first.x, 0.0));
        corners.push(point(last.x, 0.0));
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_goes_up_and_down() {
        let width = 1.0 + RELATIVE_BIN_WIDTH;
        let edges_ms = vec![10.0, 10.0 * width, 10.0 * width.powi(3)];
        let histogram = Histogram { edges_ms, counts: vec![3, 1] };
        let found: Vec<f64> = outline(&histogram).iter().map(|point| point.y.round()).collect();
        // A quarter of the values in a bin of twice the width.
        assert_eq!(found, [0.0, 75.0, 75.0, 13.0, 13.0, 0.0]);
        assert!(outline(&Histogram { edges_ms: Vec::new(), counts: Vec::new() }).is_empty());
    }
}
