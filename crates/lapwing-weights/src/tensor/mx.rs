//! MXFP4, whatever file it comes from.

use half::f16;
use lapwing_formats::gguf::DType;
use lapwing_formats::mx::{DOUBLED, N_BLOCK_ELEMENTS, element, scale};

use super::codes::{Codes, neighbours_paired};
use super::{Encoding, Order, Tensor};

/// Bytes of the codes of a block.
const N_BLOCK_CODE_BYTES: usize = N_BLOCK_ELEMENTS / 2;

/// The largest exponent with which every code stands for a finite float.
const EXPONENT_MAX: u8 = 252;

/// Rows of whole blocks of MXFP4, whose exponents lie beside them.
#[derive(Clone, Copy, Debug)]
pub struct Mx<'a> {
    /// Two a byte, the low nibble first.
    pub codes: &'a [u8],
    /// One for each 32 codes.
    pub exponents: &'a [u8],
}

/// A matrix of MXFP4: `weight = element(code) * 2^(exponent - 127)`.
#[derive(Clone, Debug, PartialEq)]
pub struct MxCodes {
    /// Rows.
    pub n_rows: usize,
    /// Columns, in whole blocks of 32.
    pub n_columns: usize,
    /// Row by row, two a byte, the low nibble first.
    pub codes: Vec<u8>,
    /// One for each 32 columns; with each of them every code stands for a finite float.
    pub exponents: Vec<u8>,
}

impl Mx<'_> {
    /// Write one row.
    ///
    /// # Panics
    ///
    /// When there are fewer rows.
    pub(super) fn write_row(&self, row_idx: usize, row: &mut [f32]) {
        let first_block = row_idx * (row.len() / N_BLOCK_ELEMENTS);
        for (block_idx, block) in (first_block..).zip(row.chunks_exact_mut(N_BLOCK_ELEMENTS)) {
            let scale = scale(self.exponents[block_idx]);
            let codes = &self.codes[block_idx * N_BLOCK_CODE_BYTES..][..N_BLOCK_CODE_BYTES];
            for (pair, &codes) in block.chunks_exact_mut(2).zip(codes) {
                pair[0] = element(codes & 15) * scale;
                pair[1] = element(codes >> 4) * scale;
            }
        }
    }
}

impl Tensor<'_> {
    /// Whether the file has it in MXFP4.
    pub fn is_mx(&self) -> bool {
        let in_gguf = matches!(self.encoding, Encoding::Blocks { dtype: DType::MXFP4, .. });
        in_gguf || matches!(self.encoding, Encoding::Mx(_))
    }

    /// The file's own codes of a matrix of MXFP4 whose weights are finite; none of others.
    pub fn mx_codes(&self) -> Option<MxCodes> {
        let &[n_rows, n_columns] = self.shape.as_slice() else { return None };
        if matches!(self.order, Order::Columns { .. }) {
            return None;
        }
        let n_row_blocks = n_columns / N_BLOCK_ELEMENTS;
        let mut codes = Vec::with_capacity(n_rows * n_columns / 2);
        let mut exponents = Vec::with_capacity(n_rows * n_row_blocks);
        for row_idx in 0..n_rows {
            let blocks = self.stored_row(row_idx) * n_row_blocks..;
            for block_idx in blocks.take(n_row_blocks) {
                match self.encoding {
                    Encoding::Mx(mx) => {
                        exponents.push(mx.exponents[block_idx]);
                        let first = block_idx * N_BLOCK_CODE_BYTES;
                        codes.extend(&mx.codes[first..][..N_BLOCK_CODE_BYTES]);
                    }
                    Encoding::Blocks { dtype: DType::MXFP4, bytes } => {
                        let n_block_bytes = 1 + N_BLOCK_CODE_BYTES;
                        let block = &bytes[block_idx * n_block_bytes..][..n_block_bytes];
                        exponents.push(block[0]);
                        codes.extend(neighbours_paired(&block[1..]));
                    }
                    _ => return None,
                }
            }
        }
        let is_finite = exponents.iter().all(|&exponent| exponent <= EXPONENT_MAX);
        is_finite.then_some(MxCodes { n_rows, n_columns, codes, exponents })
    }
}

impl MxCodes {
    /// The same weights as codes of 8 bits: every element is a half of a whole number. None where a
    /// scale is not exact in 16 bits, which graphs have them in.
    pub(super) fn eight_bits(&self) -> Option<Codes> {
        let blocks = self.exponents.iter().zip(self.codes.chunks(N_BLOCK_CODE_BYTES));
        let scales = blocks.map(|(&exponent, codes)| {
            // Of a block of zeros the exponent says nothing: quantisers write the least.
            let is_zero = codes.iter().all(|pair| pair & 0x77 == 0);
            if is_zero { 1.0 } else { scale(exponent) / 2.0 }
        });
        let scales: Vec<f32> = scales.collect();
        if scales.iter().any(|&scale| f16::from_f32(scale).to_f32() != scale) {
            return None;
        }
        // Its zero is 128.
        let byte = |code: u8| DOUBLED[usize::from(code)] as u8 ^ 0x80;
        let codes = self.codes.iter().flat_map(|&pair| [byte(pair & 15), byte(pair >> 4)]);
        Some(Codes {
            n_rows: self.n_rows,
            n_columns: self.n_columns,
            n_bits: 8,
            group_size: N_BLOCK_ELEMENTS,
            codes: codes.collect(),
            scales,
            zero_points: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows of two blocks.
    const EXPONENTS: [u8; 6] = [120, 127, 130, 124, 118, 125];

    fn codes() -> Vec<u8> {
        (0..96_u8).map(|index| index.wrapping_mul(37)).collect()
    }

    #[test]
    fn both_ways_of_storing_blocks_give_the_same() {
        let codes = codes();
        let beside = Mx { codes: &codes, exponents: &EXPONENTS };
        let beside = Tensor::new(vec![3, 64], Encoding::Mx(beside));
        let blocks: Vec<u8> = EXPONENTS
            .iter()
            .zip(codes.chunks(16))
            .flat_map(|(&exponent, codes)| {
                let code = |index: usize| codes[index / 2] >> (index % 2 * 4) & 15;
                let pairs = (0..16).map(move |index| code(index) | code(index + 16) << 4);
                std::iter::once(exponent).chain(pairs).collect::<Vec<u8>>()
            })
            .collect();
        let blocks = Tensor::of_blocks(vec![3, 64], DType::MXFP4, &blocks);
        assert_eq!(beside.to_f32(), blocks.to_f32());
        assert_eq!(beside.mx_codes(), blocks.mx_codes());
        let found = beside.mx_codes().unwrap();
        assert_eq!((&found.codes, &found.exponents[..]), (&codes, &EXPONENTS[..]));
        assert_eq!((beside.dtype_name(), blocks.dtype_name()), ("MXFP4".into(), "MXFP4".into()));
    }

    #[test]
    fn codes_of_eight_bits_are_exact() {
        let codes = codes();
        let tensor = Mx { codes: &codes, exponents: &EXPONENTS };
        let tensor = Tensor::new(vec![3, 64], Encoding::Mx(tensor));
        let found = tensor.codes().unwrap();
        for (idx, expected) in tensor.to_f32().into_iter().enumerate() {
            let weight = (f32::from(found.codes[idx]) - 128.0) * found.scales[idx / 32];
            assert_eq!(weight, expected, "{idx}");
        }
    }

    #[test]
    fn a_block_of_zeros_needs_no_scale() {
        let exponents = [0, 127];
        let codes = [[0x80; 16], [0x21; 16]].concat();
        let tensor = Mx { codes: &codes, exponents: &exponents };
        let found = Tensor::new(vec![2, 32], Encoding::Mx(tensor)).codes().unwrap();
        assert_eq!((found.scales, found.codes[0]), (vec![1.0, 0.5], 128));
    }

    #[test]
    fn scales_that_do_not_fit_are_none() {
        let check = |exponent: u8, is_mx: bool, is_eight_bits: bool| {
            let tensor = Mx { codes: &[0x21; 16], exponents: &[exponent] };
            let tensor = Tensor::new(vec![1, 32], Encoding::Mx(tensor));
            let found = (tensor.mx_codes().is_some(), tensor.codes().is_some());
            assert_eq!(found, (is_mx, is_eight_bits), "{exponent}");
        };
        check(127, true, true);
        check(104, true, true);
        check(103, true, false);
        check(144, true, false);
        check(252, true, false);
        check(253, false, false);
        check(255, false, false);
    }
}
