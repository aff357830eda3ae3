//! What a graph takes and gives, read from the graph itself.

use lapwing_backend::{Source, row_length};
use lapwing_formats::onnx::{Dim, ElementType, OnnxModel, Value, length_switches};
use lapwing_model::Architecture;

use crate::state::{KvState, States};

/// ONNX Runtime 1.31.1 fails in the first run of a GroupQueryAttention with rotary embedding whose
/// head size is no multiple of this.
const HEAD_SIZE_MULTIPLE: usize = 16;

/// The inputs and outputs of a decoder graph, by meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) tokens: Tokens,
    pub(crate) attention_mask: Option<Integers>,
    /// Of as many rows as models that also see tell of a picture; all are alike for text.
    pub(crate) position_ids: Option<Integers>,
    /// An input by which the graph is told whether there is a past, when it computes the two otherwise.
    pub(crate) use_cache: Option<String>,
    /// An input by which the exporter lets the caller choose how many logits are computed.
    pub(crate) n_logits: Option<Integers>,
    pub(crate) logits: String,
    /// Logits are f16 instead of f32.
    pub(crate) logits_are_f16: bool,
    pub(crate) n_vocab: usize,
    pub(crate) states: States,
    /// Past and present of keys and values may be one buffer that is longer than what is in it.
    pub(crate) shares_buffers: bool,
    /// Positions that such a buffer has room for at least.
    pub(crate) n_buffered_min: usize,
    /// Several tokens may go in at once behind others.
    pub(crate) takes_several_behind: bool,
    /// As [`lapwing_backend::Limits`] has it.
    pub(crate) n_positions_switch: Option<usize>,
}

/// What tokens go in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// As their ids.
    Ids(Integers),
    /// As what another graph makes of their ids.
    Embedded {
        /// That graph's input.
        ids: Integers,
        /// Its outputs, which are inputs here by the same names.
        values: Vec<String>,
    },
}

impl Tokens {
    /// The input of their ids, in whatever graph.
    pub(crate) fn ids(&self) -> &Integers {
        match self {
            Tokens::Ids(ids) | Tokens::Embedded { ids, .. } => ids,
        }
    }
}

/// An input of integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Integers {
    pub(crate) name: String,
    pub(crate) is_i32: bool,
    /// Number of axes.
    pub(crate) rank: usize,
    /// The size of the first axis before batch and tokens, where there are three.
    pub(crate) n_rows: usize,
}

/// Why a graph is not one that this backend can drive.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ContractError {
    /// A needed input or output is not there.
    #[error("the graph has no {what}: it has {found}")]
    Absent { what: &'static str, found: String },
    /// The library's attention does not take the heads of this model.
    #[error(
        "its attention `{node}` rotates heads of size {found}: ONNX Runtime expects a head size \
         that is a multiple of {HEAD_SIZE_MULTIPLE}"
    )]
    HeadSize { node: String, found: usize },
    /// Logits are not a row of floats for each token.
    #[error("the graph's logits are {shape}: expected f32 or f16 [batch, tokens, vocabulary]")]
    Logits { shape: String },
    /// Rows are claimed that no model has.
    #[error("the graph's {what} make no rows: {reason}")]
    Length { what: &'static str, reason: String },
    /// The library found another shape than the graph claims.
    #[error(
        "the graph's logits claim {claimed} for each token: ONNX Runtime finds {found} by their \
         computation"
    )]
    Claimed { claimed: usize, found: i64 },
    /// The graph changes what it computes more than once.
    #[error(
        "the graph computes sequences otherwise behind {found:?} positions: expected one number"
    )]
    Switches { found: Vec<u64> },
    /// A part of the graph is no ONNX.
    #[error("a part of the graph cannot be decoded")]
    Decode(#[source] Source),
    /// An input is of a kind that is not understood.
    #[error("the graph's input `{name}` ({shape}) is not understood: {reason}")]
    Unknown { name: String, shape: String, reason: &'static str },
}

impl Contract {
    /// Read the contract of `model`, which token ids go into by way of `embedding` where there is one.
    /// Sizes that the graph leaves open come from `architecture`.
    ///
    /// # Errors
    ///
    /// When the graph is no decoder with explicit states, or takes something unknown.
    pub(crate) fn read(
        model: &OnnxModel,
        embedding: Option<&OnnxModel>,
        architecture: &Architecture,
    ) -> Result<Contract, ContractError> {
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let names = |values: &[Value]| {
            let names: Vec<&str> = values.iter().take(6).map(|value| value.name.as_str()).collect();
            format!("{}{}", names.join(", "), if 6 < values.len() { ", …" } else { "" })
        };
        let absent_ids = |inputs: &[Value]| ContractError::Absent {
            what: "integer input `input_ids`",
            found: names(inputs),
        };
        let tokens = match (integers(&inputs, INPUT_IDS), embedding) {
            (Some(ids), _) => Tokens::Ids(ids),
            (None, None) => return Err(absent_ids(&inputs)),
            (None, Some(embedding)) => {
                let ids = integers(&embedding.inputs(), INPUT_IDS);
                let ids = ids.ok_or_else(|| absent_ids(&embedding.inputs()))?;
                Tokens::Embedded { ids, values: embedded(embedding, &inputs)? }
            }
        };
        let Some(logits) = outputs.iter().find(|value| value.name == "logits") else {
            return Err(ContractError::Absent { what: "output `logits`", found: names(&outputs) });
        };
        let n_vocab = match logits.dims.as_deref() {
            Some([_, _, Dim::Fixed(n_vocab)]) => *n_vocab,
            None | Some([_, _, _]) => architecture.n_vocab,
            Some(_) => return Err(ContractError::Logits { shape: shape(logits) }),
        };
        let n_vocab = row_length(n_vocab as u64)
            .map_err(|reason| ContractError::Length { what: "logits", reason })?;
        if !matches!(logits.element, None | Some(ElementType::F32 | ElementType::F16)) {
            return Err(ContractError::Logits { shape: shape(logits) });
        }
        let mut states = States::default();
        let mut use_cache = None;
        for input in &inputs {
            let name = input.name.as_str();
            match &tokens {
                _ if INTEGERS.contains(&name) => check_integers(input)?,
                Tokens::Embedded { values, .. } if values.iter().any(|value| value == name) => {}
                _ if name == USE_CACHE && input.element == Some(ElementType::Bool) => {
                    use_cache = Some(name.to_owned());
                }
                _ => states
                    .take(input, &outputs, architecture)
                    .map_err(|reason| not_understood(input, reason))?,
            }
        }
        states.check_sizes().map_err(|reason| ContractError::Length { what: "states", reason })?;
        check_head_size(model, &states.kv)?;
        let n_logits = integers(&inputs, "num_logits_to_keep");
        Ok(Contract {
            attention_mask: integers(&inputs, "attention_mask"),
            position_ids: integers(&inputs, "position_ids"),
            n_logits: n_logits.or_else(|| integers(&inputs, "logits_to_keep")),
            logits: logits.name.clone(),
            logits_are_f16: logits.element == Some(ElementType::F16),
            n_vocab,
            shares_buffers: states.share_buffers(model),
            n_buffered_min: states.n_buffered_min(model),
            // Of the branch for a past, a graph's maker may have traced a step of one token.
            takes_several_behind: use_cache.is_none() && states.take_several_behind(model),
            n_positions_switch: switch(model)?,
            tokens,
            use_cache,
            states,
        })
    }
}

/// The positions behind which the graph computes all of a sequence otherwise.
fn switch(model: &OnnxModel) -> Result<Option<usize>, ContractError> {
    match length_switches(model).map_err(|error| ContractError::Decode(error.into()))?[..] {
        [] => Ok(None),
        [n_positions] => Ok(usize::try_from(n_positions).ok()),
        ref found => Err(ContractError::Switches { found: found.to_vec() }),
    }
}

/// Token ids, in whatever graph takes them.
const INPUT_IDS: &str = "input_ids";

/// Inputs that are no states.
const INTEGERS: [&str; 5] =
    [INPUT_IDS, "attention_mask", POSITION_IDS, "num_logits_to_keep", "logits_to_keep"];

/// Of these, what has a number for each token.
const OF_TOKENS: [&str; 4] = [INPUT_IDS, "attention_mask", POSITION_IDS, "token_type_ids"];

const POSITION_IDS: &str = "position_ids";

/// Time, height and width of a picture, and the place in the text.
const N_POSITION_ROWS_MAX: usize = 4;

/// Whether there is a past, as optimum's merged decoders ask.
const USE_CACHE: &str = "use_cache_branch";

/// The outputs of `embedding`, which must all be wanted by the decoder with these `inputs`.
fn embedded(embedding: &OnnxModel, inputs: &[Value]) -> Result<Vec<String>, ContractError> {
    if let Some(other) = embedding.inputs().iter().find(|input| input.name != INPUT_IDS) {
        return Err(not_understood(other, "expected `input_ids` alone before a decoder"));
    }
    let outputs = embedding.outputs();
    for output in &outputs {
        let wanted = inputs.iter().find(|input| input.name == output.name);
        let is_float = matches!(output.element, Some(ElementType::F32 | ElementType::F16));
        if !is_float || wanted.is_none_or(|wanted| wanted.element != output.element) {
            let reason = "expected an input of the decoder of the same name and floats";
            return Err(not_understood(output, reason));
        }
    }
    Ok(outputs.into_iter().map(|output| output.name).collect())
}

pub(crate) fn check_integers(input: &Value) -> Result<(), ContractError> {
    if !matches!(input.element, Some(ElementType::I64 | ElementType::I32)) {
        return Err(not_understood(input, "expected integers of 32 or 64 bits"));
    }
    // Refused at open, what the library would refuse in the first step.
    let is_of_tokens = OF_TOKENS.contains(&input.name.as_str());
    let is_one = |batch: &Dim| matches!(batch, Dim::Fixed(1) | Dim::Symbolic(_) | Dim::Unknown);
    match input.dims.as_deref() {
        Some([batch, n_tokens]) if is_of_tokens => {
            match is_one(batch) && !matches!(n_tokens, Dim::Fixed(_)) {
                true => Ok(()),
                false => Err(not_understood(input, "expected one sequence of any length")),
            }
        }
        // Text is at the same place in all of a picture's directions.
        Some([Dim::Fixed(1..=N_POSITION_ROWS_MAX), batch, n_tokens])
            if input.name == POSITION_IDS =>
        {
            match is_one(batch) && !matches!(n_tokens, Dim::Fixed(_)) {
                true => Ok(()),
                false => Err(not_understood(input, "expected one sequence of any length")),
            }
        }
        Some(_) if is_of_tokens => Err(not_understood(input, "expected two axes: batch, tokens")),
        _ => Ok(()),
    }
}

pub(crate) fn not_understood(input: &Value, reason: &'static str) -> ContractError {
    ContractError::Unknown { name: input.name.clone(), shape: shape(input), reason }
}

/// An input's element type and sizes, such as `f32 [batch, 64, 3]`.
pub(crate) fn shape(input: &Value) -> String {
    let element = input.element.map_or("no tensor", ElementType::name);
    let dims = input.dims.iter().flatten().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Symbolic(name) => name.clone(),
        Dim::Unknown => "?".to_owned(),
    });
    format!("{element} [{}]", dims.collect::<Vec<_>>().join(", "))
}

pub(crate) fn integers(inputs: &[Value], name: &str) -> Option<Integers> {
    let input = inputs.iter().find(|value| value.name == name)?;
    let is_i32 = match input.element {
        Some(ElementType::I64) => false,
        Some(ElementType::I32) => true,
        _ => return None,
    };
    let rank = input.dims.as_ref().map_or(2, Vec::len);
    let n_rows = match input.dims.as_deref() {
        Some([Dim::Fixed(n_rows), _, _]) => *n_rows,
        _ => 1,
    };
    Some(Integers { name: name.to_owned(), is_i32, rank, n_rows })
}

/// Refuse at open what the library would refuse in the first step.
fn check_head_size(model: &OnnxModel, states: &[KvState]) -> Result<(), ContractError> {
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
