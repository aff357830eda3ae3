#![allow(clippy::needless_range_loop, reason = "several arrays of registers side by side")]

use super::{N_FEW_ROWS, prompt};
use crate::dots::Dots;
use crate::lanes::{F32Lanes, Lanes};
use crate::quantize_rows::{N_GROUP, QuantizedGroup};
use crate::tiles::{CodeBits, Group, GroupOffsets, N_TILE_ROWS, TileLayout, Tiles};

/// Several rows take longer over a tile than the memory does, so that the next
/// ones are asked for.
const N_AHEAD_BYTES: usize = 8192;

/// How many columns are multiplied before a scale.
pub(super) const HALF: usize = N_GROUP / 2;

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

/// The first `R` rows with one tile, straight from its codes. Returns `R`.
#[inline(always)]
fn few<D: Dots, const BITS: usize, const STEP: usize, const R: usize>(
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
        if R != 1 {
            d.prefetch(group.codes.as_flattened(), N_AHEAD_BYTES);
        }
        let weights = Weights::new::<BITS>(d, &group);
        for codes in group.codes.chunks_exact(STEP * BITS / 32) {
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

/// What the weights of a group have beside their codes.
#[derive(Clone, Copy)]
pub(super) struct Weights<D: Dots> {
    pub(super) scales: <D::Lanes as Lanes>::F32,
    pub(super) zeros: Zeros<D>,
}

#[derive(Clone, Copy)]
pub(super) enum Zeros<D: Dots> {
    Middle,
    Each(D::Zeros),
    Minima(<D::Lanes as Lanes>::F32),
}

impl<D: Dots> Zeros<D> {
    #[inline(always)]
    pub(super) fn each<const BITS: usize>(d: D, zeros: &[u8; N_TILE_ROWS]) -> Zeros<D> {
        Zeros::Each(d.zeros(counted_from::<D, BITS>(), zeros))
    }
}

impl<D: Dots> Weights<D> {
    #[inline(always)]
    fn new<const BITS: usize>(d: D, group: &Group<'_>) -> Weights<D> {
        let l = d.lanes();
        Weights {
            scales: F32Lanes::load_f16(l, group.scales),
            zeros: match group.offsets {
                GroupOffsets::Middle => Zeros::Middle,
                GroupOffsets::Zeros(zeros) => Zeros::each::<BITS>(d, zeros),
                GroupOffsets::Minima(minima) => Zeros::Minima(F32Lanes::load_f16(l, minima)),
            },
        }
    }

    /// What the dot products start from: less the zero point for each activation.
    #[inline(always)]
    pub(super) fn start<const BITS: usize, const STEP: usize>(
        &self,
        d: D,
        x: &Step<'_, STEP>,
    ) -> D::Sums {
        let counted_from = i32::from(counted_from::<D, BITS>());
        match self.zeros {
            Zeros::Middle => {
                let middle = 1 << (BITS - 1);
                d.splat((counted_from - middle) * x.sum())
            }
            Zeros::Each(zeros) => d.start(zeros, x.sums),
            Zeros::Minima(_) => d.splat(counted_from * x.sum()),
        }
    }

    /// The sums of a row with those of one step.
    #[inline(always)]
    pub(super) fn add<const STEP: usize>(
        &self,
        d: D,
        sums: <D::Lanes as Lanes>::F32,
        dots: D::Sums,
        x: &Step<'_, STEP>,
    ) -> <D::Lanes as Lanes>::F32 {
        let l = d.lanes();
        let sums = d.to_f32(dots).mul_add(self.scales * l.splat(x.scale), sums);
        match self.zeros {
            Zeros::Minima(minima) => minima.mul_add(l.splat(x.scale * x.sum() as f32), sums),
            _ => sums,
        }
    }
}

/// Where the dot products of codes of so many bits are counted from.
#[inline(always)]
fn counted_from<D: Dots, const BITS: usize>() -> i16 {
    if BITS == 8 { D::U8_ZERO } else { 0 }
}

/// The activations of as many columns as are multiplied before a scale: a group or half of one.
#[derive(Clone, Copy)]
pub(super) struct Step<'a, const STEP: usize> {
    codes: &'a [[i8; 4]],
    pub(super) scale: f32,
    pub(super) sums: [i16; 2],
}

impl<'a, const STEP: usize> Step<'a, STEP> {
    #[inline(always)]
    pub(super) fn of(row: &'a [QuantizedGroup], idx: usize) -> Step<'a, STEP> {
        let group = &row[idx * STEP / N_GROUP];
        let (quads, _) = group.codes.as_chunks::<4>();
        match (STEP, idx % 2) {
            (HALF, 0) => {
                Step { codes: &quads[..HALF / 4], scale: group.scale, sums: [group.sums[0], 0] }
            }
            (HALF, _) => {
                Step { codes: &quads[HALF / 4..], scale: group.scale, sums: [group.sums[1], 0] }
            }
            _ => Step { codes: quads, scale: group.scale, sums: group.sums },
        }
    }

    #[inline(always)]
    pub(super) fn quad(&self, idx: usize) -> [i8; 4] {
        self.codes[idx]
    }

    #[inline(always)]
    pub(super) fn sum(&self) -> i32 {
        i32::from(self.sums[0]) + i32::from(self.sums[1])
    }
}
