//! What a command line asks to be measured: the product of its lists, checked before anything is
//! timed.

use anyhow::Context as _;
use lapwing_backend::{Backend, Device, DeviceRequest, OpenError, OpenOptions};
use lapwing_host::guard::doing;
use lapwing_measure::bench::{Plan, Planned, tests};
use lapwing_measure::record::Configuration;
use lapwing_model::ModelFolder;
use lapwing_store::{Variant, natives::Runtime, resolve_model};

use super::message::Opening;
use crate::cli::BenchArgs;
use crate::exit::UsageError;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;
use lapwing_host::correction::{profile_hashes, why_auto_is_off};
use lapwing_host::model_files::{self, ModelFiles};
use lapwing_host::recommendation::is_there;
use lapwing_host::{
    BackendChoice, CorrectionChoice, Setup, keeps_compiled, open_folder, options_for,
};

/// What `bench` needs at least.
const NO_TESTS: &str = "give a length above 0 with --prompt-tokens or --generated-tokens, or \
    leave out --skip-start";
/// A measurement that does not fit the context.
const FEWER_TOKENS: &str = "ask for less with --prompt-tokens, --depth or --generated-tokens, or for \
    more room with --context";

/// What is measured, and how its configurations are opened.
pub(super) struct Asked {
    pub(super) plan: Plan,
    /// One for each configuration.
    pub(super) openings: Vec<Opening>,
}

impl Asked {
    /// Everything that was asked for, nothing twice.
    ///
    /// # Errors
    ///
    /// When a model, a backend or a device is not there, or a test does not fit a context.
    pub(super) fn make(
        args: &BenchArgs,
        settings: &Settings,
        printer: &Printer,
    ) -> anyhow::Result<Asked> {
        let of = &args.tests;
        let tests = tests(!of.skip_start, &of.prompt_tokens, &of.generated_tokens, &of.depth);
        if tests.is_empty() {
            return Err(usage("there is nothing to measure", NO_TESTS).into());
        }
        let mut backends = Backends { settings, loaded: Vec::new() };
        let (mut configurations, mut openings) = (Vec::new(), Vec::new());
        for name in &args.model {
            for (opening, planned) in of_model(name, args, settings, printer, &mut backends)? {
                if !openings.contains(&opening) {
                    configurations.push(planned);
                    openings.push(opening);
                }
            }
        }
        let plan = Plan { configurations, tests };
        plan.check_room().map_err(|error| usage(&error.to_string(), FEWER_TOKENS))?;
        Ok(Asked { plan, openings })
    }
}

fn of_model(
    name: &str,
    args: &BenchArgs,
    settings: &Settings,
    printer: &Printer,
    backends: &mut Backends<'_>,
) -> anyhow::Result<Vec<(Opening, Planned)>> {
    const CANNOT_OPEN: &str = "cannot open the model";
    let path = resolve_model(name, &settings.host.store).context(CANNOT_OPEN)?;
    doing::reads(&path);
    let asked = &args.configurations;
    let variant = asked.variant.as_deref().map(Variant::asked).or(settings.variant.clone());
    let folder = open_folder(&path, variant.as_ref()).context(CANNOT_OPEN)?;
    let files = ModelFiles::of(&folder).context(CANNOT_OPEN)?;
    let sha256 = files.sha256(&interrupt::requested);
    interrupt::check()?;
    let name = model_files::folder_name(&path, &folder);
    let limit = folder.architecture.n_positions_max;
    let context = asked.context.map(usize::from).or(settings.options.n_positions_max);
    let of_model = Configuration {
        model: name.clone(),
        model_sha256: sha256.context(CANNOT_OPEN)?,
        model_kind: folder.kind.name().to_owned(),
        variant: folder.variant.clone(),
        model_bytes: Some(files.n_bytes()),
        n_positions_max: Some(context.map_or(limit, |asked| asked.min(limit))),
        ..Configuration::default()
    };
    let corrections = or_default(&asked.correction, settings.correction.clone());
    let corrections = effective(corrections, &name, settings, printer);
    let mut planned = Vec::new();
    for runtime in runtimes(&folder, args, settings)? {
        for device in devices(runtime, args, settings, backends)? {
            for precision in or_default(&asked.precision, settings.options.precision) {
                for n_threads in threads(args, settings) {
                    let options = OpenOptions {
                        device,
                        n_threads,
                        precision,
                        n_positions_max: context,
                        ..options_for(runtime, &settings.options)
                    };
                    let (path, variant) = (path.clone(), folder.variant.clone());
                    let setup = Setup { path, variant, runtime, options };
                    let version = &backends.of(runtime)?.version;
                    let configuration = configuration(&setup, version, &of_model);
                    for correction in &corrections {
                        let (setup, correction) = (setup.clone(), correction.clone());
                        planned.push((
                            Opening { setup, correction: correction.clone() },
                            Planned {
                                configuration: Configuration {
                                    correction: correction.to_string(),
                                    ..configuration.clone()
                                },
                                keeps_compiled: keeps_compiled(runtime),
                                profiles_sha256: profile_hashes(
                                    &correction,
                                    &name,
                                    &settings.home.profiles(),
                                    &interrupt::requested,
                                ),
                            },
                        ));
                    }
                }
            }
        }
    }
    Ok(planned)
}

/// `asked`, with `off` in the place of an `auto` that changes nothing for `model`; that is said.
fn effective(
    asked: Vec<CorrectionChoice>,
    model: &str,
    settings: &Settings,
    printer: &Printer,
) -> Vec<CorrectionChoice> {
    let of_one = |correction| match (&correction, why_auto_is_off(model, &settings.home.profiles()))
    {
        (CorrectionChoice::Auto, Some(why)) => {
            printer.note(format!("--correction auto is off for {model}: {why}"));
            CorrectionChoice::Off
        }
        _ => correction,
    };
    asked.into_iter().map(of_one).collect()
}

/// What is known of a setup before it is opened, but for its correction.
fn configuration(setup: &Setup, version: &str, of_model: &Configuration) -> Configuration {
    let options = &setup.options;
    Configuration {
        backend: setup.runtime.name().to_owned(),
        backend_version: Some(version.to_owned()),
        device_requested: options.device.to_string(),
        precision: options.precision.to_string(),
        n_threads: options.n_threads,
        settings: options.properties.clone(),
        ..of_model.clone()
    }
}

/// The libraries that were asked for and run this folder; with several, those that do not are left
/// out.
fn runtimes(
    folder: &ModelFolder,
    args: &BenchArgs,
    settings: &Settings,
) -> anyhow::Result<Vec<Runtime>> {
    let asked = or_default(&args.configurations.backend, settings.backend);
    let mut runtimes = Vec::new();
    for choice in asked {
        let runtime = choice.runtime_for(folder.kind)?;
        if !runtimes.contains(&runtime) {
            runtimes.push(runtime);
        }
    }
    let right = BackendChoice::Auto.runtime_for(folder.kind)?;
    match (runtimes.contains(&right), runtimes.first()) {
        (true, _) => Ok(vec![right]),
        (false, first) => {
            let backend = first.map_or("", |runtime| runtime.backend());
            let (kind, folder) = (folder.kind.name(), folder.root.clone());
            let refusal = OpenError::WrongKind { backend, kind, folder };
            Err(anyhow::Error::new(refusal).context("cannot open the model"))
        }
    }
}

/// Backends, each loaded once, to ask which devices they have.
struct Backends<'a> {
    settings: &'a Settings,
    loaded: Vec<(Runtime, Offer)>,
}

/// What a backend says of itself.
struct Offer {
    name: &'static str,
    version: String,
    devices: Vec<Device>,
}

impl Backends<'_> {
    fn of(&mut self, runtime: Runtime) -> anyhow::Result<&Offer> {
        if !self.loaded.iter().any(|(loaded, _)| *loaded == runtime) {
            let backend: Box<dyn Backend> = lapwing_host::load(runtime, &self.settings.host)?;
            let devices = backend.devices().context("cannot tell which devices there are")?;
            let (name, version) = (backend.name(), backend.version());
            self.loaded.push((runtime, Offer { name, version, devices }));
        }
        let found = self.loaded.iter().find(|(loaded, _)| *loaded == runtime);
        let (_, offer) = found.expect("it was loaded above");
        Ok(offer)
    }
}

fn devices(
    runtime: Runtime,
    args: &BenchArgs,
    settings: &Settings,
    backends: &mut Backends<'_>,
) -> anyhow::Result<Vec<DeviceRequest>> {
    let Offer { name, devices: offered, .. } = backends.of(runtime)?;
    if args.configurations.all_devices {
        return offered.iter().map(|device| Ok(device.id.parse()?)).collect();
    }
    let asked = or_default(&args.configurations.device, settings.options.device);
    for &requested in &asked {
        if !is_there(requested, offered) {
            let ids: Vec<&str> = offered.iter().map(|device| device.id.as_str()).collect();
            let refusal = OpenError::NoDevice { backend: name, requested, offered: ids.join(", ") };
            return Err(anyhow::Error::new(refusal).context("cannot measure"));
        }
    }
    Ok(asked)
}

fn threads(args: &BenchArgs, settings: &Settings) -> Vec<Option<usize>> {
    let asked = &args.configurations.threads;
    match asked.is_empty() {
        true => vec![settings.options.n_threads],
        false => asked.iter().map(|&n| Some(n.get())).collect(),
    }
}

fn or_default<T: Clone>(asked: &[T], default: T) -> Vec<T> {
    if asked.is_empty() { vec![default] } else { asked.to_vec() }
}

fn usage(problem: &str, advice: &str) -> UsageError {
    UsageError { problem: problem.to_owned(), advice: Some(advice.to_owned()) }
}
