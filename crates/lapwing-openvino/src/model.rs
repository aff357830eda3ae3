//! A loaded IR: the graph edited, compiled for a device, the weights mapped.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::{
    CacheUse, Decoder, Device, Limits, MemoryBreakdown, Model, OpenError, OpenOptions, Sequence,
    row_length,
};
use lapwing_files::Lease;
use lapwing_formats::ir::{
    ElementType, HiddenEdit, IrModel, SliceEdit, expose_hidden, slice_before_head,
};
use lapwing_model::ModelFolder;
use tracing::{debug, warn};

use crate::NAME;
use crate::compilation::{Compilation, Task, compile};
use crate::device::{self, arithmetic, executing};
use crate::embedder::{self, Embedder, EmbeddingGraph};
use crate::encoder;
use crate::first_row;
use crate::graph::Graph;
use crate::inference::OpenVinoInference;
use crate::native::{CompiledModel, Core, NativeError};
use crate::npu::{self, Sizes, is_npu};
use crate::npu_inference::{NpuInference, Turns};
use crate::properties::properties;
use crate::shared::{Hidden, Shared};
use crate::states::StateKind;

/// Tokens that go into the library at once by default. Many: the CPU plugin takes several tokens
/// behind a filled cache by a slower path than a prompt at once.
const N_CHUNK_TOKENS: usize = 4096;

/// Rows of logits that are computed at once while scoring take at most this much memory. Much, so
/// that a window of a small model goes in at once: the CPU plugin is slower behind a filled cache.
const SCORED_ROWS_BYTES_MAX: usize = 128 << 20;

/// A model that OpenVINO accepted.
pub(crate) struct OpenVinoModel {
    shared: Arc<Shared>,
    /// Whose turn it is on an NPU.
    turns: Arc<Turns>,
    folder: ModelFolder,
    device: Device,
    core: Arc<Core>,
    weights_mapped_bytes: u64,
    /// Reading and editing the graph, and the library's reading of it.
    read: Duration,
    cache_use: Option<CacheUse>,
    /// Keeps the cache's entry as long as the model is open.
    _lease: Option<Lease>,
}

impl OpenVinoModel {
    /// Open a model with the library's core, which is of this version.
    pub(crate) fn open(
        (core, version): (&Arc<Core>, &str),
        folder: &ModelFolder,
        options: &OpenOptions,
        device: Device,
        on_inference: &mut dyn FnMut(),
    ) -> Result<OpenVinoModel, OpenError> {
        let started = Instant::now();
        let Source { ir, graph, embeddings, prepared } =
            Source::read(core, folder, options, &device)?;
        let unsupported = |reason: String| OpenError::Unsupported {
            backend: NAME,
            folder: folder.root.clone(),
            reason,
        };
        // The compile cache checks what comes out of its folder.
        let properties = options.with_properties(&prepared.properties, &["CACHE_DIR"]);
        let properties = properties.map_err(unsupported)?;
        let edited = started.elapsed();
        let refuses = |model: &Path, error: NativeError| OpenError::Refused {
            backend: NAME,
            version: version.to_owned(),
            model: model.to_owned(),
            device: device.id.clone(),
            source: error.into(),
        };
        let refused = |error| refuses(&folder.graph, error);
        let embedder = Embedder::compile(core, &embeddings, options.n_threads)
            .map_err(|(idx, error)| refuses(embeddings[idx].path(), error))?;
        let embedder = Arc::new(embedder);
        let share = |compiled: &CompiledModel| {
            Arc::new(prepared.share(&graph, &embedder, folder, options, compiled))
        };
        let on_inference = RefCell::new(on_inference);
        let first_row = |compiled: &CompiledModel| {
            (on_inference.borrow_mut())();
            first_row::row(&share(compiled), is_npu(&device))
        };
        let task = Task {
            core,
            version,
            ir: &ir,
            embeddings: &embeddings,
            device: &device,
            properties: &properties,
            first_row: &first_row,
        };
        let Compilation { compiled, read, cache_use, lease } =
            compile(&task, options.cache_folder.as_deref()).map_err(refused)?;
        // The plugin has its own, repacked weights now; what it still reads comes back by itself.
        ir.bin().release_pages();
        let found = executing(&compiled, device.clone()).map_err(refused)?;
        let shared = share(&compiled);
        drop(compiled);
        Ok(OpenVinoModel {
            shared,
            turns: Arc::default(),
            folder: folder.clone(),
            device: found,
            core: Arc::clone(core),
            weights_mapped_bytes: weights_mapped_bytes(&ir, &embeddings),
            read: edited + read,
            cache_use,
            _lease: lease,
        })
    }
}

/// What there is to compile.
struct Source {
    ir: IrModel,
    graph: Graph,
    embeddings: Vec<EmbeddingGraph>,
    prepared: Prepared,
}

impl Source {
    fn read(
        core: &Core,
        folder: &ModelFolder,
        options: &OpenOptions,
        device: &Device,
    ) -> Result<Source, OpenError> {
        let mut ir = IrModel::open(&folder.graph).map_err(|error| OpenError::Read {
            path: folder.graph.clone(),
            source: error.into(),
        })?;
        if let Some(output) = encoder::output(&ir.results()) {
            let (folder, output) = (folder.root.clone(), output.name().to_owned());
            return Err(OpenError::Encoder { folder, output });
        }
        let graph = Graph::read(&ir, &folder.architecture).map_err(|reason| {
            OpenError::Unsupported { backend: NAME, folder: folder.root.clone(), reason }
        })?;
        let embeddings = embedder::read(folder, &graph.tokens)?;
        let prepared = match is_npu(device) {
            true => Prepared::for_npu(folder, &graph, &ir, options, device)?,
            false => {
                let group_size = ir.weight_compression().and_then(|facts| facts.group_size);
                Prepared::edit(core, &mut ir, folder, options, device, group_size)?
            }
        };
        Ok(Source { ir, graph, embeddings, prepared })
    }
}

/// A graph that is ready to be compiled.
struct Prepared {
    properties: Vec<(&'static str, String)>,
    chooses_positions: bool,
    hidden: Option<Hidden>,
    npu: Option<Sizes>,
}

impl Prepared {
    /// What decoders need of a graph that was compiled.
    fn share(
        &self,
        graph: &Graph,
        embedder: &Arc<Embedder>,
        folder: &ModelFolder,
        options: &OpenOptions,
        compiled: &CompiledModel,
    ) -> Shared {
        Shared {
            chooses_positions: self.chooses_positions,
            limits: self.npu.map_or_else(|| limits(graph, folder, options), Sizes::limits),
            hidden: self.hidden,
            compiled: compiled.clone(),
            embedder: Arc::clone(embedder),
            graph: graph.clone(),
        }
    }

    /// NPUW cuts off the head itself: the graph stays as it is.
    fn for_npu(
        folder: &ModelFolder,
        graph: &Graph,
        ir: &IrModel,
        options: &OpenOptions,
        device: &Device,
    ) -> Result<Prepared, OpenError> {
        npu::require_fit(folder, graph, ir, options, device)?;
        let sizes = Sizes::of(options, folder.architecture.n_positions_max);
        Ok(Prepared {
            properties: npu::properties(device.kind, sizes),
            chooses_positions: false,
            hidden: None,
            npu: Some(sizes),
        })
    }

    /// Edit the graph so that its head computes chosen positions only.
    fn edit(
        core: &Core,
        ir: &mut IrModel,
        folder: &ModelFolder,
        options: &OpenOptions,
        device: &Device,
        weight_group_size: Option<i64>,
    ) -> Result<Prepared, OpenError> {
        let edit = slice_before_head(ir).map_err(|error| OpenError::Read {
            path: folder.graph.clone(),
            source: error.into(),
        })?;
        let hidden = match options.hidden_states {
            true => Some(show_hidden(ir, folder, arithmetic(core, device, options))?),
            false => None,
        };
        Ok(Prepared {
            properties: properties(options, device.kind, weight_group_size),
            chooses_positions: chooses_positions(&edit),
            hidden,
            npu: None,
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
        self.shared.limits
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown {
            weights_mapped_bytes: self.weights_mapped_bytes,
            state_bytes_per_decoder: self.shared.graph.states.bytes_per_sequence,
            state_bytes_per_position: self.shared.graph.states.bytes_per_position,
            device_bytes: device::bytes_in_use(&self.core, &self.device),
        }
    }

    fn read_time(&self) -> Option<Duration> {
        Some(self.read)
    }

    fn cache_use(&self) -> Option<&CacheUse> {
        self.cache_use.as_ref()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        let shared = Arc::clone(&self.shared);
        let no_room = |error: NativeError| OpenError::Unsupported {
            backend: NAME,
            folder: self.folder.root.clone(),
            reason: format!("cannot make room for a sequence: {error}"),
        };
        if is_npu(&self.device) {
            let npu = NpuInference::new(shared, Arc::clone(&self.turns)).map_err(no_room)?;
            return Ok(Box::new(Sequence::new(NAME, self, npu)));
        }
        let inference = OpenVinoInference::new(shared).map_err(no_room)?;
        Ok(Box::new(Sequence::new(NAME, self, inference)))
    }
}

fn weights_mapped_bytes(ir: &IrModel, embeddings: &[EmbeddingGraph]) -> u64 {
    let feeding = embeddings.iter().map(|graph| graph.contents().1);
    std::iter::once(ir.bin()).chain(feeding).map(|weights| weights.len() as u64).sum()
}

fn limits(graph: &Graph, folder: &ModelFolder, options: &OpenOptions) -> Limits {
    let limit = folder.architecture.n_positions_max;
    let n_positions_max = options.n_positions_max.map_or(limit, |asked| asked.min(limit));
    let n_chunk_tokens = match options.whole_prompts {
        true => n_positions_max,
        false => options.n_chunk_tokens.unwrap_or(N_CHUNK_TOKENS),
    };
    let n_chunk_tokens = graph.states.kind.n_chunk_tokens(n_chunk_tokens);
    Limits {
        n_positions_max,
        n_chunk_tokens_max: n_chunk_tokens,
        n_prompt_tokens_max: None,
        n_follow_tokens_max: if options.whole_prompts { 1 } else { n_chunk_tokens },
        n_scored_tokens_max: (SCORED_ROWS_BYTES_MAX / (4 * graph.n_vocab)).clamp(1, n_chunk_tokens),
        n_positions_switch: graph.n_positions_switch,
        // Forgotten positions stay in the cache behind the mask. That is only right where
        // positions are given and nothing counts back a number of cache entries.
        can_rewind: graph.states.kind == StateKind::Kv
            && graph.position_ids.is_some()
            && graph.attention_mask.is_some()
            && folder.architecture.sliding_window.is_none(),
        can_score: true,
    }
}

fn chooses_positions(edit: &SliceEdit) -> bool {
    match edit {
        SliceEdit::Sliced { head } => {
            debug!(%head, "the head computes chosen positions only");
            true
        }
        SliceEdit::NotFound(why) => {
            warn!(%why, "the logits of every position are computed: prefill is slower");
            false
        }
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
            let size = size.ok_or_else(|| refused("their length is not fixed".to_owned()))?;
            let n_hidden = row_length(size).map_err(refused)?;
            Ok(Hidden { n_hidden })
        }
        HiddenEdit::NotFound(why) => Err(refused(why.to_string())),
    }
}
