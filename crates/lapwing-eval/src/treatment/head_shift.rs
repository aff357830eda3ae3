//! What a head map adds to the logits, for many rows at once.

use lapwing_logits::profile::HeadMap;
use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{Array2, ArrayView1, ArrayView2};

use super::HeadMatrix;

/// `W (D h + b)`.
pub(super) struct HeadShift<'a> {
    /// `W`.
    head: HeadMatrix<'a>,
    /// `D`. Shapes: `[n_hidden, n_hidden]`.
    difference: Array2<f32>,
    bias: &'a [f32],
}

impl<'a> HeadShift<'a> {
    pub(super) fn new(head: HeadMatrix<'a>, map: &'a HeadMap) -> HeadShift<'a> {
        let shape = (map.n_hidden, map.n_hidden);
        let matrix = ArrayView2::from_shape(shape, &map.matrix).expect("a square matrix");
        let difference = &matrix - &Array2::<f32>::eye(map.n_hidden);
        HeadShift { head, difference, bias: &map.bias }
    }

    /// Shapes: `hidden [n_rows, n_hidden]`, the result `[n_rows, n_tokens]`.
    pub(super) fn of_rows(&self, hidden: ArrayView2<'_, f32>) -> Array2<f32> {
        let (head, bias) = (self.head.view(), ArrayView1::from(self.bias));
        let bias = bias.broadcast(hidden.dim()).expect("as long as a hidden state");
        let mut mapped = bias.to_owned();
        general_mat_mul(1.0, &hidden, &self.difference.t(), 1.0, &mut mapped);
        let mut shifts = Array2::zeros((hidden.nrows(), head.nrows()));
        if hidden.nrows() == 1 {
            // A product of matrices would first copy the whole head into another order.
            general_mat_vec_mul(1.0, &head, &mapped.row(0), 0.0, &mut shifts.row_mut(0));
        } else {
            general_mat_mul(1.0, &mapped, &head.t(), 0.0, &mut shifts);
        }
        shifts
    }
}
