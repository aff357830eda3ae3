//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lapwing_serving::message::{Ask, Generate, Listing, Part, Said, Why};

use crate::answers::{Answers, Whole};
use crate::metrics::Metrics;
use crate::models::{KeepAlive, Models};
use crate::options::Options;
use crate::refusal::Refusal;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) options: Arc<Options>,
    pub(crate) models: Arc<Models>,
    pub(crate) metrics: Arc<Metrics>,
    n_open: Arc<AtomicUsize>,
}

/// Whose request it is and how it is treated; see [`crate::guard`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Clients get turns in turn.
    pub(crate) id: u64,
    /// Nobody waits for it.
    pub(crate) is_background: bool,
}

/// One of the requests that are answered or wait.
pub(crate) struct Place {
    n_open: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A generation that was begun, and what it is of.
pub(crate) struct Begun {
    answers: Answers,
    metrics: Arc<Metrics>,
    pub(crate) listing: Listing,
    /// Tokens of the prompt.
    pub(crate) n_prompt: usize,
    /// When the request came.
    pub(crate) arrived: Instant,
    /// How much of the time since then went into loading the model.
    pub(crate) load: Duration,
    has_one_call: bool,
    is_cut: bool,
    _place: Place,
}

impl Begun {
    /// Let the answer end behind its first call.
    pub(crate) fn with_one_call(self, has_one_call: bool) -> Begun {
        Begun { has_one_call, ..self }
    }

    /// What is said next; `None` behind the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Said, Refusal>> {
        loop {
            return Some(match self.answers.next().await? {
                // Nobody wants more.
                Ok(Said::Piece(_)) if self.is_cut => continue,
                Ok(Said::Piece(mut piece)) => {
                    let is_end = |part: &Part| matches!(part, Part::CallEnd { .. });
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
                    self.metrics.count(&ended, self.arrived.elapsed());
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
}

impl App {
    pub(crate) fn new(options: Options) -> App {
        let options = Arc::new(options);
        App {
            models: Arc::new(Models::new(Arc::clone(&options))),
            metrics: Arc::default(),
            options,
            n_open: Arc::default(),
        }
    }

    /// Requests that are answered or wait.
    pub(crate) fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }

    /// A place among the requests that are answered or wait.
    ///
    /// # Errors
    ///
    /// When there is none: it says when to come again, by how fast requests were answered lately.
    pub(crate) fn place(&self) -> Result<Place, Refusal> {
        let n_max = self.options.n_waiting_max + self.options.opening.n_sequences_max;
        let place = Place { n_open: Arc::clone(&self.n_open) };
        if n_max <= self.n_open.fetch_add(1, Ordering::Relaxed) {
            self.metrics.count_refused();
            let seconds = self.metrics.seconds_a_request() * n_max as f64 / 2.0;
            let message = format!("{n_max} requests are answered or wait already");
            return Err(Refusal::busy(message, seconds.ceil().clamp(1.0, 600.0) as u64));
        }
        Ok(place)
    }

    /// Let the model that a client calls `asked` answer. The prompt was made when this returns, so
    /// that what is wrong with the request is known before the first byte of the answer.
    pub(crate) async fn generate(
        &self,
        asked: Option<&str>,
        generate: Generate,
        client: Client,
        keep_alive: KeepAlive,
    ) -> Result<Begun, Refusal> {
        let arrived = Instant::now();
        let place = self.place()?;
        let listing = self.models.find(asked).await?;
        let generate = Generate {
            client: client.id,
            is_background: generate.is_background || client.is_background,
            ..generate
        };
        let loading = Instant::now();
        self.models.load(&listing.name).await?;
        let load = loading.elapsed();
        let ask = Ask::Generate(Box::new(generate));
        let mut answers = self.models.ask(&listing.name, &ask, keep_alive).await?;
        let n_prompt = answers.began().await?;
        self.models.has_answered(&listing.name);
        let metrics = Arc::clone(&self.metrics);
        let (has_one_call, is_cut) = (false, false);
        Ok(Begun {
            answers,
            metrics,
            listing,
            n_prompt,
            arrived,
            load,
            has_one_call,
            is_cut,
            _place: place,
        })
    }
}
