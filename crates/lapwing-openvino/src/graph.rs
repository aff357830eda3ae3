//! What a stateful graph takes and gives, read from the graph itself.

use std::ffi::CString;

use lapwing_formats::ir::{Dim, ElementType, IrModel, LOGITS_POSITIONS};
use lapwing_model::Architecture;

/// The inputs and outputs of a decoder graph, by meaning.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) attention_mask: Option<Integers>,
    pub(crate) position_ids: Option<Integers>,
    pub(crate) beam_idx: Option<Integers>,
    pub(crate) input_ids: Integers,
    /// The name of the logits.
    pub(crate) logits: CString,
    pub(crate) n_vocab: usize,
    /// Bytes of one position in the variables as the graph declares them, the plugin may keep less.
    pub(crate) state_bytes_per_position: Option<u64>,
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
        }
        let Some(input_ids) = inputs.input_ids else {
            return Err("it has no input `input_ids`".to_owned());
        };
        refuse_other_states(ir)?;
        let results = ir.results();
        let named = |name: &str| results.iter().find(|r| r.names.iter().any(|n| n == name));
        let Some(logits) = named("logits").or(results.first().filter(|_| results.len() == 1))
        else {
            return Err("it has no output `logits`".to_owned());
        };
        let n_vocab = logits.dims.last().and_then(|dim| dim.fixed());
        let name = logits.names.first().map_or("logits", String::as_str);
        Ok(Graph {
            attention_mask: inputs.attention_mask,
            position_ids: inputs.position_ids,
            beam_idx: inputs.beam_idx,
            input_ids,
            logits: CString::new(name).map_err(|_| "an output's name holds a NUL".to_owned())?,
            n_vocab: n_vocab.map_or(architecture.n_vocab, |n| n as usize),
            state_bytes_per_position: state_bytes_per_position(ir),
        })
    }
}

#[derive(Default)]
struct Inputs {
    input_ids: Option<Integers>,
    attention_mask: Option<Integers>,
    position_ids: Option<Integers>,
    beam_idx: Option<Integers>,
}

impl Inputs {
    fn take(&mut self, names: &[String], is_i32: bool) -> Result<(), String> {
        for name in names {
            let slot = match name.as_str() {
                "input_ids" => &mut self.input_ids,
                "attention_mask" => &mut self.attention_mask,
                "position_ids" => &mut self.position_ids,
                "beam_idx" => &mut self.beam_idx,
                LOGITS_POSITIONS => return Ok(()),
                _ => continue,
            };
            let name = CString::new(name.as_str()).expect("the names above hold no NUL");
            *slot = Some(Integers { name, is_i32 });
            return Ok(());
        }
        let name = names.join("/");
        Err(match name.as_str() {
            "cache_position" => {
                "its input `cache_position` belongs to a recurrent model".to_owned()
            }
            name if name.starts_with("past_key_values") => {
                format!(
                    "its input `{name}` means that it keeps no state: expected a stateful export"
                )
            }
            name => format!("its input `{name}` is not understood"),
        })
    }
}

/// Variables that are not keys and values need rules of their own.
fn refuse_other_states(ir: &IrModel) -> Result<(), String> {
    let variables = ir.variables();
    if variables.is_empty() {
        return Err("it has no variables: expected a stateful export".to_owned());
    }
    let is_kv = |id: &str| id.contains(".key") || id.contains(".value");
    match variables.iter().find(|variable| !is_kv(&variable.id)) {
        Some(other) => {
            Err(format!("its state `{}` is no KV cache (recurrent and hybrid models)", other.id))
        }
        None => Ok(()),
    }
}

fn state_bytes_per_position(ir: &IrModel) -> Option<u64> {
    let mut n_bytes: u64 = 0;
    for variable in ir.variables() {
        let dims = variable.dims?;
        let mut fixed = dims.iter().filter_map(|dim: &Dim| dim.fixed());
        let n_elements = fixed.try_fold(1_u64, u64::checked_mul)?;
        n_bytes = n_bytes.checked_add(variable.element_type.n_bytes(n_elements)?)?;
    }
    Some(n_bytes)
}
