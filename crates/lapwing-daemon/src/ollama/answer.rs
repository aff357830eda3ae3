//! Answers of Ollama's interface: a line for each token that says something, and a last one.

use std::time::{Duration, Instant, SystemTime};

use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Ended, Piece, ReplyEvent, Said, Spent, Why};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::conversation::{Function, Message, ToolCall};
use super::time::{nanos, nanos_of_ms, rfc3339};
use crate::answers::Call;
use crate::begun::Begun;
use crate::body::{Framing, Gone, Writer, stream};
use crate::logprobs::TokenLogprob;
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// A line of an answer, or all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Line {
    pub(super) model: String,
    pub(super) created_at: String,
    /// Of a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message>,
    /// Of a text, with what stands in a chat's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    pub(super) done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) done_reason: Option<String>,
    /// Tokens of the prompt and its answer, for the next prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<Vec<u32>>,
    #[serde(flatten)]
    #[schema(value_type = Counts)]
    pub(super) counts: Option<Counts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<Vec<TokenLogprob>>,
}

/// Tokens, and times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Counts {
    #[schema(required = false)]
    pub(super) total_duration: u64,
    #[schema(required = false)]
    pub(super) load_duration: u64,
    /// All of the prompt's tokens; the time is that of those which no kept sequence knew.
    #[schema(required = false)]
    pub(super) prompt_eval_count: usize,
    #[schema(required = false)]
    pub(super) prompt_eval_duration: u64,
    #[schema(required = false)]
    pub(super) eval_count: usize,
    #[schema(required = false)]
    pub(super) eval_duration: u64,
    /// Our own: what the answer took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lapwing: Option<Spent>,
}

/// Which of the two endpoints answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    /// With the prompt's tokens, if the client is told of them.
    Text {
        context: Option<Vec<u32>>,
    },
}

/// What stays the same in all lines of an answer.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The model, as the client calls it.
    pub(super) model: String,
    pub(super) has_logprobs: bool,
    /// When the request came.
    pub(super) arrived: Instant,
    /// How much of the time since then went into loading the model.
    pub(super) load: Duration,
}

impl Frame {
    fn line(&self, told: Told) -> Line {
        let Told { text, thinking, calls, logprobs } = told;
        let thinking = Some(thinking).filter(|thinking| !thinking.is_empty());
        let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
        let line = Line {
            model: self.model.clone(),
            created_at: rfc3339(SystemTime::now()),
            logprobs: Some(logprobs).filter(|logprobs| !logprobs.is_empty()),
            ..Line::default()
        };
        match self.kind {
            Kind::Chat => {
                let role = "assistant".to_owned();
                let content = text.into();
                let message = Message { role, content, thinking, tool_calls, ..Message::default() };
                Line { message: Some(message), ..line }
            }
            Kind::Text { .. } => Line { response: Some(text), thinking, tool_calls, ..line },
        }
    }

    /// The only line where nothing is to be answered: the model was loaded or unloaded.
    pub(super) fn without_answer(&self, done_reason: &str) -> Line {
        let done_reason = Some(done_reason.to_owned());
        Line { done: true, done_reason, ..self.line(Told::default()) }
    }
}

/// What a line tells.
#[derive(Debug, Clone, Default, PartialEq)]
struct Told {
    text: String,
    thinking: String,
    calls: Vec<ToolCall>,
    logprobs: Vec<TokenLogprob>,
}

/// From what a worker says to lines.
struct Teller {
    frame: Frame,
    /// Calls, and whether they are complete.
    calls: Vec<(Call, bool)>,
    /// Tokens of the answer.
    tokens: Vec<u32>,
}

impl Teller {
    fn new(frame: Frame) -> Teller {
        Teller { frame, calls: Vec::new(), tokens: Vec::new() }
    }

    /// What a token says; often nothing. Calls wait for the end.
    fn piece(&mut self, piece: &Piece) -> Option<Told> {
        self.tokens.push(piece.token);
        let mut told = Told::default();
        for part in &piece.parts {
            match part {
                ReplyEvent::Content(text) => told.text.push_str(text),
                ReplyEvent::Reasoning(thought) => told.thinking.push_str(thought),
                ReplyEvent::CallStart { name, .. } => {
                    self.calls.push((Call { name: name.clone(), ..Call::default() }, false));
                }
                ReplyEvent::CallArguments { index, delta } => {
                    if let Some((call, _)) = self.calls.get_mut(*index) {
                        call.arguments.push_str(delta);
                    }
                }
                ReplyEvent::CallEnd { index } => {
                    if let Some((_, is_complete)) = self.calls.get_mut(*index) {
                        *is_complete = true;
                    }
                }
            }
        }
        if let Some(probability) = piece.probability.as_deref().filter(|_| self.frame.has_logprobs)
        {
            told.logprobs.push(TokenLogprob::of(probability));
        }
        (told != Told::default()).then_some(told)
    }

    /// All calls, in one line, because clients put a later line's calls in place of an earlier one's.
    /// One that was cut off is none.
    fn calls(&mut self) -> Option<Told> {
        let complete = self.calls.drain(..).filter(|(_, is_complete)| *is_complete);
        let calls = complete.enumerate().map(|(index, (call, _))| {
            let arguments = call.object().into();
            let function = Function { index: Some(index), name: call.name, arguments };
            ToolCall { id: None, function }
        });
        let calls: Vec<ToolCall> = calls.collect();
        (!calls.is_empty()).then(|| Told { calls, ..Told::default() })
    }

    /// The last line, which says how it ended beside what is `told`.
    fn last(self, told: Told, ended: &Ended) -> Line {
        let line = self.frame.line(told);
        let counts = Counts {
            total_duration: nanos(self.frame.arrived.elapsed()),
            load_duration: nanos(self.frame.load),
            prompt_eval_count: ended.n_prompt,
            prompt_eval_duration: nanos_of_ms(ended.prompt_ms),
            eval_count: ended.n_tokens,
            eval_duration: nanos_of_ms(ended.answer_ms),
            lapwing: ended.energy.clone(),
        };
        let context = match self.frame.kind {
            Kind::Text { context: Some(context) } => Some([context, self.tokens].concat()),
            _ => None,
        };
        let done_reason = Some(done_reason(ended.why).to_owned());
        Line { done: true, done_reason, context, counts: Some(counts), ..line }
    }
}

fn done_reason(why: Why) -> &'static str {
    match why {
        // Also with calls.
        Why::Stop | Why::StopText | Why::Cancelled => "stop",
        Why::Length | Why::Full => "length",
    }
}

/// Answer, a line for each token or in one piece.
pub(super) async fn answer(
    begun: Begun,
    frame: Frame,
    is_stream: bool,
    request_id: RequestId,
) -> Result<Response, Refusal> {
    let teller = Teller::new(frame);
    if is_stream {
        return Ok(stream(Framing::Lines, move |writer| async move {
            write(&writer, begun, teller, request_id).await
        }));
    }
    Ok(axum::Json(whole(begun, teller).await?).into_response())
}

async fn whole(mut begun: Begun, mut teller: Teller) -> Result<Line, Refusal> {
    let mut all = Told::default();
    let mut add = |told: Told| {
        all.text.push_str(&told.text);
        all.thinking.push_str(&told.thinking);
        all.calls.extend(told.calls);
        all.logprobs.extend(told.logprobs);
    };
    while let Some(said) = begun.next().await {
        match said? {
            Said::Piece(piece) => teller.piece(&piece).into_iter().for_each(&mut add),
            Said::Ended(ended) => {
                teller.calls().into_iter().for_each(&mut add);
                return Ok(teller.last(all, &ended));
            }
            _ => {}
        }
    }
    Err(Refusal::internal("the model's process ended no answer"))
}

async fn write(
    writer: &Writer,
    mut begun: Begun,
    mut teller: Teller,
    request_id: RequestId,
) -> Result<(), Gone> {
    while let Some(said) = begun.next().await {
        match said {
            Ok(Said::Piece(piece)) => {
                if let Some(told) = teller.piece(&piece) {
                    writer.line(&teller.frame.line(told)).await?;
                }
            }
            Ok(Said::Ended(ended)) => {
                if let Some(told) = teller.calls() {
                    writer.line(&teller.frame.line(told)).await?;
                }
                return writer.line(&teller.last(Told::default(), &ended)).await;
            }
            Ok(_) => {}
            Err(refusal) => {
                return writer.line(&Protocol::Ollama.body(&refusal, &request_id)).await;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::{Probability, Spelled};
    use serde_json::{Value, json};

    use super::*;

    fn frame(kind: Kind) -> Frame {
        let (arrived, load) = (Instant::now(), Duration::from_nanos(5));
        Frame { kind, model: "m".to_owned(), has_logprobs: true, arrived, load }
    }

    fn piece(token: u32, parts: Vec<ReplyEvent>) -> Piece {
        Piece { token, parts, probability: None }
    }

    fn ended(why: Why) -> Ended {
        Ended {
            why,
            stop_text: None,
            n_prompt: 9,
            n_reused: 4,
            n_tokens: 3,
            n_thought_tokens: 1,
            queue_ms: 0.0,
            prompt_ms: 2.0,
            answer_ms: 3.5,
            energy: None,
        }
    }

    /// The lines of an answer, without what differs from run to run.
    fn lines(kind: Kind, pieces: &[Piece], why: Why) -> Vec<Value> {
        let mut teller = Teller::new(frame(kind));
        let mut told: Vec<Told> = pieces.iter().filter_map(|piece| teller.piece(piece)).collect();
        told.extend(teller.calls());
        let mut lines: Vec<Line> = told.into_iter().map(|told| teller.frame.line(told)).collect();
        lines.push(teller.last(Told::default(), &ended(why)));
        let shown = |line: Line| {
            let mut json = serde_json::to_value(&line).unwrap();
            assert_eq!(serde_json::from_value::<Line>(json.clone()).unwrap(), line);
            let fields = json.as_object_mut().unwrap();
            assert_eq!(fields.remove("model"), Some(json!("m")));
            assert!(fields.remove("created_at").unwrap().as_str().unwrap().ends_with('Z'));
            if let Some(total) = fields.remove("total_duration") {
                assert!(total.is_u64(), "{total}");
            }
            json
        };
        lines.into_iter().map(shown).collect()
    }

    fn end(done_reason: &str) -> Value {
        json!({
            "done": true, "done_reason": done_reason, "load_duration": 5, "prompt_eval_count": 9,
            "prompt_eval_duration": 2_000_000, "eval_count": 3, "eval_duration": 3_500_000,
        })
    }

    fn with(mut json: Value, key: &str, value: Value) -> Value {
        json[key] = value;
        json
    }

    #[test]
    fn a_chat_is_a_line_a_token_and_its_calls_come_in_one() {
        let arguments =
            |index, delta: &str| ReplyEvent::CallArguments { index, delta: delta.to_owned() };
        let call = |index, name: &str| ReplyEvent::CallStart { index, name: name.to_owned() };
        let pieces = [
            piece(1, vec![ReplyEvent::Reasoning("hm".to_owned())]),
            piece(2, vec![]),
            piece(
                3,
                vec![
                    ReplyEvent::Content("Let me".to_owned()),
                    call(0, "f"),
                    arguments(0, "{\"a\""),
                ],
            ),
            piece(4, vec![arguments(0, ": [1]}"), ReplyEvent::CallEnd { index: 0 }, call(1, "g")]),
            piece(5, vec![ReplyEvent::CallEnd { index: 1 }, call(2, "cut"), arguments(2, "{")]),
        ];
        let message = |fields: Value| json!({"done": false, "message": fields});
        let expected = [
            message(json!({"role": "assistant", "content": "", "thinking": "hm"})),
            message(json!({"role": "assistant", "content": "Let me"})),
            message(json!({"role": "assistant", "content": "", "tool_calls": [
                {"function": {"index": 0, "name": "f", "arguments": {"a": [1]}}},
                {"function": {"index": 1, "name": "g", "arguments": {}}},
            ]})),
            with(end("stop"), "message", json!({"role": "assistant", "content": ""})),
        ];
        assert_eq!(lines(Kind::Chat, &pieces, Why::Stop), expected);
    }

    #[test]
    fn a_text_ends_with_the_tokens_of_its_context() {
        let pieces = [
            piece(7, vec![ReplyEvent::Content("a".to_owned())]),
            piece(8, vec![ReplyEvent::Reasoning("b".to_owned())]),
        ];
        let kind = |context| Kind::Text { context };
        let expected = |last: Value| {
            let thought = json!({"done": false, "response": "", "thinking": "b"});
            [json!({"done": false, "response": "a"}), thought, last]
        };
        let last = with(end("length"), "response", json!(""));
        let known = lines(kind(Some(vec![1, 2])), &pieces, Why::Length);
        assert_eq!(known, expected(with(last.clone(), "context", json!([1, 2, 7, 8]))));
        assert_eq!(lines(kind(None), &pieces, Why::Full), expected(last));
    }

    #[test]
    fn probabilities_stand_beside_what_they_are_of() {
        let spelled = |text: &str| Spelled::new(1, text.into());
        let top = vec![(spelled("a"), -0.5), (spelled("b"), f64::NEG_INFINITY)];
        let probability = Some(Box::new(Probability { log: -0.5, piece: spelled("a"), top }));
        let lines = lines(Kind::Chat, &[Piece { token: 1, parts: vec![], probability }], Why::Stop);
        let logprobs = json!([{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
            {"token": "a", "logprob": -0.5, "bytes": [97]},
            {"token": "b", "logprob": -9999.0, "bytes": [98]},
        ]}]);
        assert_eq!((&lines[0]["logprobs"], lines.len()), (&logprobs, 2));
    }

    #[test]
    fn arguments_that_are_no_object_stand_in_one() {
        let check = |arguments: &str, expected: Value| {
            let call = Call { name: "f".to_owned(), arguments: arguments.to_owned() };
            assert_eq!(Value::Object(call.object()), expected);
        };
        check("", json!({}));
        check("{\"a\": 1}", json!({"a": 1}));
        check("[1]", json!({"arguments": "[1]"}));
        check("{\"a\":", json!({"arguments": "{\"a\":"}));
    }

    #[test]
    fn to_load_a_model_is_answered_in_one_line() {
        let check = |kind, key: &str, expected: Value| {
            let line = serde_json::to_value(frame(kind).without_answer("load")).unwrap();
            assert_eq!(line["done_reason"], "load");
            assert_eq!((&line["done"], &line[key]), (&json!(true), &expected));
            assert_eq!(line.as_object().unwrap().len(), 5, "{line}");
        };
        check(Kind::Chat, "message", json!({"role": "assistant", "content": ""}));
        check(Kind::Text { context: None }, "response", json!(""));
    }
}
