//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lapwing_serving::message::{Ask, Generate};

use crate::begun::Begun;
use crate::metrics::Metrics;
use crate::models::{KeepAlive, Models};
use crate::options::{InForce, Options};
use crate::power::{Ledger, Power};
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
    /// When the daemon began, in seconds since 1970.
    pub(crate) started_s: u64,
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

impl App {
    pub(crate) fn new(options: Options) -> App {
        let power = Arc::new(Power::new(options.power.clone(), options.system.clone()));
        let ledger = Ledger::new(&options.system);
        let options = Arc::new(InForce::new(options));
        App {
            models: Arc::new(Models::new(Arc::clone(&options), Arc::clone(&power))),
            power,
            ledger,
            metrics: Arc::default(),
            options,
            started_s: unix_seconds(),
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
        let options = self.options.now();
        let n_max = options.n_waiting_max + options.opening.n_sequences_max;
        let place = Place { n_open: Arc::clone(&self.n_open) };
        let n_before = self.n_open.fetch_add(1, Ordering::Relaxed);
        if n_before == 0 && !self.power.is_constant() {
            tokio::spawn(self.clone().watch_power());
        }
        if n_max <= n_before {
            self.metrics.count_refused();
            let seconds = self.metrics.seconds_a_request() * n_max as f64 / 2.0;
            let message = format!("{n_max} requests are answered or wait already");
            return Err(Refusal::busy(message, seconds.ceil().clamp(1.0, 600.0) as u64));
        }
        Ok(place)
    }

    /// Tell the models how to work as long as somebody asks them.
    async fn watch_power(self) {
        while self.n_open() != 0 {
            self.models.pace(self.power.manner().duty);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Wait until what is done in the background may be done.
    async fn may_run(&self, is_background: bool) {
        while is_background && self.power.manner().background_waits {
            tokio::time::sleep(LOOK).await;
        }
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
        if listing.can.embeds {
            let name = &listing.name;
            let message = format!("'{name}' makes embeddings and does not support answers");
            return Err(Refusal::field("model", message));
        }
        let generate = Generate {
            client: client.id,
            is_background: generate.is_background || client.is_background,
            ..generate
        };
        self.may_run(generate.is_background).await;
        let loading = Instant::now();
        self.models.load(&listing.name).await?;
        let load = loading.elapsed();
        let account = self.ledger.open();
        let ask = Ask::Generate(Box::new(generate));
        let mut answers = self.models.ask(&listing.name, &ask, keep_alive).await?;
        let n_prompt = answers.began().await?;
        self.models.has_answered(&listing.name);
        let metrics = Arc::clone(&self.metrics);
        let held = Box::new(place);
        Ok(Begun::new(answers, metrics, listing, (n_prompt, arrived, load), account, held))
    }

    /// The same for several at once. Whatever is wrong with one, none is answered.
    pub(crate) async fn generate_each(
        &self,
        asked: Option<&str>,
        generates: impl IntoIterator<Item = Generate>,
        client: Client,
        keep_alive: KeepAlive,
    ) -> Result<Vec<Begun>, Refusal> {
        let mut begun = Vec::new();
        for generate in generates {
            begun.push(self.generate(asked, generate, client, keep_alive).await?);
        }
        Ok(begun)
    }
}
