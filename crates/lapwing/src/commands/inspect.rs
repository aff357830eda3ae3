//! `lapwing inspect`: a model folder, a checkpoint or a single file, without any runtime.

use anyhow::Context as _;
use lapwing_host::describe::Description;
use lapwing_store::resolve_model;

use crate::cli::InspectArgs;
use crate::opening;
use crate::printer::{Printer, human_bytes};
use crate::settings::Settings;

/// Describe what is at the path or in the store under the name.
pub fn run(settings: &Settings, printer: &Printer, args: &InspectArgs) -> anyhow::Result<()> {
    let path = resolve_model(&args.model, &settings.host.store).context("cannot inspect")?;
    let description = opening::describe(&path, settings.variant.as_ref());
    let description = description.context("cannot inspect")?;
    if args.json {
        printer.json(&description)?;
        return Ok(());
    }
    if args.template {
        let template = description.chat_template.as_deref();
        let template = template.context("there is no chat template")?;
        printer.line(template)?;
        return Ok(());
    }
    print(&description, args.tensors, printer)
}

fn print(description: &Description, lists_tensors: bool, printer: &Printer) -> anyhow::Result<()> {
    let width = description.facts.keys().map(String::len).max().unwrap_or(0).max(8);
    let fact = |name: &str, value: &str| printer.hanging(&format!("{name:width$}  "), value);
    fact("kind", &description.kind)?;
    fact("path", &description.path.display().to_string())?;
    for (name, value) in &description.facts {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fact(name, &text)?;
    }
    for part in &description.quantisation {
        let value = format!("{} tensors, {}", part.n_tensors, human_bytes(part.n_bytes));
        fact(&format!("as {}", part.dtype), &value)?;
    }
    let template = match &description.chat_template {
        Some(template) => format!("{} characters (--template prints it)", template.len()),
        None => "none".to_owned(),
    };
    fact("template", &template)?;
    for file in &description.files {
        fact("file", &format!("{}  {}", file.name, human_bytes(file.n_bytes)))?;
    }
    if lists_tensors {
        printer.line("")?;
        let rows: Vec<Vec<String>> = description
            .tensors
            .iter()
            .map(|tensor| {
                let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
                let bytes = match &tensor.same_as {
                    Some(first) => format!("in {first}"),
                    None => tensor.n_bytes.map_or("-".to_owned(), human_bytes),
                };
                vec![tensor.name.clone(), tensor.dtype.clone(), shape.join("x"), bytes]
            })
            .collect();
        printer.table(&["TENSOR", "TYPE", "SHAPE", "SIZE"], &rows)?;
    }
    Ok(())
}
