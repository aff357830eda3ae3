use super::{N_GROUP, QuantizedGroup, Scaling, sums};
use crate::lanes::{F32Lanes, Lanes, MaskLanes, N_LANES, Pair, ROUND};

/// The activations of a group.
type Entries<L> = Pair<<L as Lanes>::F32>;

#[inline(always)]
pub(super) fn quantize<L: Lanes>(l: L, row: &[f32], out: &mut [QuantizedGroup]) {
    each_group(
        row,
        out,
        #[inline(always)]
        |entries, out| {
            let entries = Entries::<L>::load(l, entries);
            code(l, entries, scaling(l, entries), out);
        },
    );
}

#[inline(always)]
pub(super) fn quantize_in_two<L: Lanes>(
    l: L,
    row: &[f32],
    first: &mut [QuantizedGroup],
    second: &mut [QuantizedGroup],
) {
    let planes = first.iter_mut().zip(second);
    each_group(
        row,
        planes,
        #[inline(always)]
        |entries, (first, second)| {
            let entries = Entries::<L>::load(l, entries);
            let scaling = scaling(l, entries);
            let codes = code(l, entries, scaling, first);
            let rest = codes.mul_add(Entries::<L>::splat(l, -scaling.scale), entries);
            code(l, rest, scaling.of_rest(), second);
        },
    );
}

#[inline(always)]
fn each_group<T>(
    row: &[f32],
    out: impl IntoIterator<Item = T>,
    mut of_group: impl FnMut(&[f32], T),
) {
    let mut out = out.into_iter();
    let (groups, tail) = row.as_chunks::<N_GROUP>();
    for group in groups {
        of_group(group, out.next().expect("a group of codes for each"));
    }
    if !tail.is_empty() {
        let mut group = [0.0; N_GROUP];
        group[..tail.len()].copy_from_slice(tail);
        of_group(&group, out.next().expect("a group of codes for the rest"));
    }
}

#[inline(always)]
fn scaling<L: Lanes>(l: L, entries: Entries<L>) -> Scaling {
    let is_finite = entries.is_finite();
    // A NaN is told by the mask alone.
    let largest = entries.abs().max(Entries::<L>::splat(l, 0.0)).largest();
    Scaling::new(largest, is_finite.all())
}

/// Codes and sums of a group; returns the codes as the numbers that they are.
#[inline(always)]
fn code<L: Lanes>(
    l: L,
    entries: Entries<L>,
    scaling: Scaling,
    out: &mut QuantizedGroup,
) -> Entries<L> {
    const { assert!(N_GROUP == 2 * N_LANES) };
    let round = Entries::<L>::splat(l, ROUND);
    let scaled = entries * Entries::<L>::splat(l, scaling.inverse);
    // Of no number, and of NaN, the code is zero.
    let codes = ((scaled + round) - round).keep(scaled.is_finite());
    codes.store_i8(&mut out.codes);
    out.scale = scaling.scale;
    out.sums = sums(&out.codes);
    codes
}
