//! Counts of samples in bins of equal relative width.

use super::Samples;

/// How many bins there are between 1 and 10.
pub const N_BINS_PER_DECADE: u32 = 48;

/// Upper edge of a bin over its lower edge, less one: `10^(1/48) - 1`.
pub const RELATIVE_BIN_WIDTH: f64 = 0.049_139_729;

/// Exponents of ten at the outermost edges; in milliseconds, a picosecond and about 30 years.
const DECADES: std::ops::RangeInclusive<i32> = -9..=12;

/// Decimal digits of an edge: short in a record, and the same on every machine.
const N_EDGE_DIGITS: usize = 7;

/// Samples counted in bins whose edges are `10^(k / 48)` for whole `k`.
///
/// All histograms share this one grid, so that two can be drawn on one axis or added bin by bin:
/// bin `k` is the same in each. A sample belongs to the bin whose lower edge it reaches. Only the
/// bins from the first to the last that holds a sample are kept.
///
/// Units: those of the samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    first_bin: i32,
    counts: Vec<u64>,
}

/// Why there is no histogram.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum HistogramError {
    /// A logarithmic axis has no place for it.
    #[error("sample {value} is outside of the histogram's range, {low:e} to {high:e}")]
    OutOfRange { value: f64, low: f64, high: f64 },
    /// Edges enclose bins: there is one more edge than there are counts.
    #[error("{n_edges} edges for {n_counts} counts, expected one more edge than counts")]
    Lengths { n_edges: usize, n_counts: usize },
    /// The histogram was made on another grid.
    #[error("edge {edge_idx} is {found}, expected {expected}")]
    Edge { edge_idx: usize, expected: f64, found: f64 },
}

impl Histogram {
    /// Count `samples`.
    ///
    /// # Errors
    ///
    /// When a sample is not positive, or smaller or larger than any duration worth a record.
    pub fn new(samples: &Samples) -> Result<Histogram, HistogramError> {
        let (first_bin, last_bin) = (bin(samples.min())?, bin(samples.max())?);
        let mut counts = vec![0; (last_bin - first_bin) as usize + 1];
        for &value in samples.sorted() {
            counts[(bin(value)? - first_bin) as usize] += 1;
        }
        Ok(Histogram { first_bin, counts })
    }

    /// The histogram with these edges and counts, as a record holds them.
    ///
    /// # Errors
    ///
    /// When there is not one more edge than counts, or the edges are not neighbours of the grid.
    pub fn from_edges(edges: &[f64], counts: &[u64]) -> Result<Histogram, HistogramError> {
        let (n_edges, n_counts) = (edges.len(), counts.len());
        if n_counts == 0 || n_edges != n_counts + 1 {
            return Err(HistogramError::Lengths { n_edges, n_counts });
        }
        let first_bin = nearest_edge(edges[0]);
        for (edge_idx, &found) in edges.iter().enumerate() {
            let expected = edge(first_bin.saturating_add_unsigned(edge_idx as u32));
            // Far less than a bin, far more than the digits that an edge is written with.
            if !(expected * 0.9999..expected * 1.0001).contains(&found) {
                return Err(HistogramError::Edge { edge_idx, expected, found });
            }
        }
        Ok(Histogram { first_bin, counts: counts.to_vec() })
    }

    /// The number `k` of the first bin; its lower edge is `10^(k / 48)`.
    #[must_use]
    pub fn first_bin(&self) -> i32 {
        self.first_bin
    }

    /// Samples in each bin, from the first that holds one to the last.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The edges around the bins: one more than there are counts, ascending.
    #[must_use]
    pub fn edges(&self) -> Vec<f64> {
        (0..=self.counts.len()).map(|idx| edge(self.first_bin + idx as i32)).collect()
    }
}

/// The lower edge of bin `k`, rounded to a few digits.
fn edge(k: i32) -> f64 {
    let exact = 10f64.powf(f64::from(k) / f64::from(N_BINS_PER_DECADE));
    let rounded = format!("{exact:.0$e}", N_EDGE_DIGITS - 1);
    rounded.parse().expect("Rust reads the numbers that it writes")
}

/// The `k` whose edge is nearest to `value` on the logarithmic scale, within the grid.
fn nearest_edge(value: f64) -> i32 {
    let n_bins = N_BINS_PER_DECADE as i32;
    let (low, high) = (DECADES.start() * n_bins, DECADES.end() * n_bins);
    // NaN becomes 0, an infinity the largest number.
    let k = (value.log10() * f64::from(N_BINS_PER_DECADE)).round() as i32;
    k.clamp(low, high)
}

/// The bin that holds `value`.
fn bin(value: f64) -> Result<i32, HistogramError> {
    let (low, high) = (10f64.powi(*DECADES.start()), 10f64.powi(*DECADES.end()));
    if !(low..high).contains(&value) {
        return Err(HistogramError::OutOfRange { value, low, high });
    }
    let nearest = nearest_edge(value);
    // The written edges decide, whatever the logarithm rounds to.
    Ok(if value < edge(nearest) { nearest - 1 } else { nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f64]) -> Histogram {
        Histogram::new(&Samples::new(values).unwrap()).unwrap()
    }

    #[test]
    fn samples_are_counted_between_their_edges() {
        let check = |values: &[f64], first_bin: i32, counts: &[u64]| {
            let found = histogram(values);
            assert_eq!((found.first_bin(), found.counts()), (first_bin, counts), "{values:?}");
            let edges = found.edges();
            assert_eq!(edges.len(), counts.len() + 1);
            assert!(edges[0] <= values.iter().copied().fold(f64::MAX, f64::min));
            assert!(values.iter().copied().fold(0.0, f64::max) < edges[counts.len()]);
        };
        check(&[1.0], 0, &[1]);
        check(&[0.999_999], -1, &[1]);
        check(&[10.0, 10.0], 48, &[2]);
        check(&[1.0, 1.04, 1.05, 1.2], 0, &[2, 1, 0, 1]);
        check(&[5.0, 5.0, 6.0], 33, &[2, 0, 0, 0, 1]);
    }

    #[test]
    fn every_edge_starts_its_own_bin_and_is_one_width_above_the_last() {
        for k in -9 * 48..12 * 48 {
            assert_eq!(bin(edge(k)).ok(), Some(k), "{k}");
            let last = edge(k + 1) * (1.0 - 1e-12);
            assert_eq!(bin(last).ok(), Some(k), "{k}");
            let width = edge(k + 1) / edge(k) - 1.0;
            assert!((width - RELATIVE_BIN_WIDTH).abs() < 3e-6, "{k} {width}");
        }
        assert_eq!(edge(96), 100.0);
        assert_eq!(edge(1), 1.04914);
    }

    #[test]
    fn a_record_gives_the_same_histogram_back() {
        for values in [&[6.41, 6.5, 7.9, 330.0][..], &[1e-9], &[9.99e11], &[1e-3, 1e3]] {
            let first = histogram(values);
            let text = serde_json::to_string(&first.edges()).unwrap();
            let edges: Vec<f64> = serde_json::from_str(&text).unwrap();
            assert_eq!(Histogram::from_edges(&edges, first.counts()).as_ref(), Ok(&first));
        }
    }

    #[test]
    fn what_has_no_place_on_the_grid_is_refused() {
        for value in [0.0, -1.0, 1e-10, 1e12] {
            let samples = Samples::new(&[1.0, value]).unwrap();
            let error = Histogram::new(&samples).unwrap_err().to_string();
            let expected = "is outside of the histogram's range, 1e-9 to 1e12";
            assert_eq!(error, format!("sample {value} {expected}"));
        }
        let check = |edges: &[f64], counts: &[u64], expected: &str| {
            let error = Histogram::from_edges(edges, counts).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(&[1.0], &[], "1 edges for 0 counts, expected one more edge than counts");
        check(&[1.0], &[1], "1 edges for 1 counts, expected one more edge than counts");
        check(&[1.0, 2.0], &[1], "edge 1 is 2, expected 1.04914");
        check(&[1.02, 1.07], &[1], "edge 0 is 1.02, expected 1");
        check(&[f64::NAN, 1.0], &[1], "edge 0 is NaN, expected 1");
        check(&[f64::INFINITY, 1.0], &[1], "edge 0 is inf, expected 1000000000000");
        check(&[-1.0, 1.0], &[1], "edge 0 is -1, expected 1");
    }
}
