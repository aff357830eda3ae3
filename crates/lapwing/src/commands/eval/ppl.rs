//! `lapwing eval ppl`: how surprised a model is by a text.

use anyhow::Context as _;
use lapwing_eval::{Perplexity, PerplexityOptions, Text, TextFile, begin_token, perplexity};
use lapwing_logits::Level;
use serde_json::json;

use super::measured::{Measured, Naming};
use super::{BOOTSTRAP, convention, with_error};
use crate::cli::PplArgs;
use crate::printer::Printer;
use crate::settings::Settings;

pub(super) fn run(settings: &Settings, printer: &Printer, args: &PplArgs) -> anyhow::Result<()> {
    const FAILED: &str = "cannot measure the perplexity";
    let text = TextFile::read(&args.text).context(FAILED)?;
    let measured = Measured::open(&args.measure, settings)?;
    let engine = &measured.engine;
    let tokenizer = engine.tokenizer().context(FAILED)?;
    let tokens = text.tokens(tokenizer).context(FAILED)?;
    let begin = begin_token(tokenizer).context(FAILED)?;
    let options = PerplexityOptions {
        convention: convention(&args.windows, engine.model.limits().n_positions_max)?,
        n_windows_max: args.windows.limit.map(usize::from),
        bootstrap: BOOTSTRAP,
        level: Level::detect(),
        correction: measured.correction.correction.clone(),
    };
    let key = json!({
        "text": text.sha256,
        "convention": options.convention,
        "limit": options.n_windows_max,
    });
    let cut = Text { tokens: &tokens, begin, n_bytes: text.n_bytes() };
    let failed = format!("{FAILED} of {}", args.text.display());
    let naming = Naming { failed: &failed, steps: "windows", value: "perplexity" };
    let (found, kept) =
        measured.measure("ppl", key, &naming, printer, |journal, on_progress| {
            perplexity(engine.model.as_ref(), &cut, &options, Some(journal), on_progress)
        })?;
    if args.measure.json {
        let found = json!({
            "text": text.as_json(tokens.len()),
            "begin_token": begin,
            "limit": options.n_windows_max,
            "result": found,
        });
        printer.json(&measured.report("eval ppl", found)?)?;
    } else {
        print(&measured, &text, &found, printer)?;
    }
    Ok(kept.remove()?)
}

fn print(
    measured: &Measured<'_>,
    text: &TextFile,
    found: &Perplexity,
    printer: &Printer,
) -> anyhow::Result<()> {
    let perplexity = with_error(
        found.perplexity,
        found.perplexity_standard_error_delta,
        found.perplexity_interval_bootstrap,
    );
    let mean_nll = with_error(found.mean_nll, found.mean_nll_standard_error_windows, None);
    let mut facts = measured.facts();
    facts.extend([
        ("text", super::describe_text(text, found.n_text_tokens)),
        ("convention", super::describe_windows(found.convention, found.n_windows, found.n_tokens)),
        ("perplexity", perplexity),
        ("mean NLL", format!("{mean_nll} nats a token")),
        ("bits a byte", format!("{:.4}", found.bits_per_byte)),
        ("time", format!("{:.1} s", measured.wall_s())),
    ]);
    Ok(printer.facts(&facts)?)
}
