//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lapwing_serving::message::{Ask, Generate, Prompt};

use crate::begun::Begun;
use crate::ending::Ending;
use crate::in_use::Uses;
use crate::metrics::Metrics;
use crate::models::{KeepAlive, Models};
use crate::options::{InForce, Options};
use crate::power::{Ledger, Power};
use crate::pressure::Pressure;
use crate::pulls::Pulls;
use crate::recorder::{Counts, Recorder};
use crate::refusal::Refusal;
use crate::unix_seconds;

/// How often power is looked at while somebody asks.
const LOOK: Duration = Duration::from_secs(5);

/// What all requests share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) options: Arc<InForce>,
    pub(crate) models: Arc<Models>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) power: Arc<Power>,
    pub(crate) ledger: Ledger,
    /// What answers take.
    pub(crate) counts: Counts,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) pulls: Arc<Pulls>,
    pub(crate) ending: Ending,
    /// When the daemon began, in seconds since 1970.
    pub(crate) started_s: u64,
    n_open: Arc<AtomicUsize>,
    /// Requests that wait for another supply of power.
    n_put_off: Arc<AtomicUsize>,
    /// Whether somebody looks at power and energy.
    is_watched: Arc<AtomicBool>,
}

/// Whose request it is and how it is treated; see [`crate::guard`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Clients get turns in turn.
    pub(crate) id: u64,
    /// Nobody waits for it.
    pub(crate) is_background: bool,
    /// After that its client wants no answer any more.
    pub(crate) deadline: Option<Instant>,
}

impl Client {
    /// What `work` comes to, unless the deadline comes first: it is given up then.
    pub(crate) async fn in_time<T>(
        self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        match self.deadline {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
                .await
                .unwrap_or_else(|_| Err(Refusal::late())),
        }
    }
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

impl App {
    pub(crate) fn new(options: Options) -> App {
        let power = Arc::new(Power::new(options.power.clone(), options.system.clone()));
        let ledger = Ledger::new(&options.system);
        let uses = Arc::new(Uses::new(options.program.clone()));
        let pressure = Arc::new(Pressure::new(options.system.clone()));
        let options = Arc::new(InForce::new(options));
        App {
            counts: Counts {
                uses,
                #[cfg(feature = "otlp")]
                exports: Arc::default(),
            },
            models: Arc::new(Models::new(Arc::clone(&options), Arc::clone(&power))),
            power,
            ledger,
            pressure,
            pulls: Arc::new(Pulls::new(Arc::clone(&options))),
            metrics: Arc::default(),
            ending: Ending::default(),
            options,
            started_s: unix_seconds(),
            n_open: Arc::default(),
            n_put_off: Arc::default(),
            is_watched: Arc::default(),
        }
    }

    /// Requests that are answered or wait.
    pub(crate) fn n_open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed)
    }

    /// Push metrics to where the options say.
    #[cfg(feature = "otlp")]
    pub(crate) fn push(&self) {
        let sources = crate::otlp::Sources {
            header: &self.counts.uses.header,
            models: &self.models,
            metrics: &self.metrics,
            n_open: &self.n_open,
        };
        self.counts.exports.heed(self.options.now().otlp.clone(), &sources);
    }

    /// A place among the requests that are answered or wait.
    ///
    /// # Errors
    ///
    /// When there is none: it says when to come again, by how fast requests were answered lately.
    pub(crate) fn place(&self) -> Result<Place, Refusal> {
        let options = self.options.now();
        let n_max = options.n_waiting_max + options.opening.n_sequences_max;
        let place = Place { n_open: Arc::clone(&self.n_open) };
        let n_before = self.n_open.fetch_add(1, Ordering::Relaxed);
        self.watch();
        if n_max <= n_before {
            self.metrics.count_refused();
            let seconds = self.metrics.seconds_a_request() * n_max as f64 / 2.0;
            let message = format!("{n_max} requests are answered or wait already");
            return Err(Refusal::busy(message, seconds.ceil().clamp(1.0, 600.0) as u64));
        }
        Ok(place)
    }

    /// See to it that power and energy are looked at as long as somebody asks.
    pub(crate) fn watch(&self) {
        let is_worth_it = !self.power.is_constant() || self.ledger.counts();
        if self.n_open() != 0 && is_worth_it && !self.is_watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().keep_watch());
        }
    }

    /// Tell the models how to work, and keep the counters of energy from beginning anew unseen.
    async fn keep_watch(self) {
        while self.n_open() != 0 {
            self.models.pace(self.power.manner().duty);
            self.ledger.tick();
            tokio::time::sleep(LOOK).await;
        }
        self.is_watched.store(false, Ordering::Relaxed);
        // Whoever came in between saw that somebody watches.
        self.watch();
    }

    /// Wait until what is done in the background may be done. It takes no place meanwhile.
    ///
    /// # Errors
    ///
    /// When as many wait already as may.
    pub(crate) async fn may_run(&self) -> Result<(), Refusal> {
        if !self.power.manner().background_waits {
            return Ok(());
        }
        let waiting = Place { n_open: Arc::clone(&self.n_put_off) };
        let n_max = self.options.now().n_waiting_max;
        if n_max <= self.n_put_off.fetch_add(1, Ordering::Relaxed) {
            let message = format!("{n_max} requests wait already for another supply of power");
            return Err(Refusal::busy(message, LOOK.as_secs()));
        }
        while self.power.manner().background_waits {
            tokio::time::sleep(LOOK).await;
        }
        drop(waiting);
        Ok(())
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
        let mut begun = self.generate_each(asked, vec![generate], client, keep_alive).await?;
        begun.pop().ok_or_else(|| Refusal::internal("one answer was asked for, and none begun"))
    }

    /// The same for several at once, which have one place together. Whatever is wrong with one, none
    /// is answered.
    pub(crate) async fn generate_each(
        &self,
        asked: Option<&str>,
        generates: Vec<Generate>,
        client: Client,
        keep_alive: KeepAlive,
    ) -> Result<Vec<Begun>, Refusal> {
        let arrived = Instant::now();
        if generates.iter().any(|generate| generate.is_background) && !client.is_background {
            // Those of a client that said so itself have waited.
            self.may_run().await?;
        }
        let place = Arc::new(self.place()?);
        let mut begun = Vec::new();
        for generate in generates {
            let held = (arrived, Arc::clone(&place));
            begun.push(self.begin(asked, generate, client, keep_alive, held).await?);
        }
        Ok(begun)
    }

    async fn begin(
        &self,
        asked: Option<&str>,
        generate: Generate,
        client: Client,
        keep_alive: KeepAlive,
        (arrived, place): (Instant, Arc<Place>),
    ) -> Result<Begun, Refusal> {
        let due = Instant::now();
        let listing = self.models.find(asked).await?;
        if listing.can.embeds {
            let name = &listing.name;
            let message = format!("'{name}' makes embeddings and does not support answers");
            return Err(Refusal::field("model", message));
        }
        let operation = match &generate.prompt {
            Prompt::Chat(_) => "chat",
            Prompt::Text { .. } | Prompt::Ids(_) => "text_completion",
        };
        let generate = Generate {
            client: client.id,
            is_background: generate.is_background || client.is_background,
            ..generate
        };
        let loading = Instant::now();
        let loaded = self.models.load(&listing.name).await?;
        let load = loading.elapsed();
        let recorder = Recorder::new(&self.counts, loaded, (arrived, due + load), operation);
        let account = self.ledger.open();
        let ask = Ask::Generate(Box::new(generate));
        let mut answers = self.models.ask(&listing.name, &ask, keep_alive).await?;
        let n_prompt = answers.began().await?;
        let counts = (Arc::clone(&self.metrics), recorder);
        let shared = (Arc::clone(&self.models), self.ending.clone());
        let held = Box::new(place);
        let begun =
            Begun::new(answers, counts, shared, listing, (n_prompt, arrived, load), account, held);
        Ok(begun.until(client.deadline))
    }
}
