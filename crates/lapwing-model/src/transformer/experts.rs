//! Feed-forward layers of several experts, of which every token uses a few.

/// Several feed-forward layers beside each other, and what chooses among them.
///
/// ```text
/// shares = softmax(router(x))
/// the sum of share * down(activation(gate(x)) * up(x)) of the experts with the largest shares
/// ```
///
/// The router and every projection may have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// How many there are in a layer.
    pub n_experts: usize,
    /// How many of them a token uses.
    pub n_used: usize,
    /// Whether the shares of those that a token uses are divided by their sum.
    pub normalises_shares: bool,
    /// Whether the router and every projection have a bias.
    pub has_bias: bool,
}

impl Experts {
    /// The name of what chooses, inside of a layer.
    pub const ROUTER: &str = "mlp.gate.weight";
    /// The name of its bias, inside of a layer.
    pub const ROUTER_BIAS: &str = "mlp.gate.bias";

    /// Whether a tensor of this name chooses experts: of it a small error is a large one, and no
    /// plan makes it less precise.
    pub fn is_router(name: &str) -> bool {
        name.strip_suffix(Experts::ROUTER).is_some_and(|layer| layer.ends_with('.'))
    }

    /// The name of an expert's projection inside of a layer; `part` is `gate`, `up` or `down`.
    pub fn projection(expert_idx: usize, part: &str) -> String {
        format!("mlp.experts.{expert_idx}.{part}_proj.weight")
    }

    /// The name of its bias inside of a layer.
    pub fn projection_bias(expert_idx: usize, part: &str) -> String {
        format!("mlp.experts.{expert_idx}.{part}_proj.bias")
    }
}

/// How the files of a family tell of experts.
#[derive(Clone, Copy, Debug)]
pub struct FamilyExperts {
    /// The key of `config.json` that says how many there are; the first that is there counts.
    pub n_experts_keys: &'static [&'static str],
    /// The key of `config.json` that says how many of them a token uses; all that are there must say
    /// the same.
    pub n_used_keys: &'static [&'static str],
    /// The key of `config.json` with the width of one.
    pub width_key: &'static str,
    /// The key of a GGUF with the width of one.
    pub width_key_in_gguf: &'static str,
    /// See [`Experts::normalises_shares`]; none where `norm_topk_prob` of a `config.json` says.
    pub normalises_shares: Option<bool>,
    /// The module of a layer that holds the router and the experts, in safetensors.
    pub module: &'static str,
    /// What the router is called there.
    pub router: &'static str,
    /// What gate, up and down are called there.
    pub projections: [&'static str; 3],
    /// See [`Experts::has_bias`].
    pub is_biased: bool,
    /// Whether safetensors have all experts of a layer in one tensor, gate and up in turn: as
    /// `gate_up_proj [n_experts, n_columns, n_rows]`, or as rows of MXFP4.
    pub are_in_turn: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_known_by_its_name() {
        assert!(Experts::is_router("model.layers.3.mlp.gate.weight"));
        assert!(!Experts::is_router("model.layers.3.mlp.gate_proj.weight"));
        assert!(!Experts::is_router("model.layers.3.amlp.gate.weight"));
        assert!(!Experts::is_router(&Experts::projection(1, "gate")));
    }
}
