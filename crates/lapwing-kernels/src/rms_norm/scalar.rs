use super::N_SUMS;

pub(super) fn squares(blocks: &[[f32; N_SUMS]]) -> [f32; N_SUMS] {
    let mut sums = [0.0; N_SUMS];
    for block in blocks {
        add_squares(&mut sums, block);
    }
    sums
}

pub(super) fn add_squares(sums: &mut [f32; N_SUMS], entries: &[f32]) {
    for (sum, &x) in sums.iter_mut().zip(entries) {
        *sum = x.mul_add(x, *sum);
    }
}

pub(super) fn scale(x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
    for ((&x, &weight), out) in x.iter().zip(weight).zip(out) {
        *out = x * factor * weight;
    }
}
