//! What a worker says to one request, as it comes.

use std::time::{Duration, Instant};

use lapwing_host::worker::crowd::{Crowd, Heard};
use lapwing_serving::message::{Ask, Ended, Piece, ReplyEvent, Said};
use serde_json::{Map, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::refusal::Refusal;

/// A process that says nothing for so long, while something is asked of it, hangs. What takes longest
/// is a prompt of a whole long context: twenty minutes at a hundred tokens a second.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);

/// A request that a worker answers. Whoever drops it gives the request up: the worker stops at the
/// next token.
pub(crate) struct Answers {
    crowd: Crowd<Ask, Said>,
    number: u64,
    heard: UnboundedReceiver<(Instant, Heard<Said>)>,
    heard_at: Instant,
    is_over: bool,
    /// How long the worker may say nothing at all.
    silence_max: Duration,
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
        let (crowd, silence_max) = (crowd.clone(), SILENCE_MAX);
        let (heard_at, is_over) = (Instant::now(), false);
        Answers { crowd, number, heard, heard_at, is_over, silence_max, _held: held }
    }

    /// When the worker said what came last, however late it was read here.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Bear it that the worker says nothing for this long.
    pub(crate) fn with_silence(mut self, silence_max: Duration) -> Answers {
        self.silence_max = silence_max;
        self
    }

    /// What comes next; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Said, Refusal>> {
        if self.is_over {
            return None;
        }
        let heard = self.hear().await.map(|(at, heard)| {
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

    async fn hear(&mut self) -> Option<(Instant, Heard<Said>)> {
        loop {
            let left = self.silence_max.saturating_sub(self.crowd.silence());
            match tokio::time::timeout(left, self.heard.recv()).await {
                Ok(heard) => return heard,
                // It said something to others.
                Err(_) if self.crowd.silence() < self.silence_max => {}
                Err(_) => self.crowd.give_up(self.silence_max),
            }
        }
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

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Crowd<Ask, Said> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Crowd::start(command, |_| ()).expect("a shell starts")
    }

    fn asked(crowd: &Crowd<Ask, Said>) -> Answers {
        Answers::of(crowd, &Ask::Look, None).with_silence(Duration::from_millis(300))
    }

    #[tokio::test]
    async fn a_process_that_hangs_is_ended_and_all_hear_of_it() {
        let started = Instant::now();
        let crowd = shell("exec sleep 100");
        let other = asked(&crowd).with_silence(Duration::from_secs(100));
        let error = asked(&crowd).last().await.unwrap_err();
        assert!(error.message.contains("it was not done after 0 s"), "{error}");
        assert!(other.last().await.is_err());
        assert!(asked(&crowd).last().await.is_err(), "and those who come later");
        assert!(crowd.is_lost() && started.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_process_that_answers_others_does_not_hang() {
        let say =
            |number: u32| format!("echo 'lapwing-worker more {number} {{\"notice\":\"x\"}}'; ");
        let steps = (0..8).map(|_| format!("sleep 0.1; {}", say(2))).collect::<String>();
        let crowd =
            shell(&format!("{steps} echo 'lapwing-worker last 1 {{\"notice\":\"y\"}}'; read x"));
        let first = asked(&crowd);
        let _second = asked(&crowd);
        assert_eq!(first.last().await.unwrap(), Said::Notice("y".to_owned()));
    }

    #[tokio::test]
    async fn a_process_that_rested_for_long_has_its_time() {
        let crowd =
            shell("read a; sleep 0.1; echo 'lapwing-worker last 1 {\"notice\":\"y\"}'; read x");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(asked(&crowd).last().await.is_ok(), "nothing was asked of it before");
    }
}
