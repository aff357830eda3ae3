//! `lapwing eval kl`: how far a model is from a reference.

use anyhow::Context as _;
use lapwing_eval::{
    Divergence, DivergenceOptions, Text, TextFile, begin_token, divergence, require_same_tokenizer,
};
use lapwing_host::Engine;
use lapwing_logits::Level;
use serde_json::json;

use super::measured::{self, Measured, Naming, engine_report};
use super::{BOOTSTRAP, convention, with_error};
use crate::cli::KlArgs;
use crate::opening;
use crate::printer::Printer;
use crate::reference;
use crate::settings::Settings;

/// Whether two models are the same files, wherever they are.
fn is_same(model: &Engine, reference: &Engine) -> anyhow::Result<bool> {
    let graphs = [model, reference].map(|engine| std::fs::metadata(&engine.folder.graph));
    let [Ok(one), Ok(other)] = graphs else { return Ok(false) };
    // Hashing reads all of both.
    Ok(one.len() == other.len()
        && opening::profiled_model(model)?.sha256 == opening::profiled_model(reference)?.sha256)
}

pub(super) fn run(settings: &Settings, printer: &Printer, args: &KlArgs) -> anyhow::Result<()> {
    const FAILED: &str = "cannot measure the divergence";
    let text = TextFile::read(&args.text).context(FAILED)?;
    let measured = Measured::open(&args.measure, settings)?;
    let of_reference = reference::settings(settings, &args.more);
    let reference = reference::open(&args.reference, &of_reference)?;
    let engine = &measured.engine;
    let tokenizer = engine.tokenizer().context(FAILED)?;
    let tokens = text.tokens(tokenizer).context(FAILED)?;
    let theirs = reference.tokenizer().context("cannot use the reference")?;
    require_same_tokenizer(theirs, tokenizer, &text.text).context("cannot use the reference")?;
    if is_same(engine, &reference)? {
        printer.warning(
            "the reference is the model itself: this measures what device, precision and correction \
             change, and nothing of its weights",
        );
    }
    let n_positions_max = [&engine.model, &reference.model].map(|m| m.limits().n_positions_max);
    let options = DivergenceOptions {
        convention: convention(&args.windows, n_positions_max[0].min(n_positions_max[1]))?,
        n_windows_max: args.windows.limit.map(usize::from),
        n_vocab: tokenizer.n_vocab(),
        bootstrap: BOOTSTRAP,
        level: Level::detect(),
        correction: measured.correction.correction.clone(),
    };
    let key = json!({
        "reference": reference.key(&of_reference.options)?,
        "text": text.sha256,
        "convention": options.convention,
        "limit": options.n_windows_max,
    });
    let begin = begin_token(tokenizer).context(FAILED)?;
    let cut = Text { tokens: &tokens, begin, n_bytes: text.n_bytes() };
    let models = [&reference, engine].map(|engine| engine.model.as_ref());
    let naming = Naming { failed: FAILED, steps: "windows", value: "KL" };
    let outcome = measured.measure("kl", key, &naming, printer, |journal, on_progress| {
        divergence(models[0], models[1], &cut, &options, Some(journal), on_progress)
    });
    reference.require_unchanged().context(FAILED)?;
    let (found, kept) = outcome?;
    if args.measure.json {
        let found = json!({
            "reference": engine_report(&reference, &of_reference)?,
            "text": text.as_json(tokens.len()),
            "begin_token": begin,
            "limit": options.n_windows_max,
            "result": found,
        });
        printer.json(&measured.report("eval kl", found)?)?;
    } else {
        let mut facts = measured.facts();
        facts.push(("reference", measured::describe(&reference, &of_reference)));
        facts.push(("text", super::describe_text(&text, tokens.len())));
        facts.extend(results(&found));
        facts.push(("time", format!("{:.1} s", measured.wall_s())));
        printer.facts(&facts)?;
    }
    Ok(kept.remove()?)
}

fn results(found: &Divergence) -> Vec<(&'static str, String)> {
    let mean = with_error(
        found.mean_kl,
        found.mean_kl_standard_error_windows,
        found.mean_kl_interval_bootstrap,
    );
    let agreement =
        with_error(found.top1_agreement, found.top1_agreement_standard_error_windows, None);
    let ratio = with_error(
        found.ln_perplexity_ratio,
        found.ln_perplexity_ratio_standard_error_windows,
        None,
    );
    vec![
        ("convention", super::describe_windows(found.convention, found.n_windows, found.n_tokens)),
        ("mean KL", format!("{mean} nats a token")),
        ("median KL", format!("{:.5}", found.median_kl)),
        ("90 % below", format!("{:.5}", found.kl_p90)),
        ("99 % below", format!("{:.5}", found.kl_p99)),
        ("same top token", agreement),
        ("perplexity", format!("{:.4}", found.model_perplexity)),
        ("of reference", format!("{:.4}", found.reference_perplexity)),
        ("ln of ratio", ratio),
    ]
}
