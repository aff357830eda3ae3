//! Models: what there is, what is loaded, and for how long.
//!
//! A loaded model is a worker process. One is started once, however many wait for it; whoever leaves
//! does not stop the others' wait. Where memory is short the model that was not used for longest
//! goes, never one that is busy. It also goes when nobody has asked it for as long as it was to be
//! kept, and when its process is lost, after which it is started again at the next request, later
//! each time.

mod devices;
mod events;
mod keep_alive;
mod leave;
mod listings;
mod loaded;
mod losses;
mod opening;
mod room;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapwing_host::backend::DeviceRequest;
use lapwing_host::worker::crowd::Crowd;
use lapwing_measure::conditions::Snapshot;
use lapwing_serving::message::{Ask, Library, Listing, Said};
use tokio::sync::{Notify, broadcast, watch};

use crate::answers::Answers;
use crate::in_use::Answerer;
use crate::options::InForce;
use crate::power::Power;
use crate::refusal::Refusal;
use devices::Devices;
use events::Events;
use listings::Listings;
use loaded::Times;
use losses::Losses;
use opening::{opening_of, thrifty};

pub(crate) use events::{ModelEvent, What};
pub(crate) use keep_alive::KeepAlive;
pub use keep_alive::parse_seconds;
pub(crate) use leave::{Leave, Left};
pub(crate) use loaded::Loaded;

/// What a model takes beside its files, as long as it was not measured.
const N_BYTES_BESIDE: u64 = 200 << 20;
/// A process that says nothing for so long, while it opens a model, hangs: one that is tried out first
/// and compiled for a device may take nearly that long.
const OPEN_SILENCE_MAX: Duration = Duration::from_secs(40 * 60);

/// Models by their names.
pub(crate) struct Models {
    options: Arc<InForce>,
    power: Arc<Power>,
    listings: Listings,
    devices: Devices,
    table: Mutex<Table>,
    /// Whose turn it is to get room: first come, first served.
    room: tokio::sync::Mutex<()>,
    /// Whose turn it is to read the text side of a model that is not loaded.
    reading: tokio::sync::Mutex<()>,
    events: Events,
    /// Models that left memory.
    pub(crate) left: Left,
    /// Something was loaded, ended or became idle.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Table {
    loaded: HashMap<String, Arc<Loaded>>,
    loading: HashMap<String, watch::Receiver<Option<Outcome>>>,
    /// What models are taken to take that are being loaded.
    expected: HashMap<String, u64>,
    /// What models were measured to take.
    measured: HashMap<String, u64>,
    losses: Losses,
}

type Outcome = Result<Arc<Loaded>, Refusal>;

impl Models {
    pub(crate) fn new(options: Arc<InForce>, power: Arc<Power>) -> Models {
        Models {
            listings: Listings::new(Arc::clone(&options)),
            options,
            power,
            devices: Devices::default(),
            table: Mutex::default(),
            room: tokio::sync::Mutex::const_new(()),
            reading: tokio::sync::Mutex::const_new(()),
            events: Events::new(),
            left: Left::default(),
            changed: Notify::new(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is.
    pub(crate) async fn list(&self) -> Result<Arc<Vec<Listing>>, Refusal> {
        self.listings.get().await
    }

    /// What the libraries offer on this machine.
    pub(crate) async fn libraries(&self) -> Result<Vec<Library>, Refusal> {
        self.devices.offered(&self.options.now()).await
    }

    /// The device that was chosen for the model `name`.
    pub(crate) fn device_of(&self, name: &str) -> Option<DeviceRequest> {
        self.devices.chosen(name)
    }

    /// Let the model `name` run on `device` from its next loading on, or as the settings say. The
    /// next request that finds nobody using it loads it anew, if it is on another one.
    pub(crate) fn choose_device(&self, name: &str, device: Option<DeviceRequest>) {
        self.devices.choose(name, device);
    }

    /// What is loaded.
    pub(crate) fn loaded(&self) -> Vec<Arc<Loaded>> {
        let mut loaded: Vec<_> = self.table().loaded.values().cloned().collect();
        loaded.sort_by(|left, right| left.name.cmp(&right.name));
        loaded
    }

    /// The model that a client means by `asked`.
    pub(crate) async fn find(&self, asked: Option<&str>) -> Result<Listing, Refusal> {
        let options = self.options.now();
        let names = &options.names;
        let asked = asked.filter(|asked| !asked.is_empty());
        let list = self.list().await?;
        let with_name = |name: &str| list.iter().find(|listing| listing.name == name).cloned();
        let by_default = || names.default.as_deref().and_then(with_name);
        let Some(asked) = asked else {
            let only = || (list.len() == 1).then(|| list[0].clone());
            let none = || Refusal::field("model", "no model is named, and there is no default");
            return by_default().or_else(only).ok_or_else(none);
        };
        let bare = asked.strip_suffix(":latest").unwrap_or(asked);
        let alias = |name: &str| names.aliases.get(name).and_then(|name| with_name(name));
        let found =
            [asked, bare].into_iter().find_map(|name| with_name(name).or_else(|| alias(name)));
        let found = found.or_else(|| by_default().filter(|_| names.any));
        found.ok_or_else(|| Refusal::no_model(asked))
    }

    /// Ask the model `name`, which is loaded if it is not.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        name: &str,
        ask: &Ask,
        keep_alive: KeepAlive,
    ) -> Result<Answers, Refusal> {
        let loaded = self.load(name).await?;
        let busy = loaded.begin(keep_alive, self);
        Ok(Answers::of(&loaded.crowd, ask, Some(Box::new(busy))))
    }

    /// What the text side of the model `name` tells. To ask is no use of it: how long it is kept stays
    /// as it was, and one that is not loaded stays so, too. A process of its own reads what is needed
    /// then, one at a time.
    pub(crate) async fn ask_of_text(&self, name: &str, ask: Ask) -> Result<Said, Refusal> {
        let loaded = self.table().loaded.get(name).cloned();
        if let Some(loaded) = loaded.filter(|loaded| !loaded.crowd.is_lost()) {
            return Answers::of(&loaded.crowd, &ask, None).last().await;
        }
        let _turn = self.reading.lock().await;
        let (model, ask) = (name.to_owned(), Box::new(ask));
        listings::ask_once(&self.options.now(), &Ask::OfText { model, ask }).await
    }

    /// Keep the model `name` as long as `keep_alive` says from now on, if it is loaded.
    pub(crate) fn keep(self: &Arc<Self>, name: &str, keep_alive: KeepAlive) {
        let loaded = self.table().loaded.get(name).cloned();
        drop(loaded.map(|loaded| loaded.begin(keep_alive, self)));
    }

    /// Most positions of a sequence of a model: what it runs with, or would if it were loaded.
    pub(crate) fn n_positions_max(&self, listing: &Listing) -> Option<usize> {
        let loaded = self.table().loaded.get(&listing.name).cloned();
        let asked = self.options.now().opening.options.n_positions_max;
        let least = || listing.n_positions_max.into_iter().chain(asked).min();
        loaded.map_or_else(least, |loaded| Some(loaded.card.n_positions_max))
    }

    /// The model `name`, loaded.
    pub(crate) async fn load(self: &Arc<Self>, name: &str) -> Result<Arc<Loaded>, Refusal> {
        let mut outcome = {
            let is_outdated = |loaded: &&Arc<Loaded>| self.is_outdated(loaded) && !loaded.is_busy();
            let mut table = self.table();
            if let Some(former) = table.loaded.get(name).filter(is_outdated).cloned() {
                table.loaded.remove(name);
                self.let_go(&former, Leave::Changed);
            }
            if let Some(loaded) = table.loaded.get(name).filter(|loaded| !loaded.crowd.is_lost()) {
                return Ok(Arc::clone(loaded));
            }
            match table.loading.get(name) {
                Some(outcome) => outcome.clone(),
                None => {
                    let (sender, outcome) = watch::channel(None);
                    table.loading.insert(name.to_owned(), outcome.clone());
                    let (models, name) = (Arc::clone(self), name.to_owned());
                    // It goes on when whoever asked first has left.
                    tokio::spawn(async move {
                        models.events.tell(&name, What::Loading);
                        let outcome = models.open(&name).await;
                        models.events.tell(&name, What::of(&outcome));
                        let mut table = models.table();
                        table.loading.remove(&name);
                        table.expected.remove(&name);
                        if let Ok(loaded) = &outcome {
                            table.loaded.insert(name, Arc::clone(loaded));
                        }
                        drop(table);
                        sender.send_replace(Some(outcome));
                        models.changed.notify_waiters();
                    });
                    outcome
                }
            }
        };
        let lost = || Refusal::internal("loading the model was given up");
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| lost())?;
        outcome.clone().unwrap_or_else(|| Err(lost()))
    }

    async fn open(self: &Arc<Self>, name: &str) -> Outcome {
        self.table().losses.back_off(name)?;
        let list = self.list().await?;
        let listing = list.iter().find(|listing| listing.name == name);
        let listing = listing.ok_or_else(|| Refusal::no_model(name))?;
        if let Some(why) = &listing.unusable {
            return Err(Refusal::field("model", format!("'{name}' does not run: {why}")));
        }
        let measured = self.table().measured.get(name).copied();
        let n_bytes = measured.unwrap_or(listing.n_bytes + N_BYTES_BESIDE);
        self.make_room(name, n_bytes).await?;
        let started = Instant::now();
        let (models, of_model) = (Arc::downgrade(self), name.to_owned());
        let is_dismissed = Arc::new(AtomicBool::new(false));
        let may_end = Arc::clone(&is_dismissed);
        let options = self.options.now();
        let command = options.worker.command();
        let command = command.map_err(|error| Refusal::internal(error.to_string()))?;
        let crowd: Crowd<Ask, Said> = Crowd::start(command, move |lost| {
            if let Some(models) = models.upgrade() {
                let was_wanted = may_end.load(Ordering::Relaxed);
                models.has_ended(&of_model, &lost.loss.to_string(), was_wanted);
            }
        })
        .map_err(|error| Refusal::internal(format!("cannot start a process: {error}")))?;
        let opening = opening_of(listing, &options, self.device_of(name));
        let thrifty = thrifty(&opening, listing, &options, self.power.manner()).await;
        let system = options.system.clone();
        let before = tokio::task::spawn_blocking(move || Snapshot::take(&system));
        let before = before.await.map_err(|_| Refusal::internal("the machine cannot be seen"))?;
        let opened_with = thrifty.options.clone();
        let ask = Ask::Open(Box::new(thrifty));
        let said = Answers::of(&crowd, &ask, None).with_silence(OPEN_SILENCE_MAX).last().await;
        let card = match said {
            Ok(Said::Opened(card)) => card,
            other => {
                // One that is lost was not told to end, and is started again the later for that.
                if !crowd.is_lost() {
                    is_dismissed.store(true, Ordering::Relaxed);
                    crowd.dismiss();
                }
                let unknown = "the model's process is of another version";
                return Err(other.err().unwrap_or_else(|| Refusal::internal(unknown)));
            }
        };
        let resident = crowd.resident_bytes();
        if let Some(resident) = resident {
            self.table().measured.insert(name.to_owned(), resident);
        }
        let load = started.elapsed();
        tracing::info!(device = card.device, elapsed = ?load, "loaded");
        let n_bytes = resident.unwrap_or(n_bytes);
        let listing = listing.clone();
        let answerer = Answerer::new(&listing, &opened_with, &card, before, resident);
        let opened = (opening, *card, answerer);
        let times = Times { used: Instant::now(), kept_for: options.keep_alive };
        let loaded = Loaded::new(listing, opened, crowd, n_bytes, load, times, is_dismissed);
        loaded.pace(self.power.manner().duty);
        Ok(Arc::new(loaded))
    }

    /// Let models compute for this share of the time.
    pub(crate) fn pace(&self, duty: f64) {
        self.loaded().iter().for_each(|loaded| loaded.pace(duty));
    }

    /// A model's process has ended.
    fn has_ended(&self, name: &str, loss: &str, was_wanted: bool) {
        let mut table = self.table();
        if table.loaded.get(name).is_some_and(|loaded| loaded.crowd.is_lost()) {
            table.loaded.remove(name);
            if !was_wanted {
                self.tell_left(name, Leave::Crashed);
            }
        }
        if !was_wanted {
            tracing::warn!(loss, "a model's process was lost");
            table.losses.count(name);
        }
        drop(table);
        self.changed.notify_waiters();
    }

    /// An answer was made to its end: the losses before it do not count any more.
    pub(crate) fn has_answered(&self, name: &str) {
        self.table().losses.forget(name);
    }

    /// Do as the options say that are in force from now on.
    pub(crate) fn heed_options(&self) {
        // What is busy goes when it is idle and another model needs the room.
        let _ = self.unload_beyond(self.options.now().n_memory_bytes_max);
    }

    /// Whether it would be opened otherwise now.
    pub(crate) fn is_outdated(&self, loaded: &Loaded) -> bool {
        let now = self.options.now();
        loaded.opening != opening_of(&loaded.listing, &now, self.device_of(&loaded.name))
    }

    /// What happens to models from now on; nothing when the daemon ends.
    pub(crate) fn listen(&self) -> Option<broadcast::Receiver<ModelEvent>> {
        self.events.listen()
    }

    /// Let those go who listen to what happens.
    pub(crate) fn end_events(&self) {
        self.events.end();
    }

    /// How long a model stays that is asked with `keep_alive`.
    pub(crate) fn kept_for(&self, keep_alive: KeepAlive) -> Option<Duration> {
        match keep_alive {
            KeepAlive::Usual => self.options.now().keep_alive,
            KeepAlive::For(duration) => Some(duration),
            KeepAlive::Forever => None,
        }
    }
}
