use super::few::few;
use super::step::HALF;
use super::{N_FEW_ROWS, prompt};
use crate::dots::Dots;
use crate::quantize_rows::{N_GROUP, QuantizedGroup};
use crate::tiles::{CodeBits, N_TILE_ROWS, Tiles};

#[inline(always)]
pub(super) fn matmul<D: Dots>(d: D, tiles: Tiles<'_>, rows: &[QuantizedGroup], out: &mut [f32]) {
    let layout = tiles.layout();
    match (layout.bits(), layout.group()) {
        (CodeBits::Four, HALF) => of_width::<D, 4, HALF>(d, tiles, rows, out),
        (CodeBits::Four, _) => of_width::<D, 4, N_GROUP>(d, tiles, rows, out),
        (CodeBits::Eight, HALF) => of_width::<D, 8, HALF>(d, tiles, rows, out),
        (CodeBits::Eight, _) => of_width::<D, 8, N_GROUP>(d, tiles, rows, out),
    }
}

#[inline(always)]
fn of_width<D: Dots, const BITS: usize, const STEP: usize>(
    d: D,
    tiles: Tiles<'_>,
    rows: &[QuantizedGroup],
    out: &mut [f32],
) {
    let n_out = N_TILE_ROWS * tiles.n_tiles();
    if N_FEW_ROWS < out.len() / n_out {
        return prompt::matmul::<D, BITS, STEP>(d, tiles, rows, out);
    }
    let layout = tiles.layout();
    for (tile_idx, tile) in tiles.each().enumerate() {
        let mut first = 0;
        while first < out.len() / n_out {
            let n_rows = out.len() / n_out - first;
            let rows = &rows[first * layout.n_activation_groups()..];
            let out = &mut out[first * n_out + tile_idx * N_TILE_ROWS..];
            first += match n_rows {
                1 => few::<D, BITS, STEP, 1>(d, &layout, tile, rows, out, n_out),
                2 => few::<D, BITS, STEP, 2>(d, &layout, tile, rows, out, n_out),
                3 => few::<D, BITS, STEP, 3>(d, &layout, tile, rows, out, n_out),
                _ => few::<D, BITS, STEP, 4>(d, &layout, tile, rows, out, n_out),
            };
        }
    }
}
