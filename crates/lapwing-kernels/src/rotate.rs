//! Rotary positions: pairs of channels of a head, each turned by its angle.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// Turn channel `i` with channel `i + n`: `(a cos - b sin, b cos + a sin)`.
///
/// Shapes: `head [2 n]`, the part of a head that is turned; `cos [n]`, `sin [n]`.
/// Every product is rounded. The same bits on every level.
///
/// # Panics
///
/// When the slices are not of these sizes.
pub fn rotate_halves(level: Level, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    check(head, cos, sin);
    dispatch!(level, rotate_halves(head: &mut [f32], cos: &[f32], sin: &[f32]));
}

/// [`rotate_halves`] of channels that lie side by side: `2 i` with `2 i + 1`.
///
/// Plain code at every level: a head is short.
///
/// # Panics
///
/// As [`rotate_halves`].
pub fn rotate_pairs(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    check(head, cos, sin);
    let (pairs, _) = head.as_chunks_mut::<2>();
    for (pair, (cos, sin)) in pairs.iter_mut().zip(cos.iter().zip(sin)) {
        let [a, b] = *pair;
        *pair = [a * cos - b * sin, b * cos + a * sin];
    }
}

fn check(head: &[f32], cos: &[f32], sin: &[f32]) {
    assert_eq!(cos.len(), sin.len(), "cosines and sines");
    assert_eq!(head.len(), 2 * cos.len(), "channels of angles");
}

#[cfg(test)]
mod tests {
    use super::{rotate_halves, rotate_pairs};
    use crate::Level;
    use crate::oracle::{bits, spread, spread_from};

    #[test]
    fn every_level_returns_the_same_bits_and_both_orders_agree() {
        for n in (0..=67).chain([128]) {
            let [head, cos, sin] = [spread(2 * n), spread_from(n, 3), spread_from(n, 5)];
            let mut expected = head.clone();
            rotate_halves(Level::SCALAR, &mut expected, &cos, &sin);
            for level in Level::available_for_floats() {
                let mut found = head.clone();
                rotate_halves(level, &mut found, &cos, &sin);
                assert_eq!(bits(&found), bits(&expected), "{level:?} {n}");
            }
            let paired = |halves: &[f32]| -> Vec<f32> {
                (0..n).flat_map(|i| [halves[i], halves[n + i]]).collect()
            };
            let mut found = paired(&head);
            rotate_pairs(&mut found, &cos, &sin);
            assert_eq!(bits(&found), bits(&paired(&expected)), "{n}");
        }
    }

    #[test]
    fn a_quarter_of_a_turn() {
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rotate_halves(Level::SCALAR, &mut head, &[0.0, 1.0], &[1.0, 0.0]);
        assert_eq!(head, [-3.0, 2.0, 1.0, 4.0]);
    }
}
