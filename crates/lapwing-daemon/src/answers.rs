//! What a worker says to one request, as it comes.

use std::time::Instant;

use lapwing_host::worker::crowd::{Crowd, Heard};
use lapwing_serving::message::{Ask, Ended, Piece, ReplyEvent, Said};
use serde_json::{Map, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::refusal::Refusal;

/// A request that a worker answers. Whoever drops it gives the request up: the worker stops at the
/// next token.
pub(crate) struct Answers {
    crowd: Crowd<Ask, Said>,
    number: u64,
    heard: UnboundedReceiver<(Instant, Heard<Said>)>,
    heard_at: Instant,
    is_over: bool,
    /// What is held as long as the request is open: the model is in use.
    _held: Option<Box<dyn Send>>,
}

impl Answers {
    /// Ask a worker.
    pub(crate) fn of(crowd: &Crowd<Ask, Said>, ask: &Ask, held: Option<Box<dyn Send>>) -> Answers {
        // It holds no more than an answer, which the context bounds.
        let (sender, heard) = unbounded_channel();
        let hear = move |heard| drop(sender.send((Instant::now(), heard)));
        let number = crowd.ask(ask, Box::new(hear));
        let (crowd, heard_at) = (crowd.clone(), Instant::now());
        Answers { crowd, number, heard, heard_at, is_over: false, _held: held }
    }

    /// When the worker said what came last, however late it was read here.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// What comes next; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Said, Refusal>> {
        if self.is_over {
            return None;
        }
        let heard = self.heard.recv().await.map(|(at, heard)| {
            self.heard_at = at;
            heard
        });
        self.is_over = !matches!(heard, Some(Heard::More(_)));
        Some(match heard {
            Some(Heard::More(said) | Heard::Last(said)) => match said {
                Said::Failed(failure) => Err(failure.into()),
                said => Ok(said),
            },
            Some(Heard::Lost(lost)) => {
                tracing::warn!(loss = %lost.loss, "a worker was lost");
                Err(Refusal::internal(format!("the model's process was lost: {}", lost.loss)))
            }
            Some(Heard::Garbled(error)) => {
                tracing::error!(error, "a worker of another version");
                Err(Refusal::internal("the model's process is of another version"))
            }
            None => Err(Refusal::internal("the model's process was lost")),
        })
    }

    /// Give the request up; it goes on to be heard until it has ended.
    pub(crate) fn cancel(&self) {
        self.crowd.tell(&Ask::Cancel(self.number));
    }

    /// The last that is said.
    pub(crate) async fn last(mut self) -> Result<Said, Refusal> {
        let mut last = Err(Refusal::internal("the model's process said nothing"));
        while let Some(said) = self.next().await {
            last = Ok(said?);
        }
        last
    }

    /// The prompt was made, so that the request is known to make sense; its length in tokens.
    pub(crate) async fn began(&mut self) -> Result<usize, Refusal> {
        while let Some(said) = self.next().await {
            if let Said::Began { n_prompt, .. } = said? {
                return Ok(n_prompt);
            }
        }
        Err(Refusal::internal("the model's process said nothing of the prompt"))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if !self.is_over {
            self.cancel();
        }
    }
}

/// An answer from begin to end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) thoughts: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) ended: Ended,
}

/// A call of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// A JSON object, if the model made no mistake.
    pub(crate) arguments: String,
}

impl Call {
    /// The arguments as an object. What is none stands in one, so that whoever checks them against
    /// the function's schema sees what the model wrote.
    pub(crate) fn object(&self) -> Map<String, Value> {
        if self.arguments.trim().is_empty() {
            return Map::new();
        }
        let wrong = || Map::from_iter([("arguments".to_owned(), self.arguments.clone().into())]);
        serde_json::from_str(&self.arguments).unwrap_or_else(|_| wrong())
    }
}

impl Whole {
    pub(crate) fn of(pieces: Vec<Piece>, ended: Ended) -> Whole {
        let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        for part in pieces.iter().flat_map(|piece| &piece.parts) {
            match part {
                ReplyEvent::Content(more) => text.push_str(more),
                ReplyEvent::Reasoning(more) => thoughts.push_str(more),
                ReplyEvent::CallStart { name, .. } => {
                    calls.push(Call { name: name.clone(), ..Call::default() });
                }
                ReplyEvent::CallArguments { index, delta } => {
                    if let Some(call) = calls.get_mut(*index) {
                        call.arguments.push_str(delta);
                    }
                }
                ReplyEvent::CallEnd { .. } => {}
            }
        }
        Whole { text, thoughts, calls, pieces, ended }
    }
}
