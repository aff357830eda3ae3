//! Numbers of sixteen bits (IEEE 754 binary16), as their two bytes, the lower one first.
//!
//! Bytes, because files and packed weights hold them at any address.

/// 2^112: what lies between the biases of the exponents of `f32` and binary16.
const REBIAS: f32 = f32::from_bits((127 + 112) << 23);

/// The number that two bytes stand for: exact. A signalling NaN becomes a quiet one.
#[must_use]
pub fn f16_to_f32(bytes: [u8; 2]) -> f32 {
    let half = u32::from(u16::from_le_bytes(bytes));
    let magnitude = (half & 0x7fff) << 13;
    let sign = (half & 0x8000) << 16;
    let magnitude = if half & 0x7c00 != 0x7c00 {
        // Also right for subnormal ones: the product is exact.
        (f32::from_bits(magnitude) * REBIAS).to_bits()
    } else if half & 0x03ff == 0 {
        f32::INFINITY.to_bits()
    } else {
        magnitude | f32::NAN.to_bits()
    };
    f32::from_bits(sign | magnitude)
}

/// The nearest number of sixteen bits, of two the even one; from 65520 on infinity.
#[must_use]
pub fn f16_from_f32(x: f32) -> [u8; 2] {
    let sign = (x.to_bits() >> 16) & 0x8000;
    let magnitude = x.abs().to_bits();
    let half = if x.is_nan() {
        0x7e00
    } else if x.abs() >= 65_520.0 {
        0x7c00
    } else if x.abs() < 2f32.powi(-14) {
        // The last bit of 0.5 counts 2^-24, as that of the subnormal ones does.
        (x.abs() + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        let is_odd = (magnitude >> 13) & 1;
        (magnitude - (112 << 23) + 0xfff + is_odd) >> 13
    };
    ((sign | half) as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{f16_from_f32, f16_to_f32};

    #[test]
    fn every_number_of_sixteen_bits_comes_back() {
        for half in 0..=u16::MAX {
            let x = f16_to_f32(half.to_le_bytes());
            let is_nan = half & 0x7c00 == 0x7c00 && half & 0x03ff != 0;
            assert_eq!(x.is_nan(), is_nan, "{half:04x}");
            if !is_nan {
                assert_eq!(f16_from_f32(x), half.to_le_bytes(), "{half:04x} {x:e}");
            }
        }
    }

    #[test]
    fn known_numbers() {
        let check = |half: u16, x: f32| assert_eq!(f16_to_f32(half.to_le_bytes()), x, "{half:04x}");
        check(0x3c00, 1.0);
        check(0xc000, -2.0);
        check(0x7bff, 65_504.0);
        check(0x0400, 2f32.powi(-14));
        check(0x0001, 2f32.powi(-24));
        check(0x8001, -(2f32.powi(-24)));
        check(0x7c00, f32::INFINITY);
    }

    /// Between two neighbours: the nearer one, and the even one from the middle.
    #[test]
    fn rounds_to_the_nearest() {
        for low in 0..0x7bff_u16 {
            let [a, b] = [low, low + 1].map(|half| f16_to_f32(half.to_le_bytes()));
            let middle = (a + b) / 2.0;
            let even = if low % 2 == 0 { low } else { low + 1 };
            let check = |x: f32, expected: u16| {
                assert_eq!(f16_from_f32(x), expected.to_le_bytes(), "{x:e}");
                assert_eq!(f16_from_f32(-x), (expected | 0x8000).to_le_bytes(), "-{x:e}");
            };
            check(middle, even);
            check(middle.next_down(), low);
            check(middle.next_up(), low + 1);
        }
        let check = |x: f32, expected: u16| assert_eq!(f16_from_f32(x), expected.to_le_bytes());
        check(65_519.996, 0x7bff);
        check(65_520.0, 0x7c00);
        check(f32::MAX, 0x7c00);
        check(1e-40, 0);
    }
}
