//! What a head map adds to the logits, for many rows at once.

use lapwing_logits::profile::HeadMap;
use nalgebra::{DMatrixView, DMatrixViewMut};

use super::HeadMatrix;

/// `W (D h + b)`.
pub(super) struct HeadShift<'a> {
    head: HeadMatrix<'a>,
    /// `D`. Shapes: `[n_hidden, n_hidden]`.
    difference: Vec<f32>,
    bias: &'a [f32],
}

impl<'a> HeadShift<'a> {
    pub(super) fn new(head: HeadMatrix<'a>, map: &'a HeadMap) -> HeadShift<'a> {
        let mut difference = map.matrix.to_vec();
        difference.iter_mut().step_by(map.n_hidden + 1).for_each(|entry| *entry -= 1.0);
        HeadShift { head, difference, bias: &map.bias }
    }

    pub(super) fn n_tokens(&self) -> usize {
        self.head.n_tokens
    }

    /// Shapes: `hidden [n_rows, n_hidden]`; afterwards `mapped [n_rows, n_hidden]` and
    /// `shifts [n_rows, n_tokens]`.
    pub(super) fn of_rows(&self, hidden: &[f32], mapped: &mut Vec<f32>, shifts: &mut Vec<f32>) {
        let HeadMatrix { n_tokens, n_hidden, rows } = self.head;
        let n_rows = hidden.len() / n_hidden;
        mapped.clear();
        (0..n_rows).for_each(|_| mapped.extend_from_slice(self.bias));
        shifts.clear();
        shifts.resize(n_rows * n_tokens, 0.0);
        add_products(&self.difference, n_hidden, hidden, mapped);
        add_products(rows, n_hidden, mapped, shifts);
    }
}

/// Below this in any dimension nalgebra's product leaves its fast path, and the slow one indexes
/// views of row-major matrices out of their bounds (0.34: its debug assertions say so).
const N_FAST_MIN: usize = 8;

/// Add `matrix * vector` to `sums` for every vector.
///
/// Shapes: `matrix [n_rows, n_columns]`, `vectors [n, n_columns]`, `sums [n, n_rows]`.
fn add_products(matrix: &[f32], n_columns: usize, vectors: &[f32], sums: &mut [f32]) {
    let n_rows = matrix.len() / n_columns;
    let n = vectors.len() / n_columns;
    if n.min(n_rows).min(n_columns) < N_FAST_MIN {
        for (vector, sums) in vectors.chunks_exact(n_columns).zip(sums.chunks_exact_mut(n_rows)) {
            for (row, sum) in matrix.chunks_exact(n_columns).zip(sums) {
                *sum += dot(row, vector);
            }
        }
        return;
    }
    // Matrices of nalgebra are column-major: a vector of ours is a column there. The strides make
    // it read our matrix row by row, without a copy.
    let matrix = DMatrixView::from_slice_with_strides(matrix, n_rows, n_columns, n_columns, 1);
    let vectors = DMatrixView::from_slice(vectors, n_columns, n);
    DMatrixViewMut::from_slice(sums, n_rows, n).gemm(1.0, &matrix, &vectors, 1.0);
}

/// Sixteen partial sums, so that the compiler may use vectors.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let ((one, one_tail), (other, other_tail)) = (one.as_chunks::<16>(), other.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (one, other) in one.iter().zip(other) {
        for (sum, (one, other)) in sums.iter_mut().zip(one.iter().zip(other)) {
            *sum += one * other;
        }
    }
    let tail: f32 = one_tail.iter().zip(other_tail).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f32>() + tail
}
