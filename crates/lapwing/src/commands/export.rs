//! `lapwing export`: a checkpoint into a model folder.

mod correct_head;

use std::path::Path;

use anyhow::Context as _;
use lapwing_export::{
    ExportError, ExportOptions, ExportReport, NPU_GROUP_SIZE, Precision, Target, WHOLE_ROW, export,
};
use lapwing_host::guard::doing;
use lapwing_store::{Store, checkpoint_at, resolve_model};
use lapwing_weights::Checkpoint;

use crate::cli::{ExportArgs, ExportDevice, ExportTarget};
use crate::exit::UsageError;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;

pub use correct_head::CorrectHeadError;

/// Export a checkpoint.
///
/// # Errors
///
/// When the checkpoint cannot be read or the folder cannot be written; nothing is left behind.
pub fn run(settings: &Settings, printer: &Printer, args: &ExportArgs) -> anyhow::Result<()> {
    interrupt::install();
    let source = resolve_model(&args.source, &settings.host.store).context("cannot export")?;
    let source = checkpoint_at(source);
    doing::reads(&source);
    let mut options = options(args, &source, settings)?;
    for option in without_effect(args) {
        printer.warning(format!(
            "{option} has no effect: only int4 and int8 by name take it, found `{}`",
            args.weights
        ));
    }
    let store = Store::new(settings.home.models());
    let new = match &args.name {
        Some(name) => Some(store.begin(name, args.overwrite).context("cannot export")?),
        None => None,
    };
    let out = match &new {
        Some(new) => new.staging(),
        None => args.out.as_deref().expect("clap demands a folder or a name"),
    };
    // What is in the store under this name is replaced by the store.
    options.overwrite = args.overwrite && new.is_none();
    let target = match args.to {
        ExportTarget::OpenVino => Target::OpenVino,
        ExportTarget::Onnx => Target::Onnx,
    };
    let steps = printer.steps("exporting");
    let mut report = export(&source, target, &options, out, &mut |step| {
        steps.set(step.n_tensors_done, step.n_tensors, step.name);
        interrupt::flow(false)
    })
    .map_err(|error| of_source(error, &source))?;
    drop(steps);
    if let Some(new) = new {
        report.folder = new.finish(&source, &interrupt::requested).context("cannot export")?;
    }
    say_what_is_other(&report, printer);
    if args.json {
        printer.json(&report)?;
        return Ok(());
    }
    if args.report {
        print_report(&report, printer)?;
    }
    printer.note(format!("wrote {}", report.folder.display()));
    Ok(())
}

/// What cannot be opened names itself.
fn of_source(error: ExportError, source: &Path) -> anyhow::Error {
    let context = match &error {
        ExportError::Open(_) | ExportError::OutputExists { .. } => "cannot export".to_owned(),
        _ => format!("cannot export {}", source.display()),
    };
    anyhow::Error::new(error).context(context)
}

/// The flags as the exporter wants them.
fn options(args: &ExportArgs, source: &Path, settings: &Settings) -> anyhow::Result<ExportOptions> {
    let mut options = match args.for_device {
        Some(ExportDevice::Npu) => for_npu(args, source)?,
        None => as_asked(args)?,
    };
    // What was asked for is taken as it is.
    let is_free = args.for_device.is_none() && args.head.is_none() && args.weights == "int4";
    if let Some(profile) = &args.correct_head {
        let map = correct_head::head_map(profile, &settings.host.profiles);
        let map = map.context("cannot correct the head")?;
        options.head_map = Some(map);
    }
    if is_free {
        let checkpoint = Checkpoint::open(source).context("cannot export")?;
        options = options.with_bits_spread(&checkpoint.architecture);
    }
    Ok(options)
}

/// What the options of weights say; anything but a precision's name is a plan file.
fn as_asked(args: &ExportArgs) -> anyhow::Result<ExportOptions> {
    let mut options = match precision(&args.weights, args) {
        Some(weights) => ExportOptions::new(weights),
        None => {
            let plan = Path::new(&args.weights);
            if !plan.is_file() {
                let problem = format!("no precision and no plan file: `{}`", args.weights);
                let advice = "--weights takes int4, int8, f16, f32, or a JSON file".to_owned();
                return Err(UsageError { problem, advice: Some(advice) }.into());
            }
            ExportOptions::from_plan(plan).context("cannot export")?
        }
    };
    if let Some(name) = &args.head {
        options.head = precision(name, args).ok_or_else(|| UsageError {
            problem: format!("no precision: `{name}`"),
            advice: Some("--head takes int4, int8, f16 or f32".to_owned()),
        })?;
    }
    Ok(options)
}

/// What `--for npu` takes beside it.
const FOR_NPU: &str = "--for npu takes --to openvino, and of the weights' options only \
    --group-size row; without --for npu all of them are free";

/// What an NPU takes, where no option asks for something else.
fn for_npu(args: &ExportArgs, source: &Path) -> anyhow::Result<ExportOptions> {
    let against = |option: &str| UsageError {
        problem: format!("{option} is not what --for npu writes"),
        advice: Some(FOR_NPU.to_owned()),
    };
    if let Some(option) = against_npu(args) {
        return Err(against(&option).into());
    }
    let checkpoint = Checkpoint::open(source).context("cannot export")?;
    if checkpoint.architecture.family.experts.is_some() {
        return Err(UsageError {
            problem: "--for npu writes dense models, and this is a mixture of experts".to_owned(),
            advice: Some("leave --for npu out: the export runs on CPUs and GPUs".to_owned()),
        }
        .into());
    }
    let mut options = ExportOptions::for_npu(&checkpoint.architecture);
    let Precision::Int4 { group_size: fitting, symmetric } = options.weights else {
        return Ok(options);
    };
    match args.group_size.map(usize::from) {
        Some(WHOLE_ROW) => options.weights = Precision::Int4 { group_size: WHOLE_ROW, symmetric },
        Some(group_size) if group_size != fitting => {
            return Err(against(&format!("--group-size {group_size}")).into());
        }
        _ => {}
    }
    Ok(options)
}

/// The first option that asks for something else than an NPU takes, whatever the checkpoint.
fn against_npu(args: &ExportArgs) -> Option<String> {
    let given = [
        ("--to onnx".to_owned(), args.to == ExportTarget::Onnx),
        (format!("--weights {}", args.weights), args.weights != "int4"),
        ("--asymmetric".to_owned(), args.asymmetric),
        (
            format!("--head {}", args.head.as_deref().unwrap_or_default()),
            args.head.as_ref().is_some_and(|head| head != "int8"),
        ),
    ];
    let of_groups =
        args.group_size.map(usize::from).filter(|size| ![NPU_GROUP_SIZE, WHOLE_ROW].contains(size));
    let mut against = given.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option);
    against.next().or_else(|| of_groups.map(|size| format!("--group-size {size}")))
}

/// Options of quantisers that were given and change nothing, because nothing is quantised or a plan
/// says how.
fn without_effect(args: &ExportArgs) -> Vec<&'static str> {
    let has_codes = |name: &str| ["int4", "int8"].contains(&name);
    if has_codes(&args.weights) || args.head.as_deref().is_some_and(has_codes) {
        return Vec::new();
    }
    let given = [
        ("--group-size", args.group_size.is_some()),
        ("--symmetric", args.symmetric),
        ("--asymmetric", args.asymmetric),
    ];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}

/// Say once what the target could not hold as it was asked for.
fn say_what_is_other(report: &ExportReport, printer: &Printer) {
    let (n_other, n_lost) = (report.n_other_precision(), report.n_lost_grids());
    let n_tensors = report.tensors.len();
    if n_other != 0 {
        printer.note(format!(
            "{n_other} of {n_tensors} matrices are stored at another precision than asked, because \
             the groups do not fit (--report shows which)"
        ));
    }
    if n_lost != 0 {
        printer.note(format!(
            "{n_lost} of {n_tensors} matrices lost the checkpoint's own codes, because the target \
             cannot hold them (--report shows which, and the error)"
        ));
    }
}

fn precision(name: &str, args: &ExportArgs) -> Option<Precision> {
    Precision::named(name, args.group_size.map(usize::from), args.symmetric)
}

fn print_report(report: &ExportReport, printer: &Printer) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = report
        .tensors
        .iter()
        .map(|tensor| {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            vec![
                tensor.name.clone(),
                shape.join("x"),
                tensor.source_dtype.clone(),
                tensor.precision.clone(),
                if tensor.kept_grid { "kept".to_owned() } else { String::new() },
                format!("{:.2e}", tensor.relative_rms),
            ]
        })
        .collect();
    printer.table(&["TENSOR", "SHAPE", "FROM", "TO", "GRID", "RELATIVE RMS"], &rows)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(line: &str) -> ExportArgs {
        let line = format!("lapwing export a --out d {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Export(args) = cli.command else { panic!("{line}") };
        args
    }

    #[test]
    fn options_against_an_npu_are_named() {
        let check = |line: &str, expected: Option<&str>| {
            let args = parsed(&format!("--for npu {line}"));
            assert_eq!(against_npu(&args).as_deref(), expected, "{line}");
        };
        check("--to openvino", None);
        check("--to openvino --weights int4 --symmetric --head int8 --group-size row", None);
        check("--to openvino --group-size 128", None);
        check("--to onnx", Some("--to onnx"));
        check("--to openvino --weights f16", Some("--weights f16"));
        check("--to openvino --weights plan.json", Some("--weights plan.json"));
        check("--to openvino --asymmetric", Some("--asymmetric"));
        check("--to openvino --head int4", Some("--head int4"));
        check("--to openvino --group-size 64", Some("--group-size 64"));
    }

    #[test]
    fn options_of_quantisers_have_no_effect_without_codes() {
        let check = |line: &str, expected: &[&str]| {
            let args = parsed(&format!("--to onnx {line}"));
            assert_eq!(without_effect(&args), expected, "{line}");
        };
        check("--group-size 64 --symmetric", &[]);
        check("--weights int8 --asymmetric", &[]);
        check("--weights f16 --symmetric --group-size 32", &["--group-size", "--symmetric"]);
        check("--weights f32 --asymmetric", &["--asymmetric"]);
        check("--weights plan.json --group-size 32", &["--group-size"]);
        check("--weights f16 --head int8 --symmetric", &[]);
        check("--weights f16", &[]);
    }
}
