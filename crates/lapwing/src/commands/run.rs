//! `lapwing run`: one answer.

use std::time::Instant;

use anyhow::Context as _;
use lapwing_host::compile_cache::CacheReport;
use lapwing_host::conversation::{self, Prompt};
use lapwing_host::correction::Resolved;
use lapwing_host::guard::doing;
use lapwing_host::{Engine, sampling, timings};
use lapwing_logits::SamplerOptions;
use lapwing_measure::memory::resident_bytes;
use lapwing_measure::reading::SystemFiles;
use lapwing_model::TokenId;
use lapwing_runtime::{Event, Finish, Generated, Request, Session, generate};
use lapwing_store::resolve_model;
use lapwing_text::{ReplyFormat, SpecialPieces, ToolCall};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cli::{RunArgs, SamplingArgs};
use crate::daemon::Answering;
use crate::interrupt::{self, Interrupted};
use crate::opening;
use crate::printer::{PrintError, Printer};
use crate::prompting::{Asked, warn_of_mistake};
use crate::settings::Settings;
use crate::shown_answer::ShownAnswer;

/// Tokens that `--warmup` generates after its prompt: enough to meet every kernel of a step.
const N_WARMUP_TOKENS: usize = 4;

/// Answer one prompt.
///
/// # Errors
///
/// When the prompt, the model or the device cannot be used, or after Ctrl-C; what was generated
/// until then is printed.
pub fn run(
    settings: &Settings,
    printer: &Printer,
    args: &RunArgs,
    daemon: Option<&Answering>,
) -> anyhow::Result<()> {
    let (model, text) = args.model_and_text()?;
    let path = match daemon {
        Some(_) => None,
        // Nobody types a prompt for a model that is not there.
        None => Some(resolve_model(model, &settings.host.store).context("cannot open the model")?),
    };
    let asked = match args.prompt_ids {
        Some(_) => None,
        None => Some(Asked::read(&args.prompt, text, printer)?),
    };
    interrupt::install();
    if let Some(daemon) = daemon
        && let Some(asked) = asked
    {
        return answered_by(daemon, printer, args, asked);
    }
    // What there is to say about the name was said.
    let path = path.as_ref().and_then(|path| path.to_str());
    let engine = opening::open(path.unwrap_or(model), settings)?;
    let started = Instant::now();
    let correction = opening::correction(&engine, settings)?;
    let mut load = engine.load + started.elapsed();
    let (ids, reply) = prompt_ids(args, &engine, asked, printer)?;
    let sampler = sampling::options(&args.sampling.request(), &engine.folder.generation);
    for option in args.sampling.without_effect(&sampler) {
        printer.warning(format!("{option} has no effect: at temperature 0 the answer is greedy"));
    }
    let request = Request { reply: Some(&reply), ..request(args, &engine, &ids, &sampler) };
    if args.warmup {
        let started = Instant::now();
        warm(&engine, &correction, &request)?;
        load += started.elapsed();
    }
    interrupt::check()?;
    let mut session = session(&engine, &correction)?;
    let mut shown = ShownAnswer::new(printer);
    let generated = answer(&engine, &mut session, &request, (!args.json).then_some(&mut shown))?;
    let finish = generated.finish.clone();
    if args.json {
        let mut report = report(model, settings, &engine, &request, &generated);
        report["correction"] = correction.as_json();
        report["compile_cache"] = json!(engine.model.cache_use().map(CacheReport::of));
        report["timings"] = timings::report(&generated.timings, load, &engine.stages);
        let rss_bytes = resident_bytes(&SystemFiles::of_this_system()).ok();
        report["memory"] = json!({"rss_bytes": rss_bytes});
        printer.json(&report)?;
    } else {
        match engine.tokenizer() {
            Ok(_) => shown.end_line()?,
            Err(_) => show_ids(&generated, printer)?,
        }
        say_how_it_ended(&generated.into(), printer);
    }
    unless_stopped(&finish)
}

/// Let the daemon answer.
fn answered_by(
    daemon: &Answering,
    printer: &Printer,
    args: &RunArgs,
    asked: Asked,
) -> anyhow::Result<()> {
    let (messages, told) = asked.messages(&args.prompt, daemon.template(), printer)?;
    let mut shown = ShownAnswer::new(printer);
    let answer = daemon.answer(&messages, &told, &args.sampling, 0, &mut shown)?;
    shown.end_line()?;
    say_how_it_ended(&answer, printer);
    unless_stopped(&answer.finish)
}

/// An answer that was stopped is none.
fn unless_stopped(finish: &Finish) -> anyhow::Result<()> {
    match finish {
        Finish::Cancelled => Err(Interrupted.into()),
        _ => Ok(()),
    }
}

/// Generate to the end or to Ctrl-C, and write the answer as it comes if anybody reads it.
///
/// # Errors
///
/// When the model fails, nobody reads any more, or somebody wrote to the model's files meanwhile.
pub(super) fn answer(
    engine: &Engine,
    session: &mut Session,
    request: &Request<'_>,
    mut reader: Option<&mut ShownAnswer<'_>>,
) -> anyhow::Result<Generated> {
    let mut written = Ok(());
    let mut n_tokens = 0;
    doing::runs();
    let generated = generate(session, request, &mut |event| {
        if let Event::Token { parts, .. } = event {
            n_tokens += 1;
            doing::answers(n_tokens);
            if let Some(reader) = &mut reader {
                written = reader.write(parts);
            }
        }
        interrupt::flow(written.is_err())
    })
    .with_context(|| cannot_answer(engine));
    // A file that changed is why a model fails, and no advice about the model helps.
    engine.require_unchanged().context("the answer is not to be trusted")?;
    let generated = generated?;
    written?;
    Ok(generated)
}

fn cannot_answer(engine: &Engine) -> String {
    format!("cannot answer with {}", engine.path.display())
}

fn request<'a>(
    args: &'a RunArgs,
    engine: &'a Engine,
    prompt: &'a [TokenId],
    sampler: &'a SamplerOptions,
) -> Request<'a> {
    let SamplingArgs { ignore_eos, stop, .. } = &args.sampling;
    let mut request = Request {
        ignore_stop_ids: *ignore_eos,
        stop_texts: stop,
        n_first_step_top: args.top_logits.map_or(0, usize::from),
        ..engine.request(prompt, sampler, args.sampling.n_tokens_max())
    };
    if args.show_special {
        request.special = SpecialPieces::Show;
    }
    request
}

/// What goes into the model, and how it answers that; with `asked` as `None` the ids that were given.
fn prompt_ids(
    args: &RunArgs,
    engine: &Engine,
    asked: Option<Asked>,
    printer: &Printer,
) -> anyhow::Result<(Vec<TokenId>, ReplyFormat)> {
    let mut reply = engine.reply.clone();
    if asked.is_none() || args.prompt.raw {
        warn_of_mistake(engine.template.as_ref(), printer);
    }
    let prompt = match asked {
        Some(asked) => {
            let template = engine.template.as_ref();
            let (messages, told) = asked.messages(&args.prompt, template, printer)?;
            reply = reply.with_tools(told.tools.as_deref().unwrap_or_default());
            conversation::encode_told(engine, &messages, &told, args.prompt.raw)
                .with_context(|| cannot_answer(engine))?
        }
        None => {
            let ids = args.prompt_ids.clone().map_or(Vec::new(), |ids| ids.0);
            let text = match args.show_prompt {
                true => engine.tokenizer()?.decode(&ids, SpecialPieces::Show),
                false => String::new(),
            };
            Prompt { text, ids }
        }
    };
    if args.show_prompt {
        printer.show(&prompt.text);
    }
    if args.prompt_ids.is_some() {
        return Ok((prompt.ids, reply));
    }
    if conversation::begins_twice(engine, &prompt.ids) {
        printer.warning("the prompt begins twice: the tokenizer puts the first token there itself");
    }
    conversation::check_length(engine, prompt.ids.len()).with_context(|| cannot_answer(engine))?;
    Ok((prompt.ids, reply))
}

/// Without a tokenizer there is no text to show.
fn show_ids(generated: &Generated, printer: &Printer) -> Result<(), PrintError> {
    printer.warning(
        "the model has no tokenizer.json, so that its answer cannot be shown as text: these are \
         the ids of its tokens",
    );
    let ids: Vec<String> = generated.token_ids.iter().map(ToString::to_string).collect();
    printer.line(ids.join(","))
}

fn session(engine: &Engine, correction: &Resolved) -> anyhow::Result<Session> {
    engine.session(correction.correction.clone()).context("cannot start a session")
}

/// Run the prompt and a few steps in a session of their own and forget them.
fn warm(engine: &Engine, correction: &Resolved, request: &Request<'_>) -> anyhow::Result<()> {
    let mut session = session(engine, correction)?;
    let request = Request {
        n_tokens_max: N_WARMUP_TOKENS,
        ignore_stop_ids: true,
        stop_texts: &[],
        ..*request
    };
    let warmed = generate(&mut session, &request, &mut |_| interrupt::flow(false));
    engine.require_unchanged().context("cannot warm up")?;
    warmed.context("cannot warm up")?;
    Ok(())
}

/// The end of an answer that reached its limit.
pub(super) fn stopped_at_limit(n_tokens: usize) -> String {
    format!("stopped after {n_tokens} tokens: --max-tokens allows more")
}

fn say_how_it_ended(answer: &Answer, printer: &Printer) {
    let is_thought = answer.text.is_empty() && answer.tool_calls.is_empty();
    if is_thought && !answer.reasoning.is_empty() && !printer.shows_asides() {
        printer.note("nothing but a thought came: --show-special shows it");
    }
    match &answer.finish {
        Finish::MaxTokens => printer.note(stopped_at_limit(answer.n_tokens)),
        Finish::ContextFull { n_positions_max } => {
            printer.note(format!("stopped: the context of {n_positions_max} positions is full"))
        }
        // The error that follows says so.
        Finish::Cancelled => {}
        Finish::StopToken { .. } | Finish::StopText { .. } | Finish::Complete => {}
    }
}

/// What the JSON object of `--json` begins with; its keys are the contract of the command line.
fn report(
    model: &str,
    settings: &Settings,
    engine: &Engine,
    request: &Request<'_>,
    generated: &Generated,
) -> Value {
    let mut report = json!({
        "model": model,
        "kind": engine.folder.kind.name(),
        "variant": engine.folder.variant,
        "backend": engine.backend,
        "backend_version": engine.backend_version,
        "device_requested": settings.options.device.to_string(),
        "device_used": engine.model.device_used().id,
        "device_refused": engine.refused,
        "prompt_ids": request.prompt,
        "token_ids": generated.token_ids,
        "text": generated.text,
        "finish_reason": generated.finish.reason().name(),
        "usage": {
            "prompt_tokens": generated.usage.n_prompt_tokens,
            "completion_tokens": generated.usage.n_completion_tokens,
        },
        "seed": request.sampler.seed,
    });
    if !generated.reasoning.is_empty() {
        report["reasoning"] = generated.reasoning.as_str().into();
    }
    if !generated.tool_calls.is_empty() {
        report["tool_calls"] = generated.tool_calls.iter().map(ToolCall::as_json).collect();
    }
    if request.n_first_step_top != 0 {
        let top = generated.first_step_top.iter().map(|top| json!([top.token_idx, top.logit]));
        report["first_step_top"] = top.collect();
    }
    report
}
