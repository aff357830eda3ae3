//! `lapwing bench-child`: a worker that reads requests on stdin and answers on stdout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use super::Advise;
use super::message::{Answer, answer_line, parse_request};
use super::worker::Worker;
use crate::exit;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::{Settings, Trials};

/// Whoever asks is gone.
static ORPHANED: AtomicBool = AtomicBool::new(false);
/// What a worker gets to stop by itself when nobody asks any more.
const GRACE: Duration = Duration::from_secs(2);

/// Answer requests until there are no more.
///
/// # Errors
///
/// When an answer cannot be written. What a request runs into is an answer.
pub fn run(settings: &Settings, printer: &Printer, advise: Advise) -> anyhow::Result<()> {
    interrupt::install();
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || read_requests(sender));
    let is_cancelled = || interrupt::requested() || ORPHANED.load(Ordering::Relaxed);
    // A measurement is in a process of its own already, and its first compilation counts.
    let settings = Settings { trials: Trials::Never, ..settings.clone() };
    let mut worker = Worker::new(&settings, advise, &is_cancelled);
    for line in requests {
        let (number, request) = parse_request(&line);
        let answer = match request {
            Ok(request) => worker.answer(request),
            Err(error) => Answer::Failed {
                message: format!("cannot understand the request: {error}"),
                hint: None,
                is_interrupted: false,
            },
        };
        printer.line(answer_line(number, &answer))?;
    }
    Ok(())
}

/// Pass requests on. At their end the worker has little time: nobody waits for it.
fn read_requests(sender: Sender<String>) {
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { break };
        if sender.send(line).is_err() {
            return;
        }
    }
    drop(sender);
    ORPHANED.store(true, Ordering::Relaxed);
    std::thread::sleep(GRACE);
    #[allow(clippy::exit, reason = "a library may compute for minutes, for nobody")]
    std::process::exit(exit::EXIT_INTERRUPTED.into());
}
