//! The plan for Intel's NPUs.

use lapwing_model::{Architecture, Transformer};

use super::{ExportOptions, Precision, WHOLE_ROW};

/// The only size of groups that the NPU's plugin takes, beside whole rows.
pub const NPU_GROUP_SIZE: usize = 128;

impl ExportOptions {
    /// What an Intel NPU takes through OpenVINO: all projections as symmetric int4, in groups of
    /// [`NPU_GROUP_SIZE`] where these divide the columns of every one of them, else by rows, which
    /// is what "channel-wise" means; the embedding and the head as symmetric int8 by rows, as
    /// compressing all but them to int4 does.
    ///
    /// One kind of groups for the whole model: the plugin is told one, in the IR's notes.
    ///
    /// Source: OpenVINO's guide "Inference with OpenVINO GenAI on NPU", which asks for
    /// `--weight-format int4 --sym --ratio 1.0 --group-size 128`, or `-1`.
    pub fn for_npu(architecture: &Architecture<Transformer>) -> ExportOptions {
        let group_size = if npu_groups_fit(architecture) { NPU_GROUP_SIZE } else { WHOLE_ROW };
        ExportOptions::new(Precision::Int4 { group_size, symmetric: true })
    }
}

/// Whether groups of [`NPU_GROUP_SIZE`] divide the columns of every projection.
fn npu_groups_fit(architecture: &Architecture<Transformer>) -> bool {
    architecture.expected_tensors().all(|(name, shape)| match shape[..] {
        [_, n_columns] => {
            name == Transformer::EMBEDDING
                || name == Transformer::HEAD
                || n_columns.is_multiple_of(NPU_GROUP_SIZE)
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use lapwing_weights::Checkpoint;

    use super::*;
    use crate::gguf_file::small;

    #[test]
    fn groups_are_taken_where_they_divide_every_projection() {
        let folder = tempfile::tempdir().unwrap();
        let architecture =
            Checkpoint::open(&small("llama").write(folder.path())).unwrap().architecture;
        let check = |hidden: usize, inner: usize, head_size: usize, expected: usize| {
            let mut architecture = architecture.clone();
            architecture.hidden_size = hidden;
            architecture.family.intermediate_size = inner;
            (architecture.n_heads, architecture.n_kv_heads, architecture.head_size) =
                (2, 1, head_size);
            let options = ExportOptions::for_npu(&architecture);
            let weights = Precision::Int4 { group_size: expected, symmetric: true };
            assert_eq!(options.weights, weights, "{hidden} {inner} {head_size}");
            let head = Precision::Int8 { group_size: None, symmetric: true };
            assert_eq!((options.head, options.per_tensor.len()), (head, 0));
        };
        check(256, 512, 128, NPU_GROUP_SIZE);
        check(576, 1536, 64, WHOLE_ROW);
        check(256, 500, 128, WHOLE_ROW);
        // The output projection has as many columns as all heads together.
        check(256, 512, 96, WHOLE_ROW);
    }
}
