//! A loaded ONNX model: the graph edited, the session made, the weights shared.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lapwing_backend::{
    Decoder, Device, Limits, MemoryBreakdown, Model, OpenError, OpenOptions, Sequence, Source,
    row_length,
};
use lapwing_formats::onnx::{
    HIDDEN_STATES, HiddenEdit, LOGITS_START, OnnxModel, SliceEdit, expose_hidden, slice_before_head,
};
use lapwing_model::{EncoderOutput, ModelFolder};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use tracing::{debug, warn};

use crate::NAME;
use crate::contract::{Contract, ContractError, Tokens};
use crate::embedder::Embedder;
use crate::inference::OrtInference;
use crate::shared::{LogitsRows, Shared};

/// Tokens that go into the library at once by default.
const N_CHUNK_TOKENS: usize = 128;

/// The same where only a prompt that starts a sequence goes in at once. Much of it, for what is
/// behind goes in token by token.
const N_FIRST_TOKENS: usize = 1024;

/// Rows of logits that are computed at once while scoring take at most this much memory.
const SCORED_ROWS_BYTES_MAX: usize = 16 << 20;

/// ONNX Runtime's name for what it runs on the CPU itself.
const CPU: &str = "CPUExecutionProvider";

/// Inline weights from this size on are left in their file, mapped by the library.
const EXTERNALIZED_BYTES_MIN: usize = 4096;

/// A model that ONNX Runtime accepted.
pub(crate) struct OrtModel {
    folder: PathBuf,
    shared: Arc<Shared>,
    limits: Limits,
    device: Device,
    weights_mapped_bytes: u64,
}

impl OrtModel {
    pub(crate) fn open(
        environment: &Environment,
        version: &str,
        folder: &ModelFolder,
        options: &OpenOptions,
        device: Device,
    ) -> Result<OrtModel, OpenError> {
        let graph = &folder.graph;
        let unreadable = |source: Source| OpenError::Read { path: graph.clone(), source };
        let mut model = OnnxModel::open(graph).map_err(|error| unreadable(error.into()))?;
        let unsupported = |reason: String| OpenError::Unsupported {
            backend: NAME,
            folder: folder.root.clone(),
            reason,
        };
        let outputs = model.outputs();
        if let Some(output) = EncoderOutput::of(outputs.iter().map(|value| value.name.as_str())) {
            let (folder, output) = (folder.root.clone(), output.name().to_owned());
            return Err(OpenError::Encoder { folder, output });
        }
        let mut embedding =
            match folder.embeddings.as_slice() {
                [] => None,
                [path] => Some(OnnxModel::open(path).map_err(|error| OpenError::Read {
                    path: path.clone(),
                    source: error.into(),
                })?),
                several => {
                    let n_graphs = several.len();
                    let reason = format!("expected one graph before the decoder, found {n_graphs}");
                    return Err(unsupported(reason));
                }
            };
        let contract = Contract::read(&model, embedding.as_ref(), &folder.architecture)
            .map_err(|error| unsupported(error.to_string()))?;
        let edit = slice_before_head(&mut model, &contract.logits)
            .map_err(|error| unreadable(error.into()))?;
        let rows = rows(&edit, &contract);
        if options.hidden_states {
            show_hidden(&mut model, &contract.logits, folder)?;
        }
        let refused = |path: &Path, source| OpenError::Refused {
            backend: NAME,
            version: version.to_owned(),
            model: path.to_owned(),
            device: device.id.clone(),
            source,
        };
        let graphs = [Some(&model), embedding.as_ref()].into_iter().flatten();
        let weights_mapped_bytes =
            graphs.flat_map(OnnxModel::initializers).filter_map(|weight| weight.n_bytes).sum();
        let session = session(environment, &mut model, options.n_threads)
            .map_err(|source| refused(graph, source))?;
        contract.require_logits(&session).map_err(|error| unsupported(error.to_string()))?;
        let embedder = match (&mut embedding, &contract.tokens) {
            (Some(embedding), Tokens::Embedded { ids, values }) => {
                let path = &folder.embeddings[0];
                // It takes rows out of a matrix: more threads would only wait for it.
                let session = self::session(environment, embedding, Some(1))
                    .map_err(|source| refused(path, source))?;
                Some(Embedder::new(session, ids, values))
            }
            _ => None,
        };
        let limit = folder.architecture.n_positions_max;
        let n_positions_max = options.n_positions_max.map_or(limit, |asked| asked.min(limit));
        let limits = limits(&contract, &rows, n_positions_max, options);
        debug!(?rows, shares_buffers = contract.shares_buffers, n_positions_max, "opened");
        let n_hidden = match options.hidden_states {
            true => {
                Some(n_hidden(&session, folder.architecture.hidden_size).map_err(|reason| {
                    unsupported(format!("its hidden states make no rows: {reason}"))
                })?)
            }
            false => None,
        };
        let session = Mutex::new(session);
        let shared = Shared { session, embedder, contract, rows, n_positions_max, n_hidden };
        let shared = Arc::new(shared);
        let folder = folder.root.clone();
        Ok(OrtModel { folder, shared, limits, device, weights_mapped_bytes })
    }
}

impl Model for OrtModel {
    fn n_vocab(&self) -> usize {
        self.shared.contract.n_vocab
    }

    fn n_hidden(&self) -> Option<usize> {
        self.shared.n_hidden
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        let states = &self.shared.contract.states;
        MemoryBreakdown {
            weights_mapped_bytes: self.weights_mapped_bytes,
            state_bytes_per_decoder: states.bytes_per_sequence(),
            state_bytes_per_position: states.bytes_per_position(),
            device_bytes: None,
        }
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        let inference = OrtInference::new(Arc::clone(&self.shared));
        let inference = inference.map_err(|error| OpenError::Unsupported {
            backend: NAME,
            folder: self.folder.clone(),
            reason: format!("cannot make room for a sequence: {error}"),
        })?;
        Ok(Box::new(Sequence::new(NAME, self, inference)))
    }
}

fn limits(
    contract: &Contract,
    rows: &LogitsRows,
    n_positions_max: usize,
    options: &OpenOptions,
) -> Limits {
    let takes_several_behind = contract.takes_several_behind && !options.whole_prompts;
    let n_default = if takes_several_behind { N_CHUNK_TOKENS } else { N_FIRST_TOKENS };
    let n_chunk_tokens_max = match options.whole_prompts {
        true => n_positions_max,
        false => options.n_chunk_tokens.unwrap_or(n_default).max(1),
    };
    let n_follow_tokens_max = if takes_several_behind { n_chunk_tokens_max } else { 1 };
    Limits {
        n_positions_max,
        n_chunk_tokens_max,
        n_prompt_tokens_max: None,
        n_follow_tokens_max,
        n_scored_tokens_max: match rows {
            LogitsRows::Last => 1,
            _ => (SCORED_ROWS_BYTES_MAX / (4 * contract.n_vocab)).clamp(1, n_follow_tokens_max),
        },
        n_positions_switch: contract.n_positions_switch,
        can_rewind: contract.states.fixed.is_empty(),
        can_score: true,
    }
}

fn rows(edit: &SliceEdit, contract: &Contract) -> LogitsRows {
    match edit {
        SliceEdit::Inserted { hidden } => {
            debug!(%hidden, input = LOGITS_START, "the head computes the last positions only");
            LogitsRows::Start
        }
        SliceEdit::AlreadySelective { .. } if contract.n_logits.is_some() => LogitsRows::Count,
        SliceEdit::OnePosition => LogitsRows::Last,
        SliceEdit::AlreadySelective { .. } => LogitsRows::Every,
        SliceEdit::NotFound { reason } => {
            warn!(%reason, "the logits of every position are computed: prefill is slower");
            LogitsRows::Every
        }
    }
}

fn show_hidden(model: &mut OnnxModel, logits: &str, folder: &ModelFolder) -> Result<(), OpenError> {
    let outcome = expose_hidden(model, logits)
        .map_err(|error| OpenError::Read { path: folder.graph.clone(), source: error.into() })?;
    match outcome {
        HiddenEdit::Exposed { hidden } => {
            debug!(%hidden, output = HIDDEN_STATES, "what enters the head is given");
            Ok(())
        }
        HiddenEdit::NotFound { reason } => Err(OpenError::Unsupported {
            backend: NAME,
            folder: folder.root.clone(),
            reason: format!("its hidden states cannot be given: {reason}"),
        }),
    }
}

/// The size that the library inferred, or the manifest's.
fn n_hidden(session: &Session, hidden_size: usize) -> Result<usize, String> {
    let last = last_size(session, HIDDEN_STATES).and_then(|size| u64::try_from(size).ok());
    row_length(last.unwrap_or(hidden_size as u64))
}

/// The size of an output's last axis as the library inferred it, where that is one number.
pub(crate) fn last_size(session: &Session, name: &str) -> Option<i64> {
    let output = session.outputs().iter().find(|output| output.name() == name);
    let shape = output.and_then(|output| output.dtype().tensor_shape());
    shape.and_then(|shape| shape.last().copied()).filter(|&size| 0 < size)
}

impl Contract {
    /// Demand that the library gives rows as long as the graph claims, where it can tell.
    fn require_logits(&self, session: &Session) -> Result<(), ContractError> {
        let claimed = self.n_vocab;
        match last_size(session, &self.logits) {
            Some(found) if usize::try_from(found) != Ok(claimed) => {
                Err(ContractError::Claimed { claimed, found })
            }
            _ => Ok(()),
        }
    }
}

/// A session of `model`, whose weights stay in their files.
pub(crate) fn session(
    environment: &Environment,
    model: &mut OnnxModel,
    n_threads: Option<usize>,
) -> Result<Session, Source> {
    model.externalize(EXTERNALIZED_BYTES_MIN);
    let weights = model.follow_links()?;
    let folder = weights.to_str().ok_or("the folder's name is not UTF-8")?;
    let built = || -> ort::Result<Session> {
        let own_cpu = environment.devices().filter(|device| device.ep().is_ok_and(|ep| ep == CPU));
        let mut builder = Session::builder(environment)?
            // Left to itself, ONNX Runtime 1.31 gives a session to a plugin that offers a CPU.
            .with_devices(own_cpu, None)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_inter_threads(1)?
            // External weights are named relative to the graph, which comes as bytes.
            .with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
        if let Some(n_threads) = n_threads {
            builder = builder.with_intra_threads(n_threads)?;
        }
        builder.commit_from_memory(&model.encode())
    };
    Ok(built()?)
}
