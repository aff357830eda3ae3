use super::scalar;
use crate::lanes::{F32Lanes, Lanes, N_LANES};

#[inline(always)]
pub(super) fn add_offset<L: Lanes>(l: L, row: &mut [f32], offset: &[f32]) {
    let (groups, tail) = row.as_chunks_mut::<N_LANES>();
    let (offset_groups, offset_tail) = offset.as_chunks::<N_LANES>();
    for (group, offset) in groups.iter_mut().zip(offset_groups) {
        let x = l.load(group);
        L::F32::select(x.is_finite(), x + l.load(offset), x).store(group);
    }
    scalar::add_offset(tail, offset_tail);
}

#[inline(always)]
pub(super) fn affine_in_place<L: Lanes>(
    l: L,
    row: &mut [f32],
    from_mean: f32,
    scale: f32,
    to_mean: f32,
) {
    let (groups, tail) = row.as_chunks_mut::<N_LANES>();
    let (from, factor, to) = (l.splat(from_mean), l.splat(scale), l.splat(to_mean));
    for group in groups {
        let x = l.load(group);
        L::F32::select(x.is_finite(), (x - from) * factor + to, x).store(group);
    }
    scalar::affine_in_place(tail, from_mean, scale, to_mean);
}
