//! What a checkpoint says of its model, checked for consistency.

use std::path::Path;

use lapwing_model::{
    Architecture, Experts, Rope, RopeScaling, SpecialTokens, TokenId, Transformer,
};

use super::{OpenCheckpointError, unsupported};

/// No model has more experts in a layer: a made-up number shall not fill the memory with names.
const N_EXPERTS_MAX: usize = 1 << 16;

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
        let Transformer { intermediate_size, rms_epsilon, .. } = self.architecture.family;
        let sizes = [
            ("number of tokens", n_vocab),
            ("number of layers", n_layers),
            ("number of heads", n_heads),
            ("number of key and value heads", n_kv_heads),
            ("hidden size", hidden_size),
            ("head size", head_size),
            ("size of the feed-forward layer", intermediate_size),
            ("number of positions", n_positions_max),
        ];
        let is_size = |size: usize| (1..=i32::MAX as usize).contains(&size);
        if let Some((what, size)) = sizes.into_iter().find(|(_, size)| !is_size(*size)) {
            return Err(unsupported(path, what, "1 to 2^31", size.to_string()));
        }
        if let Some((role, id)) = self.ids().find(|(_, id)| n_vocab <= *id as usize) {
            let expected = format!("an id below the vocabulary of {n_vocab}");
            return Err(unsupported(path, role, expected, id.to_string()));
        }
        let rules: [(bool, &str, &str, String); 3] = [
            (
                n_heads.is_multiple_of(n_kv_heads),
                "number of heads",
                &format!("a multiple of the {n_kv_heads} key and value heads"),
                n_heads.to_string(),
            ),
            (head_size.is_multiple_of(2), "head size", "an even number", head_size.to_string()),
            (
                rms_epsilon.is_finite() && rms_epsilon >= 0.0,
                "rms epsilon",
                "a number from 0 on",
                rms_epsilon.to_string(),
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            None => self.check_family(path),
            Some((_, what, expected, found)) => Err(unsupported(path, what, expected, found)),
        }
    }

    /// Refuse factors and frequencies that give no numbers.
    fn check_family(&self, path: &Path) -> Result<(), OpenCheckpointError> {
        let family = &self.architecture.family;
        if let Some(Experts { n_experts, n_used, .. }) = family.experts
            && !((1..=n_experts).contains(&n_used) && n_experts <= N_EXPERTS_MAX)
        {
            let expected = format!("up to {N_EXPERTS_MAX}, of which a token uses at least one");
            let found = format!("{n_experts}, of which it uses {n_used}");
            return Err(unsupported(path, "experts", expected, found));
        }
        let numbers = [
            ("embedding multiplier", Some(family.embedding_factor)),
            ("residual multiplier", Some(family.residual_factor)),
            ("attention scale", Some(family.attention_scale)),
            ("logit divisor", Some(family.logit_divisor)),
            ("soft cap of scores", family.attention_cap),
            ("soft cap of logits", family.logit_cap),
        ];
        let is_wrong = |number: f32| !(number.is_finite() && number > 0.0);
        let ropes = std::iter::once(&family.rope).chain(&family.window_rope);
        let of_ropes = ropes.clone().flat_map(|rope| {
            let factor = match rope.scaling {
                Some(
                    RopeScaling::Linear { factor }
                    | RopeScaling::Llama3 { factor, .. }
                    | RopeScaling::Yarn { factor, .. },
                ) => factor,
                _ => 1.0,
            };
            let betas = match rope.scaling {
                Some(RopeScaling::Yarn { beta_fast, beta_slow, .. }) => [beta_fast, beta_slow],
                _ => [1.0; 2],
            };
            [
                ("beta_fast of rope", Some(betas[0])),
                ("beta_slow of rope", Some(betas[1])),
                ("rope theta", Some(rope.theta)),
                ("rope factor", Some(factor)),
                ("rope's attention factor", Some(rope.magnitude())),
            ]
        });
        for (what, number) in numbers.into_iter().chain(of_ropes) {
            if let Some(found) = number.filter(|&number| is_wrong(number)) {
                return Err(unsupported(path, what, "a positive number", found.to_string()));
            }
        }
        ropes.into_iter().try_for_each(|rope| self.check_rope(path, rope))
    }

    fn check_rope(&self, path: &Path, rope: &Rope) -> Result<(), OpenCheckpointError> {
        let n_rotated = rope.n_rotated;
        if n_rotated == 0 || !n_rotated.is_multiple_of(2) || self.architecture.head_size < n_rotated
        {
            let expected = format!("an even number up to {}", self.architecture.head_size);
            return Err(unsupported(
                path,
                "rotated part of a head",
                expected,
                n_rotated.to_string(),
            ));
        }
        let is_yarn = matches!(rope.scaling, Some(RopeScaling::Yarn { .. }));
        if is_yarn && rope.theta <= 1.0 {
            let expected = "more than 1, with yarn";
            return Err(unsupported(path, "rope theta", expected, rope.theta.to_string()));
        }
        let lists: [&[f32]; 2] = match &rope.scaling {
            Some(RopeScaling::LongRope { short, long, .. }) => [short, long],
            Some(RopeScaling::Divisors(divisors)) => [divisors, divisors],
            _ => return Ok(()),
        };
        for divisors in lists {
            let is_divisor = |divisor: &f32| divisor.is_finite() && *divisor != 0.0;
            if divisors.len() != n_rotated / 2 || !divisors.iter().all(is_divisor) {
                let expected = format!("{} numbers other than 0", n_rotated / 2);
                let found = format!("{} numbers", divisors.len());
                return Err(unsupported(path, "factors of rope", expected, found));
            }
        }
        Ok(())
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

    /// Special ids by their roles.
    fn ids(&self) -> impl Iterator<Item = (&'static str, TokenId)> {
        let SpecialTokens { bos, eos, pad } = &self.tokens;
        let single =
            [("bos_token_id", *bos), ("padding token id", *pad), ("unknown token id", self.unk)];
        let single = single.into_iter().filter_map(|(role, id)| Some((role, id?)));
        single.chain(eos.iter().map(|id| ("eos_token_id", *id)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::checkpoint) fn small() -> Config {
        let family = Transformer { intermediate_size: 64, ..Transformer::plain(8) };
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
        check(|c, _| c.architecture.n_layers = 0, "number of layers: expected 1 to 2^31, found 0");
        check(|c, _| c.architecture.n_vocab = usize::MAX, "number of tokens: expected 1 to 2^31");
        let heads = "number of heads: expected a multiple of the 3 key and value heads, found 4";
        check(|c, _| c.architecture.n_kv_heads = 3, heads);
        check(|c, _| c.architecture.head_size = 7, "an even number, found 7");
        check(|_, f| f.rope.theta = 0.0, "rope theta");
        let zero = |_: &mut Config, f: &mut Transformer| {
            f.rope.scaling = Some(RopeScaling::Linear { factor: 0.0 });
        };
        check(zero, "rope factor");
        check(|_, f| f.rms_epsilon = f32::NAN, "rms epsilon");
        fn experts(n_experts: usize, n_used: usize) -> Option<Experts> {
            Some(Experts { n_experts, n_used, normalises_shares: true, has_bias: false })
        }
        check(|_, f| f.experts = experts(4, 5), "found 4, of which it uses 5");
        check(|_, f| f.experts = experts(4, 0), "of which a token uses at least one");
        check(|_, f| f.experts = experts(1 << 30, 2), "experts: expected up to 65536");
        let ids = "eos_token_id: expected an id below the vocabulary of 10, found 10";
        check(|c, _| c.tokens.eos = vec![2, 10], ids);
    }
}
