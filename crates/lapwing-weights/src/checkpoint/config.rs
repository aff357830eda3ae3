//! What a checkpoint says of its model, checked for consistency.

use std::path::Path;

use lapwing_model::{Architecture, RopeScaling, SpecialTokens, TokenId, Transformer};

use super::{OpenCheckpointError, unsupported};

/// Shapes and token ids of one checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) architecture: Architecture<Transformer>,
    pub(super) tokens: SpecialTokens,
    pub(super) unk: Option<TokenId>,
}

impl Config {
    /// Refuse numbers that no graph can be built from, and ids outside of the vocabulary.
    pub(super) fn check(&self, path: &Path) -> Result<(), OpenCheckpointError> {
        let Architecture { n_vocab, n_layers, n_heads, n_kv_heads, .. } = self.architecture;
        let Architecture { hidden_size, head_size, n_positions_max, .. } = self.architecture;
        let Transformer { intermediate_size, rms_epsilon, rope_theta, ref rope_scaling, .. } =
            self.architecture.family;
        let sizes = [n_vocab, n_layers, n_heads, n_kv_heads, hidden_size];
        let other_sizes = [head_size, intermediate_size, n_positions_max];
        let n_largest = sizes.iter().chain(&other_sizes).max().copied().unwrap_or(0);
        let stretch = match rope_scaling {
            Some(RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. }) => *factor,
            _ => 1.0,
        };
        let rules: [(bool, &str, &str, String); 7] = [
            (
                !sizes.contains(&0) && !other_sizes.contains(&0) && n_largest <= i32::MAX as usize,
                "sizes",
                "all between 1 and 2^31",
                format!("{sizes:?} {other_sizes:?}"),
            ),
            (
                n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
                "heads",
                "a multiple of the key and value heads",
                format!("{n_heads} and {n_kv_heads}"),
            ),
            (head_size.is_multiple_of(2), "head size", "an even number", head_size.to_string()),
            (
                rope_theta.is_finite() && rope_theta > 0.0,
                "rope theta",
                "a positive number",
                rope_theta.to_string(),
            ),
            (
                stretch.is_finite() && stretch > 0.0,
                "rope factor",
                "a positive number",
                stretch.to_string(),
            ),
            (
                rms_epsilon.is_finite() && rms_epsilon >= 0.0,
                "rms epsilon",
                "a number from 0 on",
                rms_epsilon.to_string(),
            ),
            (
                self.ids().all(|id| (id as usize) < n_vocab),
                "special token ids",
                &format!("all below the vocabulary of {n_vocab}"),
                format!("{:?}", self.ids().collect::<Vec<TokenId>>()),
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, what, expected, found)) => Err(unsupported(path, what, expected, found)),
        }
    }

    /// Give up a padding or unknown id that the vocabulary does not have, as in some published files:
    /// no answer needs one.
    pub(super) fn drop_needless_ids(&mut self, path: &Path) {
        let n_vocab = self.architecture.n_vocab;
        for (role, id) in [("padding", &mut self.tokens.pad), ("unknown", &mut self.unk)] {
            if let Some(outside) = id.take_if(|id| n_vocab <= *id as usize) {
                let path = path.display();
                tracing::warn!(
                    "{path}: the {role} token {outside} is not one of {n_vocab}: left out"
                );
            }
        }
    }

    fn ids(&self) -> impl Iterator<Item = TokenId> {
        let SpecialTokens { bos, eos, pad } = &self.tokens;
        bos.iter().chain(pad).chain(&self.unk).chain(eos).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::checkpoint) fn small() -> Config {
        let family = Transformer {
            intermediate_size: 64,
            rms_epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            attention_bias: false,
            qk_norm: false,
            tied_head: true,
            full_layers: Default::default(),
        };
        let architecture = Architecture {
            model_type: "llama".to_owned(),
            n_vocab: 10,
            n_layers: 1,
            n_heads: 4,
            n_kv_heads: 2,
            head_size: 8,
            hidden_size: 32,
            n_positions_max: 128,
            sliding_window: None,
            conv_cache_size: None,
            family,
        };
        let tokens = SpecialTokens { bos: Some(1), eos: vec![2], pad: None };
        Config { architecture, tokens, unk: None }
    }

    #[test]
    fn numbers_that_make_no_graph_are_refused() {
        let check = |change: fn(&mut Config, &mut Transformer), expected: &str| {
            let mut config = small();
            config.check(Path::new("x")).unwrap();
            let mut family = config.architecture.family.clone();
            change(&mut config, &mut family);
            config.architecture.family = family;
            let message = config.check(Path::new("x")).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        check(|c, _| c.architecture.n_layers = 0, "all between 1 and 2^31");
        check(|c, _| c.architecture.n_vocab = usize::MAX, "all between 1 and 2^31");
        check(|c, _| c.architecture.n_kv_heads = 3, "found 4 and 3");
        check(|c, _| c.architecture.head_size = 7, "an even number, found 7");
        check(|_, f| f.rope_theta = 0.0, "rope theta");
        let zero = |_: &mut Config, f: &mut Transformer| {
            f.rope_scaling = Some(RopeScaling::Linear { factor: 0.0 });
        };
        check(zero, "rope factor");
        check(|_, f| f.rms_epsilon = f32::NAN, "rms epsilon");
        let ids = "below the vocabulary of 10, found [1, 2, 10]";
        check(|c, _| c.tokens.eos = vec![2, 10], ids);
    }
}
