use super::scalar;
use crate::lanes::{F32Lanes, Lanes, MaskLanes, N_LANES};

#[inline(always)]
pub(super) fn add_offset<L: Lanes>(l: L, row: &mut [f32], offset: &[f32]) {
    let (groups, tail) = row.as_chunks_mut::<N_LANES>();
    let (offset_groups, offset_tail) = offset.as_chunks::<N_LANES>();
    for (group, offset) in groups.iter_mut().zip(offset_groups) {
        let x = l.load(group);
        store_where_finite::<L>(x, x + l.load(offset), group);
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
        store_where_finite::<L>(x, (x - from) * factor + to, group);
    }
    scalar::affine_in_place(tail, from_mean, scale, to_mean);
}

/// `new` where `x`, which is what the group holds, is finite.
///
/// Almost always all of it is. The branch spares more than the selection: of one that goes back to
/// where it came from the compiler makes a masked store, and with AVX2 an AMD processor is six times
/// as long over those.
#[inline(always)]
fn store_where_finite<L: Lanes>(x: L::F32, new: L::F32, group: &mut [f32; N_LANES]) {
    let is_finite = x.is_finite();
    if L::Mask::IS_BITS || !is_finite.all() {
        L::F32::select(is_finite, new, x).store(group);
    } else {
        new.store(group);
    }
}
