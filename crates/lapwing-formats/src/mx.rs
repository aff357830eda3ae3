//! MXFP4: floats of 4 bits, of which each 32 share a power of two.
//!
//! Source: OCP Microscaling Formats (MX) specification 1.0, sections 5.3.3 (E2M1) and 5.4.1 (E8M0).

/// Elements that share a scale.
pub const N_BLOCK_ELEMENTS: usize = 32;

/// Twice the element of each code of 4 bits: whole numbers, of which two are 0.
pub const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The element of a code; its lower 4 bits count.
pub fn element(code: u8) -> f32 {
    f32::from(DOUBLED[usize::from(code & 15)]) / 2.0
}

/// What an exponent stands for, `2^(exponent - 127)`; NaN for the last one.
pub fn scale(exponent: u8) -> f32 {
    match exponent {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(exponent) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_exponents_are_those_of_the_specification() {
        let positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for (code, expected) in (0..8_u8).zip(positive) {
            assert_eq!((element(code), element(code | 8)), (expected, -expected));
        }
        for exponent in [0, 1, 126, 127, 128, 254_u8] {
            assert_eq!(f64::from(scale(exponent)), 2_f64.powi(i32::from(exponent) - 127));
        }
        assert!(scale(255).is_nan());
    }
}
