//! Advice and exit codes: the only place that knows what a user can do about an error.
//!
//! Found by looking for known types along the chain of causes; a transparent variant hides what it
//! wraps from that chain, so it is looked into here. Flags and commands are named here and nowhere
//! below.

/// What the first of some functions has to say that takes an error of the type of `$cause`.
macro_rules! first_of {
    ($cause:expr => $($advise:expr),+ $(,)?) => {
        None$(.or_else(|| $cause.downcast_ref().and_then($advise)))+
    };
}

mod bench;
mod devices;
mod evaluation;
mod model;
mod profiles;
mod pulling;
mod service;

use std::io;
use std::path::Path;

use lapwing_export::ExportError;
use lapwing_files::LockError;
use lapwing_files::regular::{DanglingLink, LfsPointer, NotRegular};
use lapwing_files::text::Utf16;
use lapwing_host::FileChanged;
use lapwing_host::compile_cache::NotCleared;
use lapwing_host::hardware::Machine;
use lapwing_host::trial::{HarmfulDevice, How, Stage};
use lapwing_host::worker::Loss;
use lapwing_store::{
    ResolveModelError, StoreError,
    natives::{LocateError, Native, Runtime},
    nearest,
};

use crate::commands::rm::NotAModelName;
use crate::daemon::NoDaemon;
use crate::env::{LAPWING_TRIAL_MB, LAPWING_TRIAL_SECONDS};
use crate::exit::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UsageError};
use crate::interrupt;
use crate::printer::PrintError;
use crate::settings::{ReadSettingsError, ResolveSettingsError, Settings};
use crate::shell::quoted;
use lapwing_host::guard::Lost;

/// The exit code for an error. A reader that closed our stdout is none.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(PrintError::Closed) = cause.downcast_ref() {
            return EXIT_DONE;
        }
        if interrupt::is_stop(cause) {
            return interrupt::exit_code();
        }
        if cause.is::<UsageError>() || cause.is::<ResolveSettingsError>() {
            return EXIT_USAGE;
        }
    }
    EXIT_FAILED
}

/// What the user can do about an error, if that is known. The settings say where drivers are
/// looked for; without them the system's folders are.
pub fn for_error(error: &anyhow::Error, settings: Option<&Settings>) -> Option<String> {
    let causes: Vec<_> = error.chain().collect();
    if let Some(error) = causes.iter().find_map(|cause| cause.downcast_ref()) {
        return output(error);
    }
    let is_export = causes.iter().any(|cause| cause.is::<ExportError>());
    // The innermost cause knows best.
    let innermost_first = causes.into_iter().rev();
    innermost_first
        .clone()
        .filter(|_| is_export)
        .find_map(|cause| cause.downcast_ref().and_then(io_of_export))
        .or_else(|| innermost_first.clone().find_map(bench::of_record_file))
        .or_else(|| {
            let nowhere = || Machine::here(None, None);
            let machine = || settings.map_or_else(nowhere, |settings| settings.host.machine());
            innermost_first.clone().find_map(|cause| devices::for_cause(cause, &machine))
        })
        .or_else(|| innermost_first.clone().find_map(for_cause))
}

/// Stdout is none of our folders.
fn output(error: &PrintError) -> Option<String> {
    match error {
        PrintError::Write(error) if error.kind() == io::ErrorKind::StorageFull => {
            Some("make room where the output goes, or send it elsewhere".into())
        }
        _ => None,
    }
}

fn harmful_device(error: &HarmfulDevice) -> Option<String> {
    let more = match &error.failure.how {
        How::Lost(Loss::TimedOut { limit_s }) => Some((LAPWING_TRIAL_SECONDS, *limit_s)),
        How::Lost(Loss::TooMuchMemory { limit_bytes }) => {
            Some((LAPWING_TRIAL_MB, limit_bytes / 1_000_000))
        }
        How::Refused { .. } | How::Lost(Loss::Ended { .. }) => None,
    };
    if let Some((variable, limit)) = more {
        return Some(format!("allow more with {variable} above {limit}; then it is tried again"));
    }
    let again = match error.at {
        Some(_) => "`lapwing devices --forget` lets it be tried again",
        None => "it is not tried again until `lapwing devices --forget`",
    };
    Some(format!(
        "{again}, as do other options (--property, --npu-prompt, --context); `lapwing doctor --deep` tries \
         every device with a small model, `--device auto` passes this one over"
    ))
}

const IN_USE: &str = "a file that is in use must not be written to or cut off: put a new one in its \
    place under the same name, or wait until nobody reads it; then try again";

const TOO_LITTLE_MEMORY: &str = "where nobody ended it by hand, the memory was not enough: choose a \
    smaller model or precision, or less with --context, or end other programs";

/// What to do about a process that came to harm.
fn lost(error: &Lost) -> Option<String> {
    let is_cut_off = error.harm == "SIGBUS" || !error.changed.is_empty();
    if is_cut_off && error.failure.stage != Stage::Start {
        return Some(IN_USE.into());
    }
    if error.harm == "SIGKILL" {
        return Some(TOO_LITTLE_MEMORY.into());
    }
    let model = error.doing.iter().flat_map(|doing| &doing.models).next_back();
    Some(crashed(model.map(|opened| &*opened.path)))
}

/// What to do about a library that ended its process.
fn crashed(model: Option<&Path>) -> String {
    let model = model.map_or("MODEL".to_owned(), |path| quoted(path.display()));
    format!(
        "a library came to harm, most often by a file that is damaged: `lapwing inspect {model}` \
         reads it without one, `lapwing doctor` looks at the installation, --backend takes another \
         library where there is one; -v tells what happened before"
    )
}

/// What to do about a process that ended, or had to be ended, while it worked for this one.
fn loss(loss: &Loss) -> Option<String> {
    match loss {
        Loss::Ended { signal: Some(7), .. } => Some(IN_USE.into()),
        Loss::Ended { signal: Some(9), .. } => Some(TOO_LITTLE_MEMORY.into()),
        Loss::Ended { .. } => Some(crashed(None)),
        Loss::TimedOut { .. } | Loss::TooMuchMemory { .. } => None,
    }
}

fn file_changed(_: &FileChanged) -> Option<String> {
    Some(IN_USE.into())
}

fn for_cause(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    first_of!(cause =>
        usage, resolve_settings, harmful_device, lost, loss, file_changed, io, locate, removal, not_cleared,
        store, lock, resolve_model, no_daemon
    )
    .or_else(|| bench::for_cause(cause))
    .or_else(|| evaluation::for_cause(cause))
    .or_else(|| model::for_cause(cause))
    .or_else(|| profiles::for_cause(cause))
    .or_else(|| pulling::for_cause(cause))
    .or_else(|| service::for_cause(cause))
}

const NO_ROOM: &str = "make room on the disk, or set LAPWING_HOME to a folder on another one; a \
    pull from the hub goes on where it stopped";

fn usage(error: &UsageError) -> Option<String> {
    error.advice.clone()
}

fn no_daemon(_: &NoDaemon) -> Option<String> {
    Some("`lapwing serve` starts one".into())
}

fn resolve_settings(error: &ResolveSettingsError) -> Option<String> {
    match error {
        ResolveSettingsError::File(ReadSettingsError::FormerKey { .. }) => Some(
            "delete that table; `lapwing bench --all-devices --recommend …` measures again, and \
             keeps what it finds in recommendations.json of the data folder"
                .into(),
        ),
        ResolveSettingsError::File(ReadSettingsError::UnknownKey(unknown)) => {
            let known = unknown.known.iter().map(String::as_str);
            nearest(&unknown.key, known).map(|nearest| format!("did you mean `{nearest}`?"))
        }
        _ => None,
    }
}

/// What to do about a text in another encoding.
const CONVERT: &str = "convert it: `iconv -f UTF-16 -t UTF-8 FILE > NEW`";

const FETCH: &str =
    "fetch it where the model was cloned, or get the model anew with `lapwing pull`";

fn io(error: &io::Error) -> Option<String> {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<LfsPointer>()) {
        return Some(FETCH.into());
    }
    if inner.is_some_and(|inner| inner.is::<Utf16>()) {
        return Some(CONVERT.into());
    }
    if inner.is_some_and(|inner| inner.is::<DanglingLink>()) {
        return Some("remove the link, or get what it led to again".into());
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(NO_ROOM.into()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("check the permissions; LAPWING_HOME moves Lapwing's own folders".into())
        }
        _ => None,
    }
}

/// What to do about a pipe where a text is expected: who waits for somebody to write to it may wait
/// for ever.
fn piped(error: &io::Error) -> Option<String> {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<NotRegular>())?;
    found.is_pipe().then(|| {
        "a pipe is read where it is stdin: give /dev/stdin as the file and `< PIPE` to the command, \
         or `<(cat PIPE)` as the file"
            .to_owned()
    })
}

/// An export goes where the user says, which need not be our own folder.
fn io_of_export(error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "make room on the disk, or choose another --out (with --name: LAPWING_HOME) on \
             another one; nothing was kept"
                .into(),
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("check the permissions; --out chooses another folder to write".into())
        }
        _ => None,
    }
}

fn locate(error: &LocateError) -> Option<String> {
    match error {
        LocateError::Missing { runtime, .. } => {
            let pull = format!("`lapwing pull {}` gets it", runtime.name());
            Some(match runtime {
                Native::Runtime(runtime) => {
                    format!("{pull}; or set {} to an installed one", variable_of(*runtime))
                }
                Native::OrtPlugin => pull,
            })
        }
        LocateError::CutOff { runtime, .. } => {
            Some(format!("`lapwing pull {} --force` gets it again", runtime.name()))
        }
        LocateError::Pointer { runtime, .. } => {
            let name = runtime.name();
            Some(format!("correct it or unset it: then the one of `lapwing pull {name}` is taken"))
        }
    }
}

/// The variable that points to an installed runtime.
fn variable_of(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::OnnxRuntime => crate::env::ORT_DYLIB_PATH,
        Runtime::OpenVino => crate::env::OPENVINO_INSTALL_DIR,
    }
}

fn store(error: &StoreError) -> Option<String> {
    match error {
        StoreError::NotFound { .. } => Some("`lapwing list` shows what is there".into()),
        StoreError::Name { .. } => {
            Some("choose another name: `pull` takes it with --as, `export` with --name".into())
        }
        StoreError::Exists { .. } => Some("choose another name, or --overwrite".into()),
        StoreError::NotAnExport { .. } => Some("choose another name".into()),
        StoreError::Lock(error) => lock(error),
        StoreError::Io(_) | StoreError::Interrupted => None,
    }
}

fn not_cleared(error: &NotCleared) -> Option<String> {
    let is_refused = error.first.contains("cannot remove");
    (!is_refused).then(|| "end the programs that have these models open, then try again".to_owned())
}

fn removal(_: &NotAModelName) -> Option<String> {
    Some("`lapwing list` shows the names; what is elsewhere is not Lapwing's to remove".into())
}

fn lock(error: &LockError) -> Option<String> {
    match error {
        LockError::Held { .. } => Some("wait until it is done".into()),
        _ => None,
    }
}

fn resolve_model(error: &ResolveModelError) -> Option<String> {
    match error {
        ResolveModelError::NotPulled { name } => {
            Some(format!("`lapwing pull {}` gets it", quoted(name)))
        }
        ResolveModelError::Unknown { nearest: Some(nearest), .. } => {
            Some(format!("did you mean {nearest}?"))
        }
        ResolveModelError::Unknown { name, .. } if name.contains(char::is_whitespace) => {
            Some("the model comes before the prompt: `lapwing run MODEL TEXT`".into())
        }
        ResolveModelError::Unknown { .. } => {
            Some("`lapwing list --all` shows what is there and what can be pulled".into())
        }
        ResolveModelError::Unusable { name, .. } => {
            Some(format!("`lapwing pull {}` gets what is missing", quoted(name)))
        }
        ResolveModelError::Store(error) => store(error),
        ResolveModelError::Catalog(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use lapwing_files::FileError;
    use lapwing_store::natives::PullRuntimeError;
    use lapwing_store::{HubError, PipError, PullError};
    use lapwing_weights::OpenCheckpointError;

    use super::*;
    use crate::exit::EXIT_INTERRUPTED;

    #[test]
    fn paths_in_commands_are_quoted() {
        let error = OpenCheckpointError::AlreadyExported { path: "a b".into(), kind: "onnx-genai" };
        let hint = for_cause(&error).unwrap();
        assert!(hint.starts_with("`lapwing run --model 'a b'`"), "{hint}");
        let lost = crashed(Some("My Model".as_ref()));
        assert!(lost.contains("`lapwing inspect 'My Model'`"), "{lost}");
        let unknown = ResolveModelError::NotPulled { name: "a b".into() };
        assert_eq!(for_cause(&unknown).unwrap(), "`lapwing pull 'a b'` gets it");
    }

    #[test]
    fn advice_is_found_below_context() {
        let error: anyhow::Result<()> = Err(PipError::NotFound { tried: "pip".into() }.into());
        let error = error.context("cannot pull openvino").unwrap_err();
        assert!(for_error(&error, None).unwrap().contains("LAPWING_PYTHON"));
        assert_eq!(for_error(&anyhow::anyhow!("something"), None), None);
    }

    #[test]
    fn advice_is_found_below_transparent_wrappings() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error =
            PullError::from(HubError::Io(FileError::cannot("write", Path::new("/x"))(full)));
        assert!(for_error(&error.into(), None).unwrap().contains("make room"));
        let gated = HubError::Gated { repo: "a/b".into(), endpoint: "https://h".into() };
        assert!(for_error(&PullError::from(gated).into(), None).unwrap().contains("https://h/a/b"));
    }

    #[test]
    fn a_full_disk_during_an_export_is_told_of_another_out() {
        let check = |kind: io::ErrorKind| {
            let error = ExportError::Write { path: "/x".into(), source: kind.into() };
            let error = anyhow::Error::new(error).context("cannot export");
            let hint = for_error(&error, None).unwrap();
            assert!(hint.contains("--out"), "{hint}");
            let elsewhere = for_error(&anyhow::Error::new(io::Error::from(kind)), None).unwrap();
            assert!(!elsewhere.contains("--out"), "{elsewhere}");
        };
        check(io::ErrorKind::StorageFull);
        check(io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn exit_codes() {
        let check = |error: anyhow::Error, expected: u8| assert_eq!(exit_code(&error), expected);
        check(anyhow::anyhow!("something"), EXIT_FAILED);
        check(anyhow::Error::from(PrintError::Closed).context("listing"), EXIT_DONE);
        let usage = UsageError { problem: "no".into(), advice: None };
        check(anyhow::Error::from(usage).context("removing"), EXIT_USAGE);
        check(anyhow::Error::from(interrupt::Interrupted).context("answering"), EXIT_INTERRUPTED);
        check(anyhow::Error::from(ExportError::Stopped).context("cannot export"), EXIT_INTERRUPTED);
        let pull = PullError::from(HubError::Interrupted);
        check(anyhow::Error::from(pull).context("cannot pull a"), EXIT_INTERRUPTED);
        check(PullRuntimeError::from(PipError::Interrupted).into(), EXIT_INTERRUPTED);
        check(StoreError::Interrupted.into(), EXIT_INTERRUPTED);
    }
}
