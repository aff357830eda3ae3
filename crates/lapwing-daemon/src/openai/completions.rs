//! `/v1/completions`: a prompt goes on, without a template.

use std::collections::BTreeMap;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Ask, Generate, Piece, Prompt, ReplyEvent, Said};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{TokenLogprob, Usage, finish_reason};
use super::prompts::{Input, Prompts};
use super::request::{Choosing, Stop, StreamOptions, limit};
use crate::answers::Whole;
use crate::app::{App, Client};
use crate::begun::Begun;
use crate::begun::Merged;
use crate::body::{Framing, Gone, Json, Writer, stream};
use crate::models::KeepAlive;
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::unix_seconds;

/// Tokens of an answer whose request sets no limit: OpenAI's number.
const N_TOKENS: i64 = 16;
/// Most alternatives that are told with a token.
const N_TOP_MAX: u32 = 20;
/// Most answers to one request.
const N_ANSWERS_MAX: usize = 128;

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::completions::CompletionRequest)]
pub(crate) struct CompletionRequest {
    pub(crate) model: Option<String>,
    pub(crate) prompt: Prompts,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) echo: Option<bool>,
    pub(crate) suffix: Option<String>,
    pub(crate) best_of: Option<u32>,
    pub(crate) logprobs: Option<u32>,
    pub(crate) stop: Option<Stop>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) keep_alive: Option<KeepAlive>,
    pub(crate) cache_prompt: Option<bool>,
    #[serde(flatten)]
    pub(crate) choosing: Choosing,
}

/// An answer, or a part of one: both are called the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TextCompletion {
    id: String,
    object: String,
    created: u64,
    model: String,
    system_fingerprint: String,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::completions::Choice)]
struct Choice {
    text: String,
    index: usize,
    logprobs: Option<LegacyLogprobs>,
    finish_reason: Option<String>,
}

/// Log probabilities in columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
struct LegacyLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<BTreeMap<String, f64>>,
    /// Where each token begins, in characters of the choice's text.
    text_offset: Vec<usize>,
}

/// What stays the same in all parts of an answer.
#[derive(Debug, Clone)]
struct Frame {
    id: String,
    created: u64,
    model: String,
    has_logprobs: bool,
    /// What is put before each answer.
    echoes: Vec<String>,
    includes_usage: bool,
}

/// One choice as it grows.
#[derive(Debug, Clone, Default)]
struct Growing {
    n_chars: usize,
}

const FINGERPRINT: &str = concat!("lapwing-", env!("CARGO_PKG_VERSION"));

pub(super) async fn complete(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, Refusal> {
    let keep_alive = request.keep_alive.unwrap_or_default();
    let asked = request.model.clone();
    let n_answers = request.choosing.n_answers()?;
    let inputs = inputs(&request, n_answers as usize)?;
    let generate = generate(&request)?;
    let options = request.stream_options.clone().unwrap_or_default();
    let echoes = match request.echo {
        Some(true) => echoes(&app, asked.as_deref(), &inputs, keep_alive).await?,
        _ => vec![String::new(); inputs.len()],
    };
    let of_prompt = |input: Input| Generate { prompt: input.prompt(), ..generate.clone() };
    let prompts = inputs.into_iter().map(of_prompt);
    let each: Vec<Generate> =
        prompts.flat_map(|generate| Choosing::each(&generate, n_answers)).collect();
    let begun = app.generate_each(asked.as_deref(), each, client, keep_alive).await?;
    let n_answers = n_answers as usize;
    let frame = Frame {
        id: request_id.with_prefix("cmpl-"),
        created: unix_seconds(),
        model: asked.unwrap_or_else(|| begun[0].listing.name.clone()),
        has_logprobs: request.logprobs.is_some(),
        echoes: echoes.iter().flat_map(|echo| vec![echo.clone(); n_answers]).collect(),
        includes_usage: options.include_usage == Some(true),
    };
    if request.stream == Some(true) {
        return Ok(stream(Framing::Events, move |writer| async move {
            write(&writer, begun, &frame, n_answers, request_id).await
        }));
    }
    let wholes = Begun::wholes(begun).await?;
    Ok(axum::Json(completion(&frame, wholes, n_answers)).into_response())
}

/// The prompts, each of which is answered `n_answers` times.
fn inputs(request: &CompletionRequest, n_answers: usize) -> Result<Vec<Input>, Refusal> {
    let inputs = request.prompt.clone().inputs("prompt")?;
    if N_ANSWERS_MAX < inputs.len() * n_answers {
        let message = format!("expected at most {N_ANSWERS_MAX} answers to all prompts together");
        return Err(Refusal::field("prompt", message));
    }
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        let message = "no text can be put before a suffix: models are not asked to fill in";
        return Err(Refusal::field("suffix", message));
    }
    if request.best_of.is_some_and(|best_of| best_of as usize != n_answers) {
        return Err(Refusal::field("best_of", "expected best_of to be n: no answers are left out"));
    }
    if request.echo == Some(true) && request.logprobs.is_some() {
        let message = "log probabilities of the prompt are not told: ask for them or for an echo";
        return Err(Refusal::field("echo", message));
    }
    Ok(inputs)
}

/// What the worker is asked for, but for the prompt.
fn generate(request: &CompletionRequest) -> Result<Generate, Refusal> {
    let n_top = request.logprobs.unwrap_or(0);
    if N_TOP_MAX < n_top {
        let message = format!("expected 0 to {N_TOP_MAX} logprobs, found {n_top}");
        return Err(Refusal::field("logprobs", message));
    }
    Ok(Generate {
        is_background: request.choosing.is_background(),
        sampling: request.choosing.sampling()?,
        n_tokens_max: limit(request.max_tokens.or(Some(N_TOKENS))),
        stop_texts: Stop::texts(request.stop.clone())?,
        log_probabilities: request.logprobs.is_some(),
        n_top: n_top as usize,
        reads_anew: request.cache_prompt == Some(false),
        ..Generate::new(Prompt::Ids(Vec::new()))
    })
}

/// The texts of prompts.
async fn echoes(
    app: &App,
    asked: Option<&str>,
    inputs: &[Input],
    keep_alive: KeepAlive,
) -> Result<Vec<String>, Refusal> {
    let mut echoes = Vec::new();
    for input in inputs {
        echoes.push(match input {
            Input::Text(text) => text.clone(),
            Input::Ids(ids) => {
                let listing = app.models.find(asked).await?;
                let ask = Ask::Decode(ids.clone());
                match app.models.ask(&listing.name, &ask, keep_alive).await?.last().await? {
                    Said::Decoded(text) => text,
                    _ => return Err(Refusal::internal("the model's process told no text")),
                }
            }
        });
    }
    Ok(echoes)
}

fn completion(frame: &Frame, wholes: Vec<Whole>, n_answers: usize) -> TextCompletion {
    let usage = usage(wholes.iter().map(|whole| &whole.ended), n_answers);
    let choices = wholes.iter().zip(&frame.echoes).enumerate().map(|(index, (whole, echo))| {
        let mut growing = Growing { n_chars: echo.chars().count() };
        let mut logprobs = LegacyLogprobs::default();
        whole.pieces.iter().for_each(|piece| logprobs.add(piece, &mut growing));
        Choice {
            text: format!("{echo}{}", whole.text),
            index,
            logprobs: frame.has_logprobs.then_some(logprobs),
            finish_reason: Some(finish_reason(whole.ended.why, false).to_owned()),
        }
    });
    let choices = choices.collect();
    TextCompletion { usage: Some(usage), ..frame.part(choices) }
}

/// Of answers to several prompts, `n_answers` to each.
fn usage<'a>(
    ended: impl Iterator<Item = &'a lapwing_serving::message::Ended>,
    n_answers: usize,
) -> Usage {
    let ended: Vec<_> = ended.collect();
    let mut usage = Usage::default();
    for of_prompt in ended.chunks(n_answers.max(1)) {
        let more = Usage::of(of_prompt.iter().copied());
        usage.prompt_tokens += more.prompt_tokens;
        usage.completion_tokens += more.completion_tokens;
        usage.total_tokens += more.total_tokens;
        usage.prompt_tokens_details.cached_tokens += more.prompt_tokens_details.cached_tokens;
        usage.add_energy(more.lapwing.as_ref());
    }
    usage
}

impl Frame {
    fn part(&self, choices: Vec<Choice>) -> TextCompletion {
        TextCompletion {
            id: self.id.clone(),
            object: "text_completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices,
            usage: None,
        }
    }
}

impl LegacyLogprobs {
    /// Add a token, which stands where the text has come to.
    fn add(&mut self, piece: &Piece, growing: &mut Growing) {
        if let Some(probability) = piece.probability.as_deref() {
            let TokenLogprob { token, logprob, top_logprobs, .. } = TokenLogprob::of(probability);
            self.tokens.push(token);
            self.token_logprobs.push(logprob);
            let top = top_logprobs.into_iter().map(|top| (top.token, top.logprob));
            self.top_logprobs.push(top.collect());
            self.text_offset.push(growing.n_chars);
        }
        growing.n_chars += text(piece).chars().count();
    }
}

fn text(piece: &Piece) -> String {
    let text = |part: &ReplyEvent| match part {
        ReplyEvent::Content(text) => Some(text.clone()),
        _ => None,
    };
    piece.parts.iter().filter_map(text).collect()
}

/// Write answers as they come.
async fn write(
    writer: &Writer,
    begun: Vec<Begun>,
    frame: &Frame,
    n_answers: usize,
    request_id: RequestId,
) -> Result<(), Gone> {
    let mut growing = Vec::new();
    for (index, echo) in frame.echoes.iter().enumerate() {
        growing.push(Growing { n_chars: echo.chars().count() });
        if !echo.is_empty() {
            let choice = Choice { text: echo.clone(), index, logprobs: None, finish_reason: None };
            writer.data(&frame.part(vec![choice])).await?;
        }
    }
    let mut ended = vec![None; begun.len()];
    let mut merged = Merged::new(begun);
    while let Some((index, said)) = merged.next().await {
        match said {
            Ok(Said::Piece(piece)) => {
                let text = text(&piece);
                let mut logprobs = LegacyLogprobs::default();
                logprobs.add(&piece, &mut growing[index]);
                if text.is_empty() && logprobs.tokens.is_empty() {
                    continue;
                }
                let logprobs = frame.has_logprobs.then_some(logprobs);
                let choice = Choice { text, index, logprobs, finish_reason: None };
                writer.data(&frame.part(vec![choice])).await?;
            }
            Ok(Said::Ended(end)) => {
                let finish_reason = Some(finish_reason(end.why, false).to_owned());
                let choice = Choice { text: String::new(), index, logprobs: None, finish_reason };
                writer.data(&frame.part(vec![choice])).await?;
                ended[index] = Some(*end);
            }
            Ok(_) => {}
            Err(refusal) => {
                return writer.data(&Protocol::OpenAi.body(&refusal, &request_id)).await;
            }
        }
    }
    if frame.includes_usage {
        let usage = usage(ended.iter().flatten(), n_answers);
        let last = TextCompletion { usage: Some(usage), ..frame.part(Vec::new()) };
        writer.data(&last).await?;
    }
    writer.write("data: [DONE]\n\n").await
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::{Probability, Spelled};
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_read_and_written() {
        let json = json!({"model": "m", "prompt": ["a", "b"], "max_tokens": 0, "echo": true});
        let request: CompletionRequest = serde_json::from_value(json).unwrap();
        let again: CompletionRequest =
            serde_json::from_value(serde_json::to_value(&request).unwrap()).unwrap();
        assert_eq!(request, again);
        assert_eq!(generate(&request).unwrap().n_tokens_max, Some(0));
        assert_eq!(inputs(&request, 1).unwrap().len(), 2);
        let without = json!({"prompt": "a", "max_tokens": null});
        let without: CompletionRequest = serde_json::from_value(without).unwrap();
        assert_eq!(generate(&without).unwrap().n_tokens_max, limit(Some(N_TOKENS)));
        let endless: CompletionRequest =
            serde_json::from_value(json!({"prompt": "a", "max_tokens": -1})).unwrap();
        assert_eq!(generate(&endless).unwrap().n_tokens_max, None);
    }

    #[test]
    fn what_is_not_done_is_refused_by_its_field() {
        let check = |mut json: serde_json::Value, param: &str| {
            json["prompt"] = "a".into();
            let request: CompletionRequest = serde_json::from_value(json).unwrap();
            let refused = inputs(&request, 1).err().or_else(|| generate(&request).err());
            assert_eq!(refused.unwrap().param.as_deref(), Some(param));
        };
        check(json!({"suffix": "b"}), "suffix");
        check(json!({"best_of": 3}), "best_of");
        check(json!({"echo": true, "logprobs": 1}), "echo");
        check(json!({"logprobs": 21}), "logprobs");
    }

    #[test]
    fn tokens_stand_where_the_text_has_come_to() {
        let spelled = |text: &str| Spelled::new(1, text.into());
        let piece = |token: &str, text: &str| Piece {
            token: 1,
            parts: if text.is_empty() {
                Vec::new()
            } else {
                vec![ReplyEvent::Content(text.to_owned())]
            },
            probability: Some(Box::new(Probability {
                log: -0.5,
                piece: spelled(token),
                top: vec![(spelled(token), -0.5), (spelled("x"), f64::NEG_INFINITY)],
            })),
        };
        let mut growing = Growing { n_chars: 3 };
        let mut logprobs = LegacyLogprobs::default();
        for piece in
            [piece("é", "é"), piece("\u{fffd}", ""), piece("\u{fffd}", "漢"), piece("b", "b")]
        {
            logprobs.add(&piece, &mut growing);
        }
        assert_eq!(logprobs.text_offset, [3, 4, 4, 5]);
        assert_eq!(logprobs.token_logprobs, [-0.5; 4]);
        assert_eq!(logprobs.top_logprobs[0]["x"], -9999.0);
        assert_eq!(growing.n_chars, 6);
    }
}
