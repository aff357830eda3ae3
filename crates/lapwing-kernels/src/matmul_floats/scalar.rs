use super::N_SUMS;
use crate::floats::Float;
use crate::tiles::N_TILE_ROWS;

pub(super) fn matmul<F: Float>(weights: &[F], n_columns: usize, rows: &[f32], out: &mut [f32]) {
    let n_out = weights.len() / n_columns;
    for (x, out) in rows.chunks_exact(n_columns).zip(out.chunks_exact_mut(n_out.max(1))) {
        for (idx, out) in out.iter_mut().enumerate() {
            let tile = &weights[idx / N_TILE_ROWS * N_TILE_ROWS * n_columns..];
            let mut sums = [0.0f32; N_SUMS];
            for (column, &x) in x.iter().enumerate() {
                let weight = tile[column * N_TILE_ROWS + idx % N_TILE_ROWS].to_f32();
                let sum = &mut sums[column % N_SUMS];
                *sum = weight.mul_add(x, *sum);
            }
            *out = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        }
    }
}
