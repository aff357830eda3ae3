//! What a graph takes and gives, read from the graph itself.

use std::collections::HashSet;

use lapwing_formats::onnx::{Dim, ElementType, OnnxModel, Value};
use lapwing_model::Architecture;

/// ONNX Runtime 1.31.1 fails in the first run of a GroupQueryAttention with rotary embedding whose
/// head size is no multiple of this.
const HEAD_SIZE_MULTIPLE: usize = 16;

/// The inputs and outputs of a decoder graph, by meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) input_ids: Integers,
    pub(crate) attention_mask: Option<Integers>,
    pub(crate) position_ids: Option<Integers>,
    /// An input by which the exporter lets the caller choose how many logits are computed.
    pub(crate) n_logits: Option<Integers>,
    pub(crate) logits: String,
    /// Logits are f16 instead of f32.
    pub(crate) logits_are_f16: bool,
    pub(crate) n_vocab: usize,
    pub(crate) states: Vec<State>,
    /// Past and present of every state may be one buffer that is longer than what is in it.
    pub(crate) shares_buffers: bool,
}

/// An input of integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Integers {
    pub(crate) name: String,
    pub(crate) is_i32: bool,
    /// Number of axes.
    pub(crate) rank: usize,
}

/// The keys or the values of one layer: `[1, n_heads, n_positions, head_size]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) past: String,
    pub(crate) present: String,
    pub(crate) is_f16: bool,
    pub(crate) n_heads: usize,
    pub(crate) head_size: usize,
}

/// Why a graph is not one that this backend can drive.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A needed input or output is not there.
    #[error("the graph has no {what}: it has {found}")]
    Absent {
        /// What was looked for.
        what: &'static str,
        /// The names that are there.
        found: String,
    },
    /// The library's attention does not take the heads of this model.
    #[error(
        "its attention `{node}` rotates heads of size {found}: ONNX Runtime expects a head size \
         that is a multiple of {HEAD_SIZE_MULTIPLE}"
    )]
    HeadSize {
        /// The attention node.
        node: String,
        /// The size of its heads.
        found: usize,
    },
    /// An input is of a kind that is not understood.
    #[error("the graph's input `{name}` ({shape}) is not understood: {reason}")]
    Unknown {
        /// The input.
        name: String,
        /// Its element type and sizes.
        shape: String,
        /// What it may be.
        reason: &'static str,
    },
}

impl Contract {
    /// Read the contract of `model`. Sizes that the graph leaves open come from `architecture`.
    ///
    /// # Errors
    ///
    /// When the graph is no decoder with an explicit KV cache, or takes something unknown.
    pub(crate) fn read(
        model: &OnnxModel,
        architecture: &Architecture,
    ) -> Result<Contract, ContractError> {
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let names = |values: &[Value]| {
            let names: Vec<&str> = values.iter().take(6).map(|value| value.name.as_str()).collect();
            format!("{}{}", names.join(", "), if 6 < values.len() { ", …" } else { "" })
        };
        let Some(input_ids) = integers(&inputs, "input_ids") else {
            return Err(ContractError::Absent {
                what: "integer input `input_ids`",
                found: names(&inputs),
            });
        };
        let Some(logits) = outputs.iter().find(|value| value.name == "logits") else {
            return Err(ContractError::Absent { what: "output `logits`", found: names(&outputs) });
        };
        let n_vocab = match logits.dims.as_deref() {
            Some([_, _, Dim::Fixed(n_vocab)]) => *n_vocab,
            _ => architecture.n_vocab,
        };
        let mut states = Vec::new();
        for input in &inputs {
            match INTEGERS.contains(&input.name.as_str()) {
                true => check_integers(input)?,
                false => states.push(state(input, &outputs, architecture)?),
            }
        }
        check_head_size(model, &states)?;
        let n_logits = integers(&inputs, "num_logits_to_keep");
        Ok(Contract {
            attention_mask: integers(&inputs, "attention_mask"),
            position_ids: integers(&inputs, "position_ids"),
            n_logits: n_logits.or_else(|| integers(&inputs, "logits_to_keep")),
            logits: logits.name.clone(),
            logits_are_f16: logits.element == Some(ElementType::F16),
            n_vocab,
            shares_buffers: shares_buffers(model, &states),
            input_ids,
            states,
        })
    }

    /// Bytes of all states for one position; `None` when the sizes make no sense.
    pub(crate) fn state_bytes_per_position(&self) -> Option<u64> {
        self.states.iter().try_fold(0_u64, |sum, state| {
            let n_elements = (state.n_heads as u64).checked_mul(state.head_size as u64)?;
            sum.checked_add(n_elements.checked_mul(if state.is_f16 { 2 } else { 4 })?)
        })
    }
}

/// Inputs that are no states.
const INTEGERS: [&str; 5] =
    ["input_ids", "attention_mask", "position_ids", "num_logits_to_keep", "logits_to_keep"];

fn check_integers(input: &Value) -> Result<(), ContractError> {
    match input.element {
        Some(ElementType::I64 | ElementType::I32) => Ok(()),
        _ => Err(ContractError::Unknown {
            name: input.name.clone(),
            shape: shape(input),
            reason: "expected integers of 32 or 64 bits",
        }),
    }
}

/// An input's element type and sizes, such as `f32 [batch, 64, 3]`.
fn shape(input: &Value) -> String {
    let element = input.element.map_or("no tensor", ElementType::name);
    let dims = input.dims.iter().flatten().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Symbolic(name) => name.clone(),
        Dim::Unknown => "?".to_owned(),
    });
    format!("{element} [{}]", dims.collect::<Vec<_>>().join(", "))
}

fn integers(inputs: &[Value], name: &str) -> Option<Integers> {
    let input = inputs.iter().find(|value| value.name == name)?;
    let is_i32 = match input.element {
        Some(ElementType::I64) => false,
        Some(ElementType::I32) => true,
        _ => return None,
    };
    let rank = input.dims.as_ref().map_or(2, Vec::len);
    Some(Integers { name: name.to_owned(), is_i32, rank })
}

/// Read an input as the past of a KV cache and find its present.
fn state(
    input: &Value,
    outputs: &[Value],
    architecture: &Architecture,
) -> Result<State, ContractError> {
    let unknown =
        |reason| ContractError::Unknown { name: input.name.clone(), shape: shape(input), reason };
    let is_f16 = match input.element {
        Some(ElementType::F32) => false,
        Some(ElementType::F16) => true,
        _ => return Err(unknown("expected a KV cache of f32 or f16")),
    };
    let layer = input.name.strip_prefix("past_key_values.").or(input.name.strip_prefix("past."));
    let is_kv = layer.is_some_and(|name| name.ends_with(".key") || name.ends_with(".value"));
    let (Some(layer), true) = (layer, is_kv) else {
        return Err(unknown("a state that is no KV cache (recurrent and hybrid models)"));
    };
    let present = format!("present.{layer}");
    if !outputs.iter().any(|value| value.name == present) {
        return Err(unknown("the output `present.…` that belongs to it is missing"));
    }
    let Some([_, heads, _, size]) = input.dims.as_deref() else {
        return Err(unknown("expected the axes batch, heads, positions, head size"));
    };
    let fixed = |dim: &Dim, otherwise| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbolic(_) | Dim::Unknown => otherwise,
    };
    Ok(State {
        past: input.name.clone(),
        present,
        is_f16,
        n_heads: fixed(heads, architecture.n_kv_heads),
        head_size: fixed(size, architecture.head_size),
    })
}

/// Whether every state goes straight through a GroupQueryAttention, which writes the new
/// positions into the buffer of the old ones and ignores what lies behind them.
fn shares_buffers(model: &OnnxModel, states: &[State]) -> bool {
    let mut shared = HashSet::new();
    // A node that cannot be decoded is no attention; the library will say what is wrong with it.
    for node in model.nodes().filter_map(Result::ok) {
        if node.op_type() != "GroupQueryAttention" {
            continue;
        }
        // Inputs: query, key, value, past_key, past_value, …; outputs: output, present_key, ….
        for (past, present) in [(3, 1), (4, 2)] {
            if let (Some(past), Some(present)) = (node.input.get(past), node.output.get(present)) {
                shared.insert((past.clone(), present.clone()));
            }
        }
    }
    let is_shared = |state: &State| shared.contains(&(state.past.clone(), state.present.clone()));
    !states.is_empty() && states.iter().all(is_shared)
}

/// Refuse at open what the library would refuse in the first step.
fn check_head_size(model: &OnnxModel, states: &[State]) -> Result<(), ContractError> {
    for node in model.nodes().filter_map(Result::ok) {
        let rotary = node.attribute("do_rotary").ok().flatten();
        let is_rotary = rotary.is_some_and(|attribute| attribute.i() == 1);
        if node.op_type() != "GroupQueryAttention" || !is_rotary {
            continue;
        }
        let past = node.input.get(3);
        let state = states.iter().find(|state| Some(&state.past) == past);
        match state.map(|state| state.head_size) {
            Some(found) if found % HEAD_SIZE_MULTIPLE != 0 => {
                return Err(ContractError::HeadSize { node: node.name().to_owned(), found });
            }
            _ => {}
        }
    }
    Ok(())
}
