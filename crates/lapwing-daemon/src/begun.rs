//! Answers that were begun, as they come: each has its place, and is counted at its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_serving::message::{Listing, ReplyEvent, Said, Why};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::answers::{Answers, Whole};
use crate::ending::Ending;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::power::Account;
use crate::recorder::Recorder;
use crate::refusal::Refusal;

/// A generation that was begun, and what it is of.
pub(crate) struct Begun {
    answers: Answers,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    models: Arc<Models>,
    ending: Ending,
    pub(crate) listing: Listing,
    /// Tokens of the prompt.
    pub(crate) n_prompt: usize,
    /// When the request came.
    pub(crate) arrived: Instant,
    /// How much of the time since then went into loading the model.
    pub(crate) load: Duration,
    account: Account,
    has_one_call: bool,
    is_cut: bool,
    /// After that nobody wants it.
    deadline: Option<Instant>,
    is_late: bool,
    /// What is held as long as the request is open: its place among those that are.
    _held: Box<dyn Send>,
}

impl Begun {
    /// What `answers` is of, of which the prompt was made.
    pub(crate) fn new(
        answers: Answers,
        (metrics, recorder): (Arc<Metrics>, Recorder),
        (models, ending): (Arc<Models>, Ending),
        listing: Listing,
        (n_prompt, arrived, load): (usize, Instant, Duration),
        account: Account,
        held: Box<dyn Send>,
    ) -> Begun {
        let (has_one_call, is_cut) = (false, false);
        Begun {
            answers,
            metrics,
            recorder,
            models,
            ending,
            listing,
            n_prompt,
            arrived,
            load,
            account,
            has_one_call,
            is_cut,
            deadline: None,
            is_late: false,
            _held: held,
        }
    }

    /// Let the answer end behind its first call.
    pub(crate) fn with_one_call(self, has_one_call: bool) -> Begun {
        Begun { has_one_call, ..self }
    }

    /// Give the answer up at `deadline`.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Begun {
        Begun { deadline, ..self }
    }

    /// What the worker says next, or that it is too late for it.
    async fn heard(&mut self) -> Option<Result<Said, Refusal>> {
        let Some(deadline) = self.deadline else { return self.answers.next().await };
        if self.is_late {
            return None;
        }
        let heard = tokio::time::timeout_at(deadline.into(), self.answers.next()).await;
        heard.unwrap_or_else(|_| {
            self.is_late = true;
            self.answers.cancel();
            Some(Err(Refusal::late()))
        })
    }

    /// What is said next; `None` behind the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Said, Refusal>> {
        let ending = self.ending.clone();
        loop {
            let said = tokio::select! {
                said = self.heard() => said,
                () = ending.comes() => Some(Err(Ending::refusal())),
            };
            let said = said?;
            if let Ok(Said::Piece(_)) = said {
                self.recorder.token(self.answers.heard_at());
            }
            return Some(match said {
                // Nobody wants more.
                Ok(Said::Piece(_)) if self.is_cut => continue,
                Ok(Said::Piece(mut piece)) => {
                    let is_end = |part: &ReplyEvent| matches!(part, ReplyEvent::CallEnd { .. });
                    let end = piece.parts.iter().position(is_end).filter(|_| self.has_one_call);
                    if let Some(idx) = end {
                        piece.parts.truncate(idx + 1);
                        self.is_cut = true;
                        self.answers.cancel();
                    }
                    Ok(Said::Piece(piece))
                }
                Ok(Said::Ended(mut ended)) => {
                    if self.is_cut {
                        ended.why = Why::Stop;
                    }
                    self.models.has_answered(&self.listing.name);
                    self.metrics.count(&ended, self.arrived.elapsed());
                    let spent = self.account.spent();
                    self.recorder.ended(&ended, &spent);
                    ended.energy = Some(spent);
                    Ok(Said::Ended(ended))
                }
                said => said,
            });
        }
    }

    /// The whole answer.
    pub(crate) async fn whole(mut self) -> Result<Whole, Refusal> {
        let mut pieces = Vec::new();
        while let Some(said) = self.next().await {
            match said? {
                Said::Piece(piece) => pieces.push(*piece),
                Said::Ended(ended) => return Ok(Whole::of(pieces, *ended)),
                _ => {}
            }
        }
        Err(Refusal::internal("the model's process ended no answer"))
    }

    /// All of several answers.
    pub(crate) async fn wholes(begun: Vec<Begun>) -> Result<Vec<Whole>, Refusal> {
        let mut wholes = Vec::new();
        for answer in begun {
            wholes.push(answer.whole().await?);
        }
        Ok(wholes)
    }
}

/// Several answers to one request, as they come.
pub(crate) struct Merged {
    /// The only one needs no task of its own.
    only: Option<Begun>,
    heard: UnboundedReceiver<(usize, Result<Said, Refusal>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Merged {
    pub(crate) fn new(mut begun: Vec<Begun>) -> Merged {
        let (sender, heard) = unbounded_channel();
        let only = if begun.len() == 1 { begun.pop() } else { None };
        let pass_on = |(idx, mut begun): (usize, Begun)| {
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(said) = begun.next().await {
                    if sender.send((idx, said)).is_err() {
                        return;
                    }
                }
            })
        };
        let tasks = begun.into_iter().enumerate().map(pass_on).collect();
        Merged { only, heard, tasks }
    }

    /// What is said next, and of which answer; `None` once all have ended.
    pub(crate) async fn next(&mut self) -> Option<(usize, Result<Said, Refusal>)> {
        match &mut self.only {
            Some(only) => only.next().await.map(|said| (0, said)),
            None => self.heard.recv().await,
        }
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
