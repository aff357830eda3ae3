use super::Dots;
use crate::Level;
use crate::lanes::{F32Lanes, N_LANES};

/// What every operation gave, as numbers.
type Outcome = (&'static str, Vec<i64>);

mod vector {
    use super::*;

    #[inline(always)]
    pub(super) fn outcomes<D: Dots>(d: D, codes: &[u8; 64], x: [i8; 4]) -> Vec<Outcome> {
        let stored = |sums: D::Sums| {
            let mut out = [0.0; N_LANES];
            d.to_f32(sums).store(&mut out);
            out.map(|sum| sum as i64).to_vec()
        };
        let bytes = d.load(codes);
        let kept = |bytes: D::Bytes| {
            let mut out = [0; 64];
            d.store(bytes, &mut out);
            out.map(i64::from).to_vec()
        };
        let (low, high) = d.nibbles(bytes);
        let seven = d.splat(7);
        let (mut chain, mut other) = (d.chain(), d.chain());
        for _ in 0..4 {
            chain = d.add_u4(chain, low, x);
            other = d.add_u4(other, high, x);
        }
        let zeros = codes.first_chunk().expect("64 are more than 16");
        let start = |from: i16| d.start(d.zeros(from, zeros), [-2032, 2032 - 31]);
        let of_u8 = d.add_u8(d.add_u8(seven, bytes, x), bytes, x);
        let zero = i64::from(D::U8_ZERO) * x.iter().map(|&x| i64::from(x)).sum::<i64>();
        vec![
            ("load", kept(bytes)),
            ("low", kept(low)),
            ("high", kept(high)),
            ("chain", stored(d.add_chain(seven, d.merge(chain, other)))),
            ("add_u8", stored(of_u8).iter().map(|sum| sum + 2 * zero).collect()),
            ("add", stored(d.add(seven, d.splat(-70_000)))),
            ("start", stored(start(0))),
            ("start from", stored(start(128))),
        ]
    }
}

mod scalar {
    use super::*;

    pub(super) fn outcomes(codes: &[u8; 64], x: [i8; 4]) -> Vec<Outcome> {
        let (quads, _) = codes.as_chunks::<4>();
        let dots = |of: &dyn Fn(u8) -> i64| -> Vec<i64> {
            let dot = |quad: &[u8; 4]| {
                quad.iter().zip(x).map(|(&code, x)| of(code) * i64::from(x)).sum::<i64>()
            };
            quads.iter().map(dot).collect()
        };
        let each = |of: &dyn Fn(i64) -> i64, numbers: &[i64]| -> Vec<i64> {
            numbers.iter().map(|&number| of(number)).collect()
        };
        let bytes = |of: &dyn Fn(u8) -> u8| codes.iter().map(|&code| of(code).into()).collect();
        let both = dots(&|code| i64::from(code & 15) + i64::from(code >> 4));
        let zeros: Vec<i64> = codes[..16].iter().map(|&zero| zero.into()).collect();
        vec![
            ("load", bytes(&|code| code)),
            ("low", bytes(&|code| code & 15)),
            ("high", bytes(&|code| code >> 4)),
            ("chain", each(&|sum| 7 + 4 * sum, &both)),
            ("add_u8", each(&|sum| 7 + 2 * sum, &dots(&|code| code.into()))),
            ("add", vec![-69_993; N_LANES]),
            ("start", each(&|zero| zero * 31, &zeros)),
            ("start from", each(&|zero| (zero - 128) * 31, &zeros)),
        ]
    }
}

#[test]
fn every_operation_does_what_plain_code_does_at_every_level() {
    let spread = std::array::from_fn(|idx| (idx * 37 + idx / 7) as u8);
    for codes in [spread, [0; 64], [255; 64], [0x80; 64], [0x7f; 64], spread.map(|code| !code)] {
        for x in [[1, -2, 3, -4], [127; 4], [-127; 4], [127, -127, 127, -127], [0; 4]] {
            let codes = &codes;
            let expected = scalar::outcomes(codes, x);
            for level in Level::available() {
                let found =
                    dispatch_dots!(level, outcomes(codes: &[u8; 64], x: [i8; 4]) -> Vec<Outcome>);
                assert_eq!(found, expected, "{level:?} {codes:?} {x:?}");
            }
        }
    }
}
