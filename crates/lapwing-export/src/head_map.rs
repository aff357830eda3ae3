//! An affine map of the hidden state, folded into the output head.
//!
//! ```text
//! logits = W (A h + b) = (W A) h + W b
//! ```
//!
//! `W A` takes the place of the head's matrix and is quantised as that is; `W b` is a constant that
//! is added to the logits. The exported model does nothing more than one addition a token.

use lapwing_files::checksum::Sha256;
use lapwing_weights::Tensor;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};

use crate::error::ExportError;
use crate::recipe::BodyRecipe;

/// Rows of the head that are multiplied at once: enough that the product is not about memory.
const N_BAND_ROWS: usize = 256;

/// An affine map of the hidden state before the output head: `h' = matrix h + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMap {
    /// Length of a hidden state, `d`.
    pub n_hidden: usize,
    /// Row-major. Shapes: `[d, d]`.
    pub matrix: Vec<f32>,
    /// Shapes: `[d]`.
    pub bias: Vec<f32>,
    /// What made the hidden states that the map was fitted to; an export of another body is
    /// refused. `None` compares nothing.
    pub body: Option<BodyRecipe>,
}

impl HeadMap {
    /// The SHA-256 of matrix and bias, both little-endian: 64 lower-case hexadecimal digits.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        for entry in self.matrix.iter().chain(&self.bias) {
            digest.update(entry.to_le_bytes());
        }
        digest.finish()
    }

    /// Refuse a map that does not fit hidden states of length `hidden_size`.
    pub(crate) fn check(&self, hidden_size: usize) -> Result<(), ExportError> {
        let refused =
            |expected: String, found: String| Err(ExportError::HeadMap { expected, found });
        if self.n_hidden != hidden_size {
            let found = format!("one of length {}", self.n_hidden);
            return refused(format!("hidden states of length {hidden_size}"), found);
        }
        let n_hidden = self.n_hidden;
        let n_entries = n_hidden.checked_mul(n_hidden);
        if n_entries != Some(self.matrix.len()) || self.bias.len() != n_hidden {
            let found = format!("{} and {}", self.matrix.len(), self.bias.len());
            return refused(format!("{n_hidden} x {n_hidden} entries and {n_hidden}"), found);
        }
        match self.matrix.iter().chain(&self.bias).find(|entry| !entry.is_finite()) {
            Some(entry) => refused("finite entries".to_owned(), entry.to_string()),
            None => Ok(()),
        }
    }

    /// `W A`, row-major.
    ///
    /// Beside the result, memory for a band of rows.
    ///
    /// # Errors
    ///
    /// When an entry of the product is not finite.
    pub(crate) fn fold(&self, head: &Tensor<'_>) -> Result<Vec<f32>, ExportError> {
        const FITS: &str = "the map was checked against the head";
        let n_hidden = self.n_hidden;
        let matrix = ArrayView2::from_shape((n_hidden, n_hidden), &self.matrix).expect(FITS);
        let mut folded = Array2::zeros((head.n_elements() / n_hidden, n_hidden));
        for (band_idx, mut band) in folded.axis_chunks_iter_mut(Axis(0), N_BAND_ROWS).enumerate() {
            let start = band_idx * N_BAND_ROWS;
            let rows = head.rows_to_f32(start..start + band.nrows());
            let rows = ArrayView2::from_shape(band.dim(), &rows).expect(FITS);
            general_mat_mul(1.0, &rows, &matrix, 0.0, &mut band);
        }
        finite(folded.into_raw_vec_and_offset().0)
    }

    /// `W b`, one entry a token.
    ///
    /// # Errors
    ///
    /// When an entry of the product is not finite.
    pub(crate) fn constant(&self, head: &Tensor<'_>) -> Result<Vec<f32>, ExportError> {
        let n_rows = head.shape.first().copied().unwrap_or(0);
        let mut constant = Vec::with_capacity(n_rows);
        for start in (0..n_rows).step_by(N_BAND_ROWS) {
            let rows = head.rows_to_f32(start..n_rows.min(start + N_BAND_ROWS));
            constant.extend(rows.chunks_exact(self.n_hidden).map(|row| {
                let products =
                    row.iter().zip(&self.bias).map(|(w, b)| f64::from(*w) * f64::from(*b));
                products.sum::<f64>() as f32
            }));
        }
        finite(constant)
    }
}

fn finite(product: Vec<f32>) -> Result<Vec<f32>, ExportError> {
    match product.iter().find(|entry| !entry.is_finite()) {
        Some(found) => Err(ExportError::HeadMap {
            expected: "finite products with the head".to_owned(),
            found: found.to_string(),
        }),
        None => Ok(product),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use lapwing_weights::Checkpoint;

    use super::*;
    use crate::shared::shared;

    /// A map whose entries all differ; `scale` 0 leaves the identity.
    pub(crate) fn map(n_hidden: usize, scale: f32) -> HeadMap {
        let entry = |idx: usize| scale * ((idx * 29 % 53) as f32 / 53.0 - 0.5);
        let identity = |idx: usize| if idx.is_multiple_of(n_hidden + 1) { 1.0 } else { 0.0 };
        HeadMap {
            n_hidden,
            matrix: (0..n_hidden * n_hidden).map(|idx| identity(idx) + entry(idx)).collect(),
            bias: (0..n_hidden).map(|idx| entry(idx * 7 + 3)).collect(),
            body: None,
        }
    }

    #[test]
    fn the_folded_head_gives_the_logits_of_the_mapped_hidden_state() {
        let Some(source) = shared("exports/stories260k-hf") else { return };
        let checkpoint = Checkpoint::open(&source).unwrap();
        let head = checkpoint.head().unwrap();
        let (n_vocab, n_hidden) = (head.shape[0], head.shape[1]);
        assert!(N_BAND_ROWS < n_vocab, "more than one band");
        let map = map(n_hidden, 0.3);
        let (folded, constant) = (map.fold(&head).unwrap(), map.constant(&head).unwrap());
        let hidden: Vec<f64> = (0..n_hidden).map(|idx| (idx as f64 * 0.7).sin()).collect();
        let dot = |row: &[f32], vector: &[f64]| -> f64 {
            row.iter().zip(vector).map(|(a, b)| f64::from(*a) * b).sum()
        };
        let rows = map.matrix.chunks_exact(n_hidden).zip(&map.bias);
        let mapped: Vec<f64> = rows.map(|(row, b)| dot(row, &hidden) + f64::from(*b)).collect();
        for token_idx in 0..n_vocab {
            let row = checkpoint.head_rows(token_idx..token_idx + 1).unwrap();
            let expected = dot(&row, &mapped);
            let found = dot(&folded[token_idx * n_hidden..][..n_hidden], &hidden)
                + f64::from(constant[token_idx]);
            assert!((found - expected).abs() < 1e-4, "token {token_idx}: {found}, {expected}");
        }
    }

    #[test]
    fn maps_that_fit_nothing_are_refused() {
        let check = |change: &dyn Fn(&mut HeadMap), expected: &str| {
            let mut map = map(4, 0.1);
            change(&mut map);
            let error = map.check(4).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        map(4, 0.1).check(4).unwrap();
        check(&|map| map.n_hidden = 5, "hidden states of length 4, found one of length 5");
        check(&|map| map.matrix.truncate(15), "expected 4 x 4 entries and 4, found 15 and 4");
        check(&|map| map.bias.push(0.0), "found 16 and 5");
        check(&|map| map.bias[2] = f32::NAN, "expected finite entries, found NaN");
        check(&|map| map.matrix[5] = f32::INFINITY, "found inf");
    }

    #[test]
    fn the_hash_is_of_the_entries() {
        let (one, mut other) = (map(3, 0.2), map(3, 0.2));
        assert_eq!(one.sha256(), other.sha256());
        other.bias[1] += 1e-6;
        assert_ne!(one.sha256(), other.sha256());
        assert_eq!(one.sha256().len(), 64);
    }

    #[test]
    fn a_checkpoint_is_known_by_its_weight_file() {
        let Some(source) = shared("exports/stories260k-hf") else { return };
        let checkpoint = Checkpoint::open(&source).unwrap();
        let mut n_bytes = 0;
        let mut on_bytes = |path: &Path, n| {
            assert!(path.ends_with("model.safetensors"));
            n_bytes += n;
        };
        let found = checkpoint.sha256(&mut on_bytes, &|| false);
        let bytes = std::fs::read(source.join("model.safetensors")).unwrap();
        let expected = lapwing_files::checksum::sha256_bytes(&bytes);
        assert_eq!((found.unwrap(), n_bytes), (expected, bytes.len() as u64));
        checkpoint.sha256(&mut |_, _| {}, &|| true).unwrap_err();
    }
}
