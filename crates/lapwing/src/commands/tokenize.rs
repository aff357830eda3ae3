//! `lapwing tokenize`: a prompt as the model would get it, or token ids as text. No runtime runs.

use std::path::Path;

use anyhow::Context as _;
use lapwing_files::regular::is_there;
use lapwing_host::guard::doing;
use lapwing_host::{OpenTextError, TextSide, conversation};
use lapwing_store::{checkpoint_at, resolve_model};
use lapwing_text::{SpecialPieces, TokenId, Tokenizer};
use lapwing_weights::{Checkpoint, TextAssets};
use serde::Serialize;
use serde_json::json;

use crate::cli::TokenizeArgs;
use crate::printer::{Printer, is_obeyed};
use crate::prompting::{Asked, warn_of_mistake};
use crate::settings::Settings;

/// Tokens of a long prompt that are shown as one table.
const N_ROWS: usize = 10_000;

/// What `--json` prints; the keys are the contract of the command line.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    is_rendered: bool,
    prompt: &'a str,
    n_bytes: usize,
    n_tokens: usize,
    prompt_ids: &'a [TokenId],
    pieces: &'a [String],
}

/// A folder with it needs no checkpoint to be read.
const TOKENIZER_FILE: &str = "tokenizer.json";

/// Show the tokens of a prompt, or the text of tokens.
///
/// # Errors
///
/// When the model or the prompt cannot be used, or an id is not of the vocabulary.
pub fn run(settings: &Settings, printer: &Printer, args: &TokenizeArgs) -> anyhow::Result<()> {
    let (model, text) = args.model_and_text()?;
    let path = resolve_model(model, &settings.host.store).context("cannot tokenize")?;
    let side = text_side(&path).context("cannot tokenize")?;
    if let Some(ids) = &args.ids {
        return decode(model, &side.tokenizer, &ids.0, args.json, printer);
    }
    let asked = Asked::read(&args.prompt, text, printer)?;
    if args.prompt.raw {
        warn_of_mistake(side.template.as_ref(), printer);
    }
    let template = side.template.as_ref().filter(|_| !args.prompt.raw);
    let (messages, told) = asked.messages(&args.prompt, template, printer)?;
    let prompt = conversation::prompt(&side.tokenizer, template, &messages, &told)?;
    let pieces = pieces(&side.tokenizer, &prompt.ids)?;
    if args.json {
        let report = Report {
            model,
            is_rendered: template.is_some(),
            prompt: &prompt.text,
            n_bytes: prompt.text.len(),
            n_tokens: prompt.ids.len(),
            prompt_ids: &prompt.ids,
            pieces: &pieces,
        };
        return Ok(printer.json(&report)?);
    }
    if template.is_some() && !printer.is_quiet() {
        printer.show(&prompt.text);
    }
    let row = |(id, piece): (&TokenId, &String)| vec![id.to_string(), visible(piece)];
    // A table is laid out as a whole, in hundreds of bytes a token.
    for (idx, (ids, pieces)) in prompt.ids.chunks(N_ROWS).zip(pieces.chunks(N_ROWS)).enumerate() {
        let rows: Vec<_> = ids.iter().zip(pieces).map(row).collect();
        match &*rows {
            [first, rest @ ..] if idx != 0 => printer.table(&[&first[0], &first[1]], rest)?,
            rows => printer.table(&["ID", "PIECE"], rows)?,
        }
    }
    printer.note(format!("{} tokens, {} bytes", prompt.ids.len(), prompt.text.len()));
    Ok(())
}

/// What a folder, or a GGUF file, knows of text.
fn text_side(path: &Path) -> anyhow::Result<TextSide> {
    let checkpoint = checkpoint_at(path.to_owned());
    let is_gguf = checkpoint.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("gguf"));
    if !is_gguf || !checkpoint.is_file() || is_there(&path.join(TOKENIZER_FILE)) {
        return TextSide::open(path).map_err(open_failed);
    }
    doing::reads(&checkpoint);
    let TextAssets { tokenizer_json, tokenizer_config, chat_template, tool_template } =
        Checkpoint::open(&checkpoint)?.text;
    let (template, tool_template) = (chat_template.as_deref(), tool_template.as_deref());
    TextSide::from_parts(&tokenizer_json, &tokenizer_config, template, tool_template, &checkpoint)
        .map_err(open_failed)
}

fn decode(
    model: &str,
    tokenizer: &Tokenizer,
    ids: &[TokenId],
    as_json: bool,
    printer: &Printer,
) -> anyhow::Result<()> {
    let pieces = pieces(tokenizer, ids)?;
    let text = tokenizer.decode(ids, SpecialPieces::Show);
    if as_json {
        let report = json!({
            "model": model,
            "text": text,
            "n_bytes": text.len(),
            "n_tokens": ids.len(),
            "prompt_ids": ids,
            "pieces": pieces,
        });
        return Ok(printer.json(&report)?);
    }
    Ok(printer.line(text)?)
}

/// How the vocabulary spells each of `ids`.
fn pieces(tokenizer: &Tokenizer, ids: &[TokenId]) -> anyhow::Result<Vec<String>> {
    let piece = |&token: &TokenId| {
        tokenizer.piece(token).ok_or(NoSuchToken { token, n_vocab: tokenizer.n_vocab() })
    };
    ids.iter().map(piece).collect::<Result<_, _>>().context("cannot tokenize")
}

/// An id of another model.
#[derive(Debug, thiserror::Error)]
#[error("token {token} is not in the tokenizer's vocabulary of {n_vocab}")]
struct NoSuchToken {
    token: TokenId,
    n_vocab: usize,
}

/// A piece in one line of a table.
fn visible(piece: &str) -> String {
    let is_escaped = |symbol: char| symbol.is_control() || is_obeyed(symbol);
    let shown = piece.chars().map(|symbol| match is_escaped(symbol) {
        true => symbol.escape_default().to_string(),
        false => symbol.to_string(),
    });
    shown.collect()
}

/// As advice looks for it: what a transparent variant wraps is none of its causes.
fn open_failed(error: OpenTextError) -> anyhow::Error {
    match error {
        OpenTextError::Folder(error) => error.into(),
        OpenTextError::None(error) => error.into(),
        OpenTextError::Tokenizer(error) => error.into(),
        OpenTextError::Template(error) => error.into(),
    }
}
