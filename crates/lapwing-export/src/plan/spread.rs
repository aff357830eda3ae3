//! Where the bits of an int4 export go: more for what is small and matters, fewer for rare tokens.

use lapwing_model::{Architecture, Transformer};

use super::{ExportOptions, GROUP_SIZE_DEFAULT, Precision};

/// Tokens from which on a vocabulary is large: the tail of rare ones takes most of the head.
pub const N_VOCAB_LARGE_MIN: usize = 65_536;

/// Rows with 8 bits of the head of a large vocabulary. Ids of byte-pair encodings begin with bytes
/// and go on in the order of merges, from the common to the rare.
pub const N_FINE_HEAD_ROWS: usize = 8_192;

/// The name of the rows with 8 bits.
pub(crate) const FINE_HEAD: &str = "lm_head.fine_rows.weight";

/// Query heads for each key-value head from which on keys and values have 8 bits.
const N_SHARING_MIN: usize = 4;

impl ExportOptions {
    /// Bits spread by what they do to the logits, where projections have 4 of them; else, and for a
    /// model of experts, as it was.
    ///
    /// - Where at least four query heads share a head of keys and values, the projections of keys
    ///   and values have 8 bits: they are small, and all of these heads see their errors.
    /// - Where a vocabulary of at least [`N_VOCAB_LARGE_MIN`] has one matrix for embedding and head,
    ///   that has 4 bits, and its first [`N_FINE_HEAD_ROWS`] rows have 8 beside it, from which the
    ///   logits of these tokens come: an error in a logit counts by the probability of its token,
    ///   and nearly all of that lies in the common ones. With a head map, which makes a head of its
    ///   own, that head has 8 bits.
    #[must_use]
    pub fn with_bits_spread(mut self, architecture: &Architecture<Transformer>) -> ExportOptions {
        let Precision::Int4 { group_size, symmetric } = self.weights else { return self };
        // Experts are nearly all of such a model, and nothing was measured on one.
        if architecture.family.experts.is_some() {
            return self;
        }
        let fine = Precision::Int8 { group_size: None, symmetric };
        if architecture.n_heads >= N_SHARING_MIN * architecture.n_kv_heads {
            for pattern in ["*.self_attn.k_proj.weight", "*.self_attn.v_proj.weight"] {
                self.per_tensor.insert(pattern.to_owned(), fine);
            }
        }
        let group_size = group_size.min(GROUP_SIZE_DEFAULT);
        let fits = architecture.hidden_size.is_multiple_of(group_size);
        if fits && architecture.family.tied_head && architecture.n_vocab >= N_VOCAB_LARGE_MIN {
            self.head = Precision::Int4 { group_size, symmetric };
            if self.head_map.is_some() {
                self.per_tensor.insert(Transformer::HEAD.to_owned(), fine);
            } else {
                self.n_fine_head_rows = N_FINE_HEAD_ROWS;
            }
        }
        self
    }

    /// The precision of [`FINE_HEAD`].
    pub(crate) fn fine_head(&self) -> Precision {
        let symmetric = match self.weights {
            Precision::Int4 { symmetric, .. } | Precision::Int8 { symmetric, .. } => symmetric,
            Precision::F32 | Precision::F16 => false,
        };
        Precision::Int8 { group_size: None, symmetric }
    }
}

#[cfg(test)]
mod tests {
    use lapwing_model::Experts;
    use lapwing_weights::Checkpoint;

    use super::*;
    use crate::gguf_file::small;
    use crate::plan::WHOLE_ROW;

    #[test]
    fn keys_and_values_that_many_heads_share_have_eight_bits() {
        let folder = tempfile::tempdir().unwrap();
        let mut architecture =
            Checkpoint::open(&small("llama").write(folder.path())).unwrap().architecture;
        let mut check = |n_heads, weights: &str, expected: &str| {
            (architecture.n_heads, architecture.n_kv_heads) = (n_heads, 2);
            let options = ExportOptions::new(Precision::named(weights, None, true).unwrap());
            let options = options.with_bits_spread(&architecture);
            for part in ["k", "v"] {
                let name = format!("model.layers.1.self_attn.{part}_proj.weight");
                assert_eq!(options.precision(&name, 2).to_string(), expected, "{n_heads}");
            }
            let query = options.precision("model.layers.1.self_attn.q_proj.weight", 2);
            assert_eq!(query, options.weights);
        };
        check(8, "int4", "int8 per row symmetric");
        check(7, "int4", "int4 group 32 symmetric");
        check(8, "f16", "f16");
    }

    #[test]
    fn a_large_tied_vocabulary_has_common_rows_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut architecture =
            Checkpoint::open(&small("llama").write(folder.path())).unwrap().architecture;
        architecture.hidden_size = 64;
        let check = |weights: Precision, n_vocab, tied, n_rows, head: Precision| {
            let mut architecture = architecture.clone();
            (architecture.n_vocab, architecture.family.tied_head) = (n_vocab, tied);
            let options = ExportOptions::new(weights).with_bits_spread(&architecture);
            assert_eq!((options.n_fine_head_rows, options.head), (n_rows, head), "{n_vocab}");
        };
        let int4 = Precision::Int4 { group_size: 32, symmetric: false };
        let int8 = Precision::Int8 { group_size: None, symmetric: false };
        check(int4, N_VOCAB_LARGE_MIN, true, N_FINE_HEAD_ROWS, int4);
        let by_rows = Precision::Int4 { group_size: WHOLE_ROW, symmetric: false };
        check(by_rows, N_VOCAB_LARGE_MIN, true, N_FINE_HEAD_ROWS, int4);
        check(int4, N_VOCAB_LARGE_MIN, false, 0, int8);
        check(int4, N_VOCAB_LARGE_MIN - 1, true, 0, int8);
        check(int8, N_VOCAB_LARGE_MIN, true, 0, int8);
        check(Precision::F16, N_VOCAB_LARGE_MIN, true, 0, Precision::F16);

        (architecture.n_vocab, architecture.family.tied_head) = (N_VOCAB_LARGE_MIN, true);
        let mixture = &mut architecture.clone();
        mixture.family.experts =
            Some(Experts { n_experts: 4, n_used: 2, normalises_shares: true, has_bias: false });
        mixture.n_heads = N_SHARING_MIN * mixture.n_kv_heads;
        let options = ExportOptions::new(int4);
        assert_eq!(options.clone().with_bits_spread(mixture), options);

        architecture.hidden_size = 48;
        let options = ExportOptions::new(int4).with_bits_spread(&architecture);
        assert_eq!((options.n_fine_head_rows, options.head), (0, int8));
    }
}
