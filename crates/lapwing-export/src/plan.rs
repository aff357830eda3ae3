//! Which tensor is stored how, and the weights after that decision.

mod npu;
mod plan_file;
mod spread;
mod stacked;
mod weights;

use std::collections::BTreeMap;
use std::fmt;

pub use npu::NPU_GROUP_SIZE;
pub use plan_file::ReadPlanError;
pub(crate) use spread::FINE_HEAD;
pub use spread::{N_FINE_HEAD_ROWS, N_VOCAB_LARGE_MIN};
pub(crate) use stacked::{alternating, in_turn, stacked};
pub(crate) use weights::{PlannedWeight, TakeWeight, Weights};

use lapwing_model::{Experts, Transformer};

use crate::head_map::HeadMap;

/// Columns that share a scale where nobody says: the block of GGUF's types and of ONNX exports.
pub const GROUP_SIZE_DEFAULT: usize = 32;

/// A group size that means all columns of a row, however many they are.
pub const WHOLE_ROW: usize = usize::MAX;

/// How the weights of one matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit codes.
    Int8 {
        /// Columns that share a scale; none: a whole row.
        group_size: Option<usize>,
        /// Whether the zero point is fixed in the middle.
        symmetric: bool,
    },
    /// 4-bit codes.
    Int4 {
        /// Columns that share a scale, or [`WHOLE_ROW`].
        group_size: usize,
        /// Whether the zero point is fixed in the middle.
        symmetric: bool,
    },
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// Precision of the projections.
    pub weights: Precision,
    /// Precision of the embedding and the output head.
    pub head: Precision,
    /// Rows at the start of a tied head that are also stored with 8 bits, for the logits alone; see
    /// [`ExportOptions::with_bits_spread`].
    pub n_fine_head_rows: usize,
    /// Exceptions: a pattern over Hugging Face tensor names (`*` any characters, `?` one), and its
    /// precision. The longest pattern that fits wins.
    pub per_tensor: BTreeMap<String, Precision>,
    /// What is folded into the output head, which is stored apart from the embedding then.
    pub head_map: Option<HeadMap>,
    /// Whether a folder already there is replaced.
    pub overwrite: bool,
}

impl ExportOptions {
    /// All projections at one precision, the head at [`Precision::head_default`], no exception and
    /// no head map.
    pub fn new(weights: Precision) -> ExportOptions {
        let head = weights.head_default();
        let (per_tensor, overwrite) = (BTreeMap::new(), false);
        let n_fine_head_rows = 0;
        ExportOptions { weights, head, n_fine_head_rows, per_tensor, head_map: None, overwrite }
    }

    /// The precision of a tensor: the longest pattern that fits its name, else that of the head or
    /// of the projections. Vectors (norms, biases) and what chooses experts are always
    /// [`Precision::F32`].
    pub fn precision(&self, name: &str, n_dimensions: usize) -> Precision {
        if n_dimensions < 2 || Experts::is_router(name) {
            return Precision::F32;
        }
        let fitting = self.per_tensor.iter().filter(|(pattern, _)| fits(pattern, name));
        match fitting.max_by_key(|(pattern, _)| pattern.len()) {
            Some((_, precision)) => *precision,
            None if name == Transformer::HEAD || name == Transformer::EMBEDDING => self.head,
            None => self.weights,
        }
    }
}

impl Precision {
    /// The precision with this name: `f32`, `f16`, `int8`, `int4`. Only `int4` has a group size
    /// without being asked, [`GROUP_SIZE_DEFAULT`].
    pub fn named(name: &str, group_size: Option<usize>, symmetric: bool) -> Option<Precision> {
        Some(match name {
            "f32" => Precision::F32,
            "f16" => Precision::F16,
            "int8" => {
                let group_size = group_size.filter(|&size| size != WHOLE_ROW);
                Precision::Int8 { group_size, symmetric }
            }
            "int4" => {
                let group_size = group_size.unwrap_or(GROUP_SIZE_DEFAULT);
                Precision::Int4 { group_size, symmetric }
            }
            _ => return None,
        })
    }

    /// The precision of the embedding and the head where nobody says: 8 bits a row when the
    /// projections have codes, else theirs.
    pub fn head_default(self) -> Precision {
        match self {
            Precision::F32 | Precision::F16 => self,
            Precision::Int8 { symmetric, .. } | Precision::Int4 { symmetric, .. } => {
                Precision::Int8 { group_size: None, symmetric }
            }
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, group_size, symmetric) = match *self {
            Precision::F32 => return formatter.write_str("f32"),
            Precision::F16 => return formatter.write_str("f16"),
            Precision::Int8 { group_size, symmetric } => ("int8", group_size, symmetric),
            Precision::Int4 { group_size, symmetric } => {
                ("int4", Some(group_size).filter(|&size| size != WHOLE_ROW), symmetric)
            }
        };
        let symmetry = if symmetric { "symmetric" } else { "asymmetric" };
        match group_size {
            Some(group_size) => write!(formatter, "{name} group {group_size} {symmetry}"),
            None => write!(formatter, "{name} per row {symmetry}"),
        }
    }
}

/// Whether `pattern` (`*` any characters, `?` one) fits all of `name`.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where the last star is and how far it reaches; going back to it is all that is ever needed.
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => {
                let Some((at_star, reach)) = star else { return false };
                star = Some((at_star, reach + 1));
                (at_pattern, at_name) = (at_star + 1, reach + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|&rest| rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        };
        check("lm_head.weight", "lm_head.weight", true);
        check("lm_head", "lm_head.weight", false);
        check("model.layers.0.*", "model.layers.0.mlp.up_proj.weight", true);
        check("model.layers.0.*", "model.layers.10.mlp.up_proj.weight", false);
        check("*.down_proj.*", "model.layers.3.mlp.down_proj.weight", true);
        check("*a*b", "aabab", true);
        check("*a*b", "aaba", false);
        check("model.layers.?.*", "model.layers.3.x", true);
        check("model.layers.?.*", "model.layers.13.x", false);
        check("", "", true);
        check("**", "", true);
    }

    #[test]
    fn the_longest_pattern_wins_over_head_and_projections() {
        let int4 = Precision::named("int4", None, true).unwrap();
        let mut options = ExportOptions::new(int4);
        options.per_tensor.insert("*".to_owned(), Precision::F16);
        options.per_tensor.insert("*.mlp.*".to_owned(), Precision::F32);
        let check = |options: &ExportOptions, name: &str, expected: Precision| {
            assert_eq!(options.precision(name, 2), expected, "{name}");
        };
        check(&options, "model.layers.0.mlp.up_proj.weight", Precision::F32);
        check(&options, "lm_head.weight", Precision::F16);
        options.per_tensor.insert("*.mlp.*".to_owned(), Precision::F16);
        check(&options, "model.layers.0.mlp.experts.3.up_proj.weight", Precision::F16);
        check(&options, "model.layers.0.mlp.gate.weight", Precision::F32);
        options.per_tensor.clear();
        let int8 = Precision::Int8 { group_size: None, symmetric: true };
        check(&options, "lm_head.weight", int8);
        check(&options, "model.embed_tokens.weight", int8);
        check(&options, "model.layers.0.mlp.up_proj.weight", int4);
        assert_eq!(options.precision("model.norm.weight", 1), Precision::F32);
    }

    #[test]
    fn precisions_say_what_they_are() {
        let check = |name: &str, group_size, symmetric, expected: &str| {
            let precision = Precision::named(name, group_size, symmetric).unwrap();
            assert_eq!(precision.to_string(), expected);
        };
        check("f32", Some(64), true, "f32");
        check("f16", None, true, "f16");
        check("int8", None, false, "int8 per row asymmetric");
        check("int8", Some(128), true, "int8 group 128 symmetric");
        check("int8", Some(WHOLE_ROW), true, "int8 per row symmetric");
        check("int4", None, true, "int4 group 32 symmetric");
        check("int4", Some(WHOLE_ROW), true, "int4 per row symmetric");
        assert_eq!(Precision::named("int2", None, true), None);
    }
}
