//! A worker that holds a model for embeddings: requests take turns, a text at a time.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lapwing_backend::Device;
use lapwing_host::worker::crowd::Requests;
use lapwing_host::{EmbedError, Embedder, EmbeddingEngine, FileChanged};
use lapwing_model::TokenId;
use lapwing_text::SpecialPieces;

use crate::message::{Abilities, Ask, Card, EmbedInput, Failure, FailureKind, Said, State};
use crate::mouth::Mouth;
use crate::pace::Pace;
use crate::words::{failure, holds_already, never_begun, spelled};

/// An open model for embeddings.
pub(crate) struct Embeds {
    name: String,
    library: (String, String),
    source: Source,
    open: Duration,
}

/// What makes embeddings.
enum Source {
    /// Watches the model's files, too.
    Engine(Box<EmbeddingEngine>),
    #[cfg(any(test, feature = "fakes"))]
    Fake(Embedder),
}

/// What the thread that runs the model hears.
enum Turn {
    Wanted(Job),
    Cancel(u64),
    Look(u64),
    Pace(f64),
}

/// A request, with the vectors that were made.
struct Job {
    number: u64,
    texts: VecDeque<Vec<TokenId>>,
    normalise: bool,
    n_tokens: usize,
    vectors: Vec<Vec<f32>>,
    arrived: Instant,
}

impl Embeds {
    /// What an engine opened.
    pub(crate) fn of(engine: EmbeddingEngine) -> Embeds {
        Embeds {
            name: engine.name(),
            library: (engine.runtime.name().to_owned(), engine.backend_version.clone()),
            open: engine.load,
            source: Source::Engine(Box::new(engine)),
        }
    }

    /// A model without files or libraries, for tests.
    #[cfg(any(test, feature = "fakes"))]
    pub(crate) fn fake(name: &str, embedder: Embedder) -> Embeds {
        Embeds {
            name: name.to_owned(),
            library: ("fake".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            source: Source::Fake(embedder),
            open: Duration::ZERO,
        }
    }

    fn embedder(&self) -> &Embedder {
        match &self.source {
            Source::Engine(engine) => &engine.embedder,
            #[cfg(any(test, feature = "fakes"))]
            Source::Fake(embedder) => embedder,
        }
    }

    fn require_unchanged(&self) -> Result<(), FileChanged> {
        match &self.source {
            Source::Engine(engine) => engine.require_unchanged(),
            #[cfg(any(test, feature = "fakes"))]
            Source::Fake(_) => Ok(()),
        }
    }

    /// What is known of it.
    pub(crate) fn card(&self) -> Card {
        let Embedder { encoder, .. } = self.embedder();
        let Device { id, name, .. } = encoder.device_used().clone();
        let (backend, backend_version) = self.library.clone();
        Card {
            name: self.name.clone(),
            backend,
            backend_version,
            device: id,
            device_name: name,
            n_positions_max: self.embedder().n_tokens_max(),
            n_vocab: encoder.shape().n_vocab,
            can: Abilities { embeds: true, ..Abilities::default() },
            template: None,
            variant: None,
            driver_version: None,
            n_prompt_tokens_max: None,
            correction: None,
            correction_sha256: None,
            memory: encoder.memory(),
            takes_whole_prompts: false,
            open_ms: self.open.as_secs_f64() * 1e3,
        }
    }

    /// Serve it until nobody asks any more.
    pub(crate) fn hold<W: Write + Send>(
        &self,
        requests: &Requests<Ask>,
        mouth: &Mouth<W>,
    ) -> Result<(), serde_json::Error> {
        let (sender, turns) = mpsc::channel();
        std::thread::scope(|scope| {
            // Ends when the sender is gone.
            scope.spawn(|| self.take_turns(turns, mouth));
            while let Some(request) = requests.next() {
                let (number, ask) = request?;
                match self.read(number, ask) {
                    Ok(turn) => drop(sender.send(turn)),
                    Err(said) => mouth.say(number, true, &said),
                }
            }
            drop(sender);
            Ok(())
        })
    }

    /// Do what of a request is text; what is left of it, or what is said to it.
    fn read(&self, number: u64, ask: Ask) -> Result<Turn, Said> {
        let refused = |message: &str| {
            let message = message.to_owned();
            Said::Failed(Failure { kind: FailureKind::Request, message, hint: None })
        };
        let tokenizer = || {
            let none = || refused("the model has no tokenizer");
            self.embedder().tokenizer.as_ref().ok_or_else(none)
        };
        Err(match ask {
            Ask::Embed { inputs, normalise, truncates } => {
                return self.job(number, inputs, normalise, truncates).map(Turn::Wanted);
            }
            Ask::Cancel(number) => return Ok(Turn::Cancel(number)),
            Ask::Look => return Ok(Turn::Look(number)),
            Ask::Pace(duty) => return Ok(Turn::Pace(duty)),
            Ask::Encode { text, add_special } => {
                let tokenizer = tokenizer()?;
                let ids = tokenizer.encode(&text, add_special);
                let ids = ids.map_err(|error| failed(&error.into()))?;
                let piece = |&token: &TokenId| spelled(token, Some(tokenizer));
                Said::Encoded { pieces: ids.iter().map(piece).collect(), ids, text }
            }
            Ask::Decode(ids) => Said::Decoded(tokenizer()?.decode(&ids, SpecialPieces::Show)),
            Ask::Generate(_) | Ask::Render(_) => {
                refused("this model makes embeddings and no answers")
            }
            Ask::Open(_) | Ask::List | Ask::Devices | Ask::OfText { .. } | Ask::Hash { .. } => {
                Said::Failed(holds_already())
            }
        })
    }

    /// The tokens of what is asked for: one that does not fit is refused before any is run.
    fn job(
        &self,
        number: u64,
        inputs: Vec<EmbedInput>,
        normalise: bool,
        truncates: bool,
    ) -> Result<Job, Said> {
        let arrived = Instant::now();
        let embedder = self.embedder();
        let n_tokens_max = embedder.n_tokens_max();
        let mut texts = VecDeque::new();
        for input in inputs {
            let tokens = match input {
                EmbedInput::Text(text) if truncates => embedder.tokens_that_fit(&text),
                EmbedInput::Text(text) => embedder.tokens(&text),
                EmbedInput::Ids(ids) => Ok(ids),
            };
            let tokens = tokens.map_err(|error| failed(&error))?;
            let n_tokens = tokens.len();
            if n_tokens_max < n_tokens {
                return Err(failed(&EmbedError::TooLong { n_tokens, n_tokens_max }));
            }
            texts.push_back(tokens);
        }
        let n_tokens = texts.iter().map(Vec::len).sum();
        Ok(Job { number, texts, normalise, n_tokens, vectors: Vec::new(), arrived })
    }

    /// Run the model: a text of each request after the other.
    fn take_turns<W: Write>(&self, turns: Receiver<Turn>, mouth: &Mouth<W>) {
        let mut jobs: VecDeque<Job> = VecDeque::new();
        let (mut state, mut pace) = (State::default(), Pace::full());
        loop {
            let first = match (jobs.is_empty(), pace.rest()) {
                (true, _) => match turns.recv() {
                    Ok(turn) => Some(turn),
                    Err(_) => return,
                },
                (false, Some(rest)) => match turns.recv_timeout(rest) {
                    Ok(turn) => Some(turn),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                (false, None) => None,
            };
            for turn in first.into_iter().chain(std::iter::from_fn(|| turns.try_recv().ok())) {
                match turn {
                    Turn::Wanted(job) => jobs.push_back(job),
                    Turn::Cancel(number) => {
                        if let Some(idx) = jobs.iter().position(|job| job.number == number) {
                            let job = jobs.remove(idx).expect("it was found there");
                            let ended = never_begun(job.n_tokens, job.arrived);
                            mouth.say(number, true, &Said::Ended(Box::new(ended)));
                        }
                    }
                    Turn::Pace(duty) => pace.set(duty),
                    Turn::Look(number) => {
                        let n_running = usize::from(!jobs.is_empty());
                        let n_waiting = jobs.len() - n_running;
                        let state = State { n_running, n_waiting, ..state.clone() };
                        mouth.say(number, true, &Said::State(state));
                    }
                }
            }
            if pace.rest().is_some() {
                continue;
            }
            let Some(mut job) = jobs.pop_front() else { continue };
            let (number, started) = (job.number, Instant::now());
            let stepped = self.step(&mut job, &mut state);
            pace.worked(started);
            match stepped {
                Ok(()) if job.texts.is_empty() => mouth.say(number, true, &self.done(job)),
                Ok(()) => jobs.push_back(job),
                Err(error) => mouth.say(number, true, &failed(&error)),
            }
        }
    }

    /// Make the next vector of a request, if one is missing.
    fn step(&self, job: &mut Job, state: &mut State) -> Result<(), EmbedError> {
        let Some(tokens) = job.texts.pop_front() else { return Ok(()) };
        job.vectors.push(self.embedder().embed(&tokens, job.normalise)?);
        state.n_prompt_tokens += tokens.len() as u64;
        state.n_steps += 1;
        Ok(())
    }

    fn done(&self, job: Job) -> Said {
        match self.require_unchanged() {
            Ok(()) => Said::Embedded { vectors: job.vectors, n_tokens: job.n_tokens },
            Err(error) => Said::Failed(failure(FailureKind::Model, &error)),
        }
    }
}

fn failed(error: &EmbedError) -> Said {
    use lapwing_backend::StepError::{NoSuchToken, NoTokens};
    let kind = match error {
        EmbedError::TooLong { .. } => FailureKind::TooLong,
        EmbedError::NoTokenizer | EmbedError::Text(_) => FailureKind::Request,
        EmbedError::Encode(NoSuchToken { .. } | NoTokens) => FailureKind::Request,
        EmbedError::Encode(_) | EmbedError::NotFinite => FailureKind::Model,
    };
    Said::Failed(failure(kind, error))
}

#[cfg(test)]
mod tests;
