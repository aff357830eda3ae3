//! Token ids to what a language model takes in their place.
//!
//! Exports of models that also see or hear keep the matrices of embeddings in graphs of their own,
//! so that what was seen can be put between the tokens. These graphs do little more than choose
//! rows, and may do more: scale them, or take placeholders for others. They run on the CPU whatever
//! the language model runs on: the library chooses rows of int8 codes out of the mapped file, so
//! that a matrix takes no memory of its own, in 50 to 90 us a token (200 000 rows of 2048; OpenVINO
//! 2026.4.1).

use std::ffi::CString;
use std::path::Path;

use lapwing_backend::OpenError;
use lapwing_formats::Map;
use lapwing_formats::ir::{ElementType, IrModel};
use lapwing_model::{ModelFolder, TokenId};

use crate::NAME;
use crate::graph::{Integers, TokenInput};
use crate::input::Input;
use crate::native::{CompiledModel, Core, InferRequest, NativeError};

/// What graphs call what they make, the language model's input that takes it, and the file that
/// holds such a graph.
const TAKEN_AS: [(&str, &str, &str); 2] = [
    ("inputs_embeds", "inputs_embeds", "openvino_text_embeddings_model.xml"),
    ("text_embeds_per_layer", "per_layer_inputs", "openvino_text_embeddings_per_layer_model.xml"),
];

/// The graphs that feed a language model; none where it takes token ids.
#[derive(Debug, Default)]
pub(crate) struct Embedder {
    parts: Vec<Part>,
}

/// One graph, compiled.
#[derive(Debug)]
struct Part {
    compiled: CompiledModel,
    ids: Integers,
    output: CString,
    taken_as: CString,
}

/// A graph that was read.
pub(crate) struct EmbeddingGraph {
    ir: IrModel,
    ids: Integers,
    output: CString,
    taken_as: &'static str,
}

/// Read the graphs of `folder` that make what `tokens` names.
///
/// # Errors
///
/// When one cannot be read or does other things, or nothing makes what is needed.
pub(crate) fn read(
    folder: &ModelFolder,
    tokens: &TokenInput,
) -> Result<Vec<EmbeddingGraph>, OpenError> {
    let TokenInput::Embedded(needed) = tokens else { return Ok(Vec::new()) };
    let unsupported =
        |reason| OpenError::Unsupported { backend: NAME, folder: folder.root.clone(), reason };
    let mut graphs = Vec::new();
    for path in &folder.embeddings {
        let ir = IrModel::open(path)
            .map_err(|error| OpenError::Read { path: path.clone(), source: error.into() })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let graph = EmbeddingGraph::of(ir);
        graphs.push(graph.map_err(|why| unsupported(format!("{name} is not understood: {why}")))?);
    }
    let is_made = |name: &&String| graphs.iter().any(|graph| graph.taken_as == name.as_str());
    match needed.iter().find(|name| !is_made(name)) {
        Some(name) => {
            let made_by = TAKEN_AS.iter().find(|(_, taken_as, _)| name == taken_as);
            let file = made_by.map_or("another graph", |(.., file)| file);
            Err(unsupported(format!(
                "its input `{name}` is made by no graph: expected {file} beside it"
            )))
        }
        None => {
            graphs.retain(|graph| needed.iter().any(|name| name == graph.taken_as));
            Ok(graphs)
        }
    }
}

impl EmbeddingGraph {
    fn of(ir: IrModel) -> Result<EmbeddingGraph, String> {
        let parameters = ir.parameters();
        let [parameter] = &parameters[..] else {
            return Err(format!("expected one input, of token ids, found {}", parameters.len()));
        };
        let is_i32 = match parameter.element_type {
            ElementType::I64 => false,
            ElementType::I32 => true,
            other => return Err(format!("expected token ids, found an input of {}", other.name())),
        };
        if !ir.variables().is_empty() {
            return Err("expected no states, found some".to_owned());
        }
        let results = ir.results();
        let [result] = &results[..] else {
            return Err(format!("expected one output, found {}", results.len()));
        };
        let known = |name: &String| TAKEN_AS.iter().find(|(made, ..)| made == name);
        let Some((output, (_, taken_as, _))) =
            result.names.iter().find_map(|name| Some((name, known(name)?)))
        else {
            let names = result.names.join("/");
            return Err(format!("expected an output `inputs_embeds`, found `{names}`"));
        };
        let c_string = |name: &str| {
            CString::new(name).map_err(|_| format!("there is a NUL in the name {name:?}"))
        };
        let ids = parameter.names.first().map_or("", String::as_str);
        Ok(EmbeddingGraph {
            ids: Integers { name: c_string(ids)?, is_i32 },
            output: c_string(output)?,
            taken_as,
            ir,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.ir.xml_path()
    }

    /// The text of the graph and its weights.
    pub(crate) fn contents(&self) -> (&str, &Map) {
        (self.ir.xml(), self.ir.bin())
    }
}

impl Embedder {
    /// Compile `graphs` for the CPU.
    ///
    /// # Errors
    ///
    /// The graph that the library refuses, by its place, and what it says.
    pub(crate) fn compile(
        core: &Core,
        graphs: &[EmbeddingGraph],
        n_threads: Option<usize>,
    ) -> Result<Embedder, (usize, NativeError)> {
        let mut properties = vec![
            ("PERFORMANCE_HINT", "LATENCY".to_owned()),
            // What is chosen is not rounded; whoever takes it may do so.
            ("INFERENCE_PRECISION_HINT", "f32".to_owned()),
        ];
        if let Some(n_threads) = n_threads {
            properties.push(("INFERENCE_NUM_THREADS", n_threads.to_string()));
        }
        let parts = graphs.iter().enumerate().map(|(idx, graph)| {
            let (xml, bin) = graph.contents();
            let compiled = core.compile(xml, bin, "CPU", &properties);
            let (compiled, _) = compiled.map_err(|error| (idx, error))?;
            bin.release_pages();
            Ok(Part {
                compiled,
                ids: graph.ids.clone(),
                output: graph.output.clone(),
                taken_as: CString::new(graph.taken_as).expect("the names above hold no NUL"),
            })
        });
        Ok(Embedder { parts: parts.collect::<Result<_, _>>()? })
    }
}

/// Puts the tokens of one sequence into its request.
pub(crate) enum TokenFeed {
    Ids(Input),
    Embedded(Vec<Embedding>),
}

/// A graph of the embedder at work for one sequence.
pub(crate) struct Embedding {
    request: InferRequest,
    ids: Input,
    output: CString,
    taken_as: CString,
}

impl TokenFeed {
    pub(crate) fn new(tokens: &TokenInput, embedder: &Embedder) -> Result<TokenFeed, NativeError> {
        if let TokenInput::Ids(spec) = tokens {
            return Ok(TokenFeed::Ids(Input::new(spec)?));
        }
        let embeddings = embedder.parts.iter().map(|part| {
            Ok(Embedding {
                request: part.compiled.request()?,
                ids: Input::new(&part.ids)?,
                output: part.output.clone(),
                taken_as: part.taken_as.clone(),
            })
        });
        Ok(TokenFeed::Embedded(embeddings.collect::<Result<_, NativeError>>()?))
    }

    /// Put `tokens` into `request`.
    pub(crate) fn set(
        &mut self,
        request: &mut InferRequest,
        tokens: &[TokenId],
    ) -> Result<(), NativeError> {
        let shape = [1, tokens.len()];
        let ids = || tokens.iter().map(|&id| i64::from(id));
        match self {
            TokenFeed::Ids(input) => input.set(request, &shape, ids()),
            TokenFeed::Embedded(embeddings) => embeddings.iter_mut().try_for_each(|embedding| {
                embedding.ids.set(&mut embedding.request, &shape, ids())?;
                embedding.request.infer()?;
                let rows = embedding.request.output(&embedding.output)?;
                request.set_input(&embedding.taken_as, &rows)
            }),
        }
    }
}
