//! `lapwing embed`: texts to vectors.

use std::time::Instant;

use anyhow::Context as _;
use lapwing_host::guard::doing;
use lapwing_host::model::EncoderOutput;
use lapwing_host::{EmbedError, Embedder, EmbeddingEngine};
use serde::Serialize;

use crate::cli::EmbedArgs;
use crate::interrupt;
use crate::opening;
use crate::printer::Printer;
use crate::prompt;
use crate::settings::Settings;

/// What a text is called in errors.
const WHAT: &str = "texts";

/// What `--json` prints; the keys are the contract of the command line.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    kind: &'static str,
    backend: &'static str,
    device_used: &'a str,
    pooling: String,
    n_dimensions: usize,
    n_tokens_max: usize,
    data: Vec<Datum>,
    usage: Usage,
    timings: Timings,
}

/// One text's.
#[derive(Serialize)]
struct Datum {
    n_tokens: usize,
    embedding: Vec<f32>,
    #[serde(skip)]
    elapsed_ms: f64,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
}

#[derive(Serialize)]
struct Timings {
    load_ms: f64,
    embed_ms: f64,
}

/// Print the vectors of texts.
///
/// # Errors
///
/// When the texts, the model or the device cannot be used, or after Ctrl-C.
pub fn run(settings: &Settings, printer: &Printer, args: &EmbedArgs) -> anyhow::Result<()> {
    let texts = texts(args)?;
    interrupt::install();
    let engine = opening::embedding(&args.model, settings)?;
    engine.tokenizer()?;
    let mut data = Vec::new();
    for (idx, text) in texts.iter().enumerate() {
        interrupt::check()?;
        let embedded = embed(&engine.embedder, text, args);
        engine.require_unchanged().context("the embeddings are not to be trusted")?;
        let cannot = || format!("cannot make an embedding of text {}", idx + 1);
        let datum = embedded.with_context(cannot)?;
        match args.json {
            true => data.push(datum),
            // Through a `Value` floats would become longer.
            false => printer.line(serde_json::to_string(&datum.embedding)?)?,
        }
    }
    if args.json {
        printer.json(&Report::of(args, &engine, data))?;
    }
    Ok(())
}

fn texts(args: &EmbedArgs) -> anyhow::Result<Vec<String>> {
    if !args.texts.is_empty() {
        return Ok(args.texts.clone());
    }
    let all = match &args.file {
        Some(file) => prompt::from_file(file, WHAT)?,
        None => prompt::from_stdin(WHAT)?,
    };
    Ok(all.lines().map(str::to_owned).collect())
}

fn embed(embedder: &Embedder, text: &str, args: &EmbedArgs) -> Result<Datum, EmbedError> {
    let started = Instant::now();
    let tokens = match args.truncate {
        true => embedder.tokens_that_fit(text)?,
        false => embedder.tokens(text)?,
    };
    doing::runs();
    let embedding = embedder.embed(&tokens, !args.raw)?;
    let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
    Ok(Datum { n_tokens: tokens.len(), embedding, elapsed_ms })
}

impl<'a> Report<'a> {
    fn of(args: &'a EmbedArgs, engine: &'a EmbeddingEngine, data: Vec<Datum>) -> Report<'a> {
        let embedder = &engine.embedder;
        let shape = embedder.encoder.shape();
        Report {
            model: &args.model,
            kind: engine.folder.kind.name(),
            backend: engine.runtime.name(),
            device_used: &embedder.encoder.device_used().id,
            pooling: match &shape.output {
                EncoderOutput::Pooled(name) => format!("`{name}` of the graph"),
                EncoderOutput::Tokens(_) => embedder.recipe.pooling.to_string(),
            },
            n_dimensions: shape.n_hidden,
            n_tokens_max: embedder.n_tokens_max(),
            usage: Usage { prompt_tokens: data.iter().map(|datum| datum.n_tokens).sum() },
            timings: Timings {
                load_ms: engine.load.as_secs_f64() * 1e3,
                embed_ms: data.iter().map(|datum| datum.elapsed_ms).sum(),
            },
            data,
        }
    }
}
