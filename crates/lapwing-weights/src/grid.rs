//! Codes as graphs have them: scales and zero points lie beside them.

use half::{bf16, f16};
use lapwing_formats::gguf::DType;

/// Rows of codes, each cut into groups: `weight = (code - zero_point) * scale`, in 32-bit floats.
///
/// A graph that computes in f16 rounds the product; the plugins that fuse it into a matrix product
/// do not.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    /// Rows, of a tensor of more than two dimensions those of all matrices.
    pub n_rows: usize,
    /// Columns.
    pub n_columns: usize,
    /// Bits of a code, 4 or 8.
    pub n_bits: usize,
    /// Whether codes are in two's complement.
    pub is_signed: bool,
    /// The codes, row by row, of 4 bits two a byte, the low nibble first.
    pub codes: &'a [u8],
    /// Bytes from one row to the next: rows may be padded.
    pub n_row_bytes: usize,
    /// Columns that share a scale; a row's last group may be shorter.
    pub group_size: usize,
    /// One for each group. Shapes: `[n_rows, n_groups]`.
    pub scales: Floats<'a>,
    /// What stands for zero.
    pub zero_points: ZeroPoints<'a>,
}

/// What code stands for zero.
#[derive(Clone, Copy, Debug)]
pub enum ZeroPoints<'a> {
    /// The same for all groups: 8 or 128 in unsigned codes, 0 in signed ones.
    Middle,
    /// 0, in unsigned codes.
    Lowest,
    /// A code for each group, packed like the codes.
    Codes {
        /// Row by row.
        bytes: &'a [u8],
        /// Codes from one row to the next.
        n_row_codes: usize,
    },
    /// A float for each group of unsigned codes.
    Floats(Floats<'a>),
}

/// Little-endian floats.
#[derive(Clone, Copy, Debug)]
pub struct Floats<'a> {
    /// `F32`, `F16` or `BF16`.
    pub dtype: DType,
    /// The floats, whole.
    pub bytes: &'a [u8],
}

impl<'a> Grid<'a> {
    /// The grid, when its parts have the lengths that they must have.
    pub(crate) fn checked(self) -> Option<Grid<'a>> {
        let n_scales = self.n_rows.checked_mul(self.n_groups()?)?;
        let n_zero_points = match self.zero_points {
            ZeroPoints::Codes { bytes, n_row_codes } => {
                let n_bits = self.n_rows.checked_mul(n_row_codes)?.checked_mul(self.n_bits)?;
                (n_bits.div_ceil(8) == bytes.len() && self.n_groups()? <= n_row_codes)
                    .then_some(n_scales)
            }
            ZeroPoints::Floats(floats) => (!self.is_signed).then_some(floats.len()),
            ZeroPoints::Lowest if self.is_signed => None,
            ZeroPoints::Lowest | ZeroPoints::Middle => Some(n_scales),
        };
        let n_least_bytes = self.n_columns.checked_mul(self.n_bits)?.div_ceil(8);
        let fits = matches!(self.n_bits, 4 | 8)
            && n_least_bytes <= self.n_row_bytes
            && self.n_rows.checked_mul(self.n_row_bytes) == Some(self.codes.len())
            && self.scales.len() == n_scales
            && n_zero_points == Some(n_scales);
        fits.then_some(self)
    }

    /// Write some rows.
    ///
    /// Shapes: `out [n, n_columns]`, for the rows from `first_row_idx` on.
    ///
    /// # Panics
    ///
    /// When there are fewer rows.
    pub(crate) fn write_rows(&self, first_row_idx: usize, out: &mut [f32]) {
        for (row_idx, row) in (first_row_idx..).zip(out.chunks_exact_mut(self.n_columns)) {
            for (group_idx, group) in row.chunks_mut(self.group_size).enumerate() {
                let (scale, zero_point) = self.group(row_idx, group_idx);
                let first_column = group_idx * self.group_size;
                for (column_idx, weight) in (first_column..).zip(group) {
                    *weight = (f32::from(self.code(row_idx, column_idx)) - zero_point) * scale;
                }
            }
        }
    }

    /// Groups of a row; none without columns or of no size.
    pub(crate) fn n_groups(&self) -> Option<usize> {
        (self.n_columns > 0 && self.group_size > 0)
            .then(|| self.n_columns.div_ceil(self.group_size))
    }

    /// Scale, and zero point as an unsigned code.
    pub(crate) fn group(&self, row_idx: usize, group_idx: usize) -> (f32, f32) {
        let n_groups = self.n_columns.div_ceil(self.group_size);
        let scale = self.scales.get(row_idx * n_groups + group_idx);
        let zero_point = match self.zero_points {
            ZeroPoints::Middle => self.middle(),
            ZeroPoints::Lowest => 0.0,
            ZeroPoints::Codes { bytes, n_row_codes } => {
                f32::from(self.unsigned(bytes, row_idx * n_row_codes + group_idx))
            }
            ZeroPoints::Floats(floats) => floats.get(row_idx * n_groups + group_idx),
        };
        (scale, zero_point)
    }

    /// A code, as an unsigned one.
    pub(crate) fn code(&self, row_idx: usize, column_idx: usize) -> u8 {
        self.unsigned(&self.codes[row_idx * self.n_row_bytes..], column_idx)
    }

    /// The zero point of a symmetric grid, as an unsigned code.
    pub(crate) fn middle(&self) -> f32 {
        if self.n_bits == 4 { 8.0 } else { 128.0 }
    }

    fn unsigned(&self, bytes: &[u8], code_idx: usize) -> u8 {
        match (self.n_bits, self.is_signed) {
            (4, is_signed) => {
                let code = bytes[code_idx / 2] >> (code_idx % 2 * 4) & 15;
                if is_signed { code ^ 8 } else { code }
            }
            (_, true) => bytes[code_idx] ^ 0x80,
            (_, false) => bytes[code_idx],
        }
    }
}

impl Floats<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / self.n_float_bytes()
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub(crate) fn get(&self, float_idx: usize) -> f32 {
        let n_bytes = self.n_float_bytes();
        let bytes = &self.bytes[float_idx * n_bytes..][..n_bytes];
        match (self.dtype, bytes) {
            (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            (_, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("a float of {} bytes", bytes.len()),
        }
    }

    fn n_float_bytes(&self) -> usize {
        if self.dtype == DType::F32 { 4 } else { 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
    }

    fn grid<'a>(codes: &'a [u8], scales: &'a [u8], zero_points: ZeroPoints<'a>) -> Grid<'a> {
        Grid {
            n_rows: 2,
            n_columns: 3,
            n_bits: 4,
            is_signed: false,
            codes,
            n_row_bytes: 2,
            group_size: 2,
            scales: Floats { dtype: DType::F16, bytes: scales },
            zero_points,
        }
    }

    #[test]
    fn codes_are_read_with_the_zero_of_their_group() {
        let (codes, scales) = ([0x21, 0x03, 0xfe, 0x0d], halves(&[1.0, 2.0, 0.5, 0.25]));
        let check = |grid: Grid<'_>, expected: [f32; 6]| {
            let mut found = [0.0; 6];
            grid.checked().unwrap().write_rows(0, &mut found);
            assert_eq!(found, expected, "{grid:?}");
            let mut second = [0.0; 3];
            grid.write_rows(1, &mut second);
            assert_eq!(second, expected[3..]);
        };
        let plain = grid(&codes, &scales, ZeroPoints::Middle);
        check(plain, [-7.0, -6.0, -10.0, 3.0, 3.5, 1.25]);
        check(Grid { zero_points: ZeroPoints::Lowest, ..plain }, [1.0, 2.0, 6.0, 7.0, 7.5, 3.25]);
        let zero_points = ZeroPoints::Codes { bytes: &[0x21, 0x43], n_row_codes: 2 };
        check(Grid { zero_points, ..plain }, [0.0, 1.0, 2.0, 5.5, 6.0, 2.25]);
        let floats = halves(&[0.5, 1.0, 1.5, 2.0]);
        let zero_points = ZeroPoints::Floats(Floats { dtype: DType::F16, bytes: &floats });
        check(Grid { zero_points, ..plain }, [0.5, 1.5, 4.0, 6.25, 6.75, 2.75]);
        check(Grid { is_signed: true, ..plain }, [1.0, 2.0, 6.0, -1.0, -0.5, -0.75]);
    }

    #[test]
    fn parts_of_other_lengths_make_no_grid() {
        let (codes, scales) = ([0; 4], halves(&[1.0; 4]));
        let plain = grid(&codes, &scales, ZeroPoints::Middle);
        assert!(plain.checked().is_some());
        let zero_points = ZeroPoints::Codes { bytes: &[0; 1], n_row_codes: 2 };
        for wrong in [
            Grid { n_rows: 3, ..plain },
            Grid { n_rows: usize::MAX, ..plain },
            Grid { n_columns: 0, ..plain },
            Grid { n_columns: 5, ..plain },
            Grid { n_columns: usize::MAX, ..plain },
            Grid { n_bits: 3, ..plain },
            Grid { n_row_bytes: 1, ..plain },
            Grid { group_size: 0, ..plain },
            Grid { group_size: 1, ..plain },
            Grid { zero_points, ..plain },
            Grid { zero_points: ZeroPoints::Lowest, is_signed: true, ..plain },
        ] {
            assert!(wrong.checked().is_none(), "{wrong:?}");
        }
    }
}
