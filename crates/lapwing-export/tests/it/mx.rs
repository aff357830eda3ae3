//! MXFP4 as files have it: codes of 4 bits, and an exponent for each 32.

/// Columns of a block.
pub(crate) const N_COLUMNS: usize = 32;
const POSITIVE: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Whether files may have a tensor so.
pub(crate) fn is_stored_so(name: &str) -> bool {
    name.contains(".experts.") && name.ends_with(".weight")
}

/// Move weights to the nearest that blocks can hold.
pub(crate) fn round(values: &mut [f32]) {
    for block in values.chunks_mut(N_COLUMNS) {
        let scale = 2_f32.powi(power(block));
        for value in block {
            let distance = |element: &f32| (value.abs() / scale - element).abs();
            let nearest = POSITIVE.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            *value = nearest.expect("there are some").copysign(*value) * scale;
        }
    }
}

/// The power of two with which the largest is at most 6.
fn power(block: &[f32]) -> i32 {
    let largest = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    (-60..60).find(|&power| largest <= 6.0 * 2_f32.powi(power)).expect("a weight of a test")
}

/// The exponent and the codes of a block whose weights are exact in it.
pub(crate) fn block(values: &[f32]) -> (u8, Vec<u8>) {
    let power = power(values);
    let code = |value: &f32| {
        let element = value.abs() / 2_f32.powi(power);
        let code = POSITIVE.iter().position(|known| *known == element);
        let code = code.unwrap_or_else(|| panic!("{value} is not exact by 2^{power}"));
        code as u8 | if *value < 0.0 { 8 } else { 0 }
    };
    ((power + 127) as u8, values.iter().map(code).collect())
}
