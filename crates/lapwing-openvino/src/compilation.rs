//! One compilation of a graph for a device, through the compile cache where there is one.

use std::path::Path;
use std::time::Duration;

use lapwing_backend::{CacheUse, Device};
use lapwing_files::Lease;
use lapwing_formats::ir::IrModel;

use crate::cache::{self, Cached, KeyFacts};
use crate::device::{driver, processor};
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

/// What the library gives: the model, and how long it read the graph.
struct Given {
    compiled: CompiledModel,
    read: Duration,
}

impl cache::Compiled for Given {
    fn is_from_cache(&self) -> Option<bool> {
        let told = self.compiled.property("LOADED_FROM_CACHE").ok()?;
        match told.trim() {
            "YES" => Some(true),
            "NO" => Some(false),
            _ => None,
        }
    }
}

/// Compile the graph of `ir` for `device`.
///
/// # Errors
///
/// When the library refuses it. Nothing that is wrong with `cache` is an error.
pub(crate) fn compile(
    core: &Core,
    version: &str,
    ir: &IrModel,
    device: &Device,
    properties: &[(&str, String)],
    cache: Option<&Path>,
) -> Result<Compilation, NativeError> {
    // OpenVINO knows the test device by its properties.
    let id = if is_npu(device) { "NPU" } else { &device.id };
    let compile = &mut |folder: Option<&Path>| {
        let mut properties = properties.to_vec();
        if let Some(folder) = folder {
            properties.push(("CACHE_DIR", utf8(folder)?));
        }
        let (compiled, read) = core.compile(ir.xml(), ir.bin(), id, &properties)?;
        Ok(Given { compiled, read })
    };
    let Some(cache) = cache else {
        let Given { compiled, read } = compile(None)?;
        return Ok(Compilation { compiled, read, cache_use: None, lease: None });
    };
    let driver_version = driver(core, device);
    let facts = KeyFacts {
        library_version: version,
        device: &processor(core, device),
        driver_version: driver_version.as_deref(),
        graph_file: ir.xml_path(),
        graph_xml: ir.xml(),
        weights: ir.bin(),
        properties,
    };
    let Cached { compiled, cache_use, lease } = cache::compile_through(cache, &facts, compile)?;
    let Given { compiled, read } = compiled;
    Ok(Compilation { compiled, read, cache_use: Some(cache_use), lease })
}

/// The library takes paths as UTF-8 only.
fn utf8(folder: &Path) -> Result<String, NativeError> {
    folder.to_str().map(str::to_owned).ok_or_else(|| NativeError {
        call: "naming the folder of the compile cache",
        message: format!("{} is not UTF-8", folder.display()),
    })
}
