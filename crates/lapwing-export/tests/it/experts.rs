//! What is drawn of mixtures of experts.

use std::collections::BTreeMap;

use crate::random::Random;

/// The tensors of a checkpoint: shapes and elements.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What is drawn of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Experts {
    pub(crate) n_experts: usize,
    pub(crate) n_used: usize,
    pub(crate) normalises: bool,
    pub(crate) has_bias: bool,
}

impl Experts {
    /// None in a dense family.
    pub(crate) fn draw(model_type: &str, random: &mut Random) -> Option<Experts> {
        if !["mixtral", "qwen3_moe", "gpt_oss"].contains(&model_type) {
            return None;
        }
        let n_experts = random.choose(&[2, 5, 8]);
        Some(Experts {
            n_experts,
            n_used: 1 + random.below(n_experts.min(3) as u64) as usize,
            normalises: model_type != "qwen3_moe" || random.one_in(2),
            has_bias: model_type == "gpt_oss",
        })
    }
}
