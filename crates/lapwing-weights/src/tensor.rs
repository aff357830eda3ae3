//! One tensor of a checkpoint, still encoded.

mod codes;

use std::ops::Range;

use lapwing_formats::gguf::{DType, dequantize};

pub use codes::Codes;

/// One tensor of a checkpoint in Hugging Face layout.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Sizes, outermost first: a projection is `[n_outputs, n_inputs]`.
    pub shape: Vec<usize>,
    /// How the elements are encoded; one that [`dequantize`] reads.
    pub(crate) dtype: DType,
    /// The encoded elements.
    pub(crate) bytes: &'a [u8],
    /// Elements of one head, where the rows of each are stored for interleaved rope.
    pub(crate) interleaved_head_size: Option<usize>,
}

impl Tensor<'_> {
    /// How the checkpoint stores the elements, e.g. `BF16` or `Q4_K`.
    pub fn dtype_name(&self) -> String {
        self.dtype.to_string()
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Every element, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        self.rows_to_f32(0..self.n_rows())
    }

    /// The elements of some rows, row-major. In a vector each element is a row.
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
        for (row_idx, row) in rows.zip(elements.chunks_exact_mut(n_columns)) {
            dequantize(self.dtype, self.row(row_idx), row)
                .expect("type and shape were checked when the checkpoint was opened");
        }
        elements
    }

    fn n_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The encoded row that Hugging Face calls `row_idx`. In a vector each element is a row.
    fn row(&self, row_idx: usize) -> &[u8] {
        let n_row_bytes = self.bytes.len() / self.n_rows();
        let stored_idx = match self.interleaved_head_size {
            None => row_idx,
            Some(head_size) => {
                // Stored: pairs (first half, second half) side by side; wanted: all of the first
                // half, then all of the second.
                let (head_idx, in_head) = (row_idx / head_size, row_idx % head_size);
                let (half_idx, pair_idx) = (in_head / (head_size / 2), in_head % (head_size / 2));
                head_idx * head_size + pair_idx * 2 + half_idx
            }
        };
        &self.bytes[stored_idx * n_row_bytes..][..n_row_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_back() {
        let bytes: Vec<u8> = (0..8).flat_map(|row| (row as f32).to_le_bytes()).collect();
        for shape in [vec![8], vec![8, 1]] {
            let dtype = DType::F32;
            let tensor = Tensor { shape, dtype, bytes: &bytes, interleaved_head_size: Some(4) };
            assert_eq!(tensor.to_f32(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        }
    }
}
