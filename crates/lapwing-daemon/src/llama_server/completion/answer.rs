//! Answers of `/completion`, whole and in parts.

use lapwing_serving::message::{Ended, Piece, Probability, ReplyEvent, Sampling, Spelled, Why};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::CompletionRequest;
use crate::answers::Whole;
use crate::timings::Timings;

/// An answer; of a stream the last part, whose text came before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = llama_server::completion::answer::Completion)]
pub(in crate::llama_server) struct Completion {
    index: usize,
    content: String,
    /// Told in parts, and where they are asked for.
    tokens: Vec<u32>,
    stop: bool,
    model: String,
    tokens_predicted: usize,
    tokens_evaluated: usize,
    generation_settings: Settings,
    prompt: String,
    has_new_line: bool,
    /// The context is full.
    truncated: bool,
    /// `eos`, `word`, `limit`, `none`.
    stop_type: String,
    stopping_word: String,
    tokens_cached: usize,
    timings: Timings,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_probabilities: Option<Vec<TokenProbability>>,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = llama_server::completion::answer::Chunk)]
pub(in crate::llama_server) struct Chunk {
    index: usize,
    content: String,
    tokens: Vec<u32>,
    stop: bool,
    tokens_predicted: usize,
    tokens_evaluated: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_probabilities: Option<Vec<TokenProbability>>,
}

/// What is answered: a completion, one for each prompt, or the fields of either that were asked for.
#[derive(ToSchema)]
#[schema(as = llama_server::completion::Answer)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes what `only` leaves")]
pub(in crate::llama_server) enum Answer {
    One(Box<Completion>),
    Several(Vec<Completion>),
    Fields(Map<String, Value>),
    FieldsOfSeveral(Vec<Map<String, Value>>),
}

/// What an event tells.
#[derive(ToSchema)]
#[schema(as = llama_server::completion::Part)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes what is written")]
pub(in crate::llama_server) enum Part {
    Chunk(Chunk),
    Last(Box<Completion>),
    Fields(Map<String, Value>),
}

/// What was asked for; what is null is as the model's authors say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = llama_server::completion::answer::Settings)]
struct Settings {
    n_predict: i64,
    seed: Option<u64>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_last_n: Option<usize>,
    repeat_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    n_probs: u32,
    ignore_eos: bool,
    logit_bias: Vec<Bias>,
    stream: bool,
}

/// What is added to the logit of a token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
struct Bias {
    token: u32,
    bias: f32,
}

/// How probable a token was, and what else might have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
struct TokenProbability {
    id: u32,
    token: String,
    bytes: Vec<u8>,
    logprob: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    top_logprobs: Vec<TokenProbability>,
}

/// What an answer is to.
pub(super) struct Asked {
    /// The model, as the client calls it.
    pub(super) model: String,
    pub(super) request: CompletionRequest,
    pub(super) sampling: Sampling,
}

impl TokenProbability {
    fn of(probability: &Probability) -> TokenProbability {
        // JSON has no minus infinity.
        let of = |spelled: &Spelled, log: f64| TokenProbability {
            id: spelled.token,
            token: spelled.text.clone(),
            bytes: spelled.bytes(),
            logprob: log.max(f64::MIN),
            top_logprobs: Vec::new(),
        };
        let top = probability.top.iter().map(|(spelled, log)| of(spelled, *log));
        TokenProbability { top_logprobs: top.collect(), ..of(&probability.piece, probability.log) }
    }

    /// Those of some tokens, if they were asked for.
    fn of_all(asked: &Asked, pieces: &[&Piece]) -> Option<Vec<TokenProbability>> {
        asked.request.n_probs.filter(|&n| n != 0)?;
        let probabilities = pieces.iter().filter_map(|piece| piece.probability.as_deref());
        Some(probabilities.map(TokenProbability::of).collect())
    }
}

impl Completion {
    /// A whole answer to a prompt that reads `prompt`.
    pub(super) fn of(asked: &Asked, index: usize, whole: &Whole, prompt: String) -> Completion {
        let mut growing = Growing::new(whole.ended.n_prompt, prompt);
        growing.has_new_line = whole.text.contains('\n');
        let pieces: Vec<&Piece> = whole.pieces.iter().collect();
        let wants_tokens = asked.request.return_tokens == Some(true);
        let tokens = pieces.iter().filter(|_| wants_tokens).map(|piece| piece.token).collect();
        Completion {
            content: whole.text.clone(),
            tokens,
            completion_probabilities: TokenProbability::of_all(asked, &pieces),
            ..growing.last(asked, index, &whole.ended)
        }
    }
}

/// An answer that is told in parts.
pub(super) struct Growing {
    n_prompt: usize,
    n_tokens: usize,
    has_new_line: bool,
    prompt: String,
}

impl Growing {
    pub(super) fn new(n_prompt: usize, prompt: String) -> Growing {
        Growing { n_prompt, n_tokens: 0, has_new_line: false, prompt }
    }

    /// What a token says.
    pub(super) fn chunk(&mut self, asked: &Asked, index: usize, piece: &Piece) -> Chunk {
        let text = |part: &ReplyEvent| match part {
            ReplyEvent::Content(text) => Some(text.clone()),
            _ => None,
        };
        let content: String = piece.parts.iter().filter_map(text).collect();
        self.n_tokens += 1;
        self.has_new_line |= content.contains('\n');
        Chunk {
            index,
            content,
            tokens: vec![piece.token],
            stop: false,
            tokens_predicted: self.n_tokens,
            tokens_evaluated: self.n_prompt,
            completion_probabilities: TokenProbability::of_all(asked, &[piece]),
        }
    }

    /// The last part.
    pub(super) fn last(&mut self, asked: &Asked, index: usize, ended: &Ended) -> Completion {
        let n_predict = asked.request.n_predict.unwrap_or(-1);
        let is_limit = matches!(ended.why, Why::Length | Why::Full);
        let is_asked_limit = usize::try_from(n_predict).is_ok_and(|n| n <= ended.n_tokens);
        let stop_type = match ended.why {
            Why::Stop => "eos",
            Why::StopText => "word",
            Why::Length | Why::Full => "limit",
            Why::Cancelled => "none",
        };
        Completion {
            index,
            content: String::new(),
            tokens: Vec::new(),
            stop: true,
            model: asked.model.clone(),
            tokens_predicted: ended.n_tokens,
            tokens_evaluated: ended.n_prompt,
            generation_settings: asked.settings(n_predict),
            prompt: std::mem::take(&mut self.prompt),
            has_new_line: self.has_new_line,
            truncated: is_limit && !is_asked_limit,
            stop_type: stop_type.to_owned(),
            stopping_word: ended.stop_text.clone().unwrap_or_default(),
            tokens_cached: ended.n_reused,
            timings: Timings::of(ended),
            completion_probabilities: None,
        }
    }
}

impl Asked {
    fn settings(&self, n_predict: i64) -> Settings {
        let (request, sampling) = (&self.request, &self.sampling);
        let bias = sampling.logit_bias.iter();
        Settings {
            n_predict,
            seed: sampling.seed,
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repeat_last_n: sampling.repeat_window,
            repeat_penalty: sampling.repeat_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            n_probs: request.n_probs.unwrap_or(0),
            ignore_eos: request.ignore_eos == Some(true),
            logit_bias: bias.map(|&(token, bias)| Bias { token, bias }).collect(),
            stream: request.stream == Some(true),
        }
    }
}

/// Those fields of an answer that are asked for, under the paths that they are asked by; all where
/// none is.
pub(super) fn only(completion: &Completion, fields: Option<&[String]>) -> Value {
    let all = serde_json::to_value(completion).unwrap_or_default();
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else { return all };
    let found = |path: &String| {
        let value = path.split('/').try_fold(&all, |value, name| value.get(name))?;
        Some((path.clone(), value.clone()))
    };
    Value::Object(fields.iter().filter_map(found).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(why: Why, n_tokens: usize) -> Ended {
        Ended {
            why,
            stop_text: None,
            n_prompt: 8,
            n_reused: 3,
            n_tokens,
            n_thought_tokens: 0,
            queue_ms: 0.0,
            prompt_ms: 10.0,
            answer_ms: 20.0,
            energy: None,
        }
    }

    fn asked(request: Value) -> Asked {
        let request = serde_json::from_value(request).unwrap();
        Asked { model: "m".to_owned(), request, sampling: Sampling::default() }
    }

    fn piece(token: u32, text: &str) -> Piece {
        let spelled = |token: u32| Spelled::new(token, text.into());
        let top = vec![(spelled(token), -0.5), (spelled(9), f64::NEG_INFINITY)];
        let probability = Some(Box::new(Probability { log: -0.5, piece: spelled(token), top }));
        Piece { token, parts: vec![ReplyEvent::Content(text.to_owned())], probability }
    }

    #[test]
    fn the_parts_of_an_answer_make_the_whole() {
        let asked = asked(json!({"n_predict": 2, "n_probs": 2, "return_tokens": true}));
        let pieces = [piece(4, "a\n"), piece(5, "b")];
        let whole = Whole::of(pieces.to_vec(), ended(Why::Length, 2));
        let whole = Completion::of(&asked, 1, &whole, "p".to_owned());
        let mut growing = Growing::new(8, "p".to_owned());
        let chunks = pieces.each_ref().map(|piece| growing.chunk(&asked, 1, piece));
        let last = growing.last(&asked, 1, &ended(Why::Length, 2));
        let content: String = chunks.iter().map(|chunk| &*chunk.content).collect();
        assert_eq!((&*content, &*whole.content), ("a\nb", "a\nb"));
        assert_eq!(chunks.each_ref().map(|chunk| chunk.tokens_predicted), [1, 2]);
        let told = chunks.iter().flat_map(|chunk| chunk.completion_probabilities.clone().unwrap());
        assert_eq!(Some(told.collect()), whole.completion_probabilities);
        let content = String::new();
        let without =
            Completion { content, tokens: vec![], completion_probabilities: None, ..whole.clone() };
        assert_eq!(last, without);
        assert_eq!(
            (&*whole.tokens, whole.has_new_line, whole.truncated),
            (&[4, 5][..], true, false)
        );
        let json = serde_json::to_value(&whole).unwrap();
        assert_eq!(serde_json::from_value::<Completion>(json.clone()).unwrap(), whole);
        // Minus infinity would be null.
        assert!(json["completion_probabilities"][0]["top_logprobs"][1]["logprob"].is_f64());
        let fields = ["content", "generation_settings/n_predict", "nothing"].map(str::to_owned);
        let expected = json!({"content": "a\nb", "generation_settings/n_predict": 2});
        assert_eq!(only(&whole, Some(&fields)), expected);
        assert_eq!(only(&whole, Some(&[])), json);
    }

    #[test]
    fn why_an_answer_ended() {
        let check = |n_predict: i64, why: Why, expected: (&str, bool)| {
            let asked = asked(json!({"n_predict": n_predict}));
            let last = Growing::new(8, String::new()).last(&asked, 0, &ended(why, 5));
            assert_eq!((&*last.stop_type, last.truncated), expected);
        };
        check(5, Why::Length, ("limit", false));
        check(-1, Why::Length, ("limit", true));
        check(9, Why::Length, ("limit", true));
        check(9, Why::Stop, ("eos", false));
        check(9, Why::StopText, ("word", false));
    }
}
