//! An affine map of the last hidden state, fitted by ridge least squares.
//!
//! The quantised model's hidden state `h` is moved towards the reference's `h_ref`. With
//! `D = A - I` and the difference `e = h_ref - h`, the map minimises
//!
//! ```text
//! sum |e - (D h + b)|^2 + ridge |D|^2
//! D = S_eh (S_hh + ridge I)^-1        b = mean(e) - D mean(h)
//! ```
//!
//! where `S` are sums over centred rows: `b` is not penalised. A large ridge leaves the identity
//! and the mean difference. The sums do not depend on the ridge, so that one pass over the text
//! serves every ridge that is tried.
//!
//! Source: Hoerl and Kennard 1970, "Ridge regression", with the identity as the prior mean.

use lapwing_logits::profile::HeadMap;
use nalgebra::{Cholesky, DMatrix};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, Axis, s};

/// Rows that are gathered before they enter the sums as one matrix product.
const N_BLOCK_ROWS: usize = 64;

/// Why the equations have no solution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SolveHeadMapError {
    /// Nothing was pushed but entries that are not finite.
    #[error("cannot fit a head map to {n_rows} pairs of hidden states: expected at least 2")]
    TooFewRows { n_rows: u64 },
    /// The ridge is not a number that can be used.
    #[error("the ridge of a head map must be finite and at least 0, found {ridge}")]
    Ridge { ridge: f64 },
    /// The hidden states span too little of the space for so small a ridge.
    #[error(
        "hidden states of length {n_hidden} are dependent over {n_rows} rows: \
         the ridge {ridge} is too small"
    )]
    NotPositiveDefinite { n_hidden: usize, n_rows: u64, ridge: f64 },
}

/// The normal equations of a [`HeadMap`], summed while pairs of hidden states pass.
///
/// Memory: four square matrices of `f64` while it is solved, two before.
#[derive(Clone, Debug)]
pub struct HeadMapEquations {
    n_rows: u64,
    /// `sum h h^T`.
    gram: Array2<f64>,
    /// `sum e h^T`.
    cross: Array2<f64>,
    sum_hidden: Array1<f64>,
    sum_difference: Array1<f64>,
    /// Rows that have not entered the sums yet: the first `n_held` of each.
    hidden: Array2<f64>,
    difference: Array2<f64>,
    n_held: usize,
}

impl HeadMapEquations {
    /// Equations without a row.
    #[must_use]
    pub fn new(n_hidden: usize) -> HeadMapEquations {
        HeadMapEquations {
            n_rows: 0,
            gram: Array2::zeros((n_hidden, n_hidden)),
            cross: Array2::zeros((n_hidden, n_hidden)),
            sum_hidden: Array1::zeros(n_hidden),
            sum_difference: Array1::zeros(n_hidden),
            hidden: Array2::zeros((N_BLOCK_ROWS, n_hidden)),
            difference: Array2::zeros((N_BLOCK_ROWS, n_hidden)),
            n_held: 0,
        }
    }

    /// Pairs that were taken up: those with finite entries only.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Take up the hidden states of both models at one position.
    ///
    /// Shapes: `reference [n_hidden]`, `model [n_hidden]`. A pair with an entry that is not finite
    /// is left out.
    ///
    /// # Panics
    ///
    /// When a length is another than that of [`HeadMapEquations::new`].
    pub fn push(&mut self, reference: ArrayView1<'_, f32>, model: ArrayView1<'_, f32>) {
        let n_hidden = self.sum_hidden.len();
        assert_eq!(reference.len(), n_hidden, "length of the reference's hidden state");
        assert_eq!(model.len(), n_hidden, "length of the model's hidden state");
        if !reference.iter().chain(&model).all(|entry| entry.is_finite()) {
            return;
        }
        let rows = self.hidden.row_mut(self.n_held).into_iter();
        let rows = rows.zip(self.difference.row_mut(self.n_held));
        for ((hidden, difference), (&reference, &model)) in rows.zip(reference.iter().zip(&model)) {
            *hidden = f64::from(model);
            *difference = f64::from(reference) - f64::from(model);
        }
        self.n_held += 1;
        self.n_rows += 1;
        if self.n_held == N_BLOCK_ROWS {
            self.absorb();
        }
    }

    /// Solve for one ridge, given relative to the mean of the diagonal of `S_hh`.
    ///
    /// # Errors
    ///
    /// When fewer than two pairs were pushed, the ridge is no usable number, or the equations with
    /// it are not positive definite.
    pub fn solve(&mut self, ridge: f64) -> Result<HeadMap, SolveHeadMapError> {
        self.absorb();
        let (n_rows, n_hidden) = (self.n_rows, self.sum_hidden.len());
        if n_rows < 2 {
            return Err(SolveHeadMapError::TooFewRows { n_rows });
        }
        if !ridge.is_finite() || ridge < 0.0 {
            return Err(SolveHeadMapError::Ridge { ridge });
        }
        let mean_hidden = &self.sum_hidden / n_rows as f64;
        let mean_difference = &self.sum_difference / n_rows as f64;
        let trace = |matrix: &Array2<f64>| matrix.diag().iter().sum::<f64>();
        // Sums of products about the means.
        let mut spread = &self.gram - &outer(&mean_hidden, &self.sum_hidden);
        let shared = &self.cross - &outer(&mean_difference, &self.sum_hidden);
        let ridge_absolute = ridge * trace(&spread) / n_hidden as f64;
        spread.diag_mut().iter_mut().for_each(|entry| *entry += ridge_absolute);
        let smallest_pivot = f64::EPSILON * n_hidden as f64 * trace(&spread) / n_hidden as f64;
        let difference = solve_from_the_right(spread, shared, smallest_pivot)
            .ok_or(SolveHeadMapError::NotPositiveDefinite { n_hidden, n_rows, ridge })?;
        let bias = mean_difference - difference.dot(&mean_hidden);
        let matrix = difference + Array2::<f64>::eye(n_hidden);
        let bias = bias.iter().map(|&entry| entry as f32).collect();
        let matrix = matrix.iter().map(|&entry| entry as f32).collect();
        Ok(HeadMap { n_hidden, matrix, bias })
    }

    /// Move what is held into the sums.
    fn absorb(&mut self) {
        let hidden = self.hidden.slice(s![..self.n_held, ..]);
        let difference = self.difference.slice(s![..self.n_held, ..]);
        general_mat_mul(1.0, &hidden.t(), &hidden, 1.0, &mut self.gram);
        general_mat_mul(1.0, &difference.t(), &hidden, 1.0, &mut self.cross);
        self.sum_hidden += &hidden.sum_axis(Axis(0));
        self.sum_difference += &difference.sum_axis(Axis(0));
        self.n_held = 0;
    }
}

/// `column row^T`.
fn outer(column: &Array1<f64>, row: &Array1<f64>) -> Array2<f64> {
    &column.view().insert_axis(Axis(1)) * row
}

/// `X` with `X A = B` for a symmetric `A`; `None` where one of its pivots is not above
/// `smallest_pivot`.
///
/// The factorisation is nalgebra's, whose matrices are column-major: `A` is the same either way,
/// and the columns of `B^T` are our rows of `B`.
fn solve_from_the_right(
    a: Array2<f64>,
    b: Array2<f64>,
    smallest_pivot: f64,
) -> Option<Array2<f64>> {
    let (shape, n) = (b.dim(), a.nrows());
    let factor = Cholesky::new(DMatrix::from_iterator(n, n, a))?;
    // A pivot that is only rounding error passes for positive half of the time.
    let pivots = factor.l_dirty().diagonal();
    if !pivots.iter().all(|pivot| smallest_pivot < pivot * pivot) {
        return None;
    }
    let mut solution = DMatrix::from_iterator(shape.1, shape.0, b);
    factor.solve_mut(&mut solution);
    Some(Array2::from_shape_fn(shape, |(row, column)| solution[(column, row)]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::aview1;

    use super::{HeadMap, HeadMapEquations, SolveHeadMapError};
    use crate::test_numbers::Numbers;

    const N_HIDDEN: usize = 9;

    /// A map that is not the identity, and equations of rows it was applied to.
    fn problem(n_rows: usize, noise: f64) -> (HeadMap, HeadMapEquations) {
        let mut numbers = Numbers::new(3);
        let mut matrix = vec![0.0f32; N_HIDDEN * N_HIDDEN];
        for (idx, entry) in matrix.iter_mut().enumerate() {
            let identity = if idx % (N_HIDDEN + 1) == 0 { 1.0 } else { 0.0 };
            *entry = (identity + 0.1 * numbers.normal()) as f32;
        }
        let bias: Vec<f32> = (0..N_HIDDEN).map(|_| numbers.normal() as f32).collect();
        let map = HeadMap { n_hidden: N_HIDDEN, matrix: matrix.into(), bias: bias.into() };
        let mut equations = HeadMapEquations::new(N_HIDDEN);
        for _ in 0..n_rows {
            let model: Vec<f32> =
                (0..N_HIDDEN).map(|idx| (idx as f64 + numbers.normal()) as f32).collect();
            let mut reference = apply(&map, &model);
            reference.iter_mut().for_each(|entry| *entry += (noise * numbers.normal()) as f32);
            equations.push(aview1(&reference), aview1(&model));
        }
        (map, equations)
    }

    fn apply(map: &HeadMap, hidden: &[f32]) -> Vec<f32> {
        let rows = map.matrix.chunks_exact(map.n_hidden).zip(map.bias.iter());
        rows.map(|(row, bias)| bias + row.iter().zip(hidden).map(|(a, h)| a * h).sum::<f32>())
            .collect()
    }

    fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn recovers_an_affine_map_without_noise() {
        // 130 rows leave a block that is not full.
        let (map, mut equations) = problem(130, 0.0);
        let found = equations.solve(0.0).expect("well posed");
        assert!(largest_difference(&found.matrix, &map.matrix) < 1e-4);
        assert!(largest_difference(&found.bias, &map.bias) < 1e-3);
    }

    #[test]
    fn a_large_ridge_leaves_the_identity_and_the_mean_difference() {
        let (map, mut equations) = problem(500, 0.0);
        let found = equations.solve(1e9).expect("well posed");
        let identity: Vec<f32> = (0..N_HIDDEN * N_HIDDEN)
            .map(|idx| if idx % (N_HIDDEN + 1) == 0 { 1.0 } else { 0.0 })
            .collect();
        assert!(largest_difference(&found.matrix, &identity) < 1e-6);
        // The rows' mean is (0, 1, 2, ...) up to sampling error.
        let mean: Vec<f32> = (0..N_HIDDEN).map(|idx| idx as f32).collect();
        let mapped = apply(&map, &mean);
        let expected: Vec<f32> = mapped.iter().zip(&mean).map(|(to, from)| to - from).collect();
        assert!(largest_difference(&found.bias, &expected) < 0.1, "{:?} {expected:?}", found.bias);
    }

    #[test]
    fn a_ridge_between_lies_between() {
        let (map, mut equations) = problem(200, 0.5);
        let distance = |found: &HeadMap| largest_difference(&found.matrix, &map.matrix);
        let small = distance(&equations.solve(1e-6).expect("well posed"));
        let large = distance(&equations.solve(10.0).expect("well posed"));
        assert!(small < large, "{small} {large}");
    }

    #[test]
    fn minimises_what_it_says() {
        // The gradient of the penalised sum of squares vanishes at the solution.
        let mut numbers = Numbers::new(8);
        let n_hidden = 3;
        let mut equations = HeadMapEquations::new(n_hidden);
        let rows: Vec<[Vec<f32>; 2]> = (0..40)
            .map(|_| [0, 1].map(|_| (0..n_hidden).map(|_| numbers.normal() as f32).collect()))
            .collect();
        rows.iter().for_each(|[reference, model]| equations.push(aview1(reference), aview1(model)));
        let ridge = 0.3;
        let found = equations.solve(ridge).expect("well posed");
        let mean = |idx: usize| {
            rows.iter().map(|[_, model]| f64::from(model[idx])).sum::<f64>() / rows.len() as f64
        };
        let spread = |idx: usize| {
            rows.iter().map(|[_, model]| (f64::from(model[idx]) - mean(idx)).powi(2)).sum::<f64>()
        };
        let absolute = ridge * (0..n_hidden).map(spread).sum::<f64>() / n_hidden as f64;
        let objective = |map: &HeadMap| {
            let squares: f64 = rows
                .iter()
                .flat_map(|[reference, model]| {
                    let mapped = apply(map, model);
                    reference
                        .iter()
                        .zip(mapped)
                        .map(|(r, m)| f64::from(r - m).powi(2))
                        .collect::<Vec<_>>()
                })
                .sum();
            let penalty: f64 = map
                .matrix
                .iter()
                .enumerate()
                .map(|(idx, &entry)| {
                    let identity = if idx % (n_hidden + 1) == 0 { 1.0 } else { 0.0 };
                    (f64::from(entry) - identity).powi(2)
                })
                .sum();
            squares + absolute * penalty
        };
        let best = objective(&found);
        for idx in 0..n_hidden * n_hidden {
            for step in [-0.01, 0.01] {
                let mut moved = found.clone();
                Arc::make_mut(&mut moved.matrix)[idx] += step;
                assert!(best < objective(&moved), "{idx} {step}");
            }
        }
    }

    #[test]
    fn refuses_what_cannot_be_solved() {
        let mut equations = HeadMapEquations::new(2);
        equations.push(aview1(&[1.0, 2.0]), aview1(&[1.0, 2.0]));
        equations.push(aview1(&[f32::NAN, 2.0]), aview1(&[1.0, 2.0]));
        assert_eq!(equations.solve(0.1), Err(SolveHeadMapError::TooFewRows { n_rows: 1 }));
        for step in 0..20 {
            // Both entries are equal: a line in the plane.
            let entry = step as f32 * 0.37;
            let (reference, model) = ([entry, entry + 1.0], [entry + 1.0, entry + 2.0]);
            equations.push(aview1(&reference), aview1(&model));
        }
        let dependent =
            SolveHeadMapError::NotPositiveDefinite { n_hidden: 2, n_rows: 21, ridge: 0.0 };
        assert_eq!(equations.solve(0.0), Err(dependent));
        assert!(equations.solve(0.01).is_ok());
        assert_eq!(equations.solve(-1.0), Err(SolveHeadMapError::Ridge { ridge: -1.0 }));
    }
}
