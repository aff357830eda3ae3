//! What a stateful graph takes and gives, read from the graph itself.

use std::ffi::CString;

use lapwing_backend::row_length;
use lapwing_formats::ir::{
    Dim, ElementType, IrModel, LOGITS_POSITIONS, Parameter, length_switches,
};
use lapwing_model::Architecture;

use crate::states::States;

/// The inputs and outputs of a decoder graph, by meaning.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) attention_mask: Option<Integers>,
    pub(crate) position_ids: Option<Positions>,
    pub(crate) beam_idx: Option<Integers>,
    /// Tells a state space what it is given.
    pub(crate) cache_position: Option<Integers>,
    /// Tells text, by zeros, from what was seen.
    pub(crate) token_type_ids: Option<Integers>,
    pub(crate) tokens: TokenInput,
    /// The name of the logits.
    pub(crate) logits: CString,
    pub(crate) n_vocab: usize,
    pub(crate) states: States,
    /// The positions behind which the graph computes all of a sequence otherwise.
    pub(crate) n_positions_switch: Option<usize>,
    /// Whether a sliding window counts positions, and not slots of the cache.
    pub(crate) window_counts_positions: bool,
}

/// An input of integers.
#[derive(Clone, Debug)]
pub(crate) struct Integers {
    pub(crate) name: CString,
    pub(crate) is_i32: bool,
}

/// The input of positions.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    pub(crate) input: Integers,
    /// Time, height and width of what was seen have a row each where there is an axis for them; of
    /// text all rows are alike.
    pub(crate) n_rows: Option<usize>,
}

/// How tokens go in.
#[derive(Clone, Debug)]
pub(crate) enum TokenInput {
    Ids(Integers),
    /// By what other graphs make of their ids, in f32: the names of the inputs that take it.
    Embedded(Vec<String>),
}

impl Graph {
    /// Read what `ir` takes and gives. The reason of a refusal says what was expected and found.
    pub(crate) fn read(ir: &IrModel, architecture: &Architecture) -> Result<Graph, String> {
        let mut inputs = Inputs::default();
        let parameters = ir.parameters();
        for parameter in &parameters {
            inputs.take(parameter)?;
        }
        check_shapes(&parameters, &inputs)?;
        let tokens = match (inputs.input_ids, inputs.embedded) {
            (Some(ids), embedded) if embedded.is_empty() => TokenInput::Ids(ids),
            (None, embedded) if !embedded.is_empty() => TokenInput::Embedded(embedded),
            (None, _) => return Err("it has no input `input_ids`".to_owned()),
            (Some(_), embedded) => {
                return Err(format!(
                    "its input `{}` beside `input_ids` is not understood",
                    embedded[0]
                ));
            }
        };
        let position_ids = inputs.position_ids.map(|input| {
            let n_rows = parameters.iter().find_map(position_rows);
            Positions { input, n_rows }
        });
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
            position_ids,
            beam_idx: inputs.beam_idx,
            cache_position: inputs.cache_position,
            token_type_ids: inputs.token_type_ids,
            tokens,
            logits: CString::new(name).map_err(|_| "an output's name holds a NUL".to_owned())?,
            n_vocab,
            states,
            n_positions_switch: switch(ir)?,
            // As lapwing-export notes it.
            window_counts_positions: ir.rt_info(&["lapwing", "window_counts"]).as_deref()
                == Some("positions"),
        })
    }
}

fn switch(ir: &IrModel) -> Result<Option<usize>, String> {
    match length_switches(ir)[..] {
        [] => Ok(None),
        [n_positions] => Ok(usize::try_from(n_positions).ok()),
        ref found => Err(format!(
            "it computes otherwise behind {found:?} positions: expected one such border at most"
        )),
    }
}

/// Inputs of floats that take what other graphs make of token ids.
const EMBEDDED: [&str; 2] = ["inputs_embeds", "per_layer_inputs"];

fn is_called(parameter: &Parameter, known: &str) -> bool {
    parameter.names.iter().any(|name| name == known)
}

/// The first axis of positions of what was seen and of text.
fn position_rows(parameter: &Parameter) -> Option<usize> {
    match parameter.dims.as_deref() {
        Some([rows, _, _]) if is_called(parameter, "position_ids") => {
            rows.fixed().and_then(|rows| usize::try_from(rows).ok())
        }
        _ => None,
    }
}

/// Refuse at open what the library would refuse in the first step: one sequence of any number of
/// tokens goes in.
pub(crate) fn check_shapes(parameters: &[Parameter], inputs: &Inputs) -> Result<(), String> {
    parameters.iter().try_for_each(|parameter| check_shape(parameter, inputs))
}

fn check_shape(parameter: &Parameter, inputs: &Inputs) -> Result<(), String> {
    let Some(dims) = &parameter.dims else { return Ok(()) };
    let of_tokens = ["input_ids", "attention_mask", "position_ids", "token_type_ids"];
    let is_of_tokens = of_tokens.into_iter().any(|known| is_called(parameter, known));
    let is_one = |dim: &Dim| dim.fixed().is_none_or(|size| size == 1);
    match dims.as_slice() {
        _ if !is_of_tokens => Ok(()),
        [n_sequences, n_tokens] if is_one(n_sequences) && n_tokens.fixed().is_none() => Ok(()),
        [_, n_sequences, n_tokens]
            if !inputs.embedded.is_empty()
                && is_one(n_sequences)
                && n_tokens.fixed().is_none()
                && position_rows(parameter)
                    .is_some_and(|rows| (1..=N_POSITION_ROWS_MAX).contains(&rows)) =>
        {
            Ok(())
        }
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

/// Time, height and width, and the place in the text.
const N_POSITION_ROWS_MAX: usize = 4;

/// What goes into a graph, by meaning.
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) input_ids: Option<Integers>,
    pub(crate) attention_mask: Option<Integers>,
    pub(crate) position_ids: Option<Integers>,
    pub(crate) beam_idx: Option<Integers>,
    pub(crate) cache_position: Option<Integers>,
    pub(crate) token_type_ids: Option<Integers>,
    /// By their names.
    pub(crate) embedded: Vec<String>,
}

impl Inputs {
    pub(crate) fn take(&mut self, parameter: &Parameter) -> Result<(), String> {
        let names = &parameter.names;
        if let Some(name) = EMBEDDED.into_iter().find(|name| is_called(parameter, name)) {
            self.embedded.push(name.to_owned());
            return match parameter.element_type {
                ElementType::F32 => Ok(()),
                other => Err(format!("its input `{name}` has elements of {}", other.name())),
            };
        }
        let is_i32 = match parameter.element_type {
            ElementType::I64 => false,
            ElementType::I32 => true,
            other => {
                return Err(format!(
                    "its input `{}` has elements of {}",
                    names.join("/"),
                    other.name()
                ));
            }
        };
        for name in names {
            let slot = match name.as_str() {
                "input_ids" => &mut self.input_ids,
                "attention_mask" => &mut self.attention_mask,
                "position_ids" => &mut self.position_ids,
                "beam_idx" => &mut self.beam_idx,
                "cache_position" => &mut self.cache_position,
                "token_type_ids" => &mut self.token_type_ids,
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
