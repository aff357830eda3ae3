//! What is measured on what: the product of the lists that were asked for, checked before anything
//! is timed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use lapwing_backend::{Backend, Device, DeviceRequest, OpenError, OpenOptions, Precision};
use lapwing_files::checksum;
use lapwing_host::Setup;
use lapwing_host::model_files::{self, ModelFiles};
use lapwing_host::{BackendChoice, CorrectionChoice};
use lapwing_host::{open_folder, options_for};
use lapwing_measure::measuring::{Timed, n_positions};
use lapwing_measure::record::{Protocol, Test, TestKind};
use lapwing_model::ModelFolder;
use lapwing_store::{Variant, natives::Runtime, resolve_model};
use serde::Serialize;

use super::corrections::effective;
use super::fingerprint::{self, of_profiles};
use super::message::Opening;
use crate::cli::{BenchArgs, TestArgs};
use crate::exit::UsageError;
use crate::hint::note;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;
use lapwing_host::recommendation::is_there;

/// Length of the prompt that follows a start.
const N_START_PROMPT_TOKENS: usize = 32;

/// What is measured on what.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    pub(super) configurations: Vec<Planned>,
    pub(super) tests: Vec<Test>,
}

/// One configuration, before anything was opened.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Planned {
    pub(super) opening: Opening,
    pub(super) model: PlannedModel,
    pub(super) runtime: &'static str,
    /// The library's own.
    pub(super) runtime_version: String,
    /// SHA-256 of every file that may be the profile of its correction.
    pub(super) profiles_sha256: Vec<String>,
    /// Positions there is room for.
    pub(super) n_positions_max: usize,
}

/// A model that is measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PlannedModel {
    /// The name of its folder.
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) variant: Option<String>,
    pub(super) sha256: String,
    pub(super) n_bytes: u64,
}

impl Plan {
    /// Everything that was asked for, nothing twice.
    ///
    /// # Errors
    ///
    /// When a model, a backend or a device is not there, or a test does not fit a context.
    pub(super) fn make(
        args: &BenchArgs,
        settings: &Settings,
        printer: &Printer,
    ) -> anyhow::Result<Plan> {
        let tests = tests(&args.tests);
        if tests.is_empty() {
            return Err(usage("there is nothing to measure", note::NO_TESTS).into());
        }
        let mut backends = Backends { settings, loaded: Vec::new() };
        let mut configurations: Vec<Planned> = Vec::new();
        for name in &args.model {
            for planned in of_model(name, args, settings, printer, &mut backends)? {
                if configurations.iter().all(|other| other.opening != planned.opening) {
                    configurations.push(planned);
                }
            }
        }
        for planned in &configurations {
            tests.iter().try_for_each(|test| check_room(planned, test))?;
        }
        Ok(Plan { configurations, tests })
    }

    /// What every record of the same measurements by the same program and libraries shares.
    pub(super) fn sha256(&self, more: &impl Serialize) -> String {
        let program = fingerprint::of_program();
        let text = serde_json::to_string(&(program, self, more));
        checksum::sha256_bytes(text.expect("plans have only string keys").as_bytes())
    }

    /// The place of a measurement among all of them: configurations take turns.
    pub(super) fn order_idx(&self, configuration_idx: usize, test_idx: usize) -> usize {
        test_idx * self.configurations.len() + configuration_idx
    }

    /// The measurement of a record: indices of its configuration and of its test.
    pub(super) fn place(&self, protocol: &Protocol) -> (usize, usize) {
        let n_configurations = self.configurations.len();
        (protocol.order_idx % n_configurations, protocol.order_idx / n_configurations)
    }
}

impl PlannedModel {
    /// Whether both are the same files of the same name.
    pub(super) fn is_same(&self, other: &PlannedModel) -> bool {
        (&self.name, &self.sha256) == (&other.name, &other.sha256)
    }
}

impl Planned {
    /// A name for people: the model, and what of the rest is not by default.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.model.name, self.configuration())
    }

    /// The label without the model.
    pub(super) fn configuration(&self) -> String {
        let device = self.opening.setup.options.device.to_string();
        let mut words = vec![self.runtime.to_owned(), device];
        words.extend(self.choices());
        words.join(" ")
    }

    /// What of the label is neither the model nor the library nor the device.
    pub(super) fn choices(&self) -> Vec<String> {
        let OpenOptions { precision, n_threads, .. } = &self.opening.setup.options;
        let mut words = Vec::new();
        if *precision != Precision::Fast {
            words.push(precision.to_string());
        }
        if let Some(n_threads) = n_threads {
            words.push(format!("{n_threads} thr"));
        }
        if self.opening.correction != CorrectionChoice::Off {
            words.push(format!("correction {}", self.opening.correction));
        }
        words
    }
}

/// The tests, cheapest first, none twice.
fn tests(args: &TestArgs) -> Vec<Test> {
    let mut tests = Vec::new();
    if !args.skip_start {
        tests.push(Test::start(N_START_PROMPT_TOKENS));
    }
    let lengths = |lengths: &[usize]| -> BTreeSet<usize> {
        lengths.iter().copied().filter(|&n| n > 0).collect()
    };
    tests.extend(lengths(&args.prompt_tokens).into_iter().map(|n| Test::prefill(n, 0)));
    let depths: BTreeSet<usize> = args.depth.iter().copied().collect();
    for n_generated in lengths(&args.generated_tokens) {
        tests.extend(depths.iter().map(|&depth| Test::decode(n_generated, depth)));
    }
    tests
}

/// Tokens of the prompt of `test`: there is no decoding without one.
pub(super) fn n_prompt_tokens(test: &Test) -> usize {
    match test.kind {
        TestKind::Start | TestKind::Prefill => test.n_prompt_tokens,
        TestKind::Decode => test.n_depth_tokens.max(1),
    }
}

fn check_room(planned: &Planned, test: &Test) -> Result<(), UsageError> {
    let timed = match test.kind {
        TestKind::Start | TestKind::Prefill => Timed::Prefill,
        TestKind::Decode => Timed::Decode,
    };
    let n_needed = n_positions(timed, n_prompt_tokens(test), test.n_generated_tokens);
    if n_needed <= planned.n_positions_max {
        return Ok(());
    }
    let Planned { model, n_positions_max, .. } = planned;
    let problem = format!(
        "{} needs {n_needed} positions, and {} has room for {n_positions_max}",
        test.name, model.name
    );
    Err(usage(&problem, note::FEWER_TOKENS))
}

fn of_model(
    name: &str,
    args: &BenchArgs,
    settings: &Settings,
    printer: &Printer,
    backends: &mut Backends<'_>,
) -> anyhow::Result<Vec<Planned>> {
    const CANNOT_OPEN: &str = "cannot open the model";
    let path = resolve_model(name, &settings.host.store).context(CANNOT_OPEN)?;
    let asked = &args.configurations;
    let variant = asked.variant.as_deref().map(Variant::asked).or(settings.variant.clone());
    let folder = open_folder(&path, variant.as_ref()).context(CANNOT_OPEN)?;
    let files = ModelFiles::of(&folder).context(CANNOT_OPEN)?;
    let sha256 = files.sha256(&interrupt::requested);
    interrupt::check()?;
    let model = PlannedModel {
        name: model_files::folder_name(&path, &folder),
        kind: folder.kind.name(),
        variant: folder.variant.clone(),
        sha256: sha256.context(CANNOT_OPEN)?,
        n_bytes: files.n_bytes(),
    };
    let limit = folder.architecture.n_positions_max;
    let context = asked.context.map(usize::from).or(settings.options.n_positions_max);
    let corrections = or_default(&asked.correction, settings.correction.clone());
    let corrections = effective(corrections, &model.name, settings, printer);
    let mut planned = Vec::new();
    for runtime in runtimes(&folder, args, settings)? {
        for device in devices(runtime, args, settings, backends)? {
            for precision in or_default(&asked.precision, settings.options.precision) {
                for n_threads in threads(args, settings) {
                    for correction in &corrections {
                        let setup = Setup {
                            path: path.clone(),
                            variant: folder.variant.clone(),
                            runtime,
                            options: OpenOptions {
                                device,
                                n_threads,
                                precision,
                                n_positions_max: context,
                                ..options_for(runtime, &settings.options)
                            },
                        };
                        let opening = Opening { setup, correction: correction.clone() };
                        planned.push(Planned {
                            opening,
                            model: model.clone(),
                            runtime: runtime.name(),
                            runtime_version: backends.of(runtime)?.version.clone(),
                            profiles_sha256: of_profiles(correction, &model.name, settings),
                            n_positions_max: context.map_or(limit, |asked| asked.min(limit)),
                        });
                    }
                }
            }
        }
    }
    Ok(planned)
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
