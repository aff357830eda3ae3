//! A graph that gives rows for a text, as optimum-intel exports it for `feature-extraction`.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use lapwing_backend::{
    Device, DeviceKind, Encoder, EncoderShape, MemoryBreakdown, OpenError, OpenOptions, Source,
    StepError, row_length,
};
use lapwing_formats::ir::{IrModel, ModelResult};
use lapwing_model::{EncoderOutput, ModelFolder, TokenId};

use crate::NAME;
use crate::device::executing;
use crate::graph::{Inputs, check_shapes};
use crate::input::{Input, last_rows};
use crate::native::{Core, InferRequest, NativeError};
use crate::properties::properties;

/// An encoder that OpenVINO accepted.
pub(crate) struct OpenVinoEncoder {
    shape: EncoderShape,
    output: CString,
    /// One request, so texts take turns.
    request: Mutex<Request>,
    device: Device,
    weights_mapped_bytes: u64,
}

/// A request with the tensors of its inputs.
struct Request {
    request: InferRequest,
    ids: Input,
    mask: Option<Input>,
    types: Option<Input>,
    positions: Option<Input>,
}

/// What a graph gives for a text; none of one that gives something else.
pub(crate) fn output(results: &[ModelResult]) -> Option<EncoderOutput> {
    EncoderOutput::of(results.iter().flat_map(|result| &result.names).map(String::as_str))
}

impl OpenVinoEncoder {
    pub(crate) fn open(
        (core, version): (&Core, &str),
        folder: &ModelFolder,
        options: &OpenOptions,
        device: Device,
    ) -> Result<OpenVinoEncoder, OpenError> {
        let graph = &folder.graph;
        let ir = IrModel::open(graph)
            .map_err(|error| OpenError::Read { path: graph.clone(), source: error.into() })?;
        let unsupported =
            |reason| OpenError::Unsupported { backend: NAME, folder: folder.root.clone(), reason };
        let results = ir.results();
        let output = output(&results).ok_or_else(|| no_encoder(folder, &results))?;
        let inputs = inputs(&ir).map_err(unsupported)?;
        let n_hidden = n_hidden(&results, &output, folder.architecture.hidden_size);
        let n_hidden = n_hidden.map_err(unsupported)?;
        let properties = properties(options, DeviceKind::Cpu, None);
        let refused = |error: NativeError| OpenError::Refused {
            backend: NAME,
            version: version.to_owned(),
            model: graph.clone(),
            device: device.id.clone(),
            source: error.into(),
        };
        let compiled = core.compile(ir.xml(), ir.bin(), "CPU", &properties);
        let (compiled, _) = compiled.map_err(refused)?;
        ir.bin().release_pages();
        let found = executing(&compiled, device.clone()).map_err(refused)?;
        let request = compiled.request().and_then(|request| Request::new(request, &inputs));
        let limit = folder.architecture.n_positions_max;
        let name = CString::new(output.name()).expect("the names that are known hold no NUL");
        Ok(OpenVinoEncoder {
            request: Mutex::new(request.map_err(refused)?),
            shape: EncoderShape {
                n_vocab: folder.architecture.n_vocab,
                n_tokens_max: options.n_positions_max.map_or(limit, |asked| asked.min(limit)),
                n_hidden,
                output,
            },
            output: name,
            device: found,
            weights_mapped_bytes: ir.bin().len() as u64,
        })
    }
}

impl Encoder for OpenVinoEncoder {
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
        let n_rows = self.shape.n_numbers(tokens.len()) / self.shape.n_hidden;
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        let mut run = || -> Result<Vec<f32>, NativeError> {
            request.set(tokens)?;
            request.request.infer()?;
            let rows = request.request.output(&self.output)?;
            let n_hidden = self.shape.n_hidden;
            if last_rows(&rows, "numbers", n_rows + 1, n_hidden).is_ok() {
                let message = format!("expected {n_rows} rows of {n_hidden} numbers, found more");
                return Err(NativeError { call: "reading an output", message });
            }
            Ok(last_rows(&rows, "numbers", n_rows, n_hidden)?.into_owned())
        };
        let failed = |source: Source| StepError::Library { backend: NAME, n_positions: 0, source };
        run().map_err(|error| failed(error.into()))
    }
}

impl Request {
    fn new(request: InferRequest, inputs: &Inputs) -> Result<Request, NativeError> {
        let optional = |spec: &Option<_>| spec.as_ref().map(Input::new).transpose();
        Ok(Request {
            request,
            ids: Input::new(inputs.input_ids.as_ref().expect("`inputs` demands it"))?,
            mask: optional(&inputs.attention_mask)?,
            types: optional(&inputs.token_type_ids)?,
            positions: optional(&inputs.position_ids)?,
        })
    }

    /// Put in a text, alone: every token counts, and all are of the first part.
    fn set(&mut self, tokens: &[TokenId]) -> Result<(), NativeError> {
        let (request, n_tokens) = (&mut self.request, tokens.len());
        let shape = [1, n_tokens];
        self.ids.set(request, &shape, tokens.iter().map(|&id| i64::from(id)))?;
        for (input, value) in [(&mut self.mask, 1), (&mut self.types, 0)] {
            if let Some(input) = input {
                input.set(request, &shape, std::iter::repeat_n(value, n_tokens))?;
            }
        }
        match &mut self.positions {
            Some(positions) => positions.set(request, &shape, 0..n_tokens as i64),
            None => Ok(()),
        }
    }
}

/// What goes in, by meaning; anything else is refused by name.
fn inputs(ir: &IrModel) -> Result<Inputs, String> {
    let parameters = ir.parameters();
    let mut inputs = Inputs::default();
    for parameter in &parameters {
        inputs.take(parameter)?;
    }
    check_shapes(&parameters, &inputs)?;
    let others = [
        ("beam_idx", inputs.beam_idx.is_some()),
        ("cache_position", inputs.cache_position.is_some()),
        ("inputs_embeds", !inputs.embedded.is_empty()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, is_there)| *is_there) {
        return Err(format!("its input `{name}` is not understood in an encoder"));
    }
    match inputs.input_ids.is_some() {
        true if ir.variables().is_empty() => Ok(inputs),
        true => Err("it keeps states: expected none in an encoder".to_owned()),
        false => Err("it has no input `input_ids`".to_owned()),
    }
}

/// The length of rows that the graph claims, or the manifest's.
fn n_hidden(
    results: &[ModelResult],
    output: &EncoderOutput,
    hidden_size: usize,
) -> Result<usize, String> {
    let is_meant = |result: &&ModelResult| result.names.iter().any(|name| name == output.name());
    let dims = results.iter().find(is_meant).map_or(&[][..], |result| &result.dims);
    let last = dims.last().and_then(|dim| dim.fixed()).unwrap_or(hidden_size as u64);
    row_length(last).map_err(|reason| format!("its rows are none: {reason}"))
}

/// The graph gives nothing that an embedding is made of.
fn no_encoder(folder: &ModelFolder, results: &[ModelResult]) -> OpenError {
    let names = results.iter().take(4).map(|result| format!("`{}`", result.names.join("/")));
    let found = names.collect::<Vec<_>>().join(", ");
    OpenError::NoEncoder { folder: folder.root.clone(), found }
}
