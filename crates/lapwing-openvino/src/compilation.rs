//! One compilation of a graph for a device, through the compile cache where there is one.

use std::path::Path;
use std::time::Duration;

use lapwing_backend::{CacheUse, Device};
use lapwing_files::Lease;
use lapwing_formats::ir::IrModel;

use crate::cache::{self, Cached, Compiled as _, KeyFacts};
use crate::device::{driver, processor};
use crate::embedder::EmbeddingGraph;
use crate::native::{CompiledModel, Core, NativeError};
use crate::npu::is_npu;

/// A graph that was compiled, or came out of the cache.
pub(crate) struct Compilation {
    pub(crate) compiled: CompiledModel,
    /// The library's reading of the graph.
    pub(crate) read: Duration,
    /// What came of the cache, where there is one.
    pub(crate) cache_use: Option<CacheUse>,
    /// Keeps the cache's entry from being removed: held as long as the model.
    pub(crate) lease: Option<Lease>,
}

/// Gives the first row of a compiled model.
pub(crate) type FirstRow<'a> = dyn Fn(&CompiledModel) -> Result<Vec<f32>, NativeError> + 'a;

/// What is compiled, and for what.
pub(crate) struct Task<'a> {
    pub(crate) core: &'a Core,
    /// The library's version.
    pub(crate) version: &'a str,
    pub(crate) ir: &'a IrModel,
    /// The graphs that feed it.
    pub(crate) embeddings: &'a [EmbeddingGraph],
    pub(crate) device: &'a Device,
    pub(crate) properties: &'a [(&'a str, String)],
    pub(crate) first_row: &'a FirstRow<'a>,
}

/// What the library gives: the model, and how long it read the graph.
struct Given<'a> {
    compiled: CompiledModel,
    read: Duration,
    first_row: &'a FirstRow<'a>,
    /// It, where it was asked for already.
    row: Option<Vec<f32>>,
}

impl cache::Compiled for Given<'_> {
    type Error = NativeError;

    fn first_row(&self) -> Result<Vec<f32>, NativeError> {
        match &self.row {
            Some(row) => Ok(row.clone()),
            None => (self.first_row)(&self.compiled),
        }
    }

    fn is_from_cache(&self) -> Option<bool> {
        let told = self.compiled.property("LOADED_FROM_CACHE").ok()?;
        match told.trim() {
            "YES" => Some(true),
            "NO" => Some(false),
            _ => None,
        }
    }
}

/// Do what `task` says, through `cache` where there is one.
///
/// # Errors
///
/// When the library refuses it. Nothing that is wrong with `cache` is an error.
pub(crate) fn compile(task: &Task<'_>, cache: Option<&Path>) -> Result<Compilation, NativeError> {
    let Task { core, version, ir, embeddings, device, properties, first_row } = *task;
    // OpenVINO knows the test device by its properties.
    let id = if is_npu(device) { "NPU" } else { &device.id };
    let compile = &mut |folder: Option<&Path>| {
        let mut properties = properties.to_vec();
        if let Some(folder) = folder {
            properties.push(("CACHE_DIR", utf8(folder)?));
        }
        let (compiled, read) = core.compile(ir.xml(), ir.bin(), id, &properties)?;
        let mut given = Given { compiled, read, first_row, row: None };
        // NPUW unpacks weights with its first request or in its first run, and may find then that it
        // cannot. What is in the cache could.
        if is_npu(device) && given.is_from_cache() != Some(true) {
            given.row = Some(given.first_row()?);
        }
        Ok(given)
    };
    let Some(cache) = cache else {
        let Given { compiled, read, .. } = compile(None)?;
        return Ok(Compilation { compiled, read, cache_use: None, lease: None });
    };
    let driver_version = driver(core, device);
    let feeding: Vec<_> = embeddings.iter().map(EmbeddingGraph::contents).collect();
    let facts = KeyFacts {
        library_version: version,
        device: &processor(core, device),
        driver_version: driver_version.as_deref(),
        graph_file: ir.xml_path(),
        graph_xml: ir.xml(),
        weights: ir.bin(),
        feeding: &feeding,
        properties,
    };
    let Cached { compiled, cache_use, lease } = cache::compile_through(cache, &facts, compile)?;
    let Given { compiled, read, .. } = compiled;
    Ok(Compilation { compiled, read, cache_use: Some(cache_use), lease })
}

/// The library takes paths as UTF-8 only.
fn utf8(folder: &Path) -> Result<String, NativeError> {
    folder.to_str().map(str::to_owned).ok_or_else(|| NativeError {
        call: "naming the folder of the compile cache",
        message: format!("{} is not UTF-8", folder.display()),
    })
}
