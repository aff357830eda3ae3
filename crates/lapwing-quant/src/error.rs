//! How far an approximation is from what it stands for.

/// Root mean square of the difference over that of the reference; 0 when both are all zeros.
///
/// Shapes: both of the same length, and of one order.
///
/// # Panics
///
/// When the lengths differ.
pub fn relative_rms<'a>(
    reference: impl ExactSizeIterator<Item = &'a f32>,
    approximation: impl ExactSizeIterator<Item = &'a f32>,
) -> f64 {
    let (n, n_other) = (reference.len(), approximation.len());
    assert_eq!(n, n_other, "a reference of {n} against an approximation of {n_other} elements");
    let mut square = 0.0;
    let mut square_error = 0.0;
    for (&expected, &found) in reference.zip(approximation) {
        let expected = f64::from(expected);
        let error = expected - f64::from(found);
        square += expected * expected;
        square_error += error * error;
    }
    if square_error == 0.0 { 0.0 } else { (square_error / square).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::relative_rms;

    #[test]
    fn ratios() {
        let check = |reference: &[f32], approximation: &[f32], expected: f64| {
            let found = relative_rms(reference.iter(), approximation.iter());
            assert!((found - expected).abs() < 1e-12 || found == expected, "{found} {expected}");
        };
        check(&[], &[], 0.0);
        check(&[0.0, 0.0], &[0.0, 0.0], 0.0);
        check(&[3.0, 4.0], &[3.0, 4.0], 0.0);
        check(&[3.0, 4.0], &[0.0, 0.0], 1.0);
        check(&[3.0, 4.0], &[3.0, 3.0], 0.2);
        check(&[0.0], &[1.0], f64::INFINITY);
    }
}
