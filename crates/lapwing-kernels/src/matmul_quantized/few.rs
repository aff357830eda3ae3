//! A few rows: they are multiplied with one tile after the other, straight from the codes.
#![allow(clippy::needless_range_loop, reason = "several arrays of registers side by side")]

use super::step::{Step, Weights};
use crate::dots::Dots;
use crate::lanes::{F32Lanes, Lanes};
use crate::prefetch::prefetch_behind;
use crate::quantize_rows::QuantizedGroup;
use crate::tiles::{N_TILE_ROWS, TileLayout};

/// The first `R` rows with one tile, straight from its codes. Returns `R`.
#[inline(always)]
pub(super) fn few<D: Dots, const BITS: usize, const STEP: usize, const R: usize>(
    d: D,
    layout: &TileLayout,
    tile: &[u8],
    rows: &[QuantizedGroup],
    out: &mut [f32],
    n_out: usize,
) -> usize {
    let l = d.lanes();
    let n_groups = layout.n_activation_groups();
    let mut sums = [l.splat(0.0); R];
    let mut step_idx = 0;
    for group in layout.groups(tile) {
        let weights = Weights::new::<BITS>(d, &group);
        for codes in group.codes.chunks_exact(STEP * BITS / 32) {
            // One row is as fast as memory without, and with it slower.
            if R != 1 {
                codes.iter().for_each(prefetch_behind);
            }
            let mut xs = [Step::<STEP>::of(rows, 0); R];
            for (r, x) in xs.iter_mut().enumerate() {
                *x = Step::of(&rows[r * n_groups..][..n_groups], step_idx);
            }
            let dots = dots_of::<D, BITS, STEP, R>(d, &weights, codes, &xs);
            for r in 0..R {
                sums[r] = weights.add(d, sums[r], dots[r], &xs[r]);
            }
            step_idx += 1;
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        sums.store(&mut out[r * n_out..][..N_TILE_ROWS]);
    }
    R
}

/// Sums of the products of one step, with the zero points taken off.
#[inline(always)]
fn dots_of<D: Dots, const BITS: usize, const STEP: usize, const R: usize>(
    d: D,
    weights: &Weights<D>,
    codes: &[[u8; 64]],
    xs: &[Step<'_, STEP>; R],
) -> [D::Sums; R] {
    let mut dots = [d.splat(0); R];
    for r in 0..R {
        dots[r] = weights.start::<BITS, STEP>(d, &xs[r]);
    }
    let codes = &codes[..STEP * BITS / 32];
    // One row has two sums, since each has to wait for the one before it.
    if BITS == 8 {
        let mut others = [d.splat(0); R];
        for idx in 0..STEP / 8 {
            let (even, odd) = (d.load(&codes[2 * idx]), d.load(&codes[2 * idx + 1]));
            for r in 0..R {
                let [x_even, x_odd] = [xs[r].quad(2 * idx), xs[r].quad(2 * idx + 1)];
                dots[r] = d.add_u8(dots[r], even, x_even);
                if R == 1 {
                    others[r] = d.add_u8(others[r], odd, x_odd);
                } else {
                    dots[r] = d.add_u8(dots[r], odd, x_odd);
                }
            }
        }
        if R == 1 {
            dots[0] = d.add(dots[0], others[0]);
        }
        return dots;
    }
    let (mut evens, mut odds) = ([d.chain(); R], [d.chain(); R]);
    for idx in 0..STEP / 8 {
        let (low, high) = d.nibbles(d.load(&codes[idx]));
        for r in 0..R {
            let [x_low, x_high] = [xs[r].quad(2 * idx), xs[r].quad(2 * idx + 1)];
            evens[r] = d.add_u4(evens[r], low, x_low);
            if R == 1 {
                odds[r] = d.add_u4(odds[r], high, x_high);
            } else {
                evens[r] = d.add_u4(evens[r], high, x_high);
            }
        }
    }
    for r in 0..R {
        let chain = if R == 1 { d.merge(evens[r], odds[r]) } else { evens[r] };
        dots[r] = d.add_chain(dots[r], chain);
    }
    dots
}
