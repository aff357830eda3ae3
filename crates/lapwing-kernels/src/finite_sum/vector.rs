use super::{N_SUMS, Partial};
use crate::lanes::{F32Lanes, F64Lanes, Lanes, MaskLanes, Pair};

/// This many blocks are summed as if all were finite, then comes a look; a group
/// that was not is summed again with care.
const N_BLOCKS_PER_LOOK: usize = 32;

#[inline(always)]
pub(super) fn finite_sum<L: Lanes>(l: L, blocks: &[[f32; N_SUMS]]) -> Partial {
    sum_terms(
        l,
        blocks,
        0.0,
        #[inline(always)]
        |x| x,
    )
}

#[inline(always)]
pub(super) fn finite_squares<L: Lanes>(l: L, blocks: &[[f32; N_SUMS]], mean: f32) -> Partial {
    let means = Pair::<L::F64>::splat(l, f64::from(mean));
    sum_terms(
        l,
        blocks,
        mean,
        #[inline(always)]
        |x| {
            let difference = x - means;
            difference * difference
        },
    )
}

/// The sum of `term(x)`; `hole`, whose term is zero, takes the place of what is not finite.
#[inline(always)]
fn sum_terms<L: Lanes>(
    l: L,
    blocks: &[[f32; N_SUMS]],
    hole: f32,
    term: impl Fn(Pair<L::F64>) -> Pair<L::F64>,
) -> Partial {
    let holes = Pair::<L::F32>::splat(l, hole);
    let mut sums = Pair::<L::F64>::splat(l, 0.0);
    let mut n_finite = 0;
    for group in blocks.chunks(N_BLOCKS_PER_LOOK) {
        // Without a look at each entry; what is not finite shows in the sums.
        let mut plain = sums;
        for block in group {
            plain = plain + term(Pair::load_wide(l, block));
        }
        if plain.is_all_finite() {
            sums = plain;
            n_finite += group.len() * N_SUMS;
            continue;
        }
        let mut finite = Pair::<L::Mask>::no_tally(l);
        for block in group {
            let x = Pair::<L::F32>::load(l, block);
            let is_finite = x.is_finite();
            finite = is_finite.add_to(finite);
            // Adding zero does not change a sum that started at zero.
            sums = sums + term(Pair::select(is_finite, x, holes).widen());
        }
        n_finite += Pair::<L::Mask>::total(finite);
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], n_finite };
    sums.store(&mut partial.sums);
    partial
}
