//! Many rows: some columns of a tile or two are unpacked, and then multiplied with
//! block after block of rows, whose sums stay in registers meanwhile.
//!
//! Between one part of the columns and the next, sums wait in `out` as they are.
#![allow(clippy::needless_range_loop, reason = "several arrays of registers side by side")]

use super::step::{HALF, Step, Weights, Zeros};
use crate::dots::Dots;
use crate::lanes::{F32Lanes, Lanes};
use crate::quantize_rows::{N_GROUP, QuantizedGroup};
use crate::tiles::{GroupOffsets, N_TILE_ROWS, Offsets, TileLayout, Tiles};

/// How many columns are unpacked at once: two tiles of them are 32 kB.
const N_PART: usize = 1024;

/// Some columns of a tile, a byte a code, and what belongs to each step of them.
struct Part {
    codes: [[u8; 64]; N_PART / 4],
    scales: [[f32; N_TILE_ROWS]; N_PART / HALF],
    zeros: [[u8; N_TILE_ROWS]; N_PART / HALF],
    minima: [[f32; N_TILE_ROWS]; N_PART / HALF],
}

impl Part {
    const EMPTY: Part = Part {
        codes: [[0; 64]; N_PART / 4],
        scales: [[0.0; N_TILE_ROWS]; N_PART / HALF],
        zeros: [[0; N_TILE_ROWS]; N_PART / HALF],
        minima: [[0.0; N_TILE_ROWS]; N_PART / HALF],
    };

    #[inline(always)]
    fn weights<D: Dots, const BITS: usize>(
        &self,
        d: D,
        offsets: Offsets,
        step: usize,
    ) -> Weights<D> {
        let l = d.lanes();
        Weights {
            scales: l.load(&self.scales[step]),
            zeros: match offsets {
                Offsets::Middle => Zeros::Middle,
                Offsets::Zeros => Zeros::each::<BITS>(d, &self.zeros[step]),
                Offsets::Minima => Zeros::Minima(l.load(&self.minima[step])),
            },
        }
    }
}

/// Which part of the work a block of rows does.
#[derive(Clone, Copy)]
struct Place {
    /// In steps, of how many columns there are.
    first_step: usize,
    n_steps: usize,
    n_groups: usize,
    n_out: usize,
    offsets: Offsets,
}

#[inline(always)]
pub(super) fn matmul<D: Dots, const BITS: usize, const STEP: usize>(
    d: D,
    tiles: Tiles<'_>,
    rows: &[QuantizedGroup],
    out: &mut [f32],
) {
    let mut parts = [Part::EMPTY; 2];
    let mut tile_idx = 0;
    while tile_idx < tiles.n_tiles() {
        if D::IS_WIDE && tile_idx + 1 < tiles.n_tiles() {
            of_tiles::<D, BITS, STEP, 2>(d, tiles, tile_idx, &mut parts, rows, out);
            tile_idx += 2;
        } else {
            let (parts, _) = parts.split_first_chunk_mut::<1>().expect("two parts");
            of_tiles::<D, BITS, STEP, 1>(d, tiles, tile_idx, parts, rows, out);
            tile_idx += 1;
        }
    }
}

#[inline(always)]
fn of_tiles<D: Dots, const BITS: usize, const STEP: usize, const T: usize>(
    d: D,
    tiles: Tiles<'_>,
    tile_idx: usize,
    parts: &mut [Part; T],
    rows: &[QuantizedGroup],
    out: &mut [f32],
) {
    let layout = tiles.layout();
    let n_groups = layout.n_activation_groups();
    let n_out = N_TILE_ROWS * tiles.n_tiles();
    // Of the same size, about, rather than one short part at the end.
    let n_parts = (n_groups * N_GROUP).div_ceil(N_PART);
    for part_idx in 0..n_parts {
        let [start, end] = [part_idx, part_idx + 1].map(|idx| n_groups * idx / n_parts);
        let n_steps = (end - start) * N_GROUP / STEP;
        let first_step = start * N_GROUP / STEP;
        let offsets = layout.offsets();
        let place = Place { first_step, n_steps, n_groups, n_out, offsets };
        for (t, part) in parts.iter_mut().enumerate() {
            let tile = tiles.slice(tile_idx + t, tile_idx + t + 1);
            let tile = tile.each().next().expect("one tile");
            unpack::<D, BITS, STEP>(d, &layout, tile, place, part);
        }
        let blocks = rows.chunks_exact(n_groups);
        let mut n_left = blocks.len();
        while n_left != 0 {
            let first = blocks.len() - n_left;
            let rows = &rows[first * n_groups..];
            let out = &mut out[first * n_out + tile_idx * N_TILE_ROWS..];
            n_left -= match n_left {
                6.. if D::IS_WIDE => block::<D, BITS, STEP, T, 6>(d, parts, place, rows, out),
                4.. if !D::IS_WIDE => block::<D, BITS, STEP, T, 4>(d, parts, place, rows, out),
                2.. if D::IS_WIDE => block::<D, BITS, STEP, T, 2>(d, parts, place, rows, out),
                _ => block::<D, BITS, STEP, T, 1>(d, parts, place, rows, out),
            };
        }
    }
}

#[inline(always)]
fn unpack<D: Dots, const BITS: usize, const STEP: usize>(
    d: D,
    layout: &TileLayout,
    tile: &[u8],
    place: Place,
    part: &mut Part,
) {
    let n_vectors = STEP * BITS / 32;
    let n_steps_a_group = layout.group() / STEP;
    let end = place.first_step + place.n_steps;
    let (first, last) = (place.first_step / n_steps_a_group, end.div_ceil(n_steps_a_group));
    for (group_idx, group) in layout.groups(tile).enumerate().take(last).skip(first) {
        for (idx, codes) in group.codes.chunks_exact(n_vectors).enumerate() {
            let step = group_idx * n_steps_a_group + idx;
            if step < place.first_step || end <= step {
                continue;
            }
            let step = step - place.first_step;
            let unpacked = &mut part.codes[step * STEP / 4..][..STEP / 4];
            if BITS == 8 {
                unpacked.copy_from_slice(codes);
            } else {
                for (codes, unpacked) in codes.iter().zip(unpacked.as_chunks_mut::<2>().0) {
                    let (low, high) = d.nibbles(d.load(codes));
                    d.store(low, &mut unpacked[0]);
                    d.store(high, &mut unpacked[1]);
                }
            }
            widen(d, group.scales, &mut part.scales[step]);
            match group.offsets {
                GroupOffsets::Middle => {}
                GroupOffsets::Zeros(zeros) => part.zeros[step] = *zeros,
                GroupOffsets::Minima(minima) => widen(d, minima, &mut part.minima[step]),
            }
        }
    }
}

#[inline(always)]
fn widen<D: Dots>(d: D, from: &[[u8; 2]; N_TILE_ROWS], to: &mut [f32; N_TILE_ROWS]) {
    <D::Lanes as Lanes>::F32::load_f16(d.lanes(), from).store(to);
}

/// The first `R` rows with the parts of `T` tiles. Returns `R`.
#[inline(always)]
fn block<D: Dots, const BITS: usize, const STEP: usize, const T: usize, const R: usize>(
    d: D,
    parts: &[Part; T],
    place: Place,
    rows: &[QuantizedGroup],
    out: &mut [f32],
) -> usize {
    let l = d.lanes();
    let mut sums = [[l.splat(0.0); T]; R];
    if place.first_step != 0 {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (t, sums) in sums.iter_mut().enumerate() {
                *sums = F32Lanes::load(l, &out[r * place.n_out + t * N_TILE_ROWS..][..N_TILE_ROWS]);
            }
        }
    }
    for step in 0..place.n_steps {
        let mut xs = [Step::<STEP>::of(rows, place.first_step); R];
        for (r, x) in xs.iter_mut().enumerate() {
            *x = Step::of(&rows[r * place.n_groups..][..place.n_groups], place.first_step + step);
        }
        let mut weights = [parts[0].weights::<D, BITS>(d, place.offsets, step); T];
        let mut codes = [&parts[0].codes[step * STEP / 4..][..STEP / 4]; T];
        for t in 1..T {
            weights[t] = parts[t].weights::<D, BITS>(d, place.offsets, step);
            codes[t] = &parts[t].codes[step * STEP / 4..][..STEP / 4];
        }
        let dots = dots_of::<D, BITS, STEP, T, R>(d, &weights, codes, &xs);
        for r in 0..R {
            for t in 0..T {
                sums[r][t] = weights[t].add(d, sums[r][t], dots[r][t], &xs[r]);
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        for (t, sums) in sums.into_iter().enumerate() {
            sums.store(&mut out[r * place.n_out + t * N_TILE_ROWS..][..N_TILE_ROWS]);
        }
    }
    R
}

/// Sums of the products of one step, with the zero points taken off.
#[inline(always)]
fn dots_of<D: Dots, const BITS: usize, const STEP: usize, const T: usize, const R: usize>(
    d: D,
    weights: &[Weights<D>; T],
    codes: [&[[u8; 64]]; T],
    xs: &[Step<'_, STEP>; R],
) -> [[D::Sums; T]; R] {
    let mut dots = [[d.splat(0); T]; R];
    let mut chains = [[d.chain(); T]; R];
    // Two tiles leave no registers for what sums start from, so that comes after the codes.
    let starts_late = BITS == 4 && D::IS_WIDE;
    if !starts_late {
        start::<D, BITS, STEP, T, R>(d, weights, xs, &mut dots);
    }
    for idx in 0..STEP / 4 {
        let mut bytes = [d.load(&codes[0][idx]); T];
        for t in 1..T {
            bytes[t] = d.load(&codes[t][idx]);
        }
        for r in 0..R {
            let x = xs[r].quad(idx);
            for t in 0..T {
                if BITS == 8 {
                    dots[r][t] = d.add_u8(dots[r][t], bytes[t], x);
                } else {
                    chains[r][t] = d.add_u4(chains[r][t], bytes[t], x);
                }
            }
        }
    }
    if starts_late {
        start::<D, BITS, STEP, T, R>(d, weights, xs, &mut dots);
    }
    if BITS == 4 {
        for r in 0..R {
            for t in 0..T {
                dots[r][t] = d.add_chain(dots[r][t], chains[r][t]);
            }
        }
    }
    dots
}

#[inline(always)]
fn start<D: Dots, const BITS: usize, const STEP: usize, const T: usize, const R: usize>(
    d: D,
    weights: &[Weights<D>; T],
    xs: &[Step<'_, STEP>; R],
    dots: &mut [[D::Sums; T]; R],
) {
    for r in 0..R {
        for t in 0..T {
            dots[r][t] = weights[t].start::<BITS, STEP>(d, &xs[r]);
        }
    }
}
