//! A loaded IR: the graph edited, compiled for a device, the weights mapped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::{
    Decoder, Device, DeviceKind, Limits, MemoryBreakdown, Model, OpenError, OpenOptions, Precision,
};
use lapwing_formats::ir::{
    ElementType, HiddenEdit, IrModel, SliceEdit, expose_hidden, slice_before_head,
};
use lapwing_model::ModelFolder;
use tracing::{debug, warn};

use crate::decoder::OpenVinoDecoder;
use crate::graph::Graph;
use crate::load::NAME;
use crate::native::{CompiledModel, Core};
use crate::properties::properties;

/// Tokens that go into the library at once by default. Many: the CPU plugin takes several tokens
/// behind a filled cache by a slower path than a prompt at once.
const N_CHUNK_TOKENS: usize = 4096;

/// A model that OpenVINO accepted.
pub(crate) struct OpenVinoModel {
    shared: Arc<Shared>,
    folder: ModelFolder,
    device: Device,
    weights_mapped_bytes: u64,
    /// Reading and editing the graph, and the library's reading of it.
    read: Duration,
}

/// What decoders share.
pub(crate) struct Shared {
    pub(crate) compiled: CompiledModel,
    pub(crate) graph: Graph,
    /// Whether the graph computes the logits of chosen positions only.
    pub(crate) chooses_positions: bool,
    pub(crate) n_positions_max: usize,
    pub(crate) n_chunk_tokens: usize,
    pub(crate) can_rewind: bool,
    /// The hidden states, when they were asked for.
    pub(crate) hidden: Option<Hidden>,
}

/// Hidden states as the graph gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden {
    /// Length of one.
    pub(crate) n_hidden: usize,
    /// Type of their entries: f32, f16 or bf16.
    pub(crate) element_type: ElementType,
}

impl OpenVinoModel {
    pub(crate) fn open(
        core: &Core,
        version: &str,
        folder: &ModelFolder,
        options: &OpenOptions,
        device: Device,
    ) -> Result<OpenVinoModel, OpenError> {
        let unsupported =
            |reason| OpenError::Unsupported { backend: NAME, folder: folder.root.clone(), reason };
        if device.kind == DeviceKind::Npu {
            return Err(unsupported("language models on an NPU are not supported yet".into()));
        }
        let started = Instant::now();
        let mut ir = IrModel::open(&folder.graph).map_err(|error| OpenError::Read {
            path: folder.graph.clone(),
            source: error.into(),
        })?;
        let graph = Graph::read(&ir, &folder.architecture).map_err(unsupported)?;
        let edit = slice_before_head(&mut ir).map_err(|error| OpenError::Read {
            path: folder.graph.clone(),
            source: error.into(),
        })?;
        let group_size = ir.weight_compression().and_then(|facts| facts.group_size);
        let properties = properties(options, group_size);
        let hidden = match options.hidden_states {
            true => Some(show_hidden(&mut ir, folder, arithmetic(core, &device, options))?),
            false => None,
        };
        let edited = started.elapsed();
        let (compiled, read) =
            core.compile(ir.xml(), ir.bin(), &device.id, &properties).map_err(|error| {
                OpenError::Refused {
                    backend: NAME,
                    version: version.to_owned(),
                    model: folder.graph.clone(),
                    device: device.id.clone(),
                    source: error.into(),
                }
            })?;
        // The plugin has its own, repacked weights now; what it still reads comes back by itself.
        ir.bin().release_pages();
        let device = executing(&compiled, device);
        let limit = folder.architecture.n_positions_max;
        let shared = Shared {
            chooses_positions: chooses_positions(&edit),
            n_positions_max: options.n_positions_max.map_or(limit, |asked| asked.min(limit)),
            n_chunk_tokens: options.n_chunk_tokens.unwrap_or(N_CHUNK_TOKENS).max(1),
            // Forgotten positions stay in the cache behind the mask. That is only right where
            // positions are given and nothing counts back a number of cache entries.
            can_rewind: graph.position_ids.is_some()
                && graph.attention_mask.is_some()
                && folder.architecture.sliding_window.is_none(),
            hidden,
            compiled,
            graph,
        };
        Ok(OpenVinoModel {
            shared: Arc::new(shared),
            folder: folder.clone(),
            device,
            weights_mapped_bytes: ir.bin().len() as u64,
            read: edited + read,
        })
    }
}

impl Model for OpenVinoModel {
    fn n_vocab(&self) -> usize {
        self.shared.graph.n_vocab
    }

    fn n_hidden(&self) -> Option<usize> {
        self.shared.hidden.map(|hidden| hidden.n_hidden)
    }

    fn limits(&self) -> Limits {
        Limits {
            n_positions_max: self.shared.n_positions_max,
            n_chunk_tokens_max: self.shared.n_chunk_tokens,
            can_rewind: self.shared.can_rewind,
            can_score: true,
        }
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown {
            weights_mapped_bytes: self.weights_mapped_bytes,
            state_bytes_per_decoder: None,
            state_bytes_per_position: self.shared.graph.state_bytes_per_position,
        }
    }

    fn read_time(&self) -> Option<Duration> {
        Some(self.read)
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        let decoder = OpenVinoDecoder::new(Arc::clone(&self.shared)).map_err(|error| {
            OpenError::Unsupported {
                backend: NAME,
                folder: self.folder.root.clone(),
                reason: format!("cannot make room for a sequence: {error}"),
            }
        })?;
        Ok(Box::new(decoder))
    }
}

fn chooses_positions(edit: &SliceEdit) -> bool {
    match edit {
        SliceEdit::Sliced { head } => {
            debug!(%head, "the head computes chosen positions only");
            true
        }
        SliceEdit::NotFound(why) => {
            warn!(?why, "the logits of every position are computed: prefill is slower");
            false
        }
    }
}

/// What the plugin computes in; a hidden state of another type would change what it computes.
fn arithmetic(core: &Core, device: &Device, options: &OpenOptions) -> ElementType {
    if options.precision == Precision::Exact {
        return ElementType::F32;
    }
    match core.property(&device.id, "INFERENCE_PRECISION_HINT").as_deref() {
        Ok("bf16") => ElementType::Bf16,
        Ok("f16") => ElementType::F16,
        _ => ElementType::F32,
    }
}

/// Make the graph give what enters its head.
fn show_hidden(
    ir: &mut IrModel,
    folder: &ModelFolder,
    element_type: ElementType,
) -> Result<Hidden, OpenError> {
    let outcome = expose_hidden(ir, element_type)
        .map_err(|error| OpenError::Read { path: folder.graph.clone(), source: error.into() })?;
    let refused = |why: String| OpenError::Unsupported {
        backend: NAME,
        folder: folder.root.clone(),
        reason: format!("its hidden states cannot be given: {why}"),
    };
    match outcome {
        HiddenEdit::Exposed { head } => {
            debug!(%head, ?element_type, "what enters the head is given");
            let result = ir.results().pop();
            let size = result.and_then(|result| result.dims.last()?.fixed());
            let size = size.and_then(|size| usize::try_from(size).ok());
            let n_hidden = size.ok_or_else(|| refused("their length is not fixed".to_owned()))?;
            Ok(Hidden { n_hidden, element_type })
        }
        HiddenEdit::NotFound(why) => Err(refused(why.to_string())),
    }
}

/// The device as the compiled model reports it: the library may have placed it elsewhere.
fn executing(compiled: &CompiledModel, asked: Device) -> Device {
    match compiled.property("EXECUTION_DEVICES") {
        Ok(ids) if !ids.trim().is_empty() => Device { id: ids.trim().to_owned(), ..asked },
        _ => asked,
    }
}
