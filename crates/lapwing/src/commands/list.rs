//! `lapwing list`.

use std::path::PathBuf;

use anyhow::Context;
use lapwing_store::{Catalog, CatalogEntry, ModelKind, Store, StoredModel};
use serde::Serialize;

use crate::cli::ListArgs;
use crate::printer::{Printer, human_bytes};
use crate::settings::Settings;

/// One line of the list; the keys are those of the JSON.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    kind: ModelKind,
    size_bytes: Option<u64>,
    /// The part of it that is not in the store: what links lead to.
    linked_bytes: u64,
    in_store: bool,
    path: Option<PathBuf>,
    source: Option<String>,
    licence: Option<String>,
    description: Option<String>,
}

/// List the store, and with `--all` the catalogue.
pub fn run(settings: &Settings, printer: &Printer, args: &ListArgs) -> anyhow::Result<()> {
    let stored = Store::new(settings.home.models()).list().context("cannot list the store")?;
    let mut lines: Vec<Line> = stored.into_iter().map(Line::of_stored).collect();
    if args.all {
        let catalog = Catalog::load(&settings.home.catalog_file())?;
        let is_new = |entry: &&CatalogEntry| lines.iter().all(|line| line.name != entry.name);
        let new: Vec<_> = catalog.entries().iter().filter(is_new).map(Line::of_catalog).collect();
        lines.extend(new);
    }
    if args.json {
        return Ok(printer.json(&lines)?);
    }
    if lines.is_empty() {
        printer.note("the store is empty; `lapwing list --all` shows what can be pulled");
        return Ok(());
    }
    let rows: Vec<_> = lines.iter().map(|line| line.row(args.all)).collect();
    let header: &[&str] = match args.all {
        true => &["NAME", "KIND", "SIZE", "STORE", "PATH OR DESCRIPTION"],
        false => &["NAME", "KIND", "SIZE", "PATH"],
    };
    Ok(printer.table(header, &rows)?)
}

impl Line {
    fn of_stored(model: StoredModel) -> Self {
        Self {
            name: model.name,
            kind: model.kind,
            size_bytes: Some(model.size_bytes),
            linked_bytes: model.linked_bytes,
            in_store: true,
            path: Some(model.path),
            source: model.source,
            licence: model.licence,
            description: None,
        }
    }

    fn of_catalog(entry: &CatalogEntry) -> Self {
        Self {
            name: entry.name.clone(),
            kind: entry.kind,
            size_bytes: entry.size_bytes,
            linked_bytes: 0,
            in_store: false,
            path: None,
            source: Some(entry.source.clone()),
            licence: Some(entry.licence.clone()),
            description: Some(entry.description.clone()),
        }
    }

    fn row(&self, all: bool) -> Vec<String> {
        let mut row = vec![
            self.name.clone(),
            shown(self.kind),
            self.size_bytes.map_or_else(|| "-".into(), human_bytes),
        ];
        if all {
            row.push(if self.in_store { "yes" } else { "no" }.into());
        }
        let path = self.path.as_ref().map(|path| path.display().to_string());
        row.push(path.or_else(|| self.description.clone()).unwrap_or_default());
        row
    }
}

/// The kind, and that a model of it does not run as it is.
fn shown(kind: ModelKind) -> String {
    match kind {
        ModelKind::Gguf | ModelKind::Safetensors => format!("{} checkpoint", kind.name()),
        ModelKind::OpenVino | ModelKind::Onnx | ModelKind::Unknown => kind.name().to_owned(),
    }
}
