//! What a graph keeps from one run to the next.
//!
//! A state space goes token by token. Mamba as optimum-intel exports it tells a prompt from a
//! token by the *length* of `cache_position`, as long as the convolutions' windows or one, and
//! computes them in different ways. As probed with OpenVINO 2026.4.1 on a trained model and its
//! weights in f64:
//!
//! * A token is exact, from the first position on, when the position told lies behind the window:
//!   the graph takes it for the window's last place. `attention_mask` covers that token alone.
//! * A prompt is right at position 0 only; behind others its logits are wrong, without an error.
//! * A long prompt is inexact everywhere. The graph divides sums by a product of decays, to which
//!   it adds 1e-12, and that product vanishes. Up to 13 tokens 5 digits of the last row were
//!   right; of 256 tokens it was off by tenths, and rows far from the end by several logits.

use lapwing_formats::ir::{Dim, IrModel, Variable};

/// The variables of a graph, by what they are to the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct States {
    pub(crate) kind: StateKind,
    /// Bytes of one position as the graph declares them; the plugin may keep less.
    pub(crate) bytes_per_position: Option<u64>,
    /// Bytes of a sequence whatever its length, when nothing in it grows.
    pub(crate) bytes_per_sequence: Option<u64>,
}

/// The kinds of states whose rules are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateKind {
    /// Keys and values.
    Kv,
    /// Keys and values, and the last inputs of convolutions, as LFM2 has them: fed as keys and
    /// values are, in any chunks, and never rewound.
    KvAndConvolutions,
    /// The same, and the sums of linear attention or of a state space, as Qwen3.5, Qwen3-Next and
    /// Granite 4 have them: fed as keys and values are.
    KvAndSums,
    /// The last inputs of convolutions, so many as `window`, and a state space, as Mamba has them:
    /// fed token by token, and never rewound.
    StateSpace { window: usize },
}

impl StateKind {
    /// Most tokens that go in at once, of `n_tokens` that may.
    pub(crate) fn n_chunk_tokens(self, n_tokens: usize) -> usize {
        match self {
            StateKind::StateSpace { .. } => 1,
            _ => n_tokens.max(1),
        }
    }
}

impl States {
    /// Sort the variables of `ir`, whose inputs hold a `cache_position` or not. The reason of a
    /// refusal names the state that is not understood.
    pub(crate) fn read(ir: &IrModel, has_cache_position: bool) -> Result<States, String> {
        States::of(&ir.variables(), has_cache_position)
    }

    fn of(variables: &[Variable], has_cache_position: bool) -> Result<States, String> {
        let kind = kind(variables, has_cache_position)?;
        let bytes = |is_meant: fn(&Variable) -> bool| {
            let mut meant = variables.iter().filter(|variable| is_meant(variable));
            meant.try_fold(0_u64, |sum, variable| sum.checked_add(n_bytes(variable)?))
        };
        let grows = variables.iter().any(is_kv);
        Ok(States {
            kind,
            bytes_per_position: bytes(is_kv),
            bytes_per_sequence: if grows { None } else { bytes(|_| true) },
        })
    }
}

fn kind(variables: &[Variable], has_cache_position: bool) -> Result<StateKind, String> {
    if variables.is_empty() {
        return Err("it has no variables: expected a stateful export".to_owned());
    }
    let is_known = |variable: &&Variable| is_kv(variable) || is_conv(variable) || is_ssm(variable);
    if let Some(other) = variables.iter().find(|variable| !is_known(variable)) {
        let expected = "expected keys and values, `conv` or `ssm`";
        return Err(format!("its state `{}` is not understood: {expected}", other.id));
    }
    let first = |is_meant: fn(&Variable) -> bool| variables.iter().find(|v| is_meant(v));
    match (first(is_kv), first(is_conv), first(is_ssm), has_cache_position) {
        (Some(_), None, None, false) => Ok(StateKind::Kv),
        (Some(_), Some(_), None, false) => Ok(StateKind::KvAndConvolutions),
        (Some(_), Some(_), Some(_), false) => Ok(StateKind::KvAndSums),
        (None, Some(_), Some(_), true) => window(variables),
        (Some(kv), _, _, true) => Err(format!(
            "its input `cache_position` beside the state `{}` is not understood: expected it with \
             a state space only",
            kv.id
        )),
        (Some(_), None, Some(ssm), false) => Err(format!(
            "its state `{}` beside keys and values is not understood: expected `conv` with it",
            ssm.id
        )),
        (None, found, ssm, _) => Err(format!(
            "its state `{}` is not understood alone: expected `conv`, `ssm` and an input \
             `cache_position`",
            ssm.or(found).map_or("", |variable| &variable.id)
        )),
    }
}

/// The length of the convolutions' windows, all of one length in a Mamba of the first kind. A
/// window of one input would make a token look like a prompt.
fn window(variables: &[Variable]) -> Result<StateKind, String> {
    let mut window = None;
    for variable in variables {
        let sizes: Vec<Option<u64>> =
            variable.dims.iter().flatten().skip(1).map(|dim| dim.fixed()).collect();
        let [Some(_), Some(last)] = sizes[..] else {
            return Err(format!(
                "its state `{}` is not understood: expected the axes batch, channels, size",
                variable.id
            ));
        };
        if is_conv(variable) && (last < 2 || *window.get_or_insert(last) != last) {
            return Err(format!(
                "its state `{}` holds {last} inputs, expected two or more, and as many as others",
                variable.id
            ));
        }
    }
    let window = window.and_then(|window| usize::try_from(window).ok()).unwrap_or_default();
    Ok(StateKind::StateSpace { window })
}

fn is_kv(variable: &Variable) -> bool {
    variable.id.contains(".key") || variable.id.contains(".value")
}

fn is_conv(variable: &Variable) -> bool {
    variable.id.starts_with("cache_params.past.conv.")
}

fn is_ssm(variable: &Variable) -> bool {
    variable.id.starts_with("cache_params.past.ssm.")
}

/// The fixed axes alone: of keys and values those of one position.
fn n_bytes(variable: &Variable) -> Option<u64> {
    let dims = variable.dims.as_ref()?;
    let mut fixed = dims.iter().filter_map(|dim: &Dim| dim.fixed());
    let n_elements = fixed.try_fold(1_u64, u64::checked_mul)?;
    variable.element_type.n_bytes(n_elements)
}

#[cfg(test)]
mod tests {
    use lapwing_formats::ir::ElementType;

    use super::*;

    /// A variable as optimum-intel names it; 0 stands for an axis that is not fixed.
    fn variable(what: &str, sizes: &[u64]) -> Variable {
        let dim = |&size: &u64| if size == 0 { Dim::ANY } else { Dim::Fixed(size) };
        Variable {
            id: format!("cache_params.past.{what}.0cache_params.present.{what}.0"),
            element_type: ElementType::F32,
            dims: Some(sizes.iter().map(dim).collect()),
        }
    }

    fn check(variables: &[Variable], has_cache_position: bool, expected: Result<States, &str>) {
        let found = States::of(variables, has_cache_position);
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_the_known_exports_keep() {
        let (key, value) = (variable("key", &[0, 2, 0, 16]), variable("value", &[0, 2, 0, 16]));
        let conv = variable("conv", &[0, 64, 3]);
        let kv = States {
            kind: StateKind::Kv,
            bytes_per_position: Some(2 * 2 * 16 * 4),
            bytes_per_sequence: None,
        };
        check(&[key.clone(), value.clone()], false, Ok(kv));
        let hybrid = States { kind: StateKind::KvAndConvolutions, ..kv };
        check(&[conv.clone(), key.clone(), value.clone()], false, Ok(hybrid));
        let sums = States { kind: StateKind::KvAndSums, ..kv };
        let ssm = variable("ssm", &[0, 4, 16, 16]);
        check(&[ssm, conv.clone(), key, value], false, Ok(sums));
        let mamba = States {
            kind: StateKind::StateSpace { window: 3 },
            bytes_per_position: Some(0),
            bytes_per_sequence: Some((64 * 3 + 64 * 16) * 4),
        };
        check(&[variable("ssm", &[0, 64, 16]), conv], true, Ok(mamba));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let (key, conv) = (variable("key", &[0, 2, 0, 16]), variable("conv", &[0, 64, 3]));
        let ssm = variable("ssm", &[0, 64, 16]);
        check(&[], false, Err("no variables"));
        check(&[key.clone(), variable("wkv", &[0, 8])], false, Err("past.wkv.0"));
        check(&[key.clone(), conv.clone()], true, Err("`cache_position` beside"));
        let all = [key.clone(), conv.clone(), ssm.clone()];
        check(&all, true, Err("`cache_position` beside"));
        check(&[key, ssm.clone()], false, Err("past.ssm.0"));
        check(&[conv.clone(), ssm.clone()], false, Err("past.ssm.0"));
        check(std::slice::from_ref(&conv), false, Err("past.conv.0"));
        // The second kind of Mamba has heads.
        let heads = variable("ssm", &[0, 8, 64, 16]);
        check(&[conv.clone(), heads], true, Err("past.ssm.0"));
        let other = variable("conv", &[0, 64, 4]);
        check(&[conv, other, ssm.clone()], true, Err("holds 4 inputs"));
        check(&[variable("conv", &[0, 64, 1]), ssm], true, Err("holds 1 inputs"));
    }
}
