//! One tensor, still encoded.

mod codes;
mod mx;
mod order;

use std::ops::Range;

use lapwing_formats::gguf::{DType, dequantize};

use crate::grid::Grid;
pub use codes::Codes;
pub use mx::{Mx, MxCodes};
pub(crate) use order::Order;

/// Why blocks can be decoded.
const CHECKED: &str = "type and shape were checked when the file was opened";

/// One tensor; its bytes stay in their memory map.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Sizes, outermost first: a projection of a checkpoint is `[n_outputs, n_inputs]`.
    pub shape: Vec<usize>,
    /// The elements, as the file has them.
    pub encoding: Encoding<'a>,
    /// In which order the elements are stored.
    pub(crate) order: Order,
    /// What is added to every element as it is stored.
    pub(crate) added: f32,
}

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug)]
pub enum Encoding<'a> {
    /// Floats, or blocks of codes with their scales inside: a type that [`dequantize`] reads.
    Blocks {
        /// Which.
        dtype: DType,
        /// Whole blocks, row by row.
        bytes: &'a [u8],
    },
    /// Codes, with scales and zero points beside them.
    Grid(Grid<'a>),
    /// Codes of MXFP4, with their exponents beside them.
    Mx(Mx<'a>),
}

impl<'a> Tensor<'a> {
    /// A tensor of whole blocks.
    pub(crate) fn of_blocks(shape: Vec<usize>, dtype: DType, bytes: &'a [u8]) -> Tensor<'a> {
        Tensor::new(shape, Encoding::Blocks { dtype, bytes })
    }

    /// A tensor whose elements are stored in their order.
    pub(crate) fn new(shape: Vec<usize>, encoding: Encoding<'a>) -> Tensor<'a> {
        Tensor { shape, encoding, order: Order::Same, added: 0.0 }
    }

    /// Some rows of a matrix of blocks, or of matrices, counted through all of them.
    ///
    /// # Panics
    ///
    /// When there are fewer rows, or the elements are codes of a [`Grid`].
    pub(crate) fn of_rows(&self, rows: Range<usize>) -> Tensor<'a> {
        // A vector is rows of one element.
        let n_outer = self.shape.len().saturating_sub(1).max(1);
        let n_rows: usize = self.shape[..n_outer].iter().product();
        let shape = [&[rows.len()], &self.shape[n_outer..]].concat();
        let of = |bytes: &'a [u8]| {
            let n_row_bytes = bytes.len() / n_rows.max(1);
            &bytes[rows.start * n_row_bytes..rows.end * n_row_bytes]
        };
        let encoding = match self.encoding {
            Encoding::Blocks { dtype, bytes } => Encoding::Blocks { dtype, bytes: of(bytes) },
            Encoding::Mx(Mx { codes, exponents }) => {
                Encoding::Mx(Mx { codes: of(codes), exponents: of(exponents) })
            }
            Encoding::Grid(_) => {
                panic!("rows of {} are asked for, blocks expected", self.dtype_name())
            }
        };
        Tensor::new(shape, encoding)
    }

    /// The vectors of a matrix, one behind the other.
    pub(crate) fn flattened(mut self) -> Tensor<'a> {
        self.shape = vec![self.n_elements()];
        self
    }

    /// The tensor that these elements are in another order.
    pub(crate) fn in_order(mut self, order: Order) -> Tensor<'a> {
        self.shape = order.shape(&self.shape);
        self.order = order;
        self
    }

    /// How the file stores the elements, e.g. `BF16`, `Q4_K` or `int4 group 64`.
    pub fn dtype_name(&self) -> String {
        match self.encoding {
            Encoding::Blocks { dtype, .. } => dtype.to_string(),
            Encoding::Grid(grid) => format!("int{} group {}", grid.n_bits, grid.group_size),
            Encoding::Mx(_) => DType::MXFP4.to_string(),
        }
    }

    /// Whether every element is a float by itself.
    pub(crate) fn is_of_floats(&self) -> bool {
        match self.encoding {
            Encoding::Blocks { dtype, .. } => dtype.block().is_some_and(|(n, _)| n == 1),
            Encoding::Grid(_) | Encoding::Mx(_) => false,
        }
    }

    /// A matrix of floats with its columns as rows; `None` of codes.
    pub fn transposed(self) -> Option<Tensor<'a>> {
        let is_plain = self.shape.len() == 2 && self.is_of_floats() && self.order == Order::Same;
        is_plain.then(|| self.in_order(Order::Columns { place: 0, n_beside: 1 }))
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Every element, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        self.rows_to_f32(0..self.n_rows())
    }

    /// The elements of some rows, row-major: of slices along the first dimension. In a vector each
    /// element is a row.
    ///
    /// # Panics
    ///
    /// When there are fewer rows.
    pub fn rows_to_f32(&self, rows: Range<usize>) -> Vec<f32> {
        let n_columns = self.n_elements() / self.n_rows().max(1);
        let mut elements = vec![0.0; rows.len() * n_columns];
        if n_columns == 0 {
            return elements;
        }
        match self.encoding {
            Encoding::Blocks { dtype, bytes } if matches!(self.order, Order::Columns { .. }) => {
                self.write_columns(dtype, bytes, rows, &mut elements);
            }
            Encoding::Mx(mx) => {
                for (row_idx, row) in rows.zip(elements.chunks_exact_mut(n_columns)) {
                    mx.write_row(self.stored_row(row_idx), row);
                }
            }
            Encoding::Grid(grid) => {
                grid.write_rows(rows.start * n_columns / grid.n_columns, &mut elements);
            }
            Encoding::Blocks { dtype, bytes } if self.shape.len() < 2 => {
                // A block holds many elements, and so many of these rows.
                let mut stored = vec![0.0; self.order.n_stored(self.n_elements())];
                dequantize(dtype, bytes, &mut stored).expect(CHECKED);
                for (row_idx, element) in rows.zip(&mut elements) {
                    *element = stored[self.stored_row(row_idx)];
                }
            }
            Encoding::Blocks { dtype, bytes } => {
                let n_row_bytes = bytes.len() / self.order.n_stored(self.n_rows());
                for (row_idx, row) in rows.zip(elements.chunks_exact_mut(n_columns)) {
                    let bytes = &bytes[self.stored_row(row_idx) * n_row_bytes..][..n_row_bytes];
                    dequantize(dtype, bytes, row).expect(CHECKED);
                }
            }
        }
        if self.added != 0.0 {
            elements.iter_mut().for_each(|element| *element += self.added);
        }
        elements
    }

    fn n_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Write some rows that are columns in the file.
    fn write_columns(&self, dtype: DType, bytes: &[u8], rows: Range<usize>, elements: &mut [f32]) {
        let n_columns = self.n_elements() / self.n_rows();
        let mut stored = vec![0.0; self.order.n_stored(self.n_rows())];
        for (column_idx, bytes) in bytes.chunks_exact(bytes.len() / n_columns).enumerate() {
            dequantize(dtype, bytes, &mut stored).expect(CHECKED);
            let row_elements = elements.chunks_exact_mut(n_columns);
            for (row_idx, row) in rows.clone().zip(row_elements) {
                row[column_idx] = stored[self.stored_row(row_idx)];
            }
        }
    }

    /// Where the row that Hugging Face calls `row_idx` is stored.
    fn stored_row(&self, row_idx: usize) -> usize {
        self.order.stored(row_idx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_back() {
        let bytes: Vec<u8> = (0..8).flat_map(|row| (row as f32).to_le_bytes()).collect();
        for shape in [vec![8], vec![8, 1]] {
            let mut tensor = Tensor::of_blocks(shape, DType::F32, &bytes);
            tensor.order = Order::Interleaved { head_size: 4 };
            assert_eq!(tensor.to_f32(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        }
    }

    #[test]
    fn some_rows_of_a_matrix_are_a_matrix() {
        let bytes: Vec<u8> = (0..8).flat_map(|element| (element as f32).to_le_bytes()).collect();
        let mut part = Tensor::of_blocks(vec![4, 2], DType::F32, &bytes).of_rows(1..3);
        assert_eq!((part.shape.clone(), part.to_f32()), (vec![2, 2], vec![2.0, 3.0, 4.0, 5.0]));
        part.added = 1.0;
        assert_eq!(part.rows_to_f32(1..2), [5.0, 6.0]);
        let part = Tensor::of_blocks(vec![2, 2, 2], DType::F32, &bytes).of_rows(1..3);
        assert_eq!((part.shape.clone(), part.to_f32()), (vec![2, 2], vec![2.0, 3.0, 4.0, 5.0]));
    }

    #[test]
    fn rows_in_turn_and_columns_are_taken_apart() {
        let bytes: Vec<u8> = (0..12).flat_map(|element| (element as f32).to_le_bytes()).collect();
        let check = |shape: &[usize], order: Order, expected_shape: &[usize], expected: &[f32]| {
            let found = Tensor::of_blocks(shape.to_vec(), DType::F32, &bytes).in_order(order);
            assert_eq!((&*found.shape, &*found.to_f32()), (expected_shape, expected));
            let n_columns = expected.len() / expected_shape[0];
            assert_eq!(found.rows_to_f32(1..2), expected[n_columns..2 * n_columns]);
        };
        let second = Order::Alternating { place: 1 };
        check(&[4, 3], second, &[2, 3], &[3.0, 4.0, 5.0, 9.0, 10.0, 11.0]);
        check(&[12], second, &[6], &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
        let columns = Order::Columns { place: 0, n_beside: 1 };
        let turned = [0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0];
        check(&[4, 3], columns, &[3, 4], &turned);
        let columns = Order::Columns { place: 1, n_beside: 2 };
        check(&[3, 4], columns, &[2, 3], &[1.0, 5.0, 9.0, 3.0, 7.0, 11.0]);
    }

    #[test]
    fn a_vector_of_blocks_is_read() {
        let bytes: Vec<u8> = [0x00, 0x3c].into_iter().chain(0..32).collect();
        let tensor = Tensor::of_blocks(vec![32], DType::Q8_0, &bytes);
        let expected: Vec<f32> = (0..32_u8).map(f32::from).collect();
        assert_eq!(tensor.to_f32(), expected);
        assert_eq!(tensor.rows_to_f32(30..32), [30.0, 31.0]);
    }
}
