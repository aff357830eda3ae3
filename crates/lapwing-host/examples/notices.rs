//! Open a model on a GPU or an NPU as a program does that must survive it: the device is first tried
//! in a process that may die, what happens is told, and Enter gives up.
//!
//! ```text
//! cargo run --release --example notices -- FOLDER MODEL npu
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lapwing_host::worker::WorkerCommand;
use lapwing_host::{Caller, Engine, Host, Notice, OpenRequest, attempt};

/// How this program knows that it is the process that may die.
const WORKER: &str = "--worker";

static GIVES_UP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[..] {
        [_, worker, folder] if worker == WORKER => {
            let host = Host::below(Path::new(folder));
            Ok(attempt::serve(std::io::stdin(), &mut std::io::stdout(), &host)?)
        }
        [_, folder, model, device] => open(folder, model, device),
        _ => Err("usage: notices FOLDER MODEL DEVICE".into()),
    }
}

fn open(folder: &str, model: &str, device: &str) -> Result<(), Box<dyn Error>> {
    let mut host = Host::below(Path::new(folder));
    let arguments = vec![WORKER.into(), folder.into()];
    host.trials.worker = Some(WorkerCommand { program: None, arguments });
    let mut request = OpenRequest::of(model, &host);
    request.options.device = device.parse()?;

    std::thread::spawn(|| {
        let is_line = std::io::stdin().read_line(&mut String::new()).is_ok_and(|n| n != 0);
        GIVES_UP.store(is_line, Ordering::Relaxed);
    });
    let tell = |notice: Notice| println!("notice: {notice}");
    let is_stopped = || GIVES_UP.load(Ordering::Relaxed);
    let caller = Caller { tell: &tell, is_stopped: &is_stopped, ..Caller::NOBODY };
    match Engine::open(&host, &request, caller) {
        Ok(engine) => {
            println!("{} on {}", engine.name(), engine.model.device_used().id);
            println!("opened in {:?}", engine.load);
            Ok(())
        }
        Err(error) if error.is_stop() => {
            println!("given up");
            Ok(())
        }
        Err(error) => Err(error.reason().into()),
    }
}
