//! One step of a product: as many columns as share the scales of both sides.

use crate::dots::Dots;
use crate::lanes::{F32Lanes, Lanes};
use crate::quantize_rows::{N_GROUP, QuantizedGroup};
use crate::tiles::{Group, GroupOffsets, N_TILE_ROWS};

/// How many columns a step has where weights share their scale in sixteen; else a whole group.
pub(super) const HALF: usize = N_GROUP / 2;

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
    pub(super) fn new<const BITS: usize>(d: D, group: &Group<'_>) -> Weights<D> {
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
