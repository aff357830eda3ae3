//! `/completion`: a prompt goes on, as clients of llama.cpp's own server ask for it.

mod answer;
mod prompts;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Generate, Prompt, Said, Sampling};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::{App, Client};
use crate::begun::{Begun, Merged};
use crate::body::{Framing, Gone, Json, Writer, stream};
use crate::checks::{self, Stop};
use crate::models::KeepAlive;
use crate::openai::request::Choosing;
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
pub(super) use answer::{Answer, Part};
use answer::{Asked, Completion, Growing, only};

/// Most alternatives that are told with a token.
const N_PROBS_MAX: u32 = 100;
/// Most answers to one request.
const N_ANSWERS_MAX: usize = 128;

/// A request. What is not understood is left alone: samplers that are not built, slots, the cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = llama_server::completion::CompletionRequest)]
pub(crate) struct CompletionRequest {
    model: Option<String>,
    prompt: Value,
    #[serde(alias = "max_tokens")]
    n_predict: Option<i64>,
    #[serde(alias = "n")]
    n_cmpl: Option<u32>,
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    seed: Option<i64>,
    repeat_penalty: Option<f32>,
    repeat_last_n: Option<i64>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    logit_bias: Option<Value>,
    stop: Option<Stop>,
    ignore_eos: Option<bool>,
    n_probs: Option<u32>,
    post_sampling_probs: Option<bool>,
    json_schema: Option<Value>,
    grammar: Option<String>,
    cache_prompt: Option<bool>,
    return_tokens: Option<bool>,
    response_fields: Option<Vec<String>>,
    stream: Option<bool>,
    keep_alive: Option<KeepAlive>,
}

pub(super) async fn complete(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, Refusal> {
    let (prompts, is_list) = prompts::read(&request.prompt)?;
    let n_answers = n_answers(&request, prompts.len())?;
    let generate = generate(&request)?;
    let asked = request.model.as_deref();
    let words = prompts::Words { app: &app, asked };
    let logit_bias = words.bias(request.logit_bias.as_ref()).await?;
    let sampling = Sampling { logit_bias, ..generate.sampling.clone() };
    let generate = Generate { sampling, ..generate };
    let (mut each, mut texts) = (Vec::new(), Vec::new());
    for prompt in prompts {
        let (prompt, text) = words.prompt(prompt).await?;
        let of_prompt = Generate { prompt, ..generate.clone() };
        each.extend(Choosing::each(&of_prompt, n_answers));
        texts.extend(vec![text; n_answers as usize]);
    }
    let keep_alive = request.keep_alive.unwrap_or_default();
    let begun = app.generate_each(asked, each, client, keep_alive).await?;
    let model = asked.map_or_else(|| begun[0].listing.name.clone(), str::to_owned);
    let is_alone = !is_list && n_answers == 1;
    let asked = Asked { model, request, sampling: generate.sampling };
    if asked.request.stream == Some(true) {
        return Ok(stream(Framing::Events, move |writer| async move {
            write(&writer, begun, texts, &asked, request_id).await
        }));
    }
    let wholes = Begun::wholes(begun).await?.into_iter().zip(texts).enumerate();
    let mut answers: Vec<Value> = Vec::new();
    for (index, (whole, text)) in wholes {
        let completion = Completion::of(&asked, index, &whole, text);
        answers.push(only(&completion, asked.request.response_fields.as_deref()));
    }
    let answer = if is_alone { answers.swap_remove(0) } else { answers.into() };
    Ok(axum::Json(answer).into_response())
}

/// How often each prompt is answered.
fn n_answers(request: &CompletionRequest, n_prompts: usize) -> Result<u32, Refusal> {
    match request.n_cmpl.unwrap_or(1) {
        n @ 1.. if n as usize <= N_ANSWERS_MAX / n_prompts.max(1) => Ok(n),
        _ => {
            let message = format!("expected 1 to {N_ANSWERS_MAX} answers to all prompts together");
            Err(Refusal::field("n_cmpl", message))
        }
    }
}

/// What the worker is asked for, but for the prompt and the bias.
fn generate(request: &CompletionRequest) -> Result<Generate, Refusal> {
    checks::no_grammar(request.grammar.as_deref())?;
    if request.post_sampling_probs == Some(true) {
        let message = "probabilities are told before temperature and truncation only";
        return Err(Refusal::field("post_sampling_probs", message));
    }
    let n_top = request.n_probs.unwrap_or(0);
    if N_PROBS_MAX < n_top {
        let message = format!("expected 0 to {N_PROBS_MAX} n_probs, found {n_top}");
        return Err(Refusal::field("n_probs", message));
    }
    let sampling = checks::sampling(Sampling {
        temperature: request.temperature,
        top_k: request.top_k.map(checks::top_k),
        top_p: request.top_p,
        min_p: request.min_p,
        repeat_penalty: request.repeat_penalty,
        // -1 is the whole context.
        repeat_window: request.repeat_last_n.and_then(|n| usize::try_from(n).ok()),
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        logit_bias: Vec::new(),
        // Negative ones mean any.
        seed: request.seed.and_then(|seed| u64::try_from(seed).ok()),
    })?;
    Ok(Generate {
        sampling,
        n_tokens_max: checks::limit(request.n_predict),
        stop_texts: Stop::texts(request.stop.clone())?,
        ignores_end: request.ignore_eos == Some(true),
        log_probabilities: n_top != 0,
        n_top: n_top as usize,
        form: checks::schema("json_schema", request.json_schema.as_ref())?,
        reads_anew: request.cache_prompt == Some(false),
        ..Generate::new(Prompt::Ids(Vec::new()))
    })
}

/// Write answers as they come.
async fn write(
    writer: &Writer,
    begun: Vec<Begun>,
    texts: Vec<String>,
    asked: &Asked,
    request_id: RequestId,
) -> Result<(), Gone> {
    let new = |(begun, text): (&Begun, String)| Growing::new(begun.n_prompt, text);
    let mut growing: Vec<Growing> = begun.iter().zip(texts).map(new).collect();
    let mut merged = Merged::new(begun);
    while let Some((index, said)) = merged.next().await {
        match said {
            Ok(Said::Piece(piece)) => {
                writer.data(&growing[index].chunk(asked, index, &piece)).await?;
            }
            Ok(Said::Ended(ended)) => {
                let last = growing[index].last(asked, index, &ended);
                let fields = asked.request.response_fields.as_deref();
                writer.data(&only(&last, fields)).await?;
            }
            Ok(_) => {}
            Err(refusal) => {
                return writer.data(&Protocol::OpenAi.body(&refusal, &request_id)).await;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::Form;
    use serde_json::json;

    use super::*;

    fn asked(json: Value) -> Result<Generate, Refusal> {
        let request: CompletionRequest = serde_json::from_value(json).unwrap();
        let again = serde_json::to_value(&request).unwrap();
        assert_eq!(serde_json::from_value::<CompletionRequest>(again).unwrap(), request);
        n_answers(&request, 2).and_then(|_| generate(&request))
    }

    #[test]
    fn a_request_becomes_what_a_worker_is_asked() {
        let found = asked(json!({
            "prompt": "a", "n_predict": 8, "seed": -1, "repeat_last_n": -1, "stop": ["x"],
            "ignore_eos": true, "n_probs": 10, "cache_prompt": false, "json_schema": {},
            "mirostat": 2, "samplers": ["top_k"], "id_slot": 0, "grammar": "", "temperature": null,
        }));
        let expected = Generate {
            n_tokens_max: Some(8),
            stop_texts: vec!["x".to_owned()],
            ignores_end: true,
            log_probabilities: true,
            n_top: 10,
            form: Some(Form::Schema(json!({}))),
            reads_anew: true,
            ..Generate::new(Prompt::Ids(Vec::new()))
        };
        assert_eq!(found, Ok(expected));
        assert_eq!(asked(json!({"n_predict": -1})).unwrap().n_tokens_max, None);
        assert_eq!(asked(json!({"max_tokens": 3})).unwrap().n_tokens_max, Some(3));
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        let check = |json: Value, param: &str| {
            assert_eq!(asked(json).unwrap_err().param.as_deref(), Some(param));
        };
        check(json!({"grammar": "root ::= \"a\""}), "grammar");
        check(json!({"post_sampling_probs": true}), "post_sampling_probs");
        check(json!({"n_probs": N_PROBS_MAX + 1}), "n_probs");
        check(json!({"json_schema": 7}), "json_schema");
        check(json!({"temperature": -1}), "temperature");
        check(json!({"n_cmpl": 0}), "n_cmpl");
        check(json!({"n": N_ANSWERS_MAX}), "n_cmpl");
    }
}
