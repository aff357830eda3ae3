use crate::f16::f16_to_f32;
use crate::quantize_rows::{N_GROUP, QuantizedGroup};
use crate::tiles::{GroupOffsets, N_TILE_ROWS, Tiles};

pub(super) fn matmul(tiles: Tiles<'_>, rows: &[QuantizedGroup], out: &mut [f32]) {
    let n_groups = tiles.layout().n_activation_groups();
    let n_out = N_TILE_ROWS * tiles.n_tiles();
    for (x, out) in rows.chunks_exact(n_groups).zip(out.chunks_exact_mut(n_out)) {
        let (tile_outs, _) = out.as_chunks_mut::<N_TILE_ROWS>();
        for (tile, out) in tiles.each().zip(tile_outs) {
            for (row, out) in out.iter_mut().enumerate() {
                *out = product(&tiles, tile, row, x);
            }
        }
    }
}

/// One row of weights with one of activations.
fn product(tiles: &Tiles<'_>, tile: &[u8], row: usize, x: &[QuantizedGroup]) -> f32 {
    let layout = tiles.layout();
    let n_step = layout.group().min(N_GROUP);
    let mut out = 0.0f32;
    for (group_idx, group) in layout.groups(tile).enumerate() {
        let start = group_idx * layout.group();
        let n_columns = layout.group().min(x.len() * N_GROUP - start);
        for column in (0..n_columns).step_by(n_step) {
            let x_start = start + column;
            let x = &x[x_start / N_GROUP];
            let x_codes = &x.codes[x_start % N_GROUP..][..n_step];
            let zero = match group.offsets {
                GroupOffsets::Middle => layout.middle(),
                GroupOffsets::Zeros(zeros) => zeros[row],
                GroupOffsets::Minima(_) => 0,
            };
            let (mut dot, mut sum) = (0, 0);
            for (idx, &x) in x_codes.iter().enumerate() {
                let code = tiles.code(&group, row, column + idx);
                dot += (i32::from(code) - i32::from(zero)) * i32::from(x);
                sum += i32::from(x);
            }
            out = (dot as f32).mul_add(f16_to_f32(group.scales[row]) * x.scale, out);
            if let GroupOffsets::Minima(minima) = group.offsets {
                out = f16_to_f32(minima[row]).mul_add(x.scale * sum as f32, out);
            }
        }
    }
    out
}
