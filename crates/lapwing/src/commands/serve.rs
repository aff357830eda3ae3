//! `lapwing serve`: the daemon.

mod accepted;
mod options;
mod signals;
mod sockets;

use std::cell::RefCell;
use std::pin::pin;

use anyhow::Context as _;
use lapwing_daemon::{Address, Daemon, Given, Listener, Options};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::manager::Manager;
use crate::printer::Printer;
use crate::settings::{ResolveSettingsError, Settings};
use accepted::Accepted;
use options::addresses;
use signals::{Asked, Signals};

/// Serve until a signal ends it; `resolve` reads the settings again.
///
/// # Errors
///
/// When the key cannot be read or an address not be taken.
pub fn run(
    settings: &Settings,
    printer: &Printer,
    resolve: &dyn Fn() -> Result<Settings, ResolveSettingsError>,
) -> anyhow::Result<()> {
    let mut accepted = Accepted::default();
    let (copied, workers) = accepted::copied(settings);
    let options = options::options(settings, workers)?;
    accepted.keep(copied);
    let given = sockets::given()?;
    let manager = settings.manager.as_ref().and_then(|variables| {
        let found = Manager::find(variables);
        found
            .map_err(|error| printer.warning(format!("the service manager hears nothing: {error}")))
            .ok()
    });
    let addresses = wanted(settings);
    let accepted = RefCell::new(accepted);
    let service = Service { printer, resolve, manager, addresses, accepted };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot serve")?.block_on(service.serve(options, given))
}

/// Where the settings want the daemon to listen.
pub fn wanted(settings: &Settings) -> Vec<Address> {
    let serving = &settings.serving;
    let own = serving.socket.is_none().then(|| Address::Unix(settings.home.socket()));
    addresses(serving).into_iter().chain(own).collect()
}

/// What the daemon has to do with those around it.
struct Service<'a> {
    printer: &'a Printer,
    resolve: &'a dyn Fn() -> Result<Settings, ResolveSettingsError>,
    manager: Option<Manager>,
    /// Where the settings wanted it to listen when it was started.
    addresses: Vec<Address>,
    accepted: RefCell<Accepted>,
}

impl Service<'_> {
    async fn serve(&self, mut options: Options, given: Vec<Given>) -> anyhow::Result<()> {
        let signals = Signals::new(self.manager.is_some()).context("cannot hear of signals")?;
        let listeners = match given.is_empty() {
            true => self.listen(&options).await,
            false => self.adopt(given, &mut options),
        };
        let listeners = listeners.context("cannot serve")?;
        for listener in &listeners {
            self.printer.note(format!("listening on {}", listener.shown()));
        }
        self.attend(&Daemon::new(options), listeners, signals).await;
        Ok(())
    }

    /// Take every address of the options, and the program's own socket if that is to be had.
    async fn listen(&self, options: &Options) -> anyhow::Result<Vec<Listener>> {
        let mut listeners = lapwing_daemon::bind(options).await?;
        let is_named = |address: &&Address| options.addresses.contains(address);
        let own = self.addresses.iter().find(|address| !is_named(address));
        if let Some(Address::Unix(socket)) = own {
            match lapwing_daemon::bind_socket(socket).await {
                Ok(listener) => listeners.push(listener),
                Err(error) if listeners.is_empty() => return Err(error.into()),
                Err(error) => {
                    let error = lapwing_host::with_causes(&error);
                    self.printer.warning(format!(
                        "{error}; `run`, `chat`, `ps` and `stop` do not ask this daemon"
                    ));
                }
            }
        }
        Ok(listeners)
    }

    /// Take the sockets that were handed over, instead of addresses of the settings.
    fn adopt(&self, given: Vec<Given>, options: &mut Options) -> anyhow::Result<Vec<Listener>> {
        let listeners = lapwing_daemon::adopt(given, options)?;
        if !is_same(&options.addresses, &self.addresses) {
            self.printer.warning(
                "the sockets that were handed over are others than the settings name; `lapwing service \
                 install` writes them anew",
            );
        }
        Ok(listeners)
    }

    /// Let it serve, do what signals ask for, and tell the service manager.
    async fn attend(&self, daemon: &Daemon, listeners: Vec<Listener>, mut signals: Signals) {
        let (stop, stopped) = watch::channel(false);
        let mut serving = pin!(daemon.serve(listeners, stopped));
        let mut heartbeat = self.heartbeat();
        let mut told = None;
        self.tell(Manager::ready);
        loop {
            let changed = daemon.changed();
            self.tell_status(daemon, &mut told);
            tokio::select! {
                () = &mut serving => return,
                asked = signals.next() => match asked {
                    Asked::End => {
                        self.tell(Manager::stopping);
                        stop.send_replace(true);
                    }
                    Asked::Reload => self.reload(daemon),
                },
                () = changed => {}
                () = beat(&mut heartbeat) => self.tell(Manager::alive),
            }
        }
    }

    fn tell(&self, what: impl FnOnce(&Manager)) {
        if let Some(manager) = &self.manager {
            what(manager);
        }
    }

    /// The only thing that wakes an idle daemon, and only where the service manager wants it.
    fn heartbeat(&self) -> Option<Interval> {
        let every = self.manager.as_ref()?.alive_every()?;
        let mut heartbeat = interval(every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(heartbeat)
    }

    /// Say which models are loaded, if it is not what was `told`.
    fn tell_status(&self, daemon: &Daemon, told: &mut Option<Vec<String>>) {
        let Some(manager) = &self.manager else { return };
        let loaded = daemon.loaded();
        if told.as_ref() != Some(&loaded) {
            manager.status(&status(&loaded));
            *told = Some(loaded);
        }
    }

    /// Read the settings again. Where they are wrong everything stays as it was.
    fn reload(&self, daemon: &Daemon) {
        self.tell(Manager::reloading);
        match self.read_again(daemon) {
            Ok(()) => self.printer.note("the settings were read again"),
            Err(error) => {
                self.printer.warning(format!("the settings stay as they were: {error:#}"));
            }
        }
        self.tell(Manager::ready);
    }

    fn read_again(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let settings = (self.resolve)()?;
        let (copied, workers) = accepted::copied(&settings);
        daemon.change(options::options(&settings, workers)?)?;
        self.accepted.borrow_mut().keep(copied);
        if !is_same(&wanted(&settings), &self.addresses) {
            self.printer
                .warning("where to listen is not changed before the daemon is started anew");
        }
        Ok(())
    }
}

/// Whether these are the same, in any order.
fn is_same(some: &[Address], others: &[Address]) -> bool {
    let is_in = |addresses: &[Address], all: &[Address]| {
        addresses.iter().all(|address| all.contains(address))
    };
    is_in(some, others) && is_in(others, some)
}

async fn beat(heartbeat: &mut Option<Interval>) {
    match heartbeat {
        Some(heartbeat) => drop(heartbeat.tick().await),
        None => std::future::pending().await,
    }
}

/// What is loaded, in a line.
fn status(loaded: &[String]) -> String {
    match loaded {
        [] => "no model is loaded".to_owned(),
        [one] => format!("loaded: {one}"),
        many => format!("{} models are loaded: {}", many.len(), many.join(", ")),
    }
}
