//! A graph that gives rows for a text, as BERT does: everything goes in at once, nothing is kept.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lapwing_backend::{
    Device, Encoder, EncoderShape, MemoryBreakdown, OpenError, OpenOptions, Source, StepError,
    row_length,
};
use lapwing_formats::onnx::{Dim, ElementType, OnnxModel, Value};
use lapwing_model::{EncoderOutput, ModelFolder, TokenId};
use ort::environment::Environment;
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, TensorElementType};

use crate::NAME;
use crate::contract::{Integers, check_integers, integers, not_understood, shape};
use crate::input::Input;
use crate::model::{last_size, session};

/// An encoder that ONNX Runtime accepted.
pub(crate) struct OrtEncoder {
    shape: EncoderShape,
    inputs: Vec<(Meaning, Integers)>,
    /// The crate's `Session` runs through `&mut`, so texts take turns.
    session: Mutex<Session>,
    device: Device,
    weights_mapped_bytes: u64,
}

/// What an input of a number for each token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Ids,
    /// Every token counts: texts go in alone.
    Mask,
    /// All is of the first text.
    Types,
    Positions,
}

const MEANINGS: [(&str, Meaning); 4] = [
    ("input_ids", Meaning::Ids),
    ("attention_mask", Meaning::Mask),
    ("token_type_ids", Meaning::Types),
    ("position_ids", Meaning::Positions),
];

impl OrtEncoder {
    pub(crate) fn open(
        environment: &Environment,
        version: &str,
        folder: &ModelFolder,
        options: &OpenOptions,
        device: Device,
    ) -> Result<OrtEncoder, OpenError> {
        let read = |path: &PathBuf, source: Source| OpenError::Read { path: path.clone(), source };
        let graph = &folder.graph;
        let mut model = OnnxModel::open(graph).map_err(|error| read(graph, error.into()))?;
        let unsupported = |reason: String| OpenError::Unsupported {
            backend: NAME,
            folder: folder.root.clone(),
            reason,
        };
        let outputs = model.outputs();
        let output = EncoderOutput::of(outputs.iter().map(|value| value.name.as_str()));
        let output = output.ok_or_else(|| no_encoder(folder, &outputs))?;
        let inputs = contract(&model).map_err(|error| unsupported(error.to_string()))?;
        let claimed = outputs.iter().find(|value| value.name == output.name());
        let n_hidden = n_hidden(claimed, &output, folder.architecture.hidden_size);
        let n_hidden = n_hidden.map_err(unsupported)?;
        let weights_mapped_bytes = model.initializers().filter_map(|weight| weight.n_bytes).sum();
        let refused = |source| OpenError::Refused {
            backend: NAME,
            version: version.to_owned(),
            model: graph.clone(),
            device: device.id.clone(),
            source,
        };
        let session = session(environment, &mut model, options.n_threads).map_err(refused)?;
        // Graphs leave the length open and the library may know it.
        if let Some(found) = last_size(&session, output.name())
            && usize::try_from(found) != Ok(n_hidden)
        {
            let name = output.name();
            let reason = format!("its `{name}` claims rows of {n_hidden}, and gives {found}");
            return Err(unsupported(reason));
        }
        let limit = folder.architecture.n_positions_max;
        let shape = EncoderShape {
            n_vocab: folder.architecture.n_vocab,
            n_tokens_max: options.n_positions_max.map_or(limit, |asked| asked.min(limit)),
            n_hidden,
            output,
        };
        tracing::debug!(?shape, "opened");
        let session = Mutex::new(session);
        Ok(OrtEncoder { shape, inputs, session, device, weights_mapped_bytes })
    }

    fn run(&self, tokens: &[TokenId]) -> ort::Result<Vec<f32>> {
        let n_tokens = tokens.len();
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut binding = session.create_binding()?;
        for (meaning, spec) in &self.inputs {
            let values = (0..n_tokens).map(|idx| match meaning {
                Meaning::Ids => i64::from(tokens[idx]),
                Meaning::Mask => 1,
                Meaning::Types => 0,
                Meaning::Positions => idx as i64,
            });
            Input::new(spec.clone()).bind(&mut binding, &[1, n_tokens], values)?;
        }
        let rows = self.bind_rows(&mut binding, n_tokens)?;
        session.run_binding(&binding)?;
        Ok(rows.try_extract_tensor::<f32>()?.1.to_vec())
    }

    /// Room for what comes out: a graph that gives another shape than it claims is an error then.
    fn bind_rows(&self, binding: &mut IoBinding, n_tokens: usize) -> ort::Result<DynTensor> {
        let n_hidden = self.shape.n_hidden;
        let shape = match self.shape.output {
            EncoderOutput::Tokens(_) => vec![1, n_tokens, n_hidden],
            EncoderOutput::Pooled(_) => vec![1, n_hidden],
        };
        let element = TensorElementType::Float32;
        let mut rows = DynTensor::new(&Default::default(), element, shape)?;
        binding.bind_output(self.shape.output.name(), &mut rows)?;
        Ok(rows)
    }
}

impl Encoder for OrtEncoder {
    fn shape(&self) -> &EncoderShape {
        &self.shape
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        let weights_mapped_bytes = self.weights_mapped_bytes;
        MemoryBreakdown { weights_mapped_bytes, ..MemoryBreakdown::default() }
    }

    fn encode(&self, tokens: &[TokenId]) -> Result<Vec<f32>, StepError> {
        self.shape.check(tokens)?;
        let failed = |source: Source| StepError::Library { backend: NAME, n_positions: 0, source };
        self.run(tokens).map_err(|error| failed(error.into()))
    }
}

/// What goes in, by meaning; anything else is refused by name.
fn contract(model: &OnnxModel) -> Result<Vec<(Meaning, Integers)>, crate::ContractError> {
    let inputs = model.inputs();
    let mut found = Vec::new();
    for input in &inputs {
        let known = MEANINGS.iter().find(|(name, _)| *name == input.name);
        let Some(&(name, meaning)) = known else {
            let reason = "expected ids, a mask, types or positions of tokens by a known name";
            return Err(not_understood(input, reason));
        };
        check_integers(input)?;
        found.extend(integers(&inputs, name).map(|spec| (meaning, spec)));
    }
    match found.iter().any(|(meaning, _)| *meaning == Meaning::Ids) {
        true => Ok(found),
        false => {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            let found = names.join(", ");
            Err(crate::ContractError::Absent { what: "integer input `input_ids`", found })
        }
    }
}

/// The length of rows that the graph claims, or the manifest's.
fn n_hidden(
    claimed: Option<&Value>,
    output: &EncoderOutput,
    hidden_size: usize,
) -> Result<usize, String> {
    let Some(claimed) = claimed else { return row_length(hidden_size as u64) };
    let n_axes = if matches!(output, EncoderOutput::Tokens(_)) { 3 } else { 2 };
    let has_axes = claimed.dims.as_ref().is_none_or(|dims| dims.len() == n_axes);
    if !has_axes || !matches!(claimed.element, None | Some(ElementType::F32)) {
        let (name, found) = (output.name(), shape(claimed));
        return Err(format!("its `{name}` is {found}: expected f32 of {n_axes} axes"));
    }
    let last = match claimed.dims.as_deref().and_then(<[Dim]>::last) {
        Some(Dim::Fixed(size)) => *size,
        _ => hidden_size,
    };
    row_length(last as u64).map_err(|reason| format!("its rows are none: {reason}"))
}

/// The graph gives nothing that an embedding is made of.
fn no_encoder(folder: &ModelFolder, outputs: &[Value]) -> OpenError {
    let names = outputs.iter().take(4).map(|value| format!("`{}`", value.name));
    let found = names.collect::<Vec<_>>().join(", ");
    OpenError::NoEncoder { folder: folder.root.clone(), found }
}
