//! The `lapwing` program: settings, commands, and the place where everything is wired together.
//!
//! The only crate that reads the environment, prints, or decides what an
//! error means for the user. It holds no inference: that is in the libraries. Nothing of it is for
//! other crates: a library only so that its tests are those of a library.
//!
//! To add a command, see `cli.rs`.
#![allow(unreachable_pub, reason = "a program: `pub` here means to the rest of it")]

mod answer;
mod cli;
mod commands;
mod daemon;
mod env;
mod exit;
mod guard;
mod hint;
mod home;
mod interrupt;
mod manager;
mod opening;
mod printer;
mod prompt;
mod prompting;
mod reference;
mod service;
mod settings;
mod shell;
mod shown_answer;
mod this_program;

use std::process::ExitCode;

use clap::Parser;
use lapwing_host::guard::doing;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, EvalCommand};
use daemon::Answering;
use printer::{AsWarnings, Printer};
use settings::Settings;

pub use env::ORT_DISABLE_TELEMETRY;

/// What is logged without `-v`, with `-v` and with `-vv`. What other crates have to say is either
/// in the errors they return or of no use to users.
const LOG_FILTERS: [&str; 3] = ["off,lapwing=warn", "warn,lapwing=info", "info,lapwing=debug"];

/// Run the program with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            cli::suggest_only_what_is_shown(&mut error);
            cli::advise_quotes(&mut error);
            return ExitCode::from(not_parsed(&error));
        }
    };
    if 0 < cli.global.verbose {
        printer::be_verbose();
    }
    let printer = Printer::new(cli.global.quiet);
    let mut settings = None;
    let exit_code = match resolve_and_dispatch(&cli, &printer, &mut settings) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            let exit_code = hint::exit_code(&error);
            let hint = hint::for_error(&error, settings.as_ref());
            match exit_code {
                exit::EXIT_DONE => {}
                // The user knows why.
                code if exit::was_wanted(code) => {
                    printer.note(format!("{error:#}"));
                    printer.advice(hint.as_deref());
                }
                _ => printer.error(&error, hint.as_deref()),
            }
            exit_code
        }
    };
    doing::ends(exit_code);
    ExitCode::from(exit_code)
}

/// Print help, the version or what is wrong with the arguments; the exit code.
fn not_parsed(error: &clap::Error) -> u8 {
    if error.use_stderr() {
        // Nobody can be told when stderr is gone.
        let _ = error.print();
        return error.exit_code().try_into().unwrap_or(exit::EXIT_USAGE);
    }
    let printer = Printer::new(false);
    match printer.styled(error.render().ansi()) {
        Ok(()) => exit::EXIT_DONE,
        Err(error) => {
            let error = anyhow::Error::from(error);
            let exit_code = hint::exit_code(&error);
            if exit_code != exit::EXIT_DONE {
                printer.error(&error, hint::for_error(&error, None).as_deref());
            }
            exit_code
        }
    }
}

/// Do what was asked, or let a process do it that this one guards; the exit code. The settings stay
/// in `resolved` for whoever advises about an error.
fn resolve_and_dispatch(
    cli: &Cli,
    printer: &Printer,
    resolved: &mut Option<Settings>,
) -> anyhow::Result<u8> {
    // These describe the program and need no settings, not even right ones.
    match &cli.command {
        Command::Completions(args) => {
            return commands::completions::run(printer, args).map(|()| exit::EXIT_DONE);
        }
        Command::Man(args) => {
            return commands::completions::man(printer, args).map(|()| exit::EXIT_DONE);
        }
        _ => {}
    }
    let settings = resolved.insert(Settings::resolve(cli)?);
    start_log(settings);
    let may_come_to_harm = cli.command.may_come_to_harm() && !settings.trust;
    let is_guarded = may_come_to_harm && guard::is_guarded();
    let daemon = if is_guarded { None } else { Answering::find(&cli.command, settings) };
    // What the daemon answers comes to harm in its workers, and it tells.
    let is_for_another = may_come_to_harm && !is_guarded && daemon.is_none();
    if is_for_another && let Some(exit_code) = guard::run(printer)? {
        return Ok(exit_code);
    }
    if let Some(unknown) = &settings.unknown_key {
        printer.warning(unknown);
    }
    dispatch(cli, settings, printer, daemon.as_ref()).map(|()| exit::EXIT_DONE)
}

fn dispatch(
    cli: &Cli,
    settings: &Settings,
    printer: &Printer,
    daemon: Option<&Answering>,
) -> anyhow::Result<()> {
    match &cli.command {
        Command::Run(args) => commands::run::run(settings, printer, args, daemon),
        Command::Embed(args) => commands::embed::run(settings, printer, args),
        Command::Tokenize(args) => commands::tokenize::run(settings, printer, args),
        Command::Chat(args) => commands::chat::run(settings, printer, args, daemon),
        Command::Devices(args) => commands::devices::run(settings, printer, args),
        Command::Doctor(args) => commands::doctor::run(settings, printer, args),
        Command::Inspect(args) => commands::inspect::run(settings, printer, args),
        Command::Pull(args) => commands::pull::run(settings, printer, args),
        Command::List(args) => commands::list::run(settings, printer, args),
        Command::Rm(args) => commands::rm::run(settings, printer, args),
        Command::Cache(args) => commands::cache::run(settings, printer, args),
        Command::Export(args) => commands::export::run(settings, printer, args),
        Command::Calibrate(args) => commands::calibrate::run(settings, printer, args),
        Command::Eval(args) => match &args.measure {
            #[cfg(feature = "lab")]
            EvalCommand::Falsify(args) => commands::lab::falsify(settings, printer, args),
            _ => commands::eval::run(settings, printer, args),
        },
        #[cfg(feature = "lab")]
        Command::Lab(args) => commands::lab::run(settings, printer, args),
        Command::Bench(args) => commands::bench::run(settings, printer, args, hint::for_error),
        Command::Report(args) => commands::report::run(settings, printer, args),
        Command::Compare(args) => commands::compare::run(settings, printer, args),
        Command::Serve(_) => commands::serve::run(settings, printer, &|| Settings::resolve(cli)),
        Command::Service(args) => commands::service::run(settings, printer, args),
        Command::Ps(args) => commands::ps::run(settings, printer, args),
        Command::Stop(args) => commands::stop::run(settings, printer, args),
        Command::Worker(args) => commands::worker::run(settings, args, hint::for_error),
        Command::Completions(args) => commands::completions::run(printer, args),
        Command::Man(args) => commands::completions::man(printer, args),
    }
}

fn start_log(settings: &Settings) {
    let verbosity = usize::from(settings.verbosity).min(LOG_FILTERS.len() - 1);
    let filter = match &settings.log_filter {
        Some(filter) => EnvFilter::new(filter),
        None => EnvFilter::new(LOG_FILTERS[verbosity]),
    };
    let use_colors =
        anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Nobody can be told when stderr is gone or full, and nothing ends for that.
        .log_internal_errors(false)
        .with_ansi(use_colors)
        .with_target(settings.verbosity > 1);
    // Fails only if there is a subscriber already, which then does the job.
    let _ = match (&settings.log_filter, settings.verbosity) {
        // What comes then is for everybody, as all other warnings are.
        (None, 0) => tracing::subscriber::set_global_default(
            log.with_ansi(false).event_format(AsWarnings).finish(),
        ),
        _ => tracing::subscriber::set_global_default(log.finish()),
    };
}
