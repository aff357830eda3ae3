//! What a stateful graph takes and gives, read from the graph itself.

use std::ffi::CString;

use lapwing_backend::row_length;
use lapwing_formats::ir::{Dim, ElementType, IrModel, LOGITS_POSITIONS, Parameter};
use lapwing_model::Architecture;

use crate::states::States;

/// The inputs and outputs of a decoder graph, by meaning.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) attention_mask: Option<Integers>,
    pub(crate) position_ids: Option<Integers>,
    pub(crate) beam_idx: Option<Integers>,
    /// Tells a state space what it is given.
    pub(crate) cache_position: Option<Integers>,
    pub(crate) input_ids: Integers,
    /// The name of the logits.
    pub(crate) logits: CString,
    pub(crate) n_vocab: usize,
    pub(crate) states: States,
    /// Whether a sliding window counts positions, and not slots of the cache.
    pub(crate) window_counts_positions: bool,
}

/// An input of integers.
#[derive(Clone, Debug)]
pub(crate) struct Integers {
    pub(crate) name: CString,
    pub(crate) is_i32: bool,
}

impl Graph {
    /// Read what `ir` takes and gives. The reason of a refusal says what was expected and found.
    pub(crate) fn read(ir: &IrModel, architecture: &Architecture) -> Result<Graph, String> {
        let mut inputs = Inputs::default();
        for parameter in ir.parameters() {
            let is_i32 = match parameter.element_type {
                ElementType::I64 => false,
                ElementType::I32 => true,
                other => {
                    let name = parameter.names.join("/");
                    return Err(format!("its input `{name}` has elements of {}", other.name()));
                }
            };
            inputs.take(&parameter.names, is_i32)?;
            check_shape(&parameter)?;
        }
        let Some(input_ids) = inputs.input_ids else {
            return Err("it has no input `input_ids`".to_owned());
        };
        let states = States::read(ir, inputs.cache_position.is_some())?;
        let results = ir.results();
        let named = |name: &str| results.iter().find(|r| r.names.iter().any(|n| n == name));
        let Some(logits) = named("logits").or(results.first().filter(|_| results.len() == 1))
        else {
            return Err("it has no output `logits`".to_owned());
        };
        match logits.element_type {
            ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::Dynamic => {}
            other => return Err(format!("its logits are {}: expected floats", other.name())),
        }
        let n_vocab = logits.dims.last().and_then(|dim| dim.fixed());
        let n_vocab = row_length(n_vocab.unwrap_or(architecture.n_vocab as u64))
            .map_err(|reason| format!("its logits make no rows: {reason}"))?;
        let name = logits.names.first().map_or("logits", String::as_str);
        Ok(Graph {
            attention_mask: inputs.attention_mask,
            position_ids: inputs.position_ids,
            beam_idx: inputs.beam_idx,
            cache_position: inputs.cache_position,
            input_ids,
            logits: CString::new(name).map_err(|_| "an output's name holds a NUL".to_owned())?,
            n_vocab,
            states,
            // As lapwing-export notes it.
            window_counts_positions: ir.rt_info(&["lapwing", "window_counts"]).as_deref()
                == Some("positions"),
        })
    }
}

/// Refuse at open what the library would refuse in the first step: one sequence of any number of
/// tokens goes in.
fn check_shape(parameter: &Parameter) -> Result<(), String> {
    let Some(dims) = &parameter.dims else { return Ok(()) };
    let name = |known: &str| parameter.names.iter().any(|name| name == known);
    let is_of_tokens = ["input_ids", "attention_mask", "position_ids"].into_iter().any(name);
    let is_one = |dim: &Dim| dim.fixed().is_none_or(|size| size == 1);
    match dims.as_slice() {
        _ if !is_of_tokens => Ok(()),
        [n_sequences, n_tokens] if is_one(n_sequences) && n_tokens.fixed().is_none() => Ok(()),
        _ => {
            let size = |dim: &Dim| dim.fixed().map_or("?".to_owned(), |size| size.to_string());
            let found: Vec<String> = dims.iter().map(size).collect();
            let names = parameter.names.join("/");
            let expected = "one sequence of any length, [1 or ?, ?]";
            Err(format!(
                "its input `{names}` has the shape [{}]: expected {expected}",
                found.join(", ")
            ))
        }
    }
}

#[derive(Default)]
struct Inputs {
    input_ids: Option<Integers>,
    attention_mask: Option<Integers>,
    position_ids: Option<Integers>,
    beam_idx: Option<Integers>,
    cache_position: Option<Integers>,
}

impl Inputs {
    fn take(&mut self, names: &[String], is_i32: bool) -> Result<(), String> {
        for name in names {
            let slot = match name.as_str() {
                "input_ids" => &mut self.input_ids,
                "attention_mask" => &mut self.attention_mask,
                "position_ids" => &mut self.position_ids,
                "beam_idx" => &mut self.beam_idx,
                "cache_position" => &mut self.cache_position,
                LOGITS_POSITIONS => return Ok(()),
                _ => continue,
            };
            let name = CString::new(name.as_str()).expect("the names above hold no NUL");
            *slot = Some(Integers { name, is_i32 });
            return Ok(());
        }
        let name = names.join("/");
        let keeps_no_state = ["past_key_values", "cache_params"];
        Err(match keeps_no_state.iter().any(|prefix| name.starts_with(prefix)) {
            true => {
                format!(
                    "its input `{name}` means that it keeps no state: expected a stateful export"
                )
            }
            false => format!("its input `{name}` is not understood"),
        })
    }
}
