//! Matrices one below the other.

use ndarray::Axis;

use super::PlannedWeight;

/// Why matrices can be put together.
const ALIKE: &str = "checked before: as many columns, cut alike";

/// One matrix below the other; none unless all are stored alike.
pub(crate) fn stacked(weights: Vec<PlannedWeight>) -> Result<PlannedWeight, Vec<PlannedWeight>> {
    if weights.is_empty() || !weights.windows(2).all(|pair| are_alike(&pair[0], &pair[1])) {
        return Err(weights);
    }
    let mut rest = weights.into_iter();
    let Some(mut whole) = rest.next() else { return Err(Vec::new()) };
    for part in rest {
        match (&mut whole, part) {
            (PlannedWeight::F32(whole), PlannedWeight::F32(part)) => whole.extend(part),
            (PlannedWeight::F16(whole), PlannedWeight::F16(part)) => whole.extend(part),
            (PlannedWeight::Quantized(whole), PlannedWeight::Quantized(part)) => {
                whole.codes.append(Axis(0), part.codes.view()).expect(ALIKE);
                whole.scales.append(Axis(0), part.scales.view()).expect(ALIKE);
                whole.zero_points.append(Axis(0), part.zero_points.view()).expect(ALIKE);
            }
            (PlannedWeight::Affine(whole), PlannedWeight::Affine(part)) => {
                whole.n_rows += part.n_rows;
                whole.codes.extend(part.codes);
                whole.scales.extend(part.scales);
                if let (Some(whole), Some(part)) = (&mut whole.zero_points, part.zero_points) {
                    whole.extend(part);
                }
            }
            (PlannedWeight::Mx(whole), PlannedWeight::Mx(part)) => {
                whole.n_rows += part.n_rows;
                whole.codes.extend(part.codes);
                whole.exponents.extend(part.exponents);
            }
            (whole, part) => unreachable!("checked above: {whole:?} above {part:?}"),
        }
    }
    Ok(whole)
}

/// Of two matrices of as many rows, one below the other, a row of each in turn.
///
/// Shapes: `both [2 * n, n_columns]`, and so is the result.
pub(crate) fn alternating(both: PlannedWeight, n_columns: usize) -> PlannedWeight {
    match both {
        PlannedWeight::F32(values) => PlannedWeight::F32(in_turn(&values, n_columns)),
        PlannedWeight::F16(values) => PlannedWeight::F16(in_turn(&values, n_columns)),
        PlannedWeight::Quantized(mut whole) => {
            let rows: Vec<usize> = (0..whole.n_rows()).collect();
            let rows = in_turn(&rows, 1);
            whole.codes = whole.codes.select(Axis(0), &rows);
            whole.scales = whole.scales.select(Axis(0), &rows);
            whole.zero_points = whole.zero_points.select(Axis(0), &rows);
            PlannedWeight::Quantized(whole)
        }
        PlannedWeight::Affine(mut whole) => {
            let n_rows = whole.n_rows.max(1);
            whole.codes = in_turn(&whole.codes, whole.codes.len() / n_rows);
            let n_groups = whole.scales.len() / n_rows;
            whole.scales = in_turn(&whole.scales, n_groups);
            whole.zero_points = whole.zero_points.map(|zeros| in_turn(&zeros, n_groups));
            PlannedWeight::Affine(whole)
        }
        PlannedWeight::Mx(mut whole) => {
            let n_rows = whole.n_rows.max(1);
            whole.codes = in_turn(&whole.codes, whole.codes.len() / n_rows);
            whole.exponents = in_turn(&whole.exponents, whole.exponents.len() / n_rows);
            PlannedWeight::Mx(whole)
        }
    }
}

/// Of the rows of two matrices, one below the other, one of each in turn.
pub(crate) fn in_turn<T: Copy>(both: &[T], n_columns: usize) -> Vec<T> {
    let (first, second) = both.split_at(both.len() / 2);
    let n_columns = n_columns.max(1);
    let pairs = first.chunks(n_columns).zip(second.chunks(n_columns));
    pairs.flat_map(|(first, second)| [first, second]).flatten().copied().collect()
}

fn are_alike(a: &PlannedWeight, b: &PlannedWeight) -> bool {
    match (a, b) {
        (PlannedWeight::F32(_), PlannedWeight::F32(_))
        | (PlannedWeight::F16(_), PlannedWeight::F16(_)) => true,
        (PlannedWeight::Quantized(a), PlannedWeight::Quantized(b)) => {
            (a.grid, a.n_columns) == (b.grid, b.n_columns)
        }
        (PlannedWeight::Affine(a), PlannedWeight::Affine(b)) => {
            (a.n_columns, a.n_bits, a.group_size) == (b.n_columns, b.n_bits, b.group_size)
                && a.zero_points.is_some() == b.zero_points.is_some()
        }
        (PlannedWeight::Mx(a), PlannedWeight::Mx(b)) => a.n_columns == b.n_columns,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lapwing_weights::{Codes, MxCodes};

    use super::*;

    #[test]
    fn what_is_stored_alike_is_put_together() {
        let codes = |n_rows: usize, group_size: usize| {
            let n_groups = 8 / group_size * n_rows;
            PlannedWeight::Affine(Codes {
                n_rows,
                n_columns: 8,
                n_bits: 4,
                group_size,
                codes: vec![n_rows as u8; n_rows * 4],
                scales: vec![n_rows as f32; n_groups],
                zero_points: Some(vec![7.5; n_groups]),
            })
        };
        let PlannedWeight::Affine(whole) = stacked(vec![codes(1, 4), codes(2, 4)]).unwrap() else {
            panic!("codes stay codes");
        };
        assert_eq!((whole.n_rows, &*whole.scales), (3, &[1.0, 1.0, 2.0, 2.0, 2.0, 2.0][..]));
        assert_eq!(whole.codes, [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(whole.zero_points.map(|zeros| zeros.len()), Some(6));
        assert!(stacked(vec![codes(1, 4), codes(1, 8)]).is_err());
        assert!(stacked(vec![codes(1, 4), PlannedWeight::F32(vec![0.0; 8])]).is_err());
        assert!(stacked(Vec::new()).is_err());
    }

    #[test]
    fn rows_are_put_in_turn_with_all_that_belongs_to_them() {
        let affine = PlannedWeight::Affine(Codes {
            n_rows: 4,
            n_columns: 4,
            n_bits: 4,
            group_size: 2,
            codes: vec![1, 1, 2, 2, 3, 3, 4, 4],
            scales: vec![1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5],
            zero_points: Some(vec![0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]),
        });
        let PlannedWeight::Affine(found) = alternating(affine, 4) else {
            panic!("codes stay codes");
        };
        assert_eq!(found.codes, [1, 1, 3, 3, 2, 2, 4, 4]);
        assert_eq!(found.scales, [1.0, 1.5, 3.0, 3.5, 2.0, 2.5, 4.0, 4.5]);
        assert_eq!(found.zero_points.unwrap(), [0.1, 0.1, 0.3, 0.3, 0.2, 0.2, 0.4, 0.4]);
        let mx = |rows: [u8; 2]| {
            let codes = rows.iter().flat_map(|&row| [row; 16]).collect();
            PlannedWeight::Mx(MxCodes { n_rows: 2, n_columns: 32, codes, exponents: rows.into() })
        };
        let whole = stacked(vec![mx([1, 2]), mx([3, 4])]).unwrap();
        let PlannedWeight::Mx(found) = alternating(whole, 32) else { panic!("codes stay codes") };
        assert_eq!((found.n_rows, &*found.exponents), (4, &[1, 3, 2, 4][..]));
        assert_eq!(found.codes[..32], [[1; 16], [3; 16]].concat());
    }
}
